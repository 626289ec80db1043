/* SPDX-License-Identifier: Apache-2.0
 *
 * test_resolver.c: resolv.conf(5), also as nobody would write it.
 */
#include "net/resolver.h"

#include "support/unit.h"

#include <stdio.h>
#include <string.h>

static void check(const char *text, const char *servers, const char *searches)
{
    struct pv_strv lists[2] = {0};
    const char *wanted[] = {servers, searches};
    assert_int_equal(net_resolver_parse(text, &lists[0], &lists[1]), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct pv_str joined = {0};
        for (size_t j = 0; j < lists[i].count; j++)
            pv_str_addf(&joined, "%s%s", j ? " " : "", lists[i].items[j]);
        assert_string_equal(joined.text ? joined.text : "", wanted[i]);
        pv_str_done(&joined);
        pv_strv_done(&lists[i]);
    }
}

static void test_what_is_written(void **state)
{
    check("", "", "");
    check("nameserver 192.0.2.1\n", "192.0.2.1", "");
    check("nameserver 192.0.2.1", "192.0.2.1", "");
    check("# a\n;b\nnameserver\t2001:db8::1 # c\n  nameserver 192.0.2.1\n", "2001:db8::1 192.0.2.1",
          "");
    check("search a.example b.example\n", "", "a.example b.example");
    check("search a\ndomain b.example\n", "", "b.example"); /* the last line counts */
    check("options ndots:5\nnameserver 1.2.3.4\nsortlist 1.2.3.0\n", "1.2.3.4", "");
}

static void test_what_makes_no_sense_is_left_out(void **state)
{
    check("nameserver\nnameserver x\nnameserver fe80::1%eth0\nnameserver 1.2.3.4.5\n", "", "");
    check("search . a..b a/b \x01 ok.example\n", "", "a..b ok.example");
    check("nameserverx 1.2.3.4\nsearchx a\n", "", "");
    char many[1024] = "";
    for (unsigned i = 1; i < 12; i++)
        sprintf(many + strlen(many), "nameserver 10.0.0.%u\n", i);
    struct pv_strv servers = {0};
    assert_int_equal(net_resolver_parse(many, &servers, NULL), 0);
    assert_int_equal(servers.count, NET_RESOLVER_SERVERS_MAX);
    pv_strv_done(&servers);
}

static void test_a_missing_file_says_nothing(void **state)
{
    struct pv_strv servers = {0};
    assert_int_equal(net_resolver_read("/nonexistent/resolv.conf", &servers, NULL, NULL), 0);
    assert_int_equal(servers.count, 0);
    assert_true(net_resolver_read("/", &servers, NULL, NULL) < 0);
}

static void test_local_servers(void **state)
{
    assert_true(net_resolver_is_local("127.0.0.53"));
    assert_true(net_resolver_is_local("::1"));
    assert_false(net_resolver_is_local("192.0.2.1"));
    assert_false(net_resolver_is_local("2001:db8::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written),
        cmocka_unit_test(test_what_makes_no_sense_is_left_out),
        cmocka_unit_test(test_a_missing_file_says_nothing),
        cmocka_unit_test(test_local_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
