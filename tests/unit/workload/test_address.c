/* SPDX-License-Identifier: Apache-2.0
 *
 * test_address.c: addresses and prefixes of both families in one form.
 */
#include "support/unit.h"

#include "base/attr.h"
#include "workload/address.h"

#include <errno.h>

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *again;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"2001:DB8:0::1", "2001:db8::1"},
        {"::", "::"},
        {"::1", "::1"},
        {"::1.2.3.4", "::1.2.3.4"},
    };
    static const char *const bad[] = {
        "",          "1",          "1.2.3", "1.2.3.4.5", "::1%", "fe80::1%0", "::ffff:192.0.2.1",
        "256.1.1.1", "0x7f.0.0.1", "[::1]"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_address a;
        char text[WORKLOAD_ADDRESS_TEXT_MAX];
        assert_int_equal(workload_address_parse(rows[i].text, &a), 0);
        assert_string_equal(workload_address_text(&a, text), rows[i].again);
    }
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        struct workload_address a;
        assert_int_equal(workload_address_parse(bad[i], &a), -EINVAL);
    }
}

static void test_prefixes(void **state)
{
    static const struct {
        const char *text;
        int rc;
        const char *again;
    } rows[] = {
        {"10.0.0.0/8", 0, "10.0.0.0/8"},
        {"10.0.0.1", 0, "10.0.0.1"},
        {"10.0.0.1/32", 0, "10.0.0.1"},
        {"0.0.0.0/0", 0, "0.0.0.0/0"},
        {"::/0", 0, "::/0"},
        {"2001:db8::/33", 0, "2001:db8::/33"},
        {"10.0.0.1/31", -ERANGE, "10.0.0.0/31"},
        {"2001:db8::1/127", -ERANGE, "2001:db8::/127"},
        {"10.0.0.0/33", -EINVAL, NULL},
        {"::/129", -EINVAL, NULL},
        {"10.0.0.0/", -EINVAL, NULL},
        {"/8", -EINVAL, NULL},
        {"10.0.0.0/8/8", -EINVAL, NULL},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_prefix p;
        char text[WORKLOAD_PREFIX_TEXT_MAX];
        assert_int_equal(workload_prefix_parse(rows[i].text, &p), rows[i].rc);
        if (rows[i].again)
            assert_string_equal(workload_prefix_text(&p, text), rows[i].again);
    }
}

static void test_contains(void **state)
{
    static const struct {
        const char *prefix, *address;
        bool inside;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", true}, {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/31", "10.0.0.1", true},      {"10.0.0.0/31", "10.0.0.2", false},
        {"0.0.0.0/0", "203.0.113.9", true},     {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},          {"::/0", "203.0.113.9", false},
        {"::/80", "203.0.113.9", false},        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},        {"2001:db8::1", "2001:db8::1", true},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_prefix p;
        struct workload_address a;
        assert_int_equal(workload_prefix_parse(rows[i].prefix, &p), 0);
        assert_int_equal(workload_address_parse(rows[i].address, &a), 0);
        assert_int_equal(workload_prefix_contains(&p, &a), rows[i].inside);
    }
}

static void test_covers(void **state)
{
    static const struct {
        const char *outer, *inner;
        bool covers;
    } rows[] = {
        {"169.254.0.0/16", "169.254.169.254", true},
        {"169.254.0.0/16", "169.254.0.0/16", true},
        {"169.254.0.0/16", "169.254.0.0/15", false},
        {"169.254.0.0/16", "0.0.0.0/0", false},
        {"fe80::/10", "fe80::/64", true},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_prefix outer, inner;
        assert_int_equal(workload_prefix_parse(rows[i].outer, &outer), 0);
        workload_prefix_parse(rows[i].inner, &inner);
        assert_int_equal(workload_prefix_covers(&outer, &inner), rows[i].covers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_contains),
        cmocka_unit_test(test_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
