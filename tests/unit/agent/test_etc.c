/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/etc.h"
#include "base/fd.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

struct root {
    char path[64];
    int fd;
    struct wire_setup setup;
};

static int set_up(void **state)
{
    static struct root r;
    r = (struct root){.path = "/tmp/agent-etc-XXXXXX"};
    if (!mkdtemp(r.path))
        return -1;
    r.fd = open(r.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r.setup.hostname = strdup("box");
    *state = &r;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"etc/hostname", "etc/hosts", "etc/resolv.conf", "other"};
    struct root *r = *state;
    for (size_t i = 0; i < PV_ARRAY_SIZE(files); i++)
        unlinkat(r->fd, files[i], 0);
    unlinkat(r->fd, "etc", AT_REMOVEDIR);
    close(r->fd);
    wire_setup_done(&r->setup);
    return rmdir(r->path);
}

static void put(struct root *r, const char *path, const char *text)
{
    pv_auto_fd int fd = openat(r->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(pv_fd_write_full(fd, text, strlen(text)), 0);
}

static void check(struct root *r, const char *path, const char *expected)
{
    pv_auto_free char *text = NULL;
    struct pv_error err = PV_ERROR_INIT;
    if (pv_fd_read_file(r->fd, path, 65536, &text, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(text, expected);
}

static void write_all(struct root *r)
{
    struct pv_error err = PV_ERROR_INIT;
    if (agent_etc_write(r->fd, &r->setup, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_an_empty_image_gets_all_files(void **state)
{
    struct root *r = *state;
    pv_strv_add(&r->setup.nameservers, "10.0.2.3");
    pv_strv_add(&r->setup.nameservers, "fd00::3");
    pv_strv_add(&r->setup.searches, "a.example");
    pv_strv_add(&r->setup.searches, "b.example");
    pv_strv_add(&r->setup.hosts, "10.0.2.2 host");
    write_all(r);
    check(r, "etc/hostname", "box\n");
    check(r, "etc/resolv.conf",
          "nameserver 10.0.2.3\nnameserver fd00::3\nsearch a.example b.example\n");
    check(r, "etc/hosts",
          "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
          "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.1.1\tbox\n10.0.2.2 host\n");
}

static void test_the_images_resolver_stays_when_there_is_none(void **state)
{
    struct root *r = *state;
    mkdirat(r->fd, "etc", 0755);
    put(r, "etc/resolv.conf", "its own\n");
    put(r, "etc/hosts", "a very long file that was there before, which must go away wholly\n");
    write_all(r);
    check(r, "etc/resolv.conf", "its own\n");
    write_all(r); /* as at each start */
    check(r, "etc/hostname", "box\n");
}

static void test_links_are_replaced_not_followed(void **state)
{
    struct root *r = *state;
    mkdirat(r->fd, "etc", 0755);
    put(r, "other", "untouched\n");
    assert_int_equal(symlinkat("../other", r->fd, "etc/hostname"), 0);
    assert_int_equal(symlinkat("../run/missing", r->fd, "etc/resolv.conf"), 0);
    pv_strv_add(&r->setup.nameservers, "10.0.2.3");
    write_all(r);
    check(r, "other", "untouched\n");
    check(r, "etc/hostname", "box\n");
    check(r, "etc/resolv.conf", "nameserver 10.0.2.3\n");
}

static void test_no_etc_is_an_error(void **state)
{
    struct root *r = *state;
    struct pv_error err = PV_ERROR_INIT;
    put(r, "etc", "a file");
    assert_int_equal(agent_etc_write(r->fd, &r->setup, &err), -ENOTDIR);
    assert_non_null(strstr(err.text, "/etc"));
    unlinkat(r->fd, "etc", 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_an_empty_image_gets_all_files),
        TEST(test_the_images_resolver_stays_when_there_is_none),
        TEST(test_links_are_replaced_not_followed),
        TEST(test_no_etc_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
