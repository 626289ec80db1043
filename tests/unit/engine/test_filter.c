/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hosted/filter.h"
#include "support/unit.h"

/* The promise of SPECIFICATION.md. */
static void test_at_most_45_calls(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    struct jail_filter_program *program = NULL;
    if (engine_hosted_filter(&program, &err) < 0)
        fail_msg("%s", err.text);
    assert_in_range(program->calls, 20, 45);
    jail_filter_program_free(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_at_most_45_calls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
