/* SPDX-License-Identifier: Apache-2.0
 *
 * test_subnet.c: addresses from numbers, and what is refused.
 */
#include "workload/subnet.h"

#include "support/unit.h"

#include <errno.h>

static struct workload_subnet parse(const char *text)
{
    struct workload_subnet s = {0};
    struct pv_error err = PV_ERROR_INIT;
    if (workload_subnet_parse(text, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static void refuse(const char *text, const char *says)
{
    struct workload_subnet s;
    struct pv_error err = PV_ERROR_INIT;
    assert_true(workload_subnet_parse(text, &s, &err) < 0);
    if (!strstr(err.text, says))
        fail_msg("'%s' does not say '%s'", err.text, says);
}

static void refuse6(const char *text, const char *says)
{
    struct workload_subnet s;
    struct pv_error err = PV_ERROR_INIT;
    assert_true(workload_subnet_parse6(text, &s, &err) < 0);
    if (!strstr(err.text, says))
        fail_msg("'%s' does not say '%s'", err.text, says);
}

static void test_addresses(void **state)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX];
    struct workload_subnet s = parse("10.89.3.0/24");
    assert_int_equal(workload_subnet_parse6("fd01:2:3::/64", &s, NULL), 0);
    assert_string_equal(workload_subnet_text(&s, text), "10.89.3.0/24");
    assert_string_equal(workload_subnet_text6(&s, text), "fd01:2:3::/64");
    assert_string_equal(workload_subnet_ipv4_text(&s, 7, text), "10.89.3.7");
    assert_string_equal(workload_subnet_ipv6_text(&s, 0x107, text), "fd01:2:3::107");
    assert_string_equal(workload_subnet_mac_text(&s, 7, text), "02:50:0a:59:03:07");
    assert_int_equal(workload_subnet_last(&s), 254);
    s = parse("172.16.0.0/16");
    assert_int_equal(workload_subnet_last(&s), 65534);
    s = parse("192.168.1.8/29");
    assert_int_equal(workload_subnet_last(&s), 6);
}

static void test_numbers(void **state)
{
    uint32_t number = 0;
    struct workload_subnet s = parse("10.89.3.0/24");
    assert_int_equal(workload_subnet_number(&s, "10.89.3.4", &number), 0);
    assert_int_equal(number, 4);
    assert_int_equal(workload_subnet_number(&s, "10.89.3.254", &number), 0);
    assert_int_equal(workload_subnet_number(&s, "10.89.3.3", &number), -ERANGE);
    assert_int_equal(workload_subnet_number(&s, "10.89.3.255", &number), -ERANGE);
    assert_int_equal(workload_subnet_number(&s, "10.89.4.4", &number), -EINVAL);
    assert_int_equal(workload_subnet_number(&s, "web", &number), -EINVAL);
}

static void test_overlap(void **state)
{
    struct workload_subnet s = parse("10.89.3.0/24");
    assert_true(workload_subnet_overlaps(&s, 0x0a590300, 24));
    assert_true(workload_subnet_overlaps(&s, 0x0a590380, 25));
    assert_true(workload_subnet_overlaps(&s, 0x0a590000, 16));
    assert_true(workload_subnet_overlaps(&s, 0, 0));
    assert_false(workload_subnet_overlaps(&s, 0x0a590400, 24));
}

static void test_refusals(void **state)
{
    refuse("", "write it as");
    refuse("10.89.3.0", "write it as");
    refuse("10.89.3.0/33", "write it as");
    refuse("10.89.3.0/", "write it as");
    refuse("10.89.3/24", "write it as");
    refuse("10.89.3.1/24", "did you mean 10.89.3.0/24");
    refuse("10.0.0.0/15", "/16 to /29");
    refuse("10.0.0.0/30", "/16 to /29");
    refuse("8.8.8.0/24", "not private");
    refuse("172.32.0.0/16", "not private");
    refuse("127.0.0.0/24", "not private");
    refuse("0000000000000000000010.89.3.0/24", "write it as");
    refuse6("fd00::/48", "/64");
    refuse6("fd00::1/64", "beyond");
    refuse6("2001:db8::/64", "not private");
    refuse6("fe80::/64", "not private");
    refuse6("10.0.0.0/24", "write it as");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
