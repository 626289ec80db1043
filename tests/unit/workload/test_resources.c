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
        {"1", 0, 1000, NULL},
        {"8", 0, 8000, NULL},
        {"8.000", 0, 8000, NULL},
        {"8.001", -ERANGE, 0, "0.01 to 8"},
        {"9", -ERANGE, 0, "0.01 to 8"},
        {"4294967297", -ERANGE, 0, "0.01 to 8"},
        {"99999999999999999999", -EINVAL, 0, "not a number"},
        {"0", -ERANGE, 0, "0.01 to 8"},
        {"0.009", -ERANGE, 0, "0.01 to 8"},
        {"0.01", 0, 10, NULL},
        {"1.5", 0, 1500, NULL},
        {"0.5", 0, 500, NULL},
        {".25", 0, 250, NULL},
        {"2.", 0, 2000, NULL},
        {"1.2345", -EINVAL, 0, "not a number"},
        {"1.-5", -EINVAL, 0, "not a number"},
        {"-1", -EINVAL, 0, "not a number"},
        {".", -EINVAL, 0, "not a number"},
        {"1.5.2", -EINVAL, 0, "not a number"},
        {"two", -EINVAL, 0, "not a number"},
        {"", -EINVAL, 0, "not a number"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_resources r = {0};
        struct pv_error err = PV_ERROR_INIT;
        assert_int_equal(workload_resources_set_cpus(&r, "--cpus", rows[i].text, &err), rows[i].rc);
        assert_int_equal(r.cpu_milli, rows[i].value);
        if (rows[i].says)
            assert_non_null(strstr(err.text, rows[i].says));
    }
}

static void test_cpus_max(void **state)
{
    struct workload_resources r;
    struct pv_error err = PV_ERROR_INIT;
    workload_resources_init(&r);
    assert_int_equal(workload_resources_set_cpus(&r, "--cpus", "1.001", NULL), 0);
    assert_int_equal(workload_resources_count_cpus(&r), 2);
    assert_int_equal(workload_resources_set_cpus_max(&r, "--cpus-max", "0", NULL), -ERANGE);
    assert_int_equal(workload_resources_set_cpus_max(&r, "--cpus-max", "9", NULL), -ERANGE);
    assert_int_equal(workload_resources_set_cpus_max(&r, "--cpus-max", "1.5", NULL), -EINVAL);
    assert_int_equal(workload_resources_set_cpus_max(&r, "--cpus-max", "4", NULL), 0);
    assert_int_equal(workload_resources_check(&r, NULL), 0);
    assert_int_equal(workload_resources_count_cpus(&r), 4);
    assert_int_equal(workload_resources_set_cpus_max(&r, "--cpus-max", "1", NULL), 0);
    assert_int_equal(workload_resources_check(&r, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--cpus-max"));
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
    assert_int_equal(r.cpu_milli, 1000);
    assert_int_equal(workload_resources_count_cpus(&r), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_cpus_max),
        cmocka_unit_test(test_disk_and_log),
        cmocka_unit_test(test_defaults_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
