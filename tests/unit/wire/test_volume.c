/* SPDX-License-Identifier: Apache-2.0
 *
 * test_volume.c: shared folders as JSON.
 */
#include "wire/volume.h"

#include "support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct wire_volumes volumes;
static struct wire_mounts mounts;
static struct pv_error err;

static int read_text(const char *text)
{
    struct pv_json *json = NULL;
    wire_volumes_done(&volumes);
    wire_mounts_done(&mounts);
    assert_int_equal(pv_json_parse(text, strlen(text), &json, &err), 0);
    int rc = wire_volumes_read(json, "v", &volumes, &err);
    if (rc == 0)
        rc = wire_mounts_read(json, "m", &mounts, &err);
    pv_json_free(json);
    return rc;
}

static int tear_down(void **state)
{
    wire_volumes_done(&volumes);
    wire_mounts_done(&mounts);
    return 0;
}

static void test_there_and_back(void **state)
{
    static const char text[] =
        "{\"v\": [{\"tag\": \"a1\", \"path\": \"/x/y\", \"read_only\": true, \"cache\": \"none\"},"
        " {\"tag\": \"b\", \"path\": \"/\", \"only\": \"file\"}],"
        " \"m\": [{\"tag\": \"b\", \"target\": \"/t\", \"only\": \"file\"}]}";
    assert_int_equal(read_text(text), 0);
    struct pv_json *json = pv_json_new_object();
    assert_int_equal(wire_volumes_write(json, "v", &volumes), 0);
    assert_int_equal(wire_mounts_write(json, "m", &mounts), 0);
    char *again = pv_json_print(json, false);
    assert_int_equal(read_text(again), 0);
    assert_int_equal(volumes.count, 2);
    assert_string_equal(volumes.items[0].path, "/x/y");
    assert_string_equal(volumes.items[0].cache, "none");
    assert_true(volumes.items[0].read_only);
    assert_string_equal(volumes.items[1].only, "file");
    assert_null(volumes.items[1].cache);
    assert_int_equal(mounts.count, 1);
    assert_string_equal(mounts.items[0].target, "/t");
    free(again);
    pv_json_free(json);
}

static void test_what_is_refused(void **state)
{
    static const char *const bad[] = {
        "{\"v\": 1}",
        "{\"v\": [1]}",
        "{\"v\": [{}]}",
        "{\"v\": [{\"tag\": \"a\"}]}",
        "{\"v\": [{\"tag\": \"\", \"path\": \"/\"}]}",
        "{\"v\": [{\"tag\": \"a/b\", \"path\": \"/\"}]}",
        "{\"v\": [{\"tag\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", \"path\": \"/\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"x\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/x/../y\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/..\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/\", \"only\": \"\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/\", \"only\": \"..\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/\", \"only\": \"a/b\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/\", \"cache\": \"some\"}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/\", \"more\": 1}]}",
        "{\"v\": [{\"tag\": \"a\", \"path\": \"/\"}, {\"tag\": \"a\", \"path\": \"/\"}]}",
        "{\"m\": [{\"tag\": \"a\", \"target\": \"t\"}]}",
        "{\"m\": [{\"tag\": \"a\", \"target\": \"/t/.\"}]}",
        "{\"m\": [{\"tag\": \"a\", \"target\": \"/t\", \"cache\": \"none\"}]}",
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        if (read_text(bad[i]) >= 0)
            fail_msg("%s was accepted", bad[i]);
}

static void test_how_many(void **state)
{
    char text[4096], *at = text;
    at += sprintf(at, "{\"m\": [");
    for (int i = 0; i < WIRE_VOLUMES_MAX; i++)
        at += sprintf(at, "%s{\"tag\": \"a\", \"target\": \"/t\"}", i ? "," : "");
    strcpy(at, "]}");
    assert_int_equal(read_text(text), 0);
    strcpy(at, ",{\"tag\": \"a\", \"target\": \"/t\"}]}");
    assert_int_equal(read_text(text), -E2BIG);
    assert_int_equal(read_text("{}"), 0);
    assert_int_equal(volumes.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_there_and_back, tear_down),
        cmocka_unit_test_teardown(test_what_is_refused, tear_down),
        cmocka_unit_test_teardown(test_how_many, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
