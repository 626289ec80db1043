/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fs.c: the server of shared folders, driven request by request: files, folders, names, and
 * requests that mean nothing.
 */
#include "fs_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        FS_TEST(test_files_are_read_and_written),
        FS_TEST(test_names_appear_move_and_go),
        FS_TEST(test_hard_links_are_one_node),
        FS_TEST(test_links_are_told_and_not_followed),
        FS_TEST(test_large_folders_are_listed_whole),
        FS_TEST(test_names_are_one_component),
        FS_TEST(test_lengths_of_names),
        FS_TEST(test_numbers_that_mean_nothing),
        FS_TEST(test_requests_that_are_cut),
        FS_TEST(test_replies_that_do_not_fit),
        FS_TEST(test_offsets_at_their_ends),
        FS_TEST(test_nothing_before_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
