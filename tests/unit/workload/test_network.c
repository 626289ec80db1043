/* SPDX-License-Identifier: Apache-2.0
 *
 * test_network.c: what stands behind --net, -p and their like.
 */
#include "workload/network.h"

#include "support/unit.h"

#include <errno.h>
#include <string.h>

/* The ports that text stands for, as workload_network keeps them; NULL: refused. */
static void publish(const char *text, const char *wanted)
{
    struct workload_network n = {0};
    struct pv_str joined = {0};
    struct pv_error err = PV_ERROR_INIT;
    int rc = workload_network_add_ports(&n, text, &err);
    assert_int_equal(rc, wanted ? 0 : -EINVAL);
    assert_true(wanted || strstr(err.text, "--publish"));
    for (size_t i = 0; i < n.ports.count; i++)
        pv_str_addf(&joined, "%s%s", i ? " " : "", n.ports.items[i]);
    if (wanted)
        assert_string_equal(joined.text, wanted);
    pv_str_done(&joined);
    workload_network_done(&n);
}

static void test_ports(void **state)
{
    publish("8080:80", "0.0.0.0:8080:80/tcp");
    publish("8080:80/tcp", "0.0.0.0:8080:80/tcp");
    publish("8080:80/udp", "0.0.0.0:8080:80/udp");
    publish("127.0.0.1:1:65535", "127.0.0.1:1:65535/tcp");
    publish("[::1]:8080:80", "[::1]:8080:80/tcp");
    publish("[2001:db8:0::1]:8080:80/udp", "[2001:db8::1]:8080:80/udp");
    publish("8000-8002:80-82", "0.0.0.0:8000:80/tcp 0.0.0.0:8001:81/tcp 0.0.0.0:8002:82/tcp");
}

static void test_ports_that_are_none(void **state)
{
    const char *wrong[] = {"",           "80",         ":80",           "80:",        "0:80",
                           "80:0",       "65536:80",   "80:65536",      "a:80",       "80:80/",
                           "80:80/TCP",  "80:80/sctp", "1.2.3:80:80",   "::1:80:80",  "[::1:80:80",
                           "::1]:80:80", "[]:80:80",   "[1.2.3.4]:1:1", ":80:80",     "80:80:80:80",
                           "8-7:8-7",    "80-81:80",   "80:80-81",      "80-81-82:1", "+80:80",
                           " 80:80",     "80:80 ",     "[::1]80:80",    "[::1]:80"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(wrong); i++)
        publish(wrong[i], NULL);
}

static void test_a_port_twice_counts_once_and_too_many_are_refused(void **state)
{
    struct workload_network n = {0};
    assert_int_equal(workload_network_add_ports(&n, "80:80", NULL), 0);
    assert_int_equal(workload_network_add_ports(&n, "80:80/tcp", NULL), 0);
    assert_int_equal(n.ports.count, 1);
    assert_int_equal(workload_network_add_ports(&n, "80:81", NULL), -EEXIST);
    assert_int_equal(workload_network_add_ports(&n, "79-80:80-81", NULL), -EEXIST);
    assert_int_equal(workload_network_add_ports(&n, "80:81/udp", NULL), 0);
    assert_int_equal(workload_network_add_ports(&n, "127.0.0.1:80:81", NULL), 0);
    assert_int_equal(workload_network_add_ports(&n, "1000-2100:1000-2100", NULL), -E2BIG);
    workload_network_done(&n);
}

static void test_a_port_reads_back(void **state)
{
    struct workload_port p;
    assert_int_equal(workload_port_parse("[::1]:53:5353/udp", &p, NULL), 0);
    assert_true(p.udp && p.v6 && p.address[15] == 1);
    assert_int_equal(p.host_port, 53);
    assert_int_equal(p.guest_port, 5353);
    assert_int_equal(workload_port_parse("80-81:80-81", &p, NULL), -EINVAL);
}

static void test_names_of_networks(void **state)
{
    struct workload_network n = {0};
    assert_string_equal(workload_network_name(&n), "user");
    assert_int_equal(workload_network_set(&n, "none", NULL), 0);
    assert_string_equal(workload_network_name(&n), "none");
    assert_int_equal(workload_network_set(&n, "tap:br0", NULL), 0);
    assert_string_equal(workload_network_name(&n), "tap");
    assert_string_equal(n.bridge, "br0");
    assert_int_equal(workload_network_set(&n, "tap", NULL), 0);
    assert_null(n.bridge);
    const char *wrong[] = {
        "", "a b", "user:x", "tap:", "tap:a/b", "tap:..", "tap:0123456789abcdef", "tap:a:b"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(wrong); i++)
        assert_int_equal(workload_network_set(&n, wrong[i], NULL), -EINVAL);
    workload_network_done(&n);
}

static void test_what_belongs_together(void **state)
{
    struct workload_network n = {0};
    assert_int_equal(workload_network_add_address(&n, "192.0.2.5/24", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL); /* only with tap */
    assert_int_equal(workload_network_set(&n, "tap", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), 0);
    assert_int_equal(workload_network_add_ports(&n, "80:80", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL);
    workload_network_done(&n);
    assert_int_equal(workload_network_set(&n, "tap", NULL), 0);
    assert_int_equal(workload_network_add_gateway(&n, "192.0.2.1", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL); /* no address */
    workload_network_done(&n);
    assert_int_equal(workload_network_set(&n, "none", NULL), 0);
    assert_int_equal(workload_network_add_ports(&n, "80:80", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL);
    workload_network_done(&n);
    assert_int_equal(workload_network_set(&n, "none", NULL), 0);
    assert_int_equal(workload_network_add_host(&n, "db:192.0.2.1", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), 0);
    assert_int_equal(workload_network_add_nameserver(&n, "192.0.2.53", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL);
    workload_network_done(&n);
}

static void test_private_networks(void **state)
{
    struct workload_network n = {0};
    assert_int_equal(workload_network_add_address(&n, "10.89.0.7", NULL), 0);
    assert_int_equal(workload_network_set(&n, "tap", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL); /* no length */
    assert_false(workload_network_is_private(&n));
    assert_int_equal(workload_network_set(&n, "back", NULL), 0);
    assert_true(workload_network_is_private(&n));
    assert_int_equal(workload_network_validate(&n, NULL), 0);
    assert_int_equal(workload_network_add_alias(&n, "a b", NULL), -EINVAL);
    for (unsigned i = 0; i < WORKLOAD_NETWORK_ALIASES_MAX; i++)
        assert_int_equal(workload_network_add_alias(&n, "db", NULL), 0);
    assert_int_equal(workload_network_add_alias(&n, "db", NULL), -E2BIG);
    assert_int_equal(workload_network_add_ports(&n, "80:80", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), 0);
    assert_int_equal(workload_network_add_address(&n, "10.89.0.8", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL); /* two */
    workload_network_done(&n);
    assert_int_equal(workload_network_set(&n, "user", NULL), 0);
    assert_int_equal(workload_network_add_alias(&n, "db", NULL), 0);
    assert_int_equal(workload_network_validate(&n, NULL), -EINVAL);
    workload_network_done(&n);
}

static void test_addresses_and_names(void **state)
{
    struct workload_network n = {0};
    const char *addresses[] = {
        "192.0.2.1/", "192.0.2.1/0", "192.0.2.1/33", "a/24", "2001:db8::1/129", "/24", ""};
    for (size_t i = 0; i < PV_ARRAY_SIZE(addresses); i++)
        assert_int_equal(workload_network_add_address(&n, addresses[i], NULL), -EINVAL);
    assert_int_equal(workload_network_add_address(&n, "2001:db8::1/128", NULL), 0);
    assert_int_equal(workload_network_add_gateway(&n, "192.0.2.1/24", NULL), -EINVAL);
    const char *servers[] = {"dns", "", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(servers); i++)
        assert_int_equal(workload_network_add_nameserver(&n, servers[i], NULL), -EINVAL);
    for (unsigned i = 0; i < WORKLOAD_NETWORK_NAMESERVERS_MAX; i++)
        assert_int_equal(workload_network_add_nameserver(&n, "192.0.2.1", NULL), 0);
    assert_int_equal(workload_network_add_nameserver(&n, "192.0.2.1", NULL), -E2BIG);
    assert_int_equal(workload_network_add_search(&n, "a b", NULL), -EINVAL);
    assert_int_equal(workload_network_add_search(&n, "", NULL), -EINVAL);
    assert_int_equal(workload_network_add_search(&n, "a..b", NULL), -EINVAL);
    assert_int_equal(workload_network_add_search(&n, ".a", NULL), -EINVAL);
    assert_int_equal(workload_network_add_search(&n, ".", NULL), 0);
    assert_int_equal(workload_network_add_search(&n, "a.", NULL), 0);
    assert_int_equal(workload_network_add_search(&n, "example.org", NULL), 0);
    assert_int_equal(workload_network_add_host(&n, "db", NULL), -EINVAL);
    assert_int_equal(workload_network_add_host(&n, ":192.0.2.1", NULL), -EINVAL);
    assert_int_equal(workload_network_add_host(&n, "db:x", NULL), -EINVAL);
    assert_int_equal(workload_network_add_host(&n, "db\n:1.2.3.4", NULL), -EINVAL);
    assert_int_equal(workload_network_add_host(&n, "db:2001:db8::7", NULL), 0);
    assert_string_equal(n.hosts.items[0], "2001:db8::7 db");
    workload_network_done(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_ports_that_are_none),
        cmocka_unit_test(test_a_port_twice_counts_once_and_too_many_are_refused),
        cmocka_unit_test(test_a_port_reads_back),
        cmocka_unit_test(test_names_of_networks),
        cmocka_unit_test(test_what_belongs_together),
        cmocka_unit_test(test_private_networks),
        cmocka_unit_test(test_addresses_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
