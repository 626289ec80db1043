/* SPDX-License-Identifier: Apache-2.0
 *
 * test_net_rate.c: --net-rate as users write it.
 */
#include "support/unit.h"

#include "workload/net_rate.h"

#include <errno.h>

static void test_limits(void **state)
{
    struct workload_net_rate r;
    assert_int_equal(workload_net_rate_parse("bps=1M,pps=100,bps-burst=64k,pps-burst=7", &r, NULL),
                     0);
    assert_int_equal(r.bytes.per_second, 1 << 20);
    assert_int_equal(r.bytes.burst, 64 << 10);
    assert_int_equal(r.frames.per_second, 100);
    assert_int_equal(r.frames.burst, 7);
    assert_int_equal(workload_net_rate_parse("pps=5", &r, NULL), 0);
    assert_int_equal(r.bytes.per_second, 0);
    assert_int_equal(workload_net_rate_parse("bps=0", &r, NULL), 0);
}

static void test_what_is_wrong_is_told(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "no limit"},
        {"1M", "no limit"},
        {"bps=fast", "number and a unit"},
        {"pps=1M", "frames"},
        {"iops=5", "no limit"},
        {"bps=1M,", "no limit"},
        {"bps-burst=1M", "burst needs"},
        {"pps=-1", "frames"},
        {"bps=", "number and a unit"},
        {"bps=1M,bps=2M", "'bps=2M'"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct workload_net_rate r;
        struct pv_error err = PV_ERROR_INIT;
        assert_true(workload_net_rate_parse(rows[i].text, &r, &err) < 0);
        assert_non_null(strstr(err.text, rows[i].says));
        assert_non_null(strstr(err.text, "--net-rate"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_what_is_wrong_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
