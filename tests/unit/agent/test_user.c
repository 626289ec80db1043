/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/user.h"
#include "base/fd.h"
#include "base/str.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "# a comment\n"
                             "broken\n"
                             "broken2:x:notanumber:5::/x:\n"
                             "app:x:1000:100:App,,,:/home/app:/bin/sh\n"
                             "1000:x:7:8::/seven:\n"
                             "nohome:x:1001:100\n"
                             "huge:x:4294967295:1::/:\n"
                             "last:x:1002:102::/home/last:/bin/false";
static const char group[] = "root:x:0:\n"
                            "users:x:100:\n"
                            "wheel:x:10:root,app\n"
                            "near:x:11:application,xapp,app2\n"
                            "docker:x:12:app\n"
                            "again:x:100:app\n"
                            "empty:x:13:,\n";

struct root {
    char path[64];
    int fd;
};

static void put(const struct root *r, const char *name, const char *text, size_t len)
{
    pv_auto_fd int fd = openat(r->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(pv_fd_write_full(fd, text, len), 0);
}

static int set_up(void **state)
{
    static struct root r;
    strcpy(r.path, "/tmp/agent-user-XXXXXX");
    if (!mkdtemp(r.path))
        return -1;
    r.fd = open(r.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    mkdirat(r.fd, "etc", 0755);
    put(&r, "etc/passwd", passwd, sizeof(passwd) - 1);
    put(&r, "etc/group", group, sizeof(group) - 1);
    *state = &r;
    return 0;
}

static int tear_down(void **state)
{
    struct root *r = *state;
    unlinkat(r->fd, "etc/passwd", 0);
    unlinkat(r->fd, "etc/group", 0);
    unlinkat(r->fd, "etc", AT_REMOVEDIR);
    close(r->fd);
    return rmdir(r->path);
}

static struct agent_user u;

static void find(void **state, const char *text, uid_t uid, gid_t gid, const char *home,
                 size_t num_groups)
{
    struct root *r = *state;
    struct pv_error err = PV_ERROR_INIT;
    int rc = agent_user_find(r->fd, text, &u, &err);
    if (rc < 0)
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(u.uid, uid);
    assert_int_equal(u.gid, gid);
    assert_string_equal(u.home, home);
    assert_int_equal(u.num_groups, num_groups);
    assert_int_equal(u.groups[0], gid);
}

static void find_none(void **state, const char *text, const char *error)
{
    struct root *r = *state;
    struct pv_error err = PV_ERROR_INIT;
    assert_true(agent_user_find(r->fd, text, &u, &err) < 0);
    assert_non_null(strstr(err.text, error));
}

static void test_names(void **state)
{
    find(state, NULL, 0, 0, "/root", 2);
    find(state, "", 0, 0, "/root", 2);
    find(state, "root", 0, 0, "/root", 2);
    find(state, "app", 1000, 100, "/home/app", 3);
    assert_int_equal(u.groups[1], 10);
    assert_int_equal(u.groups[2], 12);
    find(state, "nohome", 1001, 100, "/", 1);
    find(state, "last", 1002, 102, "/home/last", 1);
}

static void test_numbers(void **state)
{
    find(state, "0", 0, 0, "/root", 2);
    find(state, "1000", 1000, 100, "/home/app", 3); /* the first entry of name or number */
    find(state, "7", 7, 8, "/seven", 1);
    find(state, "54321", 54321, 0, "/", 1);
    find(state, "4294967294", 4294967294u, 0, "/", 1);
    find_none(state, "4294967295", "unable to find user 4294967295");
    find_none(state, "-1", "unable to find user -1");
    find_none(state, "huge", "unable to find user huge");
}

static void test_groups_given(void **state)
{
    find(state, "app:wheel", 1000, 10, "/home/app", 1);
    find(state, "app:12", 1000, 12, "/home/app", 1);
    find(state, "5:6", 5, 6, "/", 1);
    find(state, ":wheel", 0, 10, "/root", 1);
    find(state, "app:", 1000, 100, "/home/app", 3);
    find_none(state, "app:nogroup", "unable to find group nogroup");
    find_none(state, "app:wheel:x", "unable to find group wheel:x");
}

static void test_missing_users(void **state)
{
    find_none(state, "nobody", "unable to find user nobody: no matching entries in passwd file");
    find_none(state, "broken2", "unable to find user broken2");
    char text[300];
    memset(text, 'x', sizeof(text));
    text[256] = '\0';
    find_none(state, text, "unable to find user");
    text[256] = 'x';
    text[257] = '\0';
    find_none(state, text, "longer than");
}

static void test_missing_files_are_empty(void **state)
{
    struct root *r = *state;
    unlinkat(r->fd, "etc/passwd", 0);
    unlinkat(r->fd, "etc/group", 0);
    find(state, NULL, 0, 0, "/", 1);
    find(state, "12:34", 12, 34, "/", 1);
    find_none(state, "root", "unable to find user root");
}

static void test_odd_files(void **state)
{
    struct root *r = *state;
    static const char odd[] = ":::\n::::::::::::\n\n\0x:x:1:1\nroot:x:0:0:::\n";
    put(r, "etc/passwd", odd, sizeof(odd) - 1);
    put(r, "etc/group", ":\n:::,,,\nx:x:5:root", 18);
    find(state, "0", 0, 0, "/", 1);
}

static void test_many_groups_are_cut(void **state)
{
    struct root *r = *state;
    struct pv_str text = {0};
    for (int i = 0; i < AGENT_USER_GROUPS_MAX + 50; i++)
        pv_str_addf(&text, "g%d:x:%d:app\n", i, 5000 + i);
    put(r, "etc/group", text.text, text.len);
    pv_str_done(&text);
    find(state, "app", 1000, 100, "/home/app", AGENT_USER_GROUPS_MAX);
}

static void test_names_of_numbers(void **state)
{
    char buf[AGENT_USER_NAME_MAX];
    assert_string_equal(agent_user_name(passwd, 1000, buf), "app");
    assert_string_equal(agent_user_name(passwd, 4711, buf), "4711");
    assert_string_equal(agent_user_name("", 0, buf), "0");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_numbers),
        TEST(test_groups_given),
        TEST(test_missing_users),
        TEST(test_missing_files_are_empty),
        TEST(test_odd_files),
        TEST(test_many_groups_are_cut),
        TEST(test_names_of_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
