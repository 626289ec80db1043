/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host.c: what a machine gets of its host: CPUs, memory, a user; and which isolation.
 */
#include "support/unit.h"

#include "isolation/capacity.h"
#include "isolation/cpus.h"
#include "isolation/isolation.h"
#include "isolation/owner.h"

#include <errno.h>

static void choose(const char *allowed_map, const char *const *busy_list, uint32_t cpus,
                   uint32_t start, const char *expected)
{
    uint8_t allowed[64] = {0};
    pv_auto(pv_strv) struct pv_strv busy = {0};
    pv_auto(pv_strv) struct pv_strv chosen = {0};
    pv_auto(pv_str) struct pv_str text = {0};
    for (size_t i = 0; allowed_map[i]; i++)
        allowed[i] = allowed_map[i] == '1';
    for (; busy_list && *busy_list; busy_list++)
        pv_strv_add(&busy, *busy_list);
    assert_int_equal(
        isolation_cpus_choose(allowed, strlen(allowed_map), &busy, cpus, start, &chosen, NULL), 0);
    pv_str_add(&text, "");
    for (size_t i = 0; i < chosen.count; i++)
        pv_str_addf(&text, "%s%s", i ? "," : "", chosen.items[i]);
    assert_string_equal(text.text ? text.text : "", expected);
}

static void test_cpus_least_used_first(void **state)
{
    static const char *const busy[] = {"0", "0", "1", "3", "99999", "x", NULL};
    choose("1111", NULL, 1, 0, "0");
    choose("1111", NULL, 1, 2, "2"); /* among equals from the start given */
    choose("1111", NULL, 1, 4095, "3");
    choose("1111", busy, 1, 0, "2");
    choose("1111", busy, 2, 0, "1,2");
    choose("1111", busy, 3, 0, "1,2,3");
    choose("1111", busy, 4, 0, "0,1,2,3");
    choose("0101", NULL, 2, 0, "1,3"); /* only allowed ones */
    choose("0101", NULL, 3, 0, "");    /* fewer than asked for: not pinned */
}

static void test_memory_of_host(void **state)
{
    static const char meminfo[] = "MemTotal:        1048576 kB\nMemFree:  1 kB\n"
                                  "MemAvailable:     524288 kB\nSwapTotal:        524288 kB\n";
    struct isolation_capacity c;
    pv_auto(pv_strv) struct pv_strv warnings = {0};
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(isolation_capacity_parse(meminfo, &c, &err), 0);
    assert_int_equal(c.memory_total, 1ull << 30);
    assert_int_equal(c.swap_total, 1ull << 29);

    struct isolation_demand d = {.memory_bytes = 512ull << 20};
    assert_int_equal(isolation_capacity_check(&c, &d, &warnings, &err), 0);
    assert_int_equal(warnings.count, 0);
    d.promised_bytes = 1;
    assert_int_equal(isolation_capacity_check(&c, &d, &warnings, &err), 0);
    assert_int_equal(warnings.count, 1);
    assert_non_null(strstr(warnings.items[0], "other machines may still take"));
    d.occupied_bytes = 1;
    assert_int_equal(isolation_capacity_check(&c, &d, &warnings, &err), 0);
    assert_int_equal(warnings.count, 1);
    d = (struct isolation_demand){.memory_bytes = 513ull << 20};
    assert_int_equal(isolation_capacity_check(&c, &d, &warnings, &err), 0);
    assert_int_equal(warnings.count, 2);
    assert_null(strstr(warnings.items[1], "other machines"));
    d.occupied_bytes = 600ull << 20;
    assert_int_equal(isolation_capacity_check(&c, &d, &warnings, &err), 0);
    assert_int_equal(warnings.count, 2);
    d.memory_bytes = 1536ull << 20;
    assert_int_equal(isolation_capacity_check(&c, &d, &warnings, &err), 0);
    d.memory_bytes = 1537ull << 20;
    assert_int_equal(isolation_capacity_check(&c, &d, &warnings, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "1.5 GiB"));
    assert_int_equal(isolation_capacity_parse("nothing", &c, &err), -EINVAL);
}

static void test_owner(void **state)
{
    static const char all[] = "         0          0 4294967295\n";
    static const char few[] =
        "         0       1000          1\n         1     100000      65536\n";
    static const char id[] = "ffffffff00000000000000000000000000000000000000000000000000000000";
    assert_true(isolation_owner_is_mapped(all, 4294967294u));
    assert_true(isolation_owner_is_mapped(few, 65536));
    assert_false(isolation_owner_is_mapped(few, 65537));
    assert_int_equal(isolation_owner_choose(all, id), 0x77ffffff);
    assert_int_equal(isolation_owner_choose(all, "00000000"), 0x70000000);
    assert_int_equal(isolation_owner_choose(few, id), 65534);
}

static void test_levels(void **state)
{
    const struct isolation_class *class = NULL;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(isolation_find(NULL, &class, &err), 0);
    assert_string_equal(class->name, "paravirt");
    assert_int_equal(isolation_find("auto", &class, &err), 0);
    assert_int_equal(isolation_find("paravirt", &class, &err), 0);
    static const char *const later[] = {"host", "container", "full"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(later); i++) {
        assert_int_equal(isolation_find(later[i], &class, &err), -EOPNOTSUPP);
        assert_non_null(strstr(err.text, "not available in this version"));
    }
    assert_int_equal(isolation_find("vm", &class, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpus_least_used_first),
        cmocka_unit_test(test_memory_of_host),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
