/* SPDX-License-Identifier: Apache-2.0 */
#include "base/attr.h"
#include "base/rate.h"
#include "support/unit.h"

#define SECOND UINT64_C(1000000000)

static void test_without_a_limit_everything_passes(void **state)
{
    struct pv_rate r;
    pv_rate_init(&r, 0, 0, 5);
    assert_false(pv_rate_is_limited(&r));
    for (int i = 0; i < 10; i++)
        assert_int_equal(pv_rate_take(&r, UINT64_MAX, 5), 0);
}

static void test_the_burst_passes_at_once_and_no_more(void **state)
{
    struct pv_rate r;
    pv_rate_init(&r, 1000, 100, 0);
    assert_true(pv_rate_is_limited(&r));
    assert_int_equal(pv_rate_take(&r, 0, 0), 0);
    assert_int_equal(pv_rate_take(&r, 99, 0), 0);
    assert_int_equal(pv_rate_take(&r, 1, 0), 0);
    assert_int_equal(pv_rate_take(&r, 0, 0), 0);
    assert_int_equal(pv_rate_take(&r, 1, 0), SECOND / 1000);
    assert_int_equal(pv_rate_take(&r, 1, SECOND / 1000 - 1), 1);
    assert_int_equal(pv_rate_take(&r, 1, SECOND / 1000), 0);
    /* idle time fills it to the burst only */
    assert_int_equal(pv_rate_take(&r, 100, 100 * SECOND), 0);
    assert_int_not_equal(pv_rate_take(&r, 1, 100 * SECOND), 0);
}

static void test_a_burst_of_zero_is_a_second(void **state)
{
    struct pv_rate r;
    pv_rate_init(&r, 7, 0, 0);
    assert_int_equal(pv_rate_take(&r, 7, 0), 0);
    assert_int_equal(pv_rate_take(&r, 7, 0), SECOND);
}

static void test_what_is_larger_than_the_burst_makes_debt(void **state)
{
    struct pv_rate r;
    pv_rate_init(&r, 100, 10, 0);
    assert_int_equal(pv_rate_take(&r, 1, 0), 0);
    assert_int_equal(pv_rate_take(&r, 110, 0), SECOND / 100); /* not full */
    assert_int_equal(pv_rate_take(&r, 110, SECOND / 100), 0);
    assert_int_equal(r.level, -100);
    /* the next one pays the debt, and its own */
    assert_int_equal(pv_rate_wait(&r, 0, SECOND / 100), SECOND);
    assert_int_equal(pv_rate_wait(&r, 5, SECOND / 100), SECOND + SECOND / 20);
}

static void test_looking_often_loses_nothing(void **state)
{
    struct pv_rate r;
    pv_rate_init(&r, 3, 1000, 0);
    assert_int_equal(pv_rate_take(&r, 1000, 0), 0);
    for (uint64_t now = 0; now <= SECOND; now += 70007)
        pv_rate_wait(&r, 1, now);
    pv_rate_wait(&r, 1, SECOND);
    assert_int_equal(r.level, 3);
    assert_int_equal(r.fraction, 0);
}

static void test_a_clock_that_goes_back_stands_still(void **state)
{
    struct pv_rate r;
    pv_rate_init(&r, 10, 10, SECOND);
    assert_int_equal(pv_rate_take(&r, 10, SECOND), 0);
    assert_int_equal(pv_rate_wait(&r, 1, 0), SECOND / 10);
    assert_int_equal(pv_rate_wait(&r, 1, SECOND), SECOND / 10);
    assert_int_equal(pv_rate_wait(&r, 1, SECOND + SECOND / 10), 0);
}

static void test_a_change_keeps_what_is_in_it(void **state)
{
    struct pv_rate r;
    pv_rate_init(&r, 100, 100, 0);
    assert_int_equal(pv_rate_take(&r, 60, 0), 0);
    pv_rate_change(&r, 1000, 500, 0);
    assert_int_equal(r.level, 40);
    pv_rate_change(&r, 10, 20, 0);
    assert_int_equal(r.level, 20);
    pv_rate_change(&r, 0, 0, 0);
    assert_int_equal(pv_rate_take(&r, 1000, 0), 0);
    pv_rate_change(&r, 10, 20, SECOND);
    assert_int_equal(r.level, 20);
}

/* Whatever the values, the wait that was told is enough and a nanosecond less is not. */
static void test_waits_are_exact_at_the_bounds(void **state)
{
    static const uint64_t values[] = {1,
                                      2,
                                      999999999,
                                      SECOND,
                                      SECOND + 1,
                                      UINT32_MAX,
                                      PV_RATE_MAX - 1,
                                      PV_RATE_MAX,
                                      PV_RATE_MAX + 1,
                                      UINT64_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(values); i++)
        for (size_t j = 0; j < PV_ARRAY_SIZE(values); j++)
            for (size_t k = 0; k < PV_ARRAY_SIZE(values); k++) {
                struct pv_rate r;
                pv_rate_init(&r, values[i], values[j], 0);
                assert_int_equal(pv_rate_take(&r, values[k], 0), 0); /* full */
                uint64_t wait = pv_rate_wait(&r, values[k], 0);
                if (wait == 0 || wait == UINT64_MAX)
                    continue;
                struct pv_rate early = r;
                assert_int_equal(pv_rate_wait(&early, values[k], wait - 1), 1);
                assert_int_equal(pv_rate_take(&r, values[k], wait), 0);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_limit_everything_passes),
        cmocka_unit_test(test_the_burst_passes_at_once_and_no_more),
        cmocka_unit_test(test_a_burst_of_zero_is_a_second),
        cmocka_unit_test(test_what_is_larger_than_the_burst_makes_debt),
        cmocka_unit_test(test_looking_often_loses_nothing),
        cmocka_unit_test(test_a_clock_that_goes_back_stands_still),
        cmocka_unit_test(test_a_change_keeps_what_is_in_it),
        cmocka_unit_test(test_waits_are_exact_at_the_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
