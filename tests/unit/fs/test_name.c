/* SPDX-License-Identifier: Apache-2.0
 *
 * test_name.c: files without a name (O_TMPFILE), and how they get one. All other operations on
 * names are in test_fs.c.
 */
#include "fs/fs.h"

#include "support/fuse_client.h"
#include "support/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID

static struct {
    char folder[64];
    int root_fd;
    struct fs *fs;
    struct fuse_client client;
} t;

static void begin(struct fs_options options, bool map_owners)
{
    const struct fs_situation situation = {.contained = true,
                                           .map_owners = map_owners,
                                           .owner_uid = geteuid(),
                                           .owner_gid = getegid(),
                                           .max_files = 100};
    options.root_fd = t.root_fd;
    assert_int_equal(fs_new(&options, &t.fs, NULL), 0);
    assert_int_equal(fs_settle(t.fs, &situation, NULL), 0);
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
}

static int set_up(void **state)
{
    umask(0);
    strcpy(t.folder, "/tmp/paravane-fs-XXXXXX");
    assert_non_null(mkdtemp(t.folder));
    t.root_fd = open(t.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    begin((struct fs_options){0}, false);
    return 0;
}

static int tear_down(void **state)
{
    end();
    close(t.root_fd);
    char line[96];
    snprintf(line, sizeof(line), "rm -r %s", t.folder);
    return system(line);
}

static struct {
    uint64_t node, handle;
    struct fuse_attr attr;
} made;

static int make(uint64_t parent, uint32_t flags, uint32_t mode)
{
    const struct fuse_create_in in = {.flags = flags | O_TMPFILE, .mode = S_IFREG | mode};
    int rc = fuse_client_ask_name(&t.client, FUSE_TMPFILE, parent, &in, sizeof(in), "/", NULL);
    if (rc < 0)
        return rc;
    struct fuse_entry_out entry;
    struct fuse_open_out open;
    assert_int_equal(rc, sizeof(entry) + sizeof(open));
    memcpy(&entry, t.client.reply, sizeof(entry));
    memcpy(&open, t.client.reply + sizeof(entry), sizeof(open));
    made.node = entry.nodeid;
    made.handle = open.fh;
    made.attr = entry.attr;
    return 0;
}

/* Some hosts do not let a plain user name an open file; then only those can be had that never get
 * a name. */
static bool can_name(void)
{
    int rc = make(ROOT, O_RDWR, 0600);
    if (rc == 0)
        return true;
    assert_int_equal(rc, -EOPNOTSUPP);
    assert_int_not_equal(geteuid(), 0);
    print_message("skipped: this host's kernel is older than 6.10\n");
    return false;
}

static int link_as(uint64_t node, const char *name)
{
    const struct fuse_link_in in = {.oldnodeid = node};
    return fuse_client_ask_name(&t.client, FUSE_LINK, ROOT, &in, sizeof(in), name, NULL);
}

static int names_in_folder(void)
{
    int n = -2;
    DIR *dir = opendir(t.folder);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void release(void)
{
    const struct fuse_release_in in = {.fh = made.handle};
    assert_int_equal(fuse_client_ask(&t.client, FUSE_RELEASE, made.node, &in, sizeof(in)), 0);
}

static void test_one_that_never_gets_a_name(void **state)
{
    struct fuse_attr attr;
    assert_int_equal(make(ROOT, O_RDWR | O_EXCL, 0640), 0);
    assert_int_equal(made.attr.mode, S_IFREG | 0640);
    assert_int_equal(made.attr.nlink, 0);
    assert_int_equal(names_in_folder(), 0);
    assert_true(fuse_client_write(&t.client, made.handle, 0, "text", 4) > 0);
    assert_int_equal(fuse_client_read(&t.client, made.handle, 1, 10), 3);
    assert_memory_equal(t.client.reply, "ext", 3);
    assert_int_equal(fuse_client_getattr(&t.client, made.node, &attr), 0);
    assert_int_equal(attr.size, 4);
    const struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 0600};
    assert_true(fuse_client_ask(&t.client, FUSE_SETATTR, made.node, &in, sizeof(in)) > 0);
    assert_true(link_as(made.node, "name") < 0);
    release();
    assert_int_equal(fuse_client_getattr(&t.client, made.node, &attr), -ESTALE);
    assert_int_equal(link_as(made.node, "name"), -ESTALE);
    assert_int_equal(names_in_folder(), 0);
}

static void test_one_that_gets_a_name(void **state)
{
    char text[8] = "";
    if (!can_name())
        return;
    assert_true(fuse_client_write(&t.client, made.handle, 0, "text", 4) > 0);
    assert_true(link_as(made.node, "name") > 0);
    struct fuse_entry_out entry;
    memcpy(&entry, t.client.reply, sizeof(entry));
    assert_int_equal(entry.nodeid, made.node);
    assert_int_equal(entry.attr.nlink, 1);
    assert_int_equal(link_as(made.node, "name"), -EEXIST);
    assert_true(link_as(made.node, "other") > 0); /* by the first name */
    release();
    assert_int_equal(names_in_folder(), 2);
    assert_int_equal(fuse_client_lookup(&t.client, ROOT, "other"), made.node);
    int fd = openat(t.root_fd, "name", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof(text)), 4);
    assert_string_equal(text, "text");
    close(fd);
}

static void test_whose_it_is(void **state)
{
    end();
    begin((struct fs_options){0}, true);
    t.client.uid = 1000;
    t.client.gid = 1001;
    int rc = make(ROOT, O_RDWR | O_EXCL, 0600);
    if (rc == -EPERM) {
        print_message("skipped: no user attributes here\n");
        return;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(made.attr.uid, 1000);
    assert_int_equal(made.attr.gid, 1001);
}

static void test_where_it_cannot_be(void **state)
{
    struct fuse_attr attr;
    uint64_t node;
    assert_true(fuse_client_create(&t.client, ROOT, "file", 0600, &node) >= 0);
    assert_int_equal(make(node, O_RDWR, 0600), -ENOTDIR);
    assert_int_equal(make(12345, O_RDWR, 0600), -ESTALE);
    assert_int_equal(make(ROOT, O_RDONLY, 0600), -EOPNOTSUPP);
    assert_int_equal(fuse_client_ask(&t.client, FUSE_TMPFILE, ROOT, "", 0), -EINVAL);
    end();
    begin((struct fs_options){.read_only = true}, false);
    assert_int_equal(make(ROOT, O_RDWR, 0600), -EROFS);
    end();
    begin((struct fs_options){.only = "file"}, false);
    assert_int_equal(make(ROOT, O_RDWR, 0600), -EPERM);
    assert_int_equal(fuse_client_getattr(&t.client, ROOT, &attr), 0);
}

/* The guest forgets it, or its driver goes, while it is open. */
static void test_one_that_is_forgotten(void **state)
{
    assert_int_equal(make(ROOT, O_RDWR | O_EXCL, 0600), 0);
    const struct fuse_forget_in in = {.nlookup = 1};
    fuse_client_ask(&t.client, FUSE_FORGET, made.node, &in, sizeof(in));
    assert_true(fuse_client_write(&t.client, made.handle, 0, "text", 4) > 0);
    assert_true(link_as(made.node, "name") < 0);
    fs_reset(t.fs);
    assert_int_equal(names_in_folder(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_that_never_gets_a_name),
        TEST(test_one_that_gets_a_name),
        TEST(test_whose_it_is),
        TEST(test_where_it_cannot_be),
        TEST(test_one_that_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
