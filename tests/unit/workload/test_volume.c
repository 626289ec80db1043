/* SPDX-License-Identifier: Apache-2.0
 *
 * test_volume.c: -v.
 */
#include "workload/volume.h"

#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct workload_volumes v;
static struct pv_error err;

static int tear_down(void **state)
{
    workload_volumes_done(&v);
    return 0;
}

static void test_forms(void **state)
{
    assert_int_equal(workload_volumes_add(&v, "/a:/b", &err), 0);
    assert_int_equal(workload_volumes_add(&v, "./a:/c//d/:ro", &err), 0);
    assert_int_equal(workload_volumes_add(&v, "..:/d:cache=always,rw", &err), 0);
    assert_int_equal(workload_volumes_add(&v, ".:/e:ro,cache=none", &err), 0);
    assert_int_equal(v.count, 4);
    assert_string_equal(v.items[0].host, "/a");
    assert_string_equal(v.items[0].guest, "/b");
    assert_string_equal(v.items[0].cache, "auto");
    assert_false(v.items[0].read_only);
    assert_string_equal(v.items[1].guest, "/c/d");
    assert_true(v.items[1].read_only);
    assert_string_equal(v.items[2].cache, "always");
    assert_false(v.items[2].read_only);
    assert_true(v.items[3].read_only);
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *text, *word;
        int code;
    } bad[] = {
        {"", "HOST:GUEST", EINVAL},
        {"/a", "HOST:GUEST", EINVAL},
        {":/b", "missing", EINVAL},
        {"name:/b", "./name", EINVAL},
        {"a/b:/b", "./a/b", EINVAL},
        {"/a:", "absolute", EINVAL},
        {"/a:b", "absolute", EINVAL},
        {"/a:/", "--rootfs", EINVAL},
        {"/a://", "--rootfs", EINVAL},
        {"/a:/b/..", "..", EINVAL},
        {"/a:/./b", "'.'", EINVAL},
        {"/a:/proc", "/proc", EINVAL},
        {"/a:/sys/x", "/sys", EINVAL},
        {"/a:/dev//shm", "/dev", EINVAL},
        {"/a:/b:", "no option", EINVAL},
        {"/a:/b:r", "no option", EINVAL},
        {"/a:/b:ro,", "option", EINVAL},
        {"/a:/b:cache=", "cache=auto", EINVAL},
        {"/a:/b:ro:rw", "HOST:", EINVAL},
        {"/a:/\xff", "UTF-8", EILSEQ},
        {"/x:/taken/", "already", EEXIST},
        {"/a:/b:ro,rw", "leave one", EINVAL},
        {"/a:/b:cache=none,ro,cache=auto", "'cache=auto'", EINVAL},
    };
    assert_int_equal(workload_volumes_add(&v, "/x:/taken", &err), 0);
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        assert_int_equal(workload_volumes_add(&v, bad[i].text, &err), -bad[i].code);
        if (!strstr(err.text, bad[i].word))
            fail_msg("'%s': %s", bad[i].text, err.text);
    }
    assert_int_equal(v.count, 1);
    assert_int_equal(workload_volumes_add(&v, "/x:/process", &err), 0); /* only looks like it */
}

static void test_how_many(void **state)
{
    char text[32];
    for (unsigned i = 0; i <= WORKLOAD_VOLUMES_MAX; i++) {
        snprintf(text, sizeof(text), "/a:/%u", i);
        assert_int_equal(workload_volumes_add(&v, text, &err),
                         i < WORKLOAD_VOLUMES_MAX ? 0 : -E2BIG);
    }
}

static void test_finding(void **state)
{
    char top[] = "/tmp/paravane-volume-XXXXXX", text[64], file[64];
    assert_non_null(mkdtemp(top));
    snprintf(file, sizeof(file), "%s/file", top);
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    snprintf(text, sizeof(text), "%s:/a/b/c", top);
    assert_int_equal(workload_volumes_add(&v, text, &err), 0);
    snprintf(text, sizeof(text), "%s/.//file:/a/b", top);
    assert_int_equal(workload_volumes_add(&v, text, &err), 0);
    snprintf(text, sizeof(text), "%s/../..%s:/z", top, top);
    assert_int_equal(workload_volumes_add(&v, text, &err), 0);
    assert_int_equal(workload_volumes_find(&v, &err), 0);
    /* The outer ones come first; a file is a name in its folder. */
    assert_string_equal(v.items[0].guest, "/z");
    assert_string_equal(v.items[0].host, top);
    assert_null(v.items[0].only);
    assert_string_equal(v.items[1].guest, "/a/b");
    assert_string_equal(v.items[1].host, top);
    assert_string_equal(v.items[1].only, "file");
    assert_string_equal(v.items[2].guest, "/a/b/c");

    static const char *const missing[] = {"/no/such/folder:/x", "/dev/null:/x"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(missing); i++) {
        workload_volumes_done(&v);
        assert_int_equal(workload_volumes_add(&v, missing[i], &err), 0);
        assert_true(workload_volumes_find(&v, &err) < 0);
        assert_non_null(strstr(err.text, i == 0 ? "mkdir -p" : "--disk"));
    }
    unlink(file);
    rmdir(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_forms, tear_down),
        cmocka_unit_test_teardown(test_what_is_refused, tear_down),
        cmocka_unit_test_teardown(test_how_many, tear_down),
        cmocka_unit_test_teardown(test_finding, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
