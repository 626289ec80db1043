/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hosted/filter.h"
#include "support/unit.h"

/* The promise of SPECIFICATION.md. */
static size_t count_calls(bool strict)
{
    struct pv_error err = PV_ERROR_INIT;
    struct jail_filter_program *program = NULL;
    if (engine_hosted_filter(strict, &program, &err) < 0)
        fail_msg("%s", err.text);
    size_t calls = program->calls;
    jail_filter_program_free(program);
    return calls;
}

static void test_at_most_44_calls(void **state)
{
    assert_in_range(count_calls(false), 20, 44);
}

static void test_tracing_is_for_who_is_strict(void **state)
{
    assert_int_equal(count_calls(true), count_calls(false) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_most_44_calls),
        cmocka_unit_test(test_tracing_is_for_who_is_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
