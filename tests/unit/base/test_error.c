/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "support/unit.h"

#include <errno.h>

static void test_set_returns_the_negative_code(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(pv_error_set(&err, ENOENT, "open '%s'", "x"), -ENOENT);
    assert_int_equal(err.code, ENOENT);
    assert_string_equal(err.text, "open 'x'");
}

static void test_null_error_is_accepted(void **state)
{
    assert_int_equal(pv_error_set(NULL, EPERM, "nobody reads this"), -EPERM);
    assert_int_equal(pv_error_prefix(NULL, "nor this"), -EIO);
}

static void test_a_code_that_is_none_becomes_eio(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(pv_error_set(&err, 0, "x"), -EIO);
    assert_int_equal(pv_error_set(&err, -ENOENT, "x"), -EIO);
}

static void test_prefix_keeps_code_and_order(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    pv_error_set(&err, ENOSPC, "disk full");
    assert_int_equal(pv_error_prefix(&err, "layer '%s'", "a"), -ENOSPC);
    assert_string_equal(err.text, "layer 'a': disk full");
}

static void test_long_text_is_cut_not_overrun(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    char lots[3 * PV_ERROR_TEXT_MAX];
    memset(lots, 'y', sizeof(lots) - 1);
    lots[sizeof(lots) - 1] = '\0';
    pv_error_set(&err, EIO, "%s", lots);
    assert_int_equal(strlen(err.text), PV_ERROR_TEXT_MAX - 1);
    pv_error_prefix(&err, "%s", "before");
    assert_int_equal(strlen(err.text), PV_ERROR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "before: y", 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_returns_the_negative_code),
        cmocka_unit_test(test_null_error_is_accepted),
        cmocka_unit_test(test_a_code_that_is_none_becomes_eio),
        cmocka_unit_test(test_prefix_keeps_code_and_order),
        cmocka_unit_test(test_long_text_is_cut_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
