/* SPDX-License-Identifier: Apache-2.0
 *
 * test_walk.c: what changes the fingerprint of a tree, and what does not.
 */
#include "support/unit.h"

#include "base/clock.h"
#include "image/owners.h"
#include "image/walk.h"
#include "support/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

struct fixture {
    char top[64];
    int dirfd;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    support_tree_make(f->top, sizeof(f->top));
    support_tree_write(f->top, "bin/sh", "shell", 0755);
    support_tree_write(f->top, "etc/passwd", "root:x:0:0", 0644);
    f->dirfd = open(f->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close(f->dirfd);
    support_tree_remove(f->top);
    free(f);
    return 0;
}

static void walk(const struct fixture *f, char key[IMAGE_DIGEST_HEX])
{
    struct image_walk_options options = {.salt = "test"};
    struct image_walk_result result;
    struct pv_error err = PV_ERROR_INIT;
    int rc = image_walk_tree(f->dirfd, &options, &result, &err);
    if (rc < 0)
        fail_msg("%s", err.text);
    memcpy(key, result.key, IMAGE_DIGEST_HEX);
}

/* Changes in different ticks, as the clock of files counts. */
static void next_tick(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static void expect_change(struct fixture *f, const char *command)
{
    char before[IMAGE_DIGEST_HEX], after[IMAGE_DIGEST_HEX];
    walk(f, before);
    next_tick();
    support_tree_shell(f->top, command);
    walk(f, after);
    if (strcmp(before, after) == 0)
        fail_msg("not seen: %s", command);
}

static void test_same_tree_same_key(void **state)
{
    struct fixture *f = *state;
    char first[IMAGE_DIGEST_HEX], second[IMAGE_DIGEST_HEX];
    walk(f, first);
    walk(f, second);
    assert_string_equal(first, second);
    assert_int_equal(strspn(first, "0123456789abcdef"), 64);
    support_tree_shell(f->top, "cat bin/sh etc/passwd; ls -lR"); /* reading changes nothing */
    walk(f, second);
    assert_string_equal(first, second);
}

static void test_changes_are_seen(void **state)
{
    struct fixture *f = *state;
    expect_change(f, "echo more >> etc/passwd");
    expect_change(f, "printf 'SHELL' > bin/sh"); /* the same size */
    expect_change(f, "chmod 0750 etc/passwd");
    expect_change(f, "mv etc/passwd etc/passwe");
    expect_change(f, "ln -s target link");
    expect_change(f, "ln -sfn targot link");
    expect_change(f, "mkdir empty");
    expect_change(f, "mkfifo fifo");
    expect_change(f, "rm fifo");
    expect_change(f, "ln etc/passwe hard");
    expect_change(f, "touch -d @1 -h bin/sh");
    expect_change(f, "cp -p bin/sh new && mv new bin/sh"); /* another file, the same in all else */
}

/* The old time is put back: ctime tells. */
static void test_hidden_change_is_seen(void **state)
{
    struct fixture *f = *state;
    expect_change(f, "touch -r bin/sh stamp");
    expect_change(f, "printf 'SHELX' > bin/sh; touch -r stamp bin/sh");
}

static void test_owner_and_xattr_are_seen(void **state)
{
    struct fixture *f = *state;
    char before[IMAGE_DIGEST_HEX], after[IMAGE_DIGEST_HEX], path[128];
    if (geteuid() == 0)
        expect_change(f, "chown 1234:5678 etc/passwd");
    snprintf(path, sizeof(path), "%s/bin/sh", f->top);
    walk(f, before);
    next_tick();
    if (setxattr(path, "user.color", "red", 3, 0) < 0)
        skip();
    walk(f, after);
    assert_string_not_equal(before, after);
}

static void test_sockets_do_not_count(void **state)
{
    struct fixture *f = *state;
    struct image_walk_options options = {.salt = "test"};
    struct image_walk_result result;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/etc/sock", f->top);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(image_walk_tree(f->dirfd, &options, &result, NULL), 0);
    uint64_t entries = result.entries;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(image_walk_tree(f->dirfd, &options, &result, NULL), 0);
    assert_int_equal(result.entries, entries);
    close(fd);
}

static void test_result(void **state)
{
    struct fixture *f = *state;
    struct image_walk_options options = {.salt = "one"}, other = {.salt = "two"};
    struct image_walk_result a, b;
    assert_int_equal(image_walk_tree(f->dirfd, &options, &a, NULL), 0);
    assert_int_equal(image_walk_tree(f->dirfd, &other, &b, NULL), 0);
    assert_string_not_equal(a.key, b.key); /* another packer, another image */
    assert_int_equal(a.entries, 5);
    assert_in_range(a.newest_change_ns, pv_time_realtime_ns() - 60000000000ull,
                    pv_time_realtime_ns());
}

static void test_cache_inside_is_refused(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    struct image_walk_result result;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(fstatat(f->dirfd, "etc", &st, 0), 0);
    struct image_walk_options options = {
        .salt = "test", .avoid_dev = st.st_dev, .avoid_ino = st.st_ino};
    assert_int_equal(image_walk_tree(f->dirfd, &options, &result, &err), -ELOOP);
    assert_non_null(strstr(err.text, "PARAVANE_CACHE"));
}

static void test_lost_owners_are_refused(void **state)
{
    struct fixture *f = *state;
    struct image_walk_options options = {.salt = "test", .refuse_overflow = true};
    struct image_walk_result result;
    struct pv_error err = PV_ERROR_INIT;
    if (geteuid() != 0)
        skip();
    support_tree_shell(f->top, "chown 65534:0 etc/passwd");
    assert_int_equal(image_walk_tree(f->dirfd, &options, &result, &err), -EPERM);
    assert_non_null(strstr(err.text, "'etc/passwd'"));
    options = (struct image_walk_options){.salt = "test", .refuse_strangers = true};
    assert_int_equal(image_walk_tree(f->dirfd, &options, &result, &err), -EPERM);
}

static void test_ranges(void **state)
{
    struct image_owners_range ranges[4];
    char path[] = "/tmp/pv-subid-XXXXXX";
    static const char text[] = "alice:100000:65536\nbob:165536:65536\n1000:300000:10\nbad\n"
                               "alice:x:y\nalice:400000:0\nalice:4294967295:9\n";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    assert_int_equal(image_owners_read_ranges(path, "alice", 1000, ranges, 4), 2);
    assert_int_equal(ranges[0].outside, 100000);
    assert_int_equal(ranges[1].outside, 300000);
    assert_int_equal(ranges[1].count, 10);
    assert_int_equal(image_owners_read_ranges(path, "carol", 7, ranges, 4), 0);
    assert_int_equal(image_owners_read_ranges("/no/file", "alice", 1, ranges, 4), 0);
    unlink(path);
}

static void test_maps(void **state)
{
    static const struct image_owners_range sub[] = {{0, 100000, 65536}, {0, 300000, 10}};
    struct image_owners_range map[IMAGE_OWNERS_RANGES_MAX];
    /* A tree of the user's own: the user is root, the subordinate ids follow. */
    assert_int_equal(image_owners_map(1000, 1000, sub, 2, map), 3);
    assert_int_equal(map[0].outside, 1000);
    assert_int_equal(map[1].inside, 1);
    assert_int_equal(map[1].outside, 100000);
    assert_int_equal(map[2].inside, 65537);
    /* A tree of subordinate ids: its owner is root. */
    assert_int_equal(image_owners_map(100000, 1000, sub, 2, map), 1);
    assert_int_equal(map[0].outside, 100000);
    assert_int_equal(map[0].count, 65536);
    assert_int_equal(image_owners_map(300009, 1000, sub, 2, map), 1);
    assert_int_equal(map[0].count, 1);
    /* Nothing is known: only the user. */
    assert_int_equal(image_owners_map(1000, 1000, NULL, 0, map), 1);
    assert_int_equal(map[0].count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_tree_same_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes_are_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hidden_change_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_owner_and_xattr_are_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sockets_do_not_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_result, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cache_inside_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lost_owners_are_refused, set_up, tear_down),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
