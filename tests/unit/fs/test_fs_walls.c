/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fs_walls.c: what a shared folder keeps from its guest: the outside, what is read-only,
 * owners, devices; and what others do to it meanwhile.
 */
#include "fs_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

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
    const struct CMUnitTest tests[] = {
        FS_TEST(test_descriptors_are_bounded),
        FS_TEST(test_read_only_means_it),
        FS_TEST(test_one_file_of_a_folder),
        FS_TEST(test_a_plain_users_owners),
        FS_TEST(test_device_nodes_are_not_made),
        FS_TEST(test_attributes_of_other_kinds_are_refused),
        FS_TEST(test_folders_that_become_links),
        FS_TEST(test_files_that_others_moved),
        FS_TEST(test_what_could_block_is_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
