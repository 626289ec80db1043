/* SPDX-License-Identifier: Apache-2.0
 *
 * test_dns.c: the DNS of an instance, asked over the fence, with a name server on the loopback.
 */
#include "net/fence_fixture.h"

#include <errno.h>

static const struct fixture_answer answers[] = {
    {"www.example.org", NET_DNS_A, "192.0.2.1", 60, NET_DNS_NOERROR},
    {"www.example.org", NET_DNS_AAAA, "2001:db8::1", 60, NET_DNS_NOERROR},
    {"short.example.org", NET_DNS_A, "192.0.2.2", 0, NET_DNS_NOERROR},
    {"long.example.org", NET_DNS_A, "192.0.2.3", 90000, NET_DNS_NOERROR},
    {"alias.example.org", NET_DNS_CNAME, "target.example.net", 7, NET_DNS_NOERROR},
    {"target.example.net", NET_DNS_A, "192.0.2.4", 300, NET_DNS_NOERROR},
    {"rebind.example.org", NET_DNS_A, "127.0.0.1", 60, NET_DNS_NOERROR},
    {"rebind.example.org", NET_DNS_AAAA, "64:ff9b::a9fe:a9fe", 60, NET_DNS_NOERROR},
    {"half.example.org", NET_DNS_A, "169.254.169.254", 60, NET_DNS_NOERROR},
    {"half.example.org", NET_DNS_A, "192.0.2.5", 60, NET_DNS_NOERROR},
    {"empty.example.org", NET_DNS_A, NULL, 0, NET_DNS_NOERROR},
    {"broken.example.org", NET_DNS_A, NULL, 0, NET_DNS_SERVFAIL},
    {0},
};

static void expect_address(const struct fixture_told *told, const char *address)
{
    struct workload_address a = fixture_address(address);
    assert_int_equal(told->code, NET_DNS_NOERROR);
    assert_int_equal(told->addresses, 1);
    assert_memory_equal(&told->first, &a, sizeof(a));
}

static void test_names_are_resolved(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    struct fixture_told told = fixture_ask(f, "WWW.example.org", NET_DNS_A);
    expect_address(&told, "192.0.2.1");
    assert_int_equal(told.ttl, 60);
    told = fixture_ask(f, "www.example.org", NET_DNS_AAAA);
    expect_address(&told, "2001:db8::1");
    told = fixture_ask(f, "empty.example.org", NET_DNS_A);
    assert_int_equal(told.code, NET_DNS_NOERROR);
    assert_int_equal(told.records, 0);
    told = fixture_ask(f, "missing.example.org", NET_DNS_A);
    assert_int_equal(told.code, NET_DNS_NXDOMAIN);
    assert_int_equal(fixture_counter(f, "dns_answered"), 4);
}

static void test_times_are_held_to_bounds(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    assert_int_equal(fixture_ask(f, "short.example.org", NET_DNS_A).ttl, 5);
    assert_int_equal(fixture_ask(f, "long.example.org", NET_DNS_A).ttl, 3600);
    assert_int_equal(fixture_ask(f, "alias.example.org", NET_DNS_A).ttl, 7); /* the least */
}

static void test_a_granted_name_opens_its_address_for_its_time(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    fixture_grant(f, "tcp:*.example.org:443");
    fixture_tcp(f, "192.0.2.4", 443, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 0); /* nobody asked for the name */
    struct fixture_told told = fixture_ask(f, "alias.example.org", NET_DNS_A);
    expect_address(&told, "192.0.2.4");
    fixture_tcp(f, "192.0.2.4", 443, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 1);
    fixture_tcp(f, "192.0.2.4", 80, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 1); /* another port */
    fixture_now += 8 * SECOND;
    fixture_tcp(f, "192.0.2.4", 443, NET_TCP_ACK);
    assert_int_equal(f->outside.count, 2); /* the conversation goes on */
    assert_int_equal(fixture_tcp(f, "192.0.2.4", 444, NET_TCP_SYN), 0);
    assert_int_equal(f->outside.count, 2);
}

static void test_the_twin_address_must_be_resolved_too(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    fixture_grant(f, "tcp:www.example.org:443");
    fixture_ask(f, "www.example.org", NET_DNS_A);
    fixture_tcp(f, "2001:db8::1", 443, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 0);
    fixture_ask(f, "www.example.org", NET_DNS_AAAA);
    fixture_tcp(f, "2001:db8::1", 443, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 1);
}

static void test_other_names_do_not_exist(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    fixture_grant(f, "tcp:www.example.org:443");
    struct fixture_told told = fixture_ask(f, "secret.example.net", NET_DNS_A);
    assert_int_equal(told.code, NET_DNS_NXDOMAIN);
    assert_int_equal(f->questions, 0); /* nothing left the host */
    assert_int_equal(f->denials, 1);
    assert_int_equal(f->denial.protocol, NET_DENIED_DNS);
    assert_int_equal(f->denial.rule, NET_RULE_NOT_GRANTED);
    assert_string_equal(f->denied_name, "secret.example.net");
    assert_int_equal(fixture_counter(f, "dns_denied"), 1);
}

static void test_rebinding(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    struct fixture_told told = fixture_ask(f, "rebind.example.org", NET_DNS_A);
    assert_int_equal(told.code, NET_DNS_NOERROR);
    assert_int_equal(told.records, 0);
    assert_int_equal(f->denial.rule, NET_RULE_REBINDING);
    assert_string_equal(f->denied_name, "rebind.example.org");
    told = fixture_ask(f, "rebind.example.org", NET_DNS_AAAA);
    assert_int_equal(told.records, 0);
    told = fixture_ask(f, "half.example.org", NET_DNS_A);
    expect_address(&told, "192.0.2.5");
    assert_int_equal(fixture_counter(f, "dns_stripped"), 3);
}

static int lookup(void *data, const char *name, struct workload_address *addresses, unsigned max)
{
    if (strcmp(name, "db") != 0)
        return -ENOENT;
    addresses[0] = fixture_address("10.89.0.5");
    addresses[1] = fixture_address("fd01::5");
    return 2;
}

static void test_names_of_other_machines(void **state)
{
    struct fixture *f = *state;
    f->options.lookup = lookup;
    workload_prefix_parse("10.89.0.0/16", &f->options.policy.others[0]);
    workload_prefix_parse("10.89.0.0/24", &f->options.policy.local[0]);
    f->options.policy.num_local = 1;
    fixture_grant(f, "tcp:db:5432");
    struct fixture_told told = fixture_ask(f, "db", NET_DNS_A);
    expect_address(&told, "10.89.0.5");
    told = fixture_ask(f, "db", NET_DNS_AAAA);
    expect_address(&told, "fd01::5");
    fixture_tcp(f, "10.89.0.5", 5432, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 1);
    fixture_tcp(f, "10.89.0.5", 22, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 1);
    assert_int_equal(f->questions, 0);
}

static void test_a_silent_server(void **state)
{
    struct fixture *f = *state;
    f->options.dns_timeout_ns = SECOND / 100;
    f->silent = true;
    assert_int_equal(fixture_ask(f, "www.example.org", NET_DNS_A).code, NET_DNS_SERVFAIL);
    assert_int_equal(f->questions, 2); /* asked twice */
    assert_int_equal(fixture_counter(f, "dns_failed"), 1);
}

static void test_the_next_server_is_asked(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    /* Nobody is at the first one: the host says so at once, or nothing comes. */
    f->options.dns_timeout_ns = SECOND / 10;
    f->options.servers[1] = f->options.servers[0];
    f->options.servers[0].address = fixture_address("127.0.0.2");
    f->options.num_servers = 2;
    struct fixture_told told = fixture_ask(f, "www.example.org", NET_DNS_A);
    expect_address(&told, "192.0.2.1");
}

static void test_no_server_at_all(void **state)
{
    struct fixture *f = *state;
    f->options.num_servers = 0;
    assert_int_equal(fixture_ask(f, "www.example.org", NET_DNS_A).code, NET_DNS_SERVFAIL);
}

static void test_servers_that_fail(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    assert_int_equal(fixture_ask(f, "broken.example.org", NET_DNS_A).code, NET_DNS_SERVFAIL);
    assert_int_equal(f->questions, 2);
}

static void test_long_answers_come_over_tcp(void **state)
{
    struct fixture *f = *state;
    f->answers = answers;
    f->truncate = true;
    struct fixture_told told = fixture_ask(f, "www.example.org", NET_DNS_A);
    expect_address(&told, "192.0.2.1");
}

static void test_a_fence_may_go_while_a_question_is_open(void **state)
{
    struct fixture *f = *state;
    static uint8_t message[NET_DNS_MESSAGE_MAX];
    f->silent = true;
    fixture_start(f);
    uint8_t frame[512];
    struct net_reply_path p = {.src_mac = {0x52, 0x54, 0, 0, 0, 1},
                               .ends = {.src = fixture_address(GUEST),
                                        .dst = fixture_address(DNS),
                                        .src_port = 1,
                                        .dst_port = 53}};
    size_t len = net_dns_message_build_question(message, 1, "www.example.org", NET_DNS_A);
    assert_int_equal(fixture_send(f, frame, net_reply_datagram(frame, &p, message, len)), 0);
    assert_int_equal(f->guest.count, 0);
}

static void test_questions_that_are_none(void **state)
{
    struct fixture *f = *state;
    fixture_udp(f, DNS, 53); /* "data" */
    fixture_turn(f);
    assert_int_equal(f->guest.count, 0);
    assert_int_equal(f->outside.count, 0);
    assert_int_equal(fixture_counter(f, "dns_broken"), 1);
    assert_int_equal(fixture_ask(f, "example.org", NET_DNS_ANY).code, NET_DNS_NOTIMP);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_names_are_resolved),
        TEST(test_times_are_held_to_bounds),
        TEST(test_a_granted_name_opens_its_address_for_its_time),
        TEST(test_the_twin_address_must_be_resolved_too),
        TEST(test_other_names_do_not_exist),
        TEST(test_rebinding),
        TEST(test_names_of_other_machines),
        TEST(test_a_silent_server),
        TEST(test_the_next_server_is_asked),
        TEST(test_no_server_at_all),
        TEST(test_servers_that_fail),
        TEST(test_long_answers_come_over_tcp),
        TEST(test_a_fence_may_go_while_a_question_is_open),
        TEST(test_questions_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
