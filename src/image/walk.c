/* SPDX-License-Identifier: Apache-2.0
 *
 * walk.c: a fingerprint of content without reading it.
 *
 * Why it is true to the content: the kernel sets a file's ctime at every change of its bytes, mode,
 * owner, names or attributes, and no system call can set it back; together with the inode number a
 * change cannot hide, and neither can a file that was put in the place of another. The one gap is
 * the clock's granularity: a second change within the same tick looks like none. So a tree that
 * changed just now is not trusted (image/store.c waits and walks again).
 *
 * Two copies of a tree have two fingerprints: that costs a second packing, never a wrong image.
 */
#include "image/walk.h"

#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define DEPTH_MAX 256
#define XATTR_LIST_MAX 65536
#define XATTR_VALUE_MAX 65536
#define OVERFLOW_ID 65534u

struct walk {
    const struct image_walk_options *options;
    struct image_digest *digest;
    struct pv_str path; /* of the current entry, for errors */
    dev_t dev;
    struct image_walk_result result;
    struct pv_error *err;
    char *names, *value; /* buffers for extended attributes */
};

static int fail(struct walk *w, int code, const char *what)
{
    return pv_error_set(w->err, code, "'%s': %s: %s", w->path.len ? w->path.text : ".", what,
                        strerror(code));
}

static uint64_t time_ns(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_names(char *names, size_t len, struct pv_strv *ret_list)
{
    for (size_t i = 0; i < len; i += strlen(names + i) + 1)
        pv_strv_add(ret_list, names + i);
    if (ret_list->count)
        qsort(ret_list->items, ret_list->count, sizeof(ret_list->items[0]), compare_names);
}

/* Extended attributes by path, because a descriptor opened for the path alone cannot tell them. */
static int add_xattrs(struct walk *w, const char *path)
{
    pv_auto(pv_strv) struct pv_strv list = {0};
    ssize_t len = llistxattr(path, w->names, XATTR_LIST_MAX);
    if (len < 0)
        return errno == ENOTSUP ? 0 : fail(w, errno, "list extended attributes");
    sort_names(w->names, (size_t)len, &list);
    for (size_t i = 0; i < list.count; i++) {
        ssize_t n = lgetxattr(path, list.items[i], w->value, XATTR_VALUE_MAX);
        if (n < 0 && errno != ENODATA)
            return fail(w, errno, "read extended attributes");
        image_digest_add_text(w->digest, list.items[i]);
        image_digest_add_u64(w->digest, (uint64_t)n);
        if (n > 0)
            image_digest_add(w->digest, w->value, (size_t)n);
    }
    return 0;
}

static int check_owner(struct walk *w, const struct stat *st)
{
    const struct image_walk_options *o = w->options;
    bool lost = o->refuse_overflow && (st->st_uid == OVERFLOW_ID || st->st_gid == OVERFLOW_ID);
    lost |= o->refuse_strangers && ((st->st_uid != 0 && st->st_uid != geteuid()) ||
                                    (st->st_gid != 0 && st->st_gid != getegid()));
    if (!lost)
        return 0;
    return pv_error_set(w->err, EPERM,
                        "'%s' belongs to a user or group that is not yours to map, so its owner "
                        "would be lost: run as root, or pack it yourself with mksquashfs",
                        w->path.len ? w->path.text : ".");
}

static void add_stat(struct walk *w, const struct stat *st)
{
    struct image_digest *d = w->digest;
    image_digest_add_u64(d, st->st_mode);
    image_digest_add_u64(d, st->st_uid);
    image_digest_add_u64(d, st->st_gid);
    image_digest_add_u64(d, S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size);
    image_digest_add_u64(d, time_ns(&st->st_mtim));
    image_digest_add_u64(d, time_ns(&st->st_ctim));
    image_digest_add_u64(d, st->st_ino);
    image_digest_add_u64(d, S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode) ? st->st_rdev : 0);
    w->result.entries++;
    w->result.newest_change_ns = PV_MAX(w->result.newest_change_ns, time_ns(&st->st_ctim));
}

/* A clear word before the packer stumbles over it. */
static int check_readable(struct walk *w, int dirfd, const char *name)
{
    if (geteuid() == 0 || faccessat(dirfd, name, R_OK, AT_EACCESS) == 0)
        return 0;
    return pv_error_set(w->err, errno,
                        "'%s': %s: you cannot read it; run as root, or make it "
                        "readable",
                        w->path.text, strerror(errno));
}

static int add_link(struct walk *w, int dirfd, const char *name)
{
    char target[4096];
    ssize_t len = readlinkat(dirfd, name, target, sizeof(target));
    if (len < 0)
        return fail(w, errno, "read the link");
    image_digest_add_u64(w->digest, (uint64_t)len);
    image_digest_add(w->digest, target, (size_t)len);
    return 0;
}

static int list_folder(struct walk *w, int dirfd, struct pv_strv *ret_names)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int code = errno;
        pv_cleanup_fd(&fd);
        return fail(w, code, "list");
    }
    int rc = 0;
    errno = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = pv_strv_add(ret_names, entry->d_name);
    if (rc == 0 && errno)
        rc = -errno;
    closedir(dir);
    if (rc < 0)
        return fail(w, -rc, "list");
    if (ret_names->count)
        qsort(ret_names->items, ret_names->count, sizeof(char *), compare_names);
    return 0;
}

static int walk_folder(struct walk *w, int dirfd, unsigned depth);

static int enter_folder(struct walk *w, int parent, const char *name, const struct stat *st,
                        unsigned depth)
{
    const struct image_walk_options *o = w->options;
    if (st->st_dev != w->dev) /* another file system: packed as an empty folder */
        return 0;
    if (o->avoid_ino && st->st_dev == o->avoid_dev && st->st_ino == o->avoid_ino)
        return pv_error_set(w->err, ELOOP,
                            "'%s' is Paravane's cache, inside of the image: set PARAVANE_CACHE to "
                            "another folder",
                            w->path.text);
    if (depth >= DEPTH_MAX)
        return fail(w, ELOOP, "folders nested too deep");
    pv_auto_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? walk_folder(w, fd, depth + 1) : fail(w, errno, "open");
}

static int walk_entry(struct walk *w, int dirfd, const char *name, unsigned depth)
{
    struct stat st;
    char path[64 + NAME_MAX];
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(w, errno, "stat");
    if (S_ISSOCK(st.st_mode) || (st.st_dev != w->dev && !S_ISDIR(st.st_mode)))
        return 0;
    int rc = check_owner(w, &st);
    if (rc < 0)
        return rc;

    image_digest_add_text(w->digest, name);
    add_stat(w, &st);
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
    rc = add_xattrs(w, path);
    if (rc == 0 && S_ISREG(st.st_mode))
        rc = check_readable(w, dirfd, name);
    if (rc == 0 && S_ISLNK(st.st_mode))
        rc = add_link(w, dirfd, name);
    if (rc == 0 && S_ISDIR(st.st_mode))
        rc = enter_folder(w, dirfd, name, &st, depth);
    return rc;
}

static int walk_folder(struct walk *w, int dirfd, unsigned depth)
{
    pv_auto(pv_strv) struct pv_strv names = {0};
    int rc = list_folder(w, dirfd, &names);
    image_digest_add_u64(w->digest, names.count);
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        size_t before = w->path.len;
        if (pv_str_addf(&w->path, "%s%s", before ? "/" : "", names.items[i]) < 0)
            return pv_error_set(w->err, ENOMEM, "walk: out of memory");
        rc = walk_entry(w, dirfd, names.items[i], depth);
        w->path.len = before;
        w->path.text[before] = '\0';
    }
    return rc;
}

static int walk_top(struct walk *w, int dirfd)
{
    struct stat st;
    if (fstat(dirfd, &st) < 0)
        return fail(w, errno, "stat");
    w->dev = st.st_dev;
    int rc = check_owner(w, &st);
    if (rc < 0)
        return rc;
    image_digest_add_text(w->digest, w->options->salt);
    add_stat(w, &st);
    rc = walk_folder(w, dirfd, 0);
    if (rc == 0 && image_digest_finish(w->digest, w->result.key) < 0)
        rc = pv_error_set(w->err, EIO, "SHA-256 failed");
    return rc;
}

int image_walk_tree(int dirfd, const struct image_walk_options *options,
                    struct image_walk_result *ret_result, struct pv_error *err)
{
    pv_auto(image_digest) struct image_digest *digest = image_digest_new();
    pv_auto_free char *names = malloc(XATTR_LIST_MAX);
    pv_auto_free char *value = malloc(XATTR_VALUE_MAX);
    if (!digest || !names || !value)
        return pv_error_set(err, ENOMEM, "walk: out of memory");
    struct walk w = {
        .options = options, .digest = digest, .err = err, .names = names, .value = value};
    int rc = walk_top(&w, dirfd);
    pv_str_done(&w.path);
    if (rc == 0)
        *ret_result = w.result;
    return rc;
}
