/* SPDX-License-Identifier: Apache-2.0 */
#include "fields.h"
#include "wire/session.h"

static const struct field valid[] = {
    {"args", "[\"echo\", \"hello\"]"},
    {"env", "[\"A=1\", \"B=\"]"},
    {"cwd", "\"/srv\""},
    {"user", "{\"username\": \"www-data:www\"}"},
    {"terminal", "true"},
    {"consoleSize", "{\"height\": 50, \"width\": 132}"},
};

static int read_with(struct field change, struct wire_process *p, struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *json = fields_json(valid, PV_ARRAY_SIZE(valid), change);
    return wire_process_read(json, p, err);
}

/* Reads with one field changed; expects the result, and the text in the error. */
static void check(const char *key, const char *value, int rc, const char *text)
{
    struct wire_process p;
    struct pv_error err = PV_ERROR_INIT;
    int got = read_with((struct field){key, value}, &p, &err);
    if (got != rc)
        fail_msg("%s = %.100s: %d, %s", key, value ? value : "(missing)", got, err.text);
    if (rc < 0) {
        if (!strstr(err.text, text))
            fail_msg("'%s' does not hold '%s'", err.text, text);
        assert_null(p.args.items);
    }
    wire_process_done(&p);
}

static void test_everything_is_read(void **state)
{
    struct wire_process p;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(read_with((struct field){0}, &p, &err), 0);
    assert_int_equal(p.args.count, 2);
    assert_string_equal(p.args.items[1], "hello");
    assert_int_equal(p.env.count, 2);
    assert_string_equal(p.cwd, "/srv");
    assert_string_equal(p.user, "www-data:www");
    assert_true(p.terminal);
    assert_int_equal(p.rows, 50);
    assert_int_equal(p.columns, 132);
    wire_process_done(&p);
}

static void test_only_args_are_needed(void **state)
{
    struct wire_process p;
    struct pv_error err = PV_ERROR_INIT;
    pv_auto(pv_json) struct pv_json *json = fields_json(valid, 1, (struct field){0});
    assert_int_equal(wire_process_read(json, &p, &err), 0);
    assert_null(p.cwd);
    assert_null(p.user);
    assert_false(p.terminal);
    assert_int_equal(p.rows, 0);
    wire_process_done(&p);
}

static void test_wrong_fields_are_refused_by_name(void **state)
{
    check("args", NULL, -EINVAL, "'args': nothing to run");
    check("args", "[]", -EINVAL, "'args': nothing to run");
    check("args", "\"ls\"", -EINVAL, "'args'");
    check("args", "[1]", -EINVAL, "'args'");
    check("args", "[\"a\\u0000b\"]", -EINVAL, "NUL");
    check("env", "{}", -EINVAL, "'env'");
    check("env", "[\"A\"]", -EINVAL, "'A' is not NAME=value");
    check("env", "[\"=1\"]", -EINVAL, "is not NAME=value");
    check("cwd", "\"srv\"", -EINVAL, "'cwd'");
    check("cwd", "\"\"", -EINVAL, "'cwd'");
    check("cwd", "7", -EINVAL, "'cwd'");
    check("user", "\"root\"", -EINVAL, "'user'");
    check("user", "{\"username\": \"\"}", -EINVAL, "'username'");
    check("user", "{\"username\": \"a\\nb\"}", -EINVAL, "'username'");
    check("user", "{\"username\": \"a\", \"uid\": 1}", -EINVAL, "a name and numbers");
    check("user", "{\"uid\": -1}", -ERANGE, "'uid'");
    check("user", "{\"uid\": 4294967295}", -ERANGE, "'uid'");
    check("user", "{\"additionalGids\": [1]}", -EINVAL, "'additionalGids': unknown key");
    check("terminal", "1", -EINVAL, "'terminal'");
    check("consoleSize", "{\"height\": 65536}", -ERANGE, "'height'");
    check("consoleSize", "{\"width\": -1}", -ERANGE, "'width'");
    check("consoleSize", "{\"depth\": 1}", -EINVAL, "'depth': unknown key");
    check("rlimits", "[]", -EINVAL, "'rlimits': unknown key");
}

static void test_numeric_users_become_text(void **state)
{
    struct wire_process p;
    struct pv_error err = PV_ERROR_INIT;
    struct field user = {"user", "{\"uid\": 4294967294, \"gid\": 7}"};
    assert_int_equal(read_with(user, &p, &err), 0);
    assert_string_equal(p.user, "4294967294:7");
    wire_process_done(&p);
    user.value = "{}";
    assert_int_equal(read_with(user, &p, &err), 0);
    assert_string_equal(p.user, "0:0");
    wire_process_done(&p);
}

static void check_list(const char *key, const char *item, size_t count, int rc)
{
    pv_auto_free char *list = fields_list(item, count);
    check(key, list, rc, key);
}

static void test_counts_are_bounded(void **state)
{
    check_list("args", "\"a\"", 1, 0);
    check_list("args", "\"a\"", WIRE_PROCESS_STRINGS_MAX, 0);
    check_list("args", "\"a\"", WIRE_PROCESS_STRINGS_MAX + 1, -E2BIG);
    check_list("env", "\"a=\"", 0, 0);
    check_list("env", "\"a=\"", WIRE_PROCESS_STRINGS_MAX, 0);
    check_list("env", "\"a=\"", WIRE_PROCESS_STRINGS_MAX + 1, -E2BIG);
}

static void test_bytes_are_bounded(void **state)
{
    /* One argument and no environment: the bytes are those of the argument and its NUL. */
    for (size_t over = 0; over < 2; over++) {
        pv_auto_free char *text = fields_text("", 'a', WIRE_PROCESS_BYTES_MAX - 1 + over);
        pv_auto_free char *list = fields_list(text, 1);
        struct field only[] = {{"args", list}};
        pv_auto(pv_json) struct pv_json *json = fields_json(only, 1, (struct field){0});
        struct wire_process p;
        assert_int_equal(wire_process_read(json, &p, NULL), over ? -EIO : 0);
        wire_process_done(&p);
    }
    pv_auto_free char *user = fields_text("", 'u', 256);
    pv_auto_free char *object = pv_strf("{\"username\": %s}", user);
    check("user", object, 0, "");
    pv_auto_free char *user_over = fields_text("", 'u', 257);
    pv_auto_free char *object_over = pv_strf("{\"username\": %s}", user_over);
    check("user", object_over, -ERANGE, "'username'");
    pv_auto_free char *cwd = fields_text("/", 'd', 4094);
    check("cwd", cwd, 0, "");
    pv_auto_free char *cwd_over = fields_text("/", 'd', 4095);
    check("cwd", cwd_over, -ENAMETOOLONG, "'cwd'");
}

static void test_what_is_written_is_read(void **state)
{
    struct wire_process p, q;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(read_with((struct field){0}, &p, &err), 0);
    pv_auto(pv_json) struct pv_json *json = wire_process_write(&p);
    pv_auto_free char *text = pv_json_print(json, false);
    pv_auto(pv_json) struct pv_json *parsed = NULL;
    assert_int_equal(pv_json_parse(text, strlen(text), &parsed, &err), 0);
    assert_int_equal(wire_process_read(parsed, &q, &err), 0);
    pv_auto(pv_json) struct pv_json *again = wire_process_write(&q);
    pv_auto_free char *text_again = pv_json_print(again, false);
    assert_string_equal(text, text_again);
    assert_string_equal(q.user, p.user);
    assert_int_equal(q.columns, p.columns);
    wire_process_done(&p);
    wire_process_done(&q);
}

static void test_no_object_is_refused(void **state)
{
    pv_auto(pv_json) struct pv_json *json = pv_json_new_array();
    struct wire_process p;
    assert_true(wire_process_read(json, &p, NULL) < 0);
    assert_true(wire_process_read(NULL, &p, NULL) < 0);
}

static void test_numbers_in_payloads(void **state)
{
    uint8_t bytes[4];
    uint32_t value = 7;
    wire_put_u32(bytes, 0x01020304);
    assert_memory_equal(bytes, "\4\3\2\1", 4);
    assert_int_equal(wire_get_u32(bytes, 3, &value), -EPROTO);
    assert_int_equal(value, 7);
    assert_int_equal(wire_get_u32(bytes, 4, &value), 0);
    assert_int_equal(value, 0x01020304);
    assert_int_equal(wire_get_u32(NULL, 0, &value), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_read),
        cmocka_unit_test(test_only_args_are_needed),
        cmocka_unit_test(test_wrong_fields_are_refused_by_name),
        cmocka_unit_test(test_numeric_users_become_text),
        cmocka_unit_test(test_counts_are_bounded),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_no_object_is_refused),
        cmocka_unit_test(test_numbers_in_payloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
