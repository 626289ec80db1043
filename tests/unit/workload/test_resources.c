/* SPDX-License-Identifier: Apache-2.0
 *
 * test_resources.c: limits as users write them.
 */
#include "support/unit.h"

#include "workload/resources.h"

#include <errno.h>

#define MIB (1ull << 20)

struct row {
    const char *text;
    int rc;
    uint64_t value;
    const char *says;
};

static void test_memory(void **state)
{
    static const struct row rows[] = {
        {"512M", 0, 512 * MIB, NULL},
        {"512m", 0, 512 * MIB, NULL},
        {"1g", 0, 1024 * MIB, NULL},
        {"2GiB", 0, 2048 * MIB, NULL},
        {"67108864", 0, 64 * MIB, NULL},
        {"67108865", 0, 65 * MIB, NULL}, /* rounded up: a limit is never less than asked for */
        {"64M", 0, 64 * MIB, NULL},
        {"67108863", -ERANGE, 0, "out of range"},
        {"1T", 0, 1ull << 40, NULL},
        {"1025g", -ERANGE, 0, "out of range"},
        {"99999999999999999999g", -ERANGE, 0, "out of range"},
        {"", -EINVAL, 0, "not a size"},
        {"much", -EINVAL, 0, "not a size"},
        {"-5M", -EINVAL, 0, "not a size"},
        {"5 M", -EINVAL, 0, "not a size"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_resources r = {0};
        struct pv_error err = PV_ERROR_INIT;
        assert_int_equal(workload_resources_set_memory(&r, "--memory", rows[i].text, &err),
                         rows[i].rc);
        assert_int_equal(r.memory_bytes, rows[i].value);
        if (rows[i].says) {
            assert_non_null(strstr(err.text, rows[i].says));
            assert_non_null(strstr(err.text, "--memory"));
        }
    }
}

static void test_cpus(void **state)
{
    static const struct row rows[] = {
        {"1", 0, 1, NULL},
        {"8", 0, 8, NULL},
        {"9", -ERANGE, 0, "1 to 8"},
        {"0", -ERANGE, 0, "1 to 8"},
        {"1.5", -EINVAL, 0, "whole numbers only"},
        {"0.5", -EINVAL, 0, "whole numbers only"},
        {"1.5.2", -EINVAL, 0, "not a number"},
        {"two", -EINVAL, 0, "not a number"},
        {"", -EINVAL, 0, "not a number"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_resources r = {0};
        struct pv_error err = PV_ERROR_INIT;
        assert_int_equal(workload_resources_set_cpus(&r, "--cpus", rows[i].text, &err), rows[i].rc);
        assert_int_equal(r.cpus, rows[i].value);
        if (rows[i].says)
            assert_non_null(strstr(err.text, rows[i].says));
    }
}

static void test_disk_and_log(void **state)
{
    struct workload_resources r = {0};
    assert_int_equal(workload_resources_set_disk(&r, "--disk-size", "20G", NULL), 0);
    assert_int_equal(r.disk_bytes, 20480 * MIB);
    assert_int_equal(workload_resources_set_disk(&r, "--disk-size", "15M", NULL), -ERANGE);
    assert_int_equal(workload_resources_set_disk(&r, "--disk-size", "17T", NULL), -ERANGE);
    assert_int_equal(workload_resources_set_log(&r, "--log-max-size", "64k", NULL), 0);
    assert_int_equal(r.log_bytes, 65536);
    assert_int_equal(workload_resources_set_log(&r, "--log-max-size", "63k", NULL), -ERANGE);
}

static void test_defaults_are_valid(void **state)
{
    struct workload_resources r;
    workload_resources_init(&r);
    assert_in_range(r.memory_bytes, WORKLOAD_MEMORY_MIN, WORKLOAD_MEMORY_MAX);
    assert_in_range(r.disk_bytes, WORKLOAD_DISK_MIN, WORKLOAD_DISK_MAX);
    assert_in_range(r.log_bytes, WORKLOAD_LOG_MIN, WORKLOAD_LOG_MAX);
    assert_int_equal(r.cpus, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_disk_and_log),
        cmocka_unit_test(test_defaults_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
