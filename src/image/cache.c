/* SPDX-License-Identifier: Apache-2.0
 *
 * cache.c: unnamed files (O_TMPFILE) that get a name when they are complete.
 *
 * Where the file system has none, a file .tmp-* takes their place; the next maker removes it.
 */
#include "image/cache.h"

#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define TEMPORARY_PREFIX ".tmp-"

static int make_folders(char *path)
{
    for (char *end = path + 1;; end++) {
        char cut = *end;
        if (cut != '/' && cut != '\0')
            continue;
        *end = '\0';
        int rc = mkdir(path, 0700) < 0 && errno != EEXIST && errno != EISDIR ? -errno : 0;
        *end = cut;
        if (rc < 0 || !cut)
            return rc;
    }
}

/* Opens path if it can be made and is ours: another user's folder could hold a forged image. */
static int open_folder(char *path, struct pv_error *err)
{
    struct stat st;
    int rc = make_folders(path);
    if (rc < 0)
        return pv_error_set(err, -rc, "create the cache '%s': %s", path, strerror(-rc));
    pv_auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return pv_error_set(err, errno, "open the cache '%s': %s", path, strerror(errno));
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return pv_error_set(err, EPERM,
                            "the cache '%s' belongs to another user or others may write to it: set "
                            "PARAVANE_CACHE to a folder of your own",
                            path);
    if (faccessat(fd, ".", W_OK, 0) < 0)
        return pv_error_set(err, errno, "the cache '%s': %s", path, strerror(errno));
    return pv_take_fd(&fd);
}

static int try_folder(char *path, struct image_cache *ret_cache, struct pv_error *err)
{
    pv_auto_free char *owned = path;
    if (!owned)
        return pv_error_set(err, ENOMEM, "open the cache: out of memory");
    int fd = open_folder(owned, err);
    if (fd < 0)
        return fd;
    ret_cache->dirfd = fd;
    ret_cache->path = pv_take_ptr(owned);
    return 0;
}

int image_cache_open(const char *part, struct image_cache *ret_cache, struct pv_error *err)
{
    const char *given = getenv("PARAVANE_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (given && *given && *given != '/')
        return pv_error_set(err, EINVAL, "PARAVANE_CACHE='%s': write an absolute path", given);
    if (given && *given)
        return try_folder(pv_strf("%s/%s", given, part), ret_cache, err);
    if (xdg && *xdg == '/')
        return try_folder(pv_strf("%s/paravane/%s", xdg, part), ret_cache, err);
    if (home && *home == '/' && home[1] &&
        try_folder(pv_strf("%s/.cache/paravane/%s", home, part), ret_cache, err) == 0)
        return 0;
    /* The upper folder is checked too: in /var/tmp anybody may have made it. */
    struct image_cache upper;
    int rc = try_folder(pv_strf("/var/tmp/paravane-cache-%u", (unsigned)geteuid()), &upper, err);
    if (rc < 0)
        return rc;
    rc = try_folder(pv_strf("%s/%s", upper.path, part), ret_cache, err);
    image_cache_close(&upper);
    return rc;
}

void image_cache_close(struct image_cache *cache)
{
    pv_cleanup_fd(&cache->dirfd);
    cache->dirfd = -1;
    free(pv_take_ptr(cache->path));
}

static void remove_temporaries(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (!dir) {
        pv_cleanup_fd(&copy);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));)
        if (pv_str_starts_with(entry->d_name, TEMPORARY_PREFIX))
            unlinkat(fd, entry->d_name, 0);
    closedir(dir);
}

int image_cache_lock(const struct image_cache *cache, struct pv_error *err)
{
    pv_auto_fd int fd = openat(cache->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return pv_error_set(err, errno, "lock the cache: %s", strerror(errno));
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return pv_error_set(err, errno, "lock the cache: %s", strerror(errno));
    remove_temporaries(fd);
    return pv_take_fd(&fd);
}

int image_cache_begin(const struct image_cache *cache, struct image_cache_file *ret_file,
                      struct pv_error *err)
{
    struct image_cache_file file = {.temporary = ""};
    /* Others may write to it while it has no name: a packer in a user namespace is another user,
     * and only who has the descriptor can reach it. */
    file.fd = openat(cache->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file.fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        snprintf(file.temporary, sizeof(file.temporary), TEMPORARY_PREFIX "%d", (int)getpid());
        file.fd =
            openat(cache->dirfd, file.temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    if (file.fd < 0)
        return pv_error_set(err, errno, "create a file in the cache '%s': %s", cache->path,
                            strerror(errno));
    fchmod(file.fd, 0666);
    *ret_file = file;
    return 0;
}

static int name_file(const struct image_cache *cache, const struct image_cache_file *file,
                     const char *name)
{
    char path[32];
    if (file->temporary[0])
        return renameat(cache->dirfd, file->temporary, cache->dirfd, name) < 0 ? -errno : 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
    if (linkat(AT_FDCWD, path, cache->dirfd, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST)
        return -errno;
    return 0;
}

int image_cache_commit(const struct image_cache *cache, struct image_cache_file *file,
                       const char *name, struct pv_error *err)
{
    int rc = fchmod(file->fd, 0400) < 0 || fdatasync(file->fd) < 0 ? -errno : 0;
    if (rc == 0)
        rc = name_file(cache, file, name);
    if (rc == 0)
        file->temporary[0] = '\0';
    image_cache_abort(cache, file);
    return rc == 0 ? 0
                   : pv_error_set(err, -rc, "keep '%s' in the cache '%s': %s", name, cache->path,
                                  strerror(-rc));
}

void image_cache_abort(const struct image_cache *cache, struct image_cache_file *file)
{
    if (file->fd >= 0 && file->temporary[0])
        unlinkat(cache->dirfd, file->temporary, 0);
    pv_cleanup_fd(&file->fd);
    file->fd = -1;
    file->temporary[0] = '\0';
}
