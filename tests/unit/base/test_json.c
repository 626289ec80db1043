/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "support/unit.h"

#include <errno.h>

static struct pv_json *parse(const char *text)
{
    struct pv_json *json = NULL;
    struct pv_error err = PV_ERROR_INIT;
    if (pv_json_parse(text, strlen(text), &json, &err) < 0)
        fail_msg("%s", err.text);
    return json;
}

static int parse_rc(const char *text)
{
    struct pv_json *json = NULL;
    int rc = pv_json_parse(text, strlen(text), &json, NULL);
    pv_json_free(json);
    return rc;
}

static void test_only_whole_documents_parse(void **state)
{
    assert_int_equal(parse_rc("{\"a\":1}"), 0);
    assert_int_equal(parse_rc("{\"a\":1} \n"), 0);
    assert_int_equal(parse_rc("7"), 0);
    assert_int_equal(parse_rc(""), -EINVAL);
    assert_int_equal(parse_rc("{"), -EINVAL);
    assert_int_equal(parse_rc("{\"a\":1} x"), -EINVAL);
    assert_int_equal(parse_rc("{\"a\":1}{}"), -EINVAL);
    assert_int_equal(parse_rc("{\"a\":1,}"), -EINVAL);
    assert_int_equal(parse_rc("null"), -EINVAL);
    assert_int_equal(parse_rc("{\"a\":\"\xff\"}"), -EINVAL);
}

static void test_depth_is_bounded(void **state)
{
    char deep[2 * PV_JSON_DEPTH_MAX + 3] = "";
    memset(deep, '[', PV_JSON_DEPTH_MAX + 1);
    memset(deep + PV_JSON_DEPTH_MAX + 1, ']', PV_JSON_DEPTH_MAX + 1);
    assert_int_equal(parse_rc(deep), -EINVAL);
}

static void test_numbers(void **state)
{
    pv_auto(pv_json) struct pv_json *o =
        parse("{\"n\":5,\"neg\":-1,\"f\":1.5,\"s\":\"5\",\"big\":18446744073709551615}");
    uint64_t v = 99;
    int64_t i = 99;
    assert_int_equal(pv_json_get_u64(o, "missing", 0, 9, &v, NULL), 0);
    assert_int_equal(v, 99);
    assert_int_equal(pv_json_get_u64(o, "n", 0, 4, &v, NULL), -ERANGE);
    assert_int_equal(pv_json_get_u64(o, "neg", 0, 9, &v, NULL), -ERANGE);
    assert_int_equal(pv_json_get_u64(o, "f", 0, 9, &v, NULL), -EINVAL);
    assert_int_equal(pv_json_get_u64(o, "s", 0, 9, &v, NULL), -EINVAL);
    assert_int_equal(v, 99);
    assert_int_equal(pv_json_get_u64(o, "n", 5, 5, &v, NULL), 0);
    assert_int_equal(v, 5);
    assert_int_equal(pv_json_get_u64(o, "big", 0, UINT64_MAX, &v, NULL), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(pv_json_get_i64(o, "big", INT64_MIN, INT64_MAX, &i, NULL), -ERANGE);
    assert_int_equal(pv_json_get_i64(o, "neg", -1, 0, &i, NULL), 0);
    assert_int_equal(i, -1);
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(pv_json_need_u64(o, "missing", 0, 9, &v, &err), -EINVAL);
    assert_string_equal(err.text, "'missing': missing");
}

static void test_strings_and_lists(void **state)
{
    pv_auto(pv_json) struct pv_json *o = parse("{\"s\":\"x\",\"nul\":\"a\\u0000b\",\"l\":[\"a\","
                                               "\"b\"],\"m\":[\"a\",1],\"z\":[\"a\\u0000\"]}");
    char *text = NULL;
    struct pv_strv list = {0};
    assert_int_equal(pv_json_get_string(o, "nul", &text, NULL), -EINVAL);
    assert_null(text);
    assert_int_equal(pv_json_get_string(o, "s", &text, NULL), 0);
    assert_string_equal(text, "x");
    free(text);
    assert_int_equal(pv_json_get_strv(o, "m", &list, NULL), -EINVAL);
    assert_int_equal(pv_json_get_strv(o, "z", &list, NULL), -EINVAL);
    assert_int_equal(list.count, 0);
    assert_int_equal(pv_json_get_strv(o, "l", &list, NULL), 0);
    assert_int_equal(list.count, 2);
    pv_strv_done(&list);
}

static void test_a_child_of_two(void **state)
{
    struct pv_json *first = parse("{\"list\":[1,2]}");
    pv_auto(pv_json) struct pv_json *second = pv_json_new_object();
    assert_int_equal(pv_json_add_shared(second, "l", pv_json_get(first, "list")), 0);
    assert_int_equal(pv_json_add_shared(second, "n", NULL), -ENOMEM);
    pv_json_free(first);
    pv_auto_free char *text = pv_json_print(second, false);
    assert_string_equal(text, "{\"l\":[1,2]}");
}

static void test_round_trip(void **state)
{
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    assert_int_equal(pv_json_add_string(o, "path", "/a/b\"\n"), 0);
    assert_int_equal(pv_json_add_string(o, "none", NULL), 0);
    assert_int_equal(pv_json_add_u64(o, "n", UINT64_MAX), 0);
    assert_int_equal(pv_json_add_bool(o, "yes", true), 0);
    pv_auto_free char *text = pv_json_print(o, false);
    assert_string_equal(text, "{\"path\":\"/a/b\\\"\\n\",\"n\":18446744073709551615,\"yes\":true}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_whole_documents_parse),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings_and_lists),
        cmocka_unit_test(test_a_child_of_two),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
