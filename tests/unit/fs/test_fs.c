/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fs.c: the server of shared folders, driven request by request, in a folder of its own beside
 * which stands a secret.
 */
#include "fs/fs.h"

#include "support/fuse_client.h"
#include "support/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID

static struct {
    char top[64];
    int top_fd, root_fd; /* the secret is in top; the folder is top/share */
    struct fs *fs;
    struct fuse_client client;
} t;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static void begin(struct fs_options options, struct fs_situation situation)
{
    struct pv_error err = PV_ERROR_INIT;
    options.root_fd = t.root_fd;
    assert_int_equal(fs_new(&options, &t.fs, &err), 0);
    assert_int_equal(fs_settle(t.fs, &situation, &err), 0);
    fuse_client_init(&t.client, t.fs);
    t.client.uid = geteuid();
    t.client.gid = getegid();
    assert_int_equal(fuse_client_start(&t.client), sizeof(struct fuse_init_out));
}

static void end(void)
{
    assert_int_equal(t.client.wrong, 0);
    fuse_client_done(&t.client);
    fs_free(t.fs);
    t.fs = NULL;
}

static void put(int dirfd, const char *name, const char *text)
{
    int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static const struct fs_situation usual = {.contained = true, .max_files = 100};

static int set_up(void **state)
{
    char path[80];
    umask(0);
    strcpy(t.top, "/tmp/paravane-fs-XXXXXX");
    assert_non_null(mkdtemp(t.top));
    t.top_fd = open(t.top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(t.top_fd, "secret", "secret");
    assert_int_equal(mkdirat(t.top_fd, "share", 0755), 0);
    snprintf(path, sizeof(path), "%s/share", t.top);
    t.root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    put(t.root_fd, "file", "content");
    assert_int_equal(mkdirat(t.root_fd, "dir", 0755), 0);
    begin((struct fs_options){0}, usual);
    return 0;
}

static int tear_down(void **state)
{
    if (t.fs)
        end();
    close(t.root_fd);
    close(t.top_fd);
    nftw(t.top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static void begin_again(struct fs_options options, struct fs_situation situation)
{
    end();
    begin(options, situation);
}

static uint64_t need(int64_t value)
{
    if (value < 0)
        fail_msg("%s", strerror((int)-value));
    return (uint64_t)value;
}

static uint64_t lookup(uint64_t parent, const char *name)
{
    return need(fuse_client_lookup(&t.client, parent, name));
}

static uint64_t mkdir_at(uint64_t parent, const char *name, uint32_t mode)
{
    const struct fuse_mkdir_in in = {.mode = mode};
    struct fuse_entry_out out;
    need(fuse_client_ask_name(&t.client, FUSE_MKDIR, parent, &in, sizeof(in), name, NULL));
    memcpy(&out, t.client.reply, sizeof(out));
    return out.nodeid;
}

static int rename_to(uint64_t from, const char *old, uint64_t to, const char *new, uint32_t flags)
{
    const struct fuse_rename2_in in = {.newdir = to, .flags = flags};
    return fuse_client_ask_name(&t.client, FUSE_RENAME2, from, &in, sizeof(in), old, new);
}

static int set_attr(uint64_t node, struct fuse_setattr_in in)
{
    int rc = fuse_client_ask(&t.client, FUSE_SETATTR, node, &in, sizeof(in));
    return rc < 0 ? rc : 0;
}

/* -- what every guest does -- */

static void test_files_are_read_and_written(void **state)
{
    struct fuse_client *c = &t.client;
    uint64_t file = lookup(ROOT, "file");
    uint64_t h = need(fuse_client_open(c, file, O_RDWR));
    assert_int_equal(fuse_client_read(c, h, 3, 100), 4);
    assert_memory_equal(c->reply, "tent", 4);
    assert_int_equal(fuse_client_read(c, h, 7, 100), 0);
    assert_int_equal(fuse_client_write(c, h, 2, "XYZ", 3), sizeof(struct fuse_write_out));
    assert_int_equal(fuse_client_read(c, h, 0, 100), 7);
    assert_memory_equal(c->reply, "coXYZnt", 7);

    const struct fuse_release_in release = {.fh = h};
    assert_int_equal(fuse_client_ask(c, FUSE_RELEASE, file, &release, sizeof(release)), 0);
    assert_int_equal(fuse_client_read(c, h, 0, 100), -EBADF);
    assert_int_equal(fuse_client_ask(c, FUSE_RELEASE, file, &release, sizeof(release)), 0);
}

static void test_names_appear_move_and_go(void **state)
{
    struct fuse_client *c = &t.client;
    struct fuse_attr attr;
    uint64_t made, a = mkdir_at(ROOT, "a", 0700), b = mkdir_at(a, "b", 0700);
    uint64_t h = need(fuse_client_create(c, b, "f", 0640, &made));
    assert_int_equal(fuse_client_write(c, h, 0, "x", 1), 8);
    assert_int_equal(rename_to(a, "b", ROOT, "moved", 0), 0);
    /* The nodes are what they were, at their new place. */
    assert_int_equal(fuse_client_getattr(c, b, &attr), 0);
    assert_int_equal(lookup(b, "f"), made);
    need(fuse_client_open(c, made, O_RDONLY));
    assert_int_equal(rename_to(ROOT, "moved", ROOT, "a", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(rename_to(ROOT, "moved", ROOT, "a", RENAME_EXCHANGE), 0);
    assert_int_equal(lookup(ROOT, "a"), b);
    assert_int_equal(rename_to(ROOT, "a", b, "into", 0), -EINVAL);
    assert_int_equal(rename_to(ROOT, "a", ROOT, "x", 0x80), -EINVAL);

    assert_int_equal(fuse_client_ask_name(c, FUSE_RMDIR, ROOT, NULL, 0, "a", NULL), -ENOTEMPTY);
    assert_int_equal(fuse_client_ask_name(c, FUSE_UNLINK, b, NULL, 0, "f", NULL), 0);
    assert_int_equal(fuse_client_read(c, h, 0, 10), 1); /* still open */
    assert_int_equal(fuse_client_getattr(c, made, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(fuse_client_ask_name(c, FUSE_RMDIR, ROOT, NULL, 0, "a", NULL), 0);
    assert_int_equal(fuse_client_lookup(c, ROOT, "a"), -ENOENT);
}

static void test_hard_links_are_one_node(void **state)
{
    struct fuse_client *c = &t.client;
    struct fuse_attr attr;
    uint64_t file = lookup(ROOT, "file"), dir = lookup(ROOT, "dir");
    const struct fuse_link_in in = {.oldnodeid = file};
    need(fuse_client_ask_name(c, FUSE_LINK, dir, &in, sizeof(in), "other", NULL));
    assert_int_equal(lookup(dir, "other"), file);
    assert_int_equal(lookup(ROOT, "file"), file);
    assert_int_equal(fuse_client_ask_name(c, FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), 0);
    /* By the name that is gone it is not found; the guest looks again and goes on. */
    assert_int_equal(fuse_client_getattr(c, file, &attr), -ESTALE);
    assert_int_equal(lookup(dir, "other"), file);
    assert_int_equal(fuse_client_getattr(c, file, &attr), 0);
    assert_int_equal(attr.nlink, 1);
}

static void test_links_are_told_and_not_followed(void **state)
{
    struct fuse_client *c = &t.client;
    struct fuse_attr attr;
    need(fuse_client_ask_name(c, FUSE_SYMLINK, ROOT, NULL, 0, "link", "../secret"));
    uint64_t link = lookup(ROOT, "link");
    assert_int_equal(fuse_client_getattr(c, link, &attr), 0);
    assert_true(S_ISLNK(attr.mode));
    assert_int_equal(fuse_client_ask(c, FUSE_READLINK, link, NULL, 0), 9);
    assert_memory_equal(c->reply, "../secret", 9);
    assert_int_equal(fuse_client_open(c, link, O_RDONLY), -ENXIO);
    assert_int_equal(fuse_client_open(c, link, O_DIRECTORY), -ENOTDIR);
    assert_int_equal(fuse_client_lookup(c, link, "x"), -ENOTDIR);
    assert_int_equal(fuse_client_ask(c, FUSE_READLINK, lookup(ROOT, "file"), NULL, 0), -EINVAL);
}

static unsigned list(uint64_t dir, bool plus, unsigned size)
{
    struct fuse_client *c = &t.client;
    uint64_t h = need(fuse_client_open(c, dir, O_DIRECTORY)), offset = 0;
    unsigned count = 0;
    for (;;) {
        const struct fuse_read_in in = {.fh = h, .offset = offset, .size = size};
        int len = fuse_client_ask(c, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, &in, sizeof(in));
        assert_true(len >= 0);
        if (len == 0)
            break;
        for (int at = 0; at < len;) {
            const uint8_t *entry = c->reply + at + (plus ? sizeof(struct fuse_entry_out) : 0);
            struct fuse_dirent dirent;
            memcpy(&dirent, entry, sizeof(dirent));
            offset = dirent.off;
            count++;
            at += (int)FUSE_DIRENT_ALIGN((plus ? sizeof(struct fuse_direntplus) : sizeof(dirent)) +
                                         dirent.namelen);
        }
    }
    const struct fuse_release_in release = {.fh = h};
    need(fuse_client_ask(c, FUSE_RELEASEDIR, dir, &release, sizeof(release)));
    return count;
}

static void test_large_folders_are_listed_whole(void **state)
{
    char name[16];
    int dir = openat(t.root_fd, "dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "%u", i);
        put(dir, name, "");
    }
    close(dir);
    uint64_t node = lookup(ROOT, "dir");
    assert_int_equal(list(node, false, 4096), 3002);
    assert_int_equal(list(node, false, 300), 3002);
    assert_int_equal(list(node, true, 1 << 20), 3002);
    assert_int_equal(list(node, true, 4096), 3002);
}

/* -- names -- */

static void test_names_are_one_component(void **state)
{
    struct fuse_client *c = &t.client;
    static const char *const bad[] = {"",          ".",           "..",   "/",      "a/b",
                                      "../secret", "/etc/passwd", "dir/", "./file", "dir/../.."};
    const struct fuse_mkdir_in mkdir_in = {.mode = 0700};
    const struct fuse_mknod_in mknod_in = {.mode = S_IFREG | 0600};
    const struct fuse_create_in create_in = {.flags = O_RDWR, .mode = 0600};
    const struct fuse_rename_in rename_in = {.newdir = ROOT};
    const struct fuse_link_in link_in = {.oldnodeid = lookup(ROOT, "file")};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        const char *n = bad[i];
        assert_int_equal(fuse_client_lookup(c, ROOT, n), -EINVAL);
        assert_int_equal(fuse_client_ask_name(c, FUSE_UNLINK, ROOT, NULL, 0, n, NULL), -EINVAL);
        assert_int_equal(fuse_client_ask_name(c, FUSE_RMDIR, ROOT, NULL, 0, n, NULL), -EINVAL);
        assert_int_equal(fuse_client_ask_name(c, FUSE_SYMLINK, ROOT, NULL, 0, n, "x"), -EINVAL);
        assert_int_equal(
            fuse_client_ask_name(c, FUSE_MKDIR, ROOT, &mkdir_in, sizeof(mkdir_in), n, NULL),
            -EINVAL);
        assert_int_equal(
            fuse_client_ask_name(c, FUSE_MKNOD, ROOT, &mknod_in, sizeof(mknod_in), n, NULL),
            -EINVAL);
        assert_int_equal(
            fuse_client_ask_name(c, FUSE_CREATE, ROOT, &create_in, sizeof(create_in), n, NULL),
            -EINVAL);
        assert_int_equal(
            fuse_client_ask_name(c, FUSE_RENAME, ROOT, &rename_in, sizeof(rename_in), "file", n),
            -EINVAL);
        assert_int_equal(
            fuse_client_ask_name(c, FUSE_RENAME, ROOT, &rename_in, sizeof(rename_in), n, "x"),
            -EINVAL);
        assert_int_equal(
            fuse_client_ask_name(c, FUSE_LINK, ROOT, &link_in, sizeof(link_in), n, NULL), -EINVAL);
    }
    /* A string that ends nowhere, and one that ends too early. */
    assert_int_equal(fuse_client_ask(c, FUSE_LOOKUP, ROOT, "file", 4), -EINVAL);
    assert_int_equal(fuse_client_ask(c, FUSE_LOOKUP, ROOT, NULL, 0), -EINVAL);
    assert_int_equal(fuse_client_ask(c, FUSE_SYMLINK, ROOT, "name\0target", 11), -EINVAL);
    assert_true(fuse_client_ask(c, FUSE_LOOKUP, ROOT, "file\0garbage", 12) > 0);
}

static void test_lengths_of_names(void **state)
{
    struct fuse_client *c = &t.client;
    char name[NAME_MAX + 2];
    memset(name, 'n', sizeof(name));
    name[NAME_MAX + 1] = '\0';
    const struct fuse_mkdir_in in = {.mode = 0700};
    assert_int_equal(fuse_client_lookup(c, ROOT, name), -ENAMETOOLONG);
    assert_int_equal(fuse_client_ask_name(c, FUSE_MKDIR, ROOT, &in, sizeof(in), name, NULL),
                     -ENAMETOOLONG);
    name[NAME_MAX] = '\0';
    need(fuse_client_ask_name(c, FUSE_MKDIR, ROOT, &in, sizeof(in), name, NULL));
    assert_true(lookup(ROOT, name) > 0);
}

/* -- a guest that lies -- */

static void test_numbers_that_mean_nothing(void **state)
{
    struct fuse_client *c = &t.client;
    struct fuse_attr attr;
    uint64_t file = lookup(ROOT, "file");
    const uint64_t bad[] = {0, 2, file + 1, file ^ 1ull << 32, UINT64_MAX, 1ull << 63};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        assert_int_equal(fuse_client_getattr(c, bad[i], &attr), -ESTALE);
        assert_int_equal(fuse_client_lookup(c, bad[i], "file"), -ESTALE);
        assert_int_equal(fuse_client_open(c, bad[i], O_RDONLY), -ESTALE);
        assert_int_equal(fuse_client_read(c, bad[i], 0, 10), -EBADF);
        assert_int_equal(fuse_client_write(c, bad[i], 0, "x", 1), -EBADF);
    }
    /* A folder's handle is no file's. */
    uint64_t dir = need(fuse_client_open(c, ROOT, O_DIRECTORY));
    assert_int_equal(fuse_client_read(c, dir, 0, 10), -EBADF);
    /* Forgotten too often, and then used. */
    const struct fuse_forget_in forget = {.nlookup = 1000};
    fuse_client_ask(c, FUSE_FORGET, file, &forget, sizeof(forget));
    fuse_client_ask(c, FUSE_FORGET, file, &forget, sizeof(forget));
    fuse_client_ask(c, FUSE_FORGET, ROOT, &forget, sizeof(forget));
    assert_int_equal(fuse_client_getattr(c, file, &attr), -ESTALE);
    assert_int_equal(fuse_client_getattr(c, ROOT, &attr), 0);
}

static void test_requests_that_are_cut(void **state)
{
    uint8_t bytes[64] = {0};
    for (uint32_t op = 0; op < 80; op++) {
        if (op == FUSE_INIT || op == FUSE_DESTROY)
            continue;
        for (size_t len = 0; len <= sizeof(bytes); len++)
            fuse_client_ask(&t.client, op, ROOT, bytes, len);
    }
    assert_int_equal(fuse_client_ask(&t.client, 12345, ROOT, NULL, 0), -ENOSYS);

    /* A header that is cut, and one that announces more than there is, or less than itself. */
    struct fuse_in_header h = {.len = 4096, .opcode = FUSE_GETATTR, .nodeid = ROOT};
    struct fuse_out_header out;
    struct iovec in = {&h, sizeof(h)}, room = {&out, sizeof(out)};
    struct fs_request r = {.in = &in, .num_in = 1, .out = &room, .num_out = 1};
    assert_int_equal(fs_serve(t.fs, &r, false), 0);
    assert_true(r.malformed && out.error == -EINVAL);
    h.len = 1;
    assert_int_equal(fs_serve(t.fs, &r, false), 0);
    assert_true(r.malformed && out.error == -EINVAL);
    in.iov_len = 39;
    assert_int_equal(fs_serve(t.fs, &r, false), 0);
    assert_true(r.malformed);
    /* No room for a reply, or too little of it. */
    in.iov_len = sizeof(h);
    h.len = sizeof(h);
    room.iov_len = 15;
    assert_int_equal(fs_serve(t.fs, &r, false), 0);
    assert_int_equal(r.written, 0);
}

static void test_replies_that_do_not_fit(void **state)
{
    struct {
        struct fuse_in_header h;
        struct fuse_getattr_in args;
    } q = {.h = {.len = sizeof(q), .opcode = FUSE_GETATTR, .nodeid = ROOT}};
    uint8_t small[sizeof(struct fuse_out_header) + 20];
    struct iovec in = {&q, sizeof(q)}, room = {small, sizeof(small)};
    struct fs_request r = {.in = &in, .num_in = 1, .out = &room, .num_out = 1};
    assert_int_equal(fs_serve(t.fs, &r, false), 0);
    assert_int_equal(r.written, sizeof(struct fuse_out_header));
    assert_int_equal(((struct fuse_out_header *)small)->error, -EINVAL);
}

static void test_offsets_at_their_ends(void **state)
{
    struct fuse_client *c = &t.client;
    uint64_t h = need(fuse_client_open(c, lookup(ROOT, "file"), O_RDWR));
    assert_int_equal(fuse_client_read(c, h, UINT64_MAX, 10), -EINVAL);
    assert_int_equal(fuse_client_write(c, h, UINT64_MAX, "x", 1), -EINVAL);
    assert_int_equal(fuse_client_read(c, h, INT64_MAX - (2 << 20), 10), 0);
    struct fuse_write_in lie = {.fh = h, .size = 100};
    assert_int_equal(fuse_client_ask(c, FUSE_WRITE, 0, &lie, sizeof(lie)), -EINVAL);
    lie.size = UINT32_MAX;
    assert_int_equal(fuse_client_ask(c, FUSE_WRITE, 0, &lie, sizeof(lie)), -EINVAL);
    const struct fuse_fallocate_in all = {.fh = h, .offset = 0, .length = UINT64_MAX};
    assert_int_equal(fuse_client_ask(c, FUSE_FALLOCATE, 0, &all, sizeof(all)), -EINVAL);
    assert_true(set_attr(lookup(ROOT, "file"),
                         (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = UINT64_MAX}) < 0);
}

static void test_nothing_before_init(void **state)
{
    struct fuse_attr attr;
    assert_int_equal(fuse_client_ask(&t.client, FUSE_DESTROY, 0, NULL, 0), 0);
    assert_int_equal(fuse_client_getattr(&t.client, ROOT, &attr), -EPROTO);
    struct fuse_init_in in = {.major = 6, .minor = 38};
    assert_int_equal(fuse_client_ask(&t.client, FUSE_INIT, 0, &in, sizeof(in)), -EPROTO);
    in.major = 8; /* is told ours, and asks again */
    assert_int_equal(fuse_client_ask(&t.client, FUSE_INIT, 0, &in, sizeof(in)),
                     sizeof(struct fuse_init_out));
    assert_int_equal(fuse_client_getattr(&t.client, ROOT, &attr), -EPROTO);
    fuse_client_start(&t.client);
    assert_int_equal(fuse_client_getattr(&t.client, ROOT, &attr), 0);
}

static void test_descriptors_are_bounded(void **state)
{
    struct fs_situation few = usual;
    few.max_files = 20;
    begin_again((struct fs_options){0}, few);
    struct fuse_client *c = &t.client;
    uint64_t file = lookup(ROOT, "file"), dir = ROOT;
    for (unsigned i = 0; i < 10; i++)
        need(fuse_client_open(c, file, O_RDONLY));
    assert_int_equal(fuse_client_open(c, file, O_RDONLY), -ENFILE);
    /* A path that is deeper than folders may be open: closed ones are opened again on the way. */
    struct fuse_attr attr;
    for (unsigned i = 0; i < 60; i++)
        dir = mkdir_at(dir, "deep", 0700);
    assert_int_equal(fuse_client_getattr(c, dir, &attr), 0);
    assert_int_equal(mkdir_at(dir, "more", 0700) > 0, 1);
    for (uint64_t d = lookup(ROOT, "deep"), i = 0; i < 59; i++)
        d = lookup(d, "deep");
    struct dirent *e;
    unsigned open = 0;
    DIR *fds = opendir("/proc/self/fd");
    while ((e = readdir(fds)))
        open++;
    closedir(fds);
    assert_true(open < 50);
}

/* -- read-only, one file, owners -- */

static void test_read_only_means_it(void **state)
{
    begin_again((struct fs_options){.read_only = true}, usual);
    struct fuse_client *c = &t.client;
    uint64_t file = lookup(ROOT, "file");
    const struct fuse_mkdir_in mkdir_in = {.mode = 0700};
    const struct fuse_link_in link_in = {.oldnodeid = file};
    need(fuse_client_open(c, file, O_RDONLY));
    assert_int_equal(fuse_client_open(c, file, O_WRONLY), -EROFS);
    assert_int_equal(fuse_client_open(c, file, O_RDWR), -EROFS);
    assert_int_equal(fuse_client_open(c, file, O_RDONLY | O_TRUNC), -EROFS);
    assert_int_equal(fuse_client_create(c, ROOT, "new", 0600, NULL), -EROFS);
    assert_int_equal(
        fuse_client_ask_name(c, FUSE_MKDIR, ROOT, &mkdir_in, sizeof(mkdir_in), "d", NULL), -EROFS);
    assert_int_equal(fuse_client_ask_name(c, FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), -EROFS);
    assert_int_equal(fuse_client_ask_name(c, FUSE_RMDIR, ROOT, NULL, 0, "dir", NULL), -EROFS);
    assert_int_equal(fuse_client_ask_name(c, FUSE_SYMLINK, ROOT, NULL, 0, "s", "x"), -EROFS);
    assert_int_equal(fuse_client_ask_name(c, FUSE_LINK, ROOT, &link_in, sizeof(link_in), "l", NULL),
                     -EROFS);
    assert_int_equal(rename_to(ROOT, "file", ROOT, "new", 0), -EROFS);
    assert_int_equal(set_attr(file, (struct fuse_setattr_in){.valid = FATTR_MODE}), -EROFS);
    assert_int_equal(fuse_client_ask_name(c, FUSE_REMOVEXATTR, file, NULL, 0, "user.x", NULL),
                     -EROFS);
}

static void test_one_file_of_a_folder(void **state)
{
    begin_again((struct fs_options){.only = "file"}, usual);
    struct fuse_client *c = &t.client;
    uint64_t file = lookup(ROOT, "file");
    need(fuse_client_open(c, file, O_RDWR));
    assert_int_equal(fuse_client_lookup(c, ROOT, "dir"), -ENOENT);
    assert_int_equal(fuse_client_create(c, ROOT, "new", 0600, NULL), -EPERM);
    assert_int_equal(fuse_client_ask_name(c, FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), -EPERM);
    assert_int_equal(rename_to(ROOT, "file", ROOT, "new", 0), -EPERM);
    assert_int_equal(list(ROOT, false, 4096), 3);
    assert_int_equal(list(ROOT, true, 4096), 3);
}

static void test_a_plain_users_owners(void **state)
{
    struct fs_situation mapped = usual;
    mapped.map_owners = true;
    mapped.owner_uid = geteuid();
    mapped.owner_gid = getegid();
    begin_again((struct fs_options){0}, mapped);
    struct fuse_client *c = &t.client;
    struct fuse_attr attr;
    char text[64] = "";
    uint64_t file = lookup(ROOT, "file"), made;
    assert_int_equal(fuse_client_getattr(c, file, &attr), 0);
    assert_true(attr.uid == 0 && attr.gid == 0 && (attr.mode & 07777) == 0644);
    int rc = set_attr(file, (struct fuse_setattr_in){.valid = FATTR_UID | FATTR_GID | FATTR_MODE,
                                                     .uid = 70,
                                                     .gid = 71,
                                                     .mode = 04510});
    if (rc == -EPERM) {
        print_message("skipped: no user attributes here\n");
        return;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(fuse_client_getattr(c, file, &attr), 0);
    assert_true(attr.uid == 70 && attr.gid == 71 && attr.mode == (S_IFREG | 04510));
    int fd = openat(t.root_fd, "file", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fgetxattr(fd, FS_OWNER_XATTR, text, sizeof(text) - 1), 11);
    assert_string_equal(text, "70:71:04510");
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0710);

    /* Others write what they like into it: what makes no sense is not there. */
    static const char *const bad[] = {"",      "1",          "1:2", "1:2:9",
                                      "x:y:z", "-1:2:0644x", ":::", "99999999999999999999:1:0644"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        usleep(10000); /* a new time of change */
        assert_int_equal(fsetxattr(fd, FS_OWNER_XATTR, bad[i], strlen(bad[i]), 0), 0);
        assert_int_equal(fuse_client_getattr(c, file, &attr), 0);
        assert_true(attr.uid == 0 && (attr.mode & 07777) == 0710);
    }
    close(fd);

    /* What a guest's user makes is his; it cannot see or set the attribute itself. */
    c->uid = 1000;
    c->gid = 1001;
    need(fuse_client_create(c, ROOT, "his", 0600, &made));
    assert_int_equal(fuse_client_getattr(c, made, &attr), 0);
    assert_true(attr.uid == 1000 && attr.gid == 1001 && attr.mode == (S_IFREG | 0600));
    const struct fuse_getxattr_in all = {.size = 1000};
    assert_int_equal(fuse_client_ask(c, FUSE_LISTXATTR, made, &all, sizeof(all)), 0);
    assert_int_equal(
        fuse_client_ask_name(c, FUSE_GETXATTR, made, &all, sizeof(all), FS_OWNER_XATTR, NULL),
        -EOPNOTSUPP);
    assert_int_equal(fuse_client_ask_name(c, FUSE_REMOVEXATTR, made, NULL, 0, FS_OWNER_XATTR, NULL),
                     -EOPNOTSUPP);
}

static void test_device_nodes_are_not_made(void **state)
{
    static const struct {
        uint32_t mode, rdev;
        int rc;
    } kinds[] = {
        {S_IFBLK | 0600, 0x700, -EPERM},
        {S_IFCHR | 0600, 0x103, -EPERM},
        {S_IFDIR, 0, -EPERM},
        {S_IFLNK, 0, -EPERM},
        {0, 0, -EPERM},
        {S_IFIFO | 0622, 0, 0},
        {S_IFSOCK | 0600, 0, 0},
        {S_IFREG | 0600, 0, 0},
    };
    char name[8];
    for (unsigned i = 0; i < PV_ARRAY_SIZE(kinds); i++) {
        const struct fuse_mknod_in in = {.mode = kinds[i].mode, .rdev = kinds[i].rdev};
        snprintf(name, sizeof(name), "%u", i);
        int rc = fuse_client_ask_name(&t.client, FUSE_MKNOD, ROOT, &in, sizeof(in), name, NULL);
        assert_int_equal(rc < 0 ? rc : 0, kinds[i].rc);
    }
    uint64_t fifo = lookup(ROOT, "5");
    assert_int_equal(fuse_client_open(&t.client, fifo, O_RDONLY), -ENXIO);
    assert_int_equal(set_attr(fifo, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0600}),
                     0);
}

static void test_attributes_of_other_kinds_are_refused(void **state)
{
    static const char *const names[] = {"security.capability",
                                        "system.posix_acl_access",
                                        "trusted.overlay.opaque",
                                        "user.",
                                        "nothing",
                                        ""};
    uint64_t file = lookup(ROOT, "file");
    struct {
        uint32_t size, flags;
        char rest[64];
    } in = {.size = 1};
    for (size_t i = 0; i < PV_ARRAY_SIZE(names); i++) {
        size_t len = strlen(names[i]) + 1;
        memcpy(in.rest, names[i], len);
        in.rest[len] = 'v';
        assert_int_equal(fuse_client_ask(&t.client, FUSE_SETXATTR, file, &in, 8 + len + 1),
                         -EOPNOTSUPP);
    }
    memcpy(in.rest, "user.a\0v", 8);
    in.size = 100; /* more than it sends */
    assert_int_equal(fuse_client_ask(&t.client, FUSE_SETXATTR, file, &in, 8 + 8), -EINVAL);
}

/* -- others at work meanwhile -- */

static atomic_bool stop;

/* Exchanges top/share/swap, a folder with a file "secret", with a link to top. */
static void *exchange(void *data)
{
    while (!stop)
        renameat2(t.root_fd, "swap", t.root_fd, "link", RENAME_EXCHANGE);
    return NULL;
}

static bool is_secret(uint64_t handle)
{
    int n = fuse_client_read(&t.client, handle, 0, 100);
    return n == 6 && memcmp(t.client.reply, "secret", 6) == 0;
}

static void test_folders_that_become_links(void **state)
{
    struct fuse_client *c = &t.client;
    pthread_t thread;
    unsigned inside = 0, refused = 0;
    assert_int_equal(mkdirat(t.root_fd, "swap", 0755), 0);
    assert_int_equal(symlinkat("..", t.root_fd, "link"), 0);
    int dir = openat(t.root_fd, "swap", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(dir, "secret", "inside");
    close(dir);
    stop = false;
    assert_int_equal(pthread_create(&thread, NULL, exchange, NULL), 0);
    for (unsigned i = 0; i < 20000; i++) {
        int64_t swap = fuse_client_lookup(c, ROOT, "swap");
        int64_t file = swap > 0 ? fuse_client_lookup(c, (uint64_t)swap, "secret") : swap;
        int64_t h = file > 0 ? fuse_client_open(c, (uint64_t)file, O_RDWR) : file;
        if (h > 0) {
            assert_false(is_secret((uint64_t)h));
            const struct fuse_release_in release = {.fh = (uint64_t)h};
            fuse_client_ask(c, FUSE_RELEASE, 0, &release, sizeof(release));
            inside++;
        } else {
            refused++;
        }
        if (swap > 0)
            assert_true(fuse_client_create(c, (uint64_t)swap, "new", 0600, NULL) < 0 ||
                        faccessat(t.top_fd, "new", F_OK, 0) < 0);
        const struct fuse_init_in again = {.major = FUSE_KERNEL_VERSION, .minor = 38, .flags = ~0u};
        if (i % 64 == 0) /* forgets all: folders are opened anew */
            fuse_client_ask(c, FUSE_INIT, 0, &again, sizeof(again));
    }
    stop = true;
    pthread_join(thread, NULL);
    assert_true(inside > 0 && refused > 0);
    assert_int_equal(faccessat(t.top_fd, "new", F_OK, 0), -1);
}

static void test_files_that_others_moved(void **state)
{
    struct fuse_client *c = &t.client;
    struct fuse_attr attr;
    uint64_t file = lookup(ROOT, "file"), dir = lookup(ROOT, "dir");
    assert_int_equal(renameat(t.root_fd, "file", t.root_fd, "elsewhere"), 0);
    assert_int_equal(fuse_client_getattr(c, file, &attr), -ESTALE);
    assert_int_equal(fuse_client_open(c, file, O_RDONLY), -ESTALE);
    assert_int_equal(lookup(ROOT, "elsewhere"), file);
    need(fuse_client_open(c, file, O_RDONLY));
    /* Another file of the same name is another node. */
    put(t.root_fd, "file", "another");
    assert_int_not_equal(lookup(ROOT, "file"), file);
    /* A folder that is open is found wherever it is. */
    list(dir, false, 4096);
    assert_int_equal(renameat(t.root_fd, "dir", t.root_fd, "moved"), 0);
    assert_int_equal(fuse_client_getattr(c, dir, &attr), 0);
    assert_int_equal(fuse_client_lookup(c, dir, "nothing"), -ENOENT);
}

/* -- threads -- */

struct pending {
    struct fs_request request;
    struct iovec in[2], out[2];
    struct fuse_in_header header;
    struct fuse_fsync_in args;
    struct fuse_out_header reply;
    bool done;
};

static void on_done(struct fs_request *request)
{
    PV_CONTAINER_OF(request, struct pending, request)->done = true;
}

static void test_what_could_block_is_handed_over(void **state)
{
    static struct pending p[20];
    struct pv_error err = PV_ERROR_INIT;
    struct pv_loop *loop = pv_loop_new();
    uint64_t h = need(fuse_client_open(&t.client, lookup(ROOT, "file"), O_RDWR));
    assert_int_equal(fs_start(t.fs, loop, &err), 0);
    for (unsigned i = 0; i < PV_ARRAY_SIZE(p); i++) {
        p[i] = (struct pending){
            .header = {.len = sizeof(struct fuse_in_header) + sizeof(struct fuse_fsync_in),
                       .opcode = FUSE_FSYNC,
                       .unique = i + 1,
                       .nodeid = ROOT},
            .args = {.fh = h},
        };
        p[i].in[0] = (struct iovec){&p[i].header, sizeof(p[i].header)};
        p[i].in[1] = (struct iovec){&p[i].args, sizeof(p[i].args)};
        p[i].out[0] = (struct iovec){&p[i].reply, sizeof(p[i].reply)};
        p[i].request = (struct fs_request){
            .in = p[i].in, .num_in = 2, .out = p[i].out, .num_out = 1, .done = on_done};
        assert_int_equal(fs_submit(t.fs, &p[i].request), 0);
    }
    assert_true(fs_stop(t.fs));
    for (unsigned i = 0; i < PV_ARRAY_SIZE(p); i++) {
        assert_true(p[i].done);
        assert_int_equal(p[i].reply.error, 0);
        assert_int_equal(p[i].reply.unique, i + 1);
    }
    pv_loop_free(loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_files_are_read_and_written),
        TEST(test_names_appear_move_and_go),
        TEST(test_hard_links_are_one_node),
        TEST(test_links_are_told_and_not_followed),
        TEST(test_large_folders_are_listed_whole),
        TEST(test_names_are_one_component),
        TEST(test_lengths_of_names),
        TEST(test_numbers_that_mean_nothing),
        TEST(test_requests_that_are_cut),
        TEST(test_replies_that_do_not_fit),
        TEST(test_offsets_at_their_ends),
        TEST(test_nothing_before_init),
        TEST(test_descriptors_are_bounded),
        TEST(test_read_only_means_it),
        TEST(test_one_file_of_a_folder),
        TEST(test_a_plain_users_owners),
        TEST(test_device_nodes_are_not_made),
        TEST(test_attributes_of_other_kinds_are_refused),
        TEST(test_folders_that_become_links),
        TEST(test_files_that_others_moved),
        TEST(test_what_could_block_is_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
