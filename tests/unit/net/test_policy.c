/* SPDX-License-Identifier: Apache-2.0
 *
 * test_policy.c: what may be reached, with and without grants.
 */
#include "support/unit.h"

#include "net/policy.h"

#include <netinet/in.h>
#include <stdio.h>

#define SECOND 1000000000ull

struct fixture {
    struct net_names *names;
    struct net_policy *policy;
    struct workload_grants grants;
};

static struct workload_address address(const char *text)
{
    struct workload_address a;
    if (workload_address_parse(text, &a) < 0)
        fail_msg("%s is no address", text);
    return a;
}

static int set_up(void **state)
{
    static struct fixture f;
    struct net_policy_config config = {.num_others = 2, .num_host_loop = 2};
    workload_prefix_parse("10.0.2.0/24", &config.others[0]);
    workload_prefix_parse("10.89.0.0/16", &config.others[1]);
    config.host_loop[0] = address("10.0.2.2");
    config.host_loop[1] = address("fd00::2");
    f = (struct fixture){.names = net_names_new()};
    f.policy = net_policy_new(&config, f.names);
    *state = &f;
    return f.policy ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    net_policy_free(f->policy);
    net_names_free(f->names);
    workload_grants_done(&f->grants);
    return 0;
}

static void grant(struct fixture *f, const char *text)
{
    struct workload_grant g;
    struct pv_error err = PV_ERROR_INIT;
    if (workload_grant_parse(text, &g, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(workload_grants_add(&f->grants, &g), 0);
    assert_int_equal(net_policy_set_grants(f->policy, &f->grants), 0);
}

/* "tcp", "udp", "icmp" or "gre" to the address: NULL when it is allowed, else the rule. */
static const char *ask(struct fixture *f, const char *protocol, const char *to, uint16_t port)
{
    struct workload_address a = address(to);
    uint8_t number = strcmp(protocol, "tcp") == 0    ? IPPROTO_TCP
                     : strcmp(protocol, "udp") == 0  ? IPPROTO_UDP
                     : strcmp(protocol, "icmp") == 0 ? IPPROTO_ICMP
                                                     : IPPROTO_GRE;
    struct net_verdict v = net_policy_judge(f->policy, number, &a, port, NULL, SECOND);
    return v.allowed ? NULL : net_rule_names[v.rule];
}

static void expect(struct fixture *f, const char *protocol, const char *to, uint16_t port,
                   const char *rule)
{
    const char *said = ask(f, protocol, to, port);
    if ((said == NULL) != (rule == NULL) || (said && strcmp(said, rule) != 0))
        fail_msg("%s %s %u: %s instead of %s", protocol, to, port, said ? said : "allowed",
                 rule ? rule : "allowed");
}

static void test_without_grants_the_outside_is_reachable(void **state)
{
    struct fixture *f = *state;
    static const char *const outside[] = {"192.0.2.1",         "8.8.8.8",         "10.0.0.1",
                                          "192.168.1.1",       "2001:db8::1",     "fd12::1",
                                          "64:ff9b::c000:201", "2002:c000:201::1"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(outside); i++) {
        expect(f, "tcp", outside[i], 443, NULL);
        expect(f, "udp", outside[i], 53, NULL);
        expect(f, "icmp", outside[i], 0, NULL);
    }
}

static void test_what_is_denied_by_default(void **state)
{
    static const struct {
        const char *address, *rule;
    } rows[] = {
        {"127.0.0.1", "host-loopback"},
        {"127.255.255.254", "host-loopback"},
        {"0.0.0.0", "host-loopback"},
        {"0.1.2.3", "host-loopback"},
        {"::1", "host-loopback"},
        {"::", "host-loopback"},
        {"10.0.2.2", "host-loopback"},
        {"fd00::2", "host-loopback"},
        {"169.254.169.254", "metadata"},
        {"169.254.170.2", "metadata"},
        {"100.100.100.200", "metadata"},
        {"168.63.129.16", "metadata"},
        {"fd00:ec2::254", "metadata"},
        {"fd20:ce::254", "metadata"},
        {"169.254.1.1", "link-local"},
        {"fe80::1", "link-local"},
        {"febf::1", "link-local"},
        {"224.0.0.251", "multicast"},
        {"239.255.255.250", "multicast"},
        {"255.255.255.255", "multicast"},
        {"ff02::fb", "multicast"},
        {"10.0.2.7", "private-network"},
        {"10.89.3.4", "private-network"},
        /* the same addresses in other clothes */
        {"::127.0.0.1", "embedded-v4"},
        {"::169.254.169.254", "embedded-v4"},
        {"64:ff9b::7f00:1", "embedded-v4"},
        {"64:ff9b::a9fe:a9fe", "embedded-v4"},
        {"64:ff9b::a00:202", "embedded-v4"},
        {"64:ff9b:1::a9fe:a9fe", "embedded-v4"},
        {"2002:7f00:1::1", "embedded-v4"},
        {"2002:a9fe:a9fe::1", "embedded-v4"},
        {"2001:0:c000:201:0:0:5601:5601", "embedded-v4"}, /* Teredo of 169.254.169.254 */
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        expect(f, "tcp", rows[i].address, 80, rows[i].rule);
        expect(f, "udp", rows[i].address, 53, rows[i].rule);
        expect(f, "gre", rows[i].address, 0, rows[i].rule);
    }
    /* The gateway answers an echo by itself. */
    expect(f, "icmp", "10.0.2.2", 0, NULL);
    expect(f, "icmp", "127.0.0.1", 0, "host-loopback");
}

static void test_one_grant_closes_everything_else(void **state)
{
    struct fixture *f = *state;
    grant(f, "tcp:192.0.2.1:443");
    expect(f, "tcp", "192.0.2.1", 443, NULL);
    expect(f, "tcp", "192.0.2.1", 80, "not-granted");
    expect(f, "udp", "192.0.2.1", 443, "not-granted");
    expect(f, "icmp", "192.0.2.1", 0, "not-granted");
    expect(f, "tcp", "192.0.2.2", 443, "not-granted");
    expect(f, "tcp", "2001:db8::1", 443, "not-granted");
    expect(f, "icmp", "10.0.2.2", 0, "host-loopback");
    expect(f, "tcp", "169.254.169.254", 80, "metadata");
}

static void test_ports_and_prefixes(void **state)
{
    struct fixture *f = *state;
    grant(f, "tcp:192.0.2.0/24:8000-8010");
    grant(f, "udp:[2001:db8::]/32");
    grant(f, "icmp:*");
    grant(f, "cidr:198.51.100.0/24");
    expect(f, "tcp", "192.0.2.200", 8000, NULL);
    expect(f, "tcp", "192.0.2.200", 8010, NULL);
    expect(f, "tcp", "192.0.2.200", 7999, "not-granted");
    expect(f, "tcp", "192.0.2.200", 8011, "not-granted");
    expect(f, "tcp", "192.0.3.1", 8000, "not-granted");
    expect(f, "udp", "2001:db8:ffff::1", 1, NULL);
    expect(f, "udp", "2001:db9::1", 1, "not-granted");
    expect(f, "icmp", "203.0.113.1", 0, NULL);
    expect(f, "icmp", "169.254.169.254", 0, "metadata");
    expect(f, "gre", "198.51.100.1", 0, NULL);
    expect(f, "tcp", "198.51.100.1", 1, NULL);
}

static void test_a_denied_address_needs_a_grant_that_names_it(void **state)
{
    struct fixture *f = *state;
    grant(f, "cidr:0.0.0.0/0");
    grant(f, "tcp:*:80");
    expect(f, "tcp", "192.0.2.1", 80, NULL);
    expect(f, "tcp", "169.254.169.254", 80, "metadata");
    expect(f, "tcp", "10.89.1.1", 80, "private-network");
    expect(f, "tcp", "127.0.0.1", 80, "host-loopback");
    expect(f, "tcp", "10.0.2.2", 80, "host-loopback");
    grant(f, "tcp:169.254.0.0/16:80");
    expect(f, "tcp", "169.254.7.7", 80, NULL);
    expect(f, "tcp", "169.254.169.254", 80, "metadata");
    grant(f, "tcp:169.254.169.254:80");
    expect(f, "tcp", "169.254.169.254", 80, NULL);
    expect(f, "tcp", "169.254.169.254", 81, "metadata");
    expect(f, "tcp", "64:ff9b::a9fe:a9fe", 80, "embedded-v4");
    grant(f, "tcp:10.89.1.0/24");
    expect(f, "tcp", "10.89.1.1", 80, NULL);
    grant(f, "cidr:10.0.2.2");
    expect(f, "tcp", "10.0.2.2", 5432, "host-loopback");
}

static void test_the_hosts_loopback_has_its_own_word(void **state)
{
    struct fixture *f = *state;
    grant(f, "tcp:host-loopback:5432");
    expect(f, "tcp", "10.0.2.2", 5432, NULL);
    expect(f, "tcp", "fd00::2", 5432, NULL);
    expect(f, "tcp", "10.0.2.2", 5433, "host-loopback");
    expect(f, "tcp", "127.0.0.1", 5432, "host-loopback");
    expect(f, "tcp", "192.0.2.1", 5432, "not-granted");
}

static void test_names_count_while_their_answer_lives(void **state)
{
    struct fixture *f = *state;
    struct workload_address a = address("192.0.2.1"), meta = address("169.254.169.254");
    struct net_verdict v;
    grant(f, "tcp:*.example.org:443");
    expect(f, "tcp", "192.0.2.1", 443, "not-granted");
    net_names_add(f->names, &a, "www.example.org", 2 * SECOND);
    net_names_add(f->names, &a, "example.net", 9 * SECOND);
    net_names_add(f->names, &meta, "bad.example.org", 9 * SECOND);
    expect(f, "tcp", "192.0.2.1", 443, NULL);
    expect(f, "tcp", "192.0.2.1", 80, "not-granted");
    expect(f, "tcp", "169.254.169.254", 443, "metadata");
    v = net_policy_judge(f->policy, IPPROTO_TCP, &a, 443, NULL, SECOND);
    assert_string_equal(v.name, "www.example.org");
    v = net_policy_judge(f->policy, IPPROTO_TCP, &a, 443, NULL, 2 * SECOND);
    assert_false(v.allowed);
    /* A conversation that began under the name goes on. */
    v = net_policy_judge(f->policy, IPPROTO_TCP, &a, 443, "www.example.org", 2 * SECOND);
    assert_true(v.allowed);
}

static void test_which_names_may_be_resolved(void **state)
{
    struct fixture *f = *state;
    assert_true(net_policy_may_resolve(f->policy, "anything.example"));
    grant(f, "tcp:db.example.org:5432");
    grant(f, "dns:*.example.net");
    grant(f, "vsock:5000");
    grant(f, "cidr:10.0.0.0/8");
    assert_true(net_policy_may_resolve(f->policy, "db.example.org"));
    assert_true(net_policy_may_resolve(f->policy, "a.b.example.net"));
    assert_false(net_policy_may_resolve(f->policy, "example.net"));
    assert_false(net_policy_may_resolve(f->policy, "secret.in.a.name.example"));
    /* To be resolved is not to be reached. */
    struct workload_address a = address("192.0.2.9");
    net_names_add(f->names, &a, "a.example.net", 9 * SECOND);
    expect(f, "tcp", "192.0.2.9", 443, "not-granted");
}

static void test_which_answers_may_be_given(void **state)
{
    struct fixture *f = *state;
    static const char *const denied[] = {
        "127.0.0.1", "169.254.169.254", "10.0.2.2",        "10.89.0.1",
        "::1",       "fe80::1",         "64:ff9b::7f00:1", "0.0.0.0"};
    enum net_rule rule;
    for (size_t i = 0; i < PV_ARRAY_SIZE(denied); i++) {
        struct workload_address a = address(denied[i]);
        assert_false(net_policy_may_answer(f->policy, &a, &rule));
    }
    struct workload_address lan = address("192.168.1.10");
    assert_true(net_policy_may_answer(f->policy, &lan, &rule));
}

static void test_vsock(void **state)
{
    struct fixture *f = *state;
    assert_true(net_policy_may_vsock(&f->grants, 5000));
    grant(f, "tcp:a.example:80");
    assert_false(net_policy_may_vsock(&f->grants, 5000));
    grant(f, "vsock:5000-5001");
    assert_true(net_policy_may_vsock(&f->grants, 5001));
    assert_false(net_policy_may_vsock(&f->grants, 5002));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_without_grants_the_outside_is_reachable),
        TEST(test_what_is_denied_by_default),
        TEST(test_one_grant_closes_everything_else),
        TEST(test_ports_and_prefixes),
        TEST(test_a_denied_address_needs_a_grant_that_names_it),
        TEST(test_the_hosts_loopback_has_its_own_word),
        TEST(test_names_count_while_their_answer_lives),
        TEST(test_which_names_may_be_resolved),
        TEST(test_which_answers_may_be_given),
        TEST(test_vsock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
