/* SPDX-License-Identifier: Apache-2.0
 *
 * test_flow.c: the table of conversations, its times and its bound.
 */
#include "support/unit.h"

#include "net/flow.h"

#include <netinet/in.h>

#define SECOND 1000000000ull

static struct net_packet_ends ends(uint8_t protocol, uint16_t port)
{
    struct net_packet_ends e = {.src_port = port, .dst_port = 80, .protocol = protocol};
    workload_address_parse("10.0.2.15", &e.src);
    workload_address_parse("192.0.2.1", &e.dst);
    return e;
}

static struct net_packet tcp(uint8_t flags, uint32_t seq, size_t bytes)
{
    return (struct net_packet){
        .tcp_flags = flags, .tcp_seq = seq, .payload = 54, .end = 54 + bytes};
}

static void test_find(void **state)
{
    struct net_flows *flows = net_flows_new(4);
    struct net_packet_ends a = ends(IPPROTO_TCP, 1), b = ends(IPPROTO_UDP, 1);
    struct net_flow *flow = net_flows_add(flows, &a, false, "a.example", SECOND);
    assert_ptr_equal(net_flows_find(flows, &a, SECOND), flow);
    assert_null(net_flows_find(flows, &b, SECOND));
    net_flows_remove(flows, flow);
    assert_null(net_flows_find(flows, &a, SECOND));
    assert_int_equal(net_flows_count(flows), 0);
    net_flows_free(flows);
    net_flows_free(NULL);
}

static void test_a_full_table_gives_up_the_silent_one(void **state)
{
    struct net_flows *flows = net_flows_new(2);
    struct net_packet_ends a = ends(IPPROTO_TCP, 1), b = ends(IPPROTO_TCP, 2),
                           c = ends(IPPROTO_TCP, 3);
    struct net_packet p = tcp(NET_TCP_ACK, 1, 0);
    struct net_flow *first = net_flows_add(flows, &a, false, NULL, SECOND);
    net_flows_add(flows, &b, false, NULL, SECOND);
    net_flows_note(flows, first, &p, true, 2 * SECOND);
    net_flows_add(flows, &c, false, NULL, 3 * SECOND);
    assert_non_null(net_flows_find(flows, &a, 3 * SECOND));
    assert_null(net_flows_find(flows, &b, 3 * SECOND));
    assert_int_equal(net_flows_evicted(flows), 1);
    assert_int_equal(net_flows_count(flows), 2);
    net_flows_free(flows);
}

static void test_times(void **state)
{
    struct net_flows *flows = net_flows_new(8);
    struct net_packet_ends t = ends(IPPROTO_TCP, 1), u = ends(IPPROTO_UDP, 1);
    struct net_packet p = tcp(NET_TCP_SYN, 1, 0);
    struct net_flow *flow = net_flows_add(flows, &t, false, NULL, SECOND);
    net_flows_note(flows, flow, &p, true, SECOND);
    assert_non_null(net_flows_find(flows, &t, 121 * SECOND));
    assert_null(net_flows_find(flows, &t, 122 * SECOND)); /* never answered */
    flow = net_flows_add(flows, &t, false, NULL, SECOND);
    net_flows_note(flows, flow, &p, false, SECOND);
    assert_non_null(net_flows_find(flows, &t, 7440 * SECOND));
    p.tcp_flags = NET_TCP_RST;
    net_flows_note(flows, flow, &p, false, 100 * SECOND);
    assert_null(net_flows_find(flows, &t, 111 * SECOND));
    flow = net_flows_add(flows, &u, false, NULL, SECOND);
    assert_null(net_flows_find(flows, &u, 62 * SECOND));
    net_flows_free(flows);
}

static void test_sequence_numbers(void **state)
{
    struct net_flows *flows = net_flows_new(8);
    struct net_packet_ends t = ends(IPPROTO_TCP, 1);
    struct net_flow *flow = net_flows_add(flows, &t, false, NULL, SECOND);
    struct net_packet p = tcp(NET_TCP_SYN, 0xfffffff0u, 0);
    net_flows_note(flows, flow, &p, true, SECOND);
    assert_int_equal(flow->guest_next, 0xfffffff1u);
    p = tcp(NET_TCP_ACK, 0xfffffff1u, 32); /* wraps */
    net_flows_note(flows, flow, &p, true, SECOND);
    assert_int_equal(flow->guest_next, 17);
    p = tcp(NET_TCP_ACK, 0xfffffff1u, 8); /* sent again */
    net_flows_note(flows, flow, &p, true, SECOND);
    assert_int_equal(flow->guest_next, 17);
    p = tcp(NET_TCP_ACK | NET_TCP_FIN, 17, 0);
    net_flows_note(flows, flow, &p, true, SECOND);
    assert_int_equal(flow->guest_next, 18);
    assert_true(flow->guest_fin);
    assert_false(flow->other_spoke);
    net_flows_free(flows);
}

static void cut(void *data, struct net_flow *flow)
{
    net_flows_remove(data, flow);
}

static void test_each_may_remove(void **state)
{
    struct net_flows *flows = net_flows_new(64);
    for (uint16_t i = 0; i < 64; i++) {
        struct net_packet_ends t = ends(IPPROTO_TCP, i);
        assert_non_null(net_flows_add(flows, &t, false, NULL, SECOND));
    }
    net_flows_each(flows, cut, flows);
    assert_int_equal(net_flows_count(flows), 0);
    net_flows_free(flows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_a_full_table_gives_up_the_silent_one),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_sequence_numbers),
        cmocka_unit_test(test_each_may_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
