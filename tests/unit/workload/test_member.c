/* SPDX-License-Identifier: Apache-2.0
 *
 * test_member.c: what is known of a member of a private network, there and back.
 */
#include "workload/member.h"

#include "support/unit.h"

static int read_text(const char *text, struct workload_member *m, struct pv_error *err)
{
    return workload_member_read(text, strlen(text), m, err);
}

static bool has(const struct workload_member *m, const char *name)
{
    return workload_member_has_name(m, name, strlen(name));
}

static void test_there_and_back(void **state)
{
    struct workload_member m, again;
    assert_int_equal(read_text("{\"id\":\"0123456789abcdef\",\"name\":\"web\",\"hostname\":\"box\","
                               "\"aliases\":[\"www\",\"api\"]}",
                               &m, NULL),
                     0);
    pv_auto_free char *text = workload_member_write(&m);
    assert_int_equal(read_text(text, &again, NULL), 0);
    assert_string_equal(again.id, m.id);
    assert_string_equal(again.hostname, "box");
    assert_int_equal(again.aliases.count, 2);
    assert_true(has(&again, "web") && has(&again, "WEB") && has(&again, "Box") &&
                has(&again, "api") && has(&again, "0123456789ab"));
    assert_false(has(&again, "we") || has(&again, "webb") || has(&again, "") ||
                 has(&again, "0123456789abcdef"));
    workload_member_done(&m);
    workload_member_done(&again);
}

static void test_damage(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"id\":\"a\"}",
        "{\"id\":\"../a\",\"name\":\"web\"}",
        "{\"id\":\"a\",\"name\":\"\"}",
        "{\"id\":\"a\",\"name\":\"b\",\"aliases\":\"c\"}",
        "{\"id\":\"a\",\"name\":\"b\",\"aliases\":[1]}",
        "{\"id\":\"a\",\"name\":\"b\",\"aliases\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\","
        "\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"]}",
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(texts); i++) {
        struct workload_member m;
        struct pv_error err = PV_ERROR_INIT;
        assert_true(read_text(texts[i], &m, &err) < 0);
        assert_non_null(strstr(err.text, "member of the network"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
