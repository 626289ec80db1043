/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fence.c: what passes the fence, what it says about the rest, and what it writes down.
 */
#include "net/fence_fixture.h"

#include "net/flow.h"

#include <errno.h>
#include <netinet/in.h>

static void expect_reset(struct fixture *f, unsigned count)
{
    fixture_wait(f, count);
    assert_int_equal(f->guest.p.ends.protocol, IPPROTO_TCP);
    assert_true(f->guest.p.tcp_flags & NET_TCP_RST);
    assert_int_equal(f->guest.p.ends.dst_port, 40000);
}

static void test_without_grants(void **state)
{
    struct fixture *f = *state;
    fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN);
    fixture_udp(f, "192.0.2.1", 53);
    fixture_tcp(f, "2001:db8::1", 443, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 3);
    fixture_tcp(f, "10.0.2.2", 80, NET_TCP_SYN);
    expect_reset(f, 1);
    assert_int_equal(f->denial.rule, NET_RULE_HOST_LOOPBACK);
    fixture_tcp(f, "169.254.169.254", 80, NET_TCP_SYN);
    expect_reset(f, 2);
    assert_int_equal(f->denial.rule, NET_RULE_METADATA);
    assert_int_equal(f->denial.port, 80);
    assert_int_equal(f->outside.count, 3);
    assert_int_equal(fixture_counter(f, "denied"), 2);
    assert_int_equal(net_fence_denials(f->fence)[NET_RULE_METADATA][NET_DENIED_TCP], 1);
}

static void test_a_denied_packet_is_answered_at_once(void **state)
{
    struct fixture *f = *state;
    fixture_grant(f, "tcp:192.0.2.1:443");
    fixture_tcp(f, "192.0.2.1", 80, NET_TCP_SYN);
    expect_reset(f, 1);
    assert_int_equal(f->guest.p.tcp_ack, 101);
    fixture_udp(f, "192.0.2.1", 53);
    fixture_wait(f, 2);
    assert_true(f->guest.p.is_error);
    assert_int_equal(f->guest.p.icmp_type, 3);
    assert_int_equal(f->guest.p.icmp_code, 13);
    assert_int_equal(f->guest.p.inner.dst_port, 53);
    fixture_udp(f, "2001:db8::1", 53);
    fixture_wait(f, 3);
    assert_int_equal(f->guest.p.icmp_type, 1);
    assert_int_equal(f->guest.p.icmp_code, 1);
    assert_int_equal(f->outside.count, 0);
    /* A reset is not answered. */
    fixture_tcp(f, "192.0.2.1", 80, NET_TCP_RST);
    fixture_turn(f);
    assert_int_equal(f->guest.count, 3);
}

static void test_answers_come_in_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN);
    fixture_tcp_in(f, "192.0.2.1", 443, NET_TCP_SYN | NET_TCP_ACK);
    assert_int_equal(f->guest.count, 1);
    fixture_tcp_in(f, "192.0.2.1", 80, NET_TCP_SYN | NET_TCP_ACK);
    fixture_tcp_in(f, "192.0.2.1", 80, NET_TCP_ACK);
    assert_int_equal(f->guest.count, 1);
    assert_int_equal(fixture_counter(f, "stray"), 2);
}

static void test_what_begins_outside_may_be_answered(void **state)
{
    struct fixture *f = *state;
    fixture_grant(f, "tcp:198.51.100.1:1");
    fixture_tcp_in(f, "10.0.2.2", 999, NET_TCP_SYN);
    assert_int_equal(f->guest.count, 1);
    fixture_tcp(f, "10.0.2.2", 999, NET_TCP_SYN | NET_TCP_ACK);
    assert_int_equal(f->outside.count, 1);
    /* But it does not let the guest begin one with the same ends. */
    fixture_tcp(f, "10.0.2.2", 999, NET_TCP_SYN);
    assert_int_equal(f->outside.count, 1);
    assert_int_equal(f->denials, 1);
}

static void test_a_revoked_grant_cuts_its_conversations(void **state)
{
    struct fixture *f = *state;
    fixture_grant(f, "tcp:192.0.2.1:443");
    fixture_grant(f, "udp:192.0.2.1:53");
    fixture_grant(f, "tcp:192.0.2.2:443");
    fixture_tcp(f, "192.0.2.2", 443, NET_TCP_SYN);
    fixture_tcp_in(f, "192.0.2.2", 443, NET_TCP_SYN | NET_TCP_ACK);
    fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN);
    fixture_tcp_in(f, "192.0.2.1", 443, NET_TCP_SYN | NET_TCP_ACK);
    fixture_udp(f, "192.0.2.1", 53);
    unsigned outside = f->outside.count;
    fixture_revoke(f, "tcp:192.0.2.1:443");
    fixture_revoke(f, "udp:192.0.2.1:53");
    /* Both ends learn of it. */
    expect_reset(f, 3);
    assert_int_equal(f->guest.p.tcp_seq, 501);
    assert_int_equal(f->outside.count, outside + 1);
    assert_true(f->outside.p.tcp_flags & NET_TCP_RST);
    assert_int_equal(f->outside.p.tcp_seq, 101);
    assert_int_equal(fixture_counter(f, "cut"), 2);
    /* An end that missed it is told again. */
    fixture_tcp(f, "192.0.2.1", 443, NET_TCP_ACK);
    expect_reset(f, 4);
    fixture_tcp_in(f, "192.0.2.1", 443, NET_TCP_ACK);
    assert_int_equal(f->outside.count, outside + 2);
    assert_int_equal(f->guest.count, 4);
    fixture_udp(f, "192.0.2.1", 53);
    assert_int_equal(f->outside.count, outside + 2);
    /* The other one goes on. */
    fixture_tcp(f, "192.0.2.2", 443, NET_TCP_ACK);
    assert_int_equal(f->outside.count, outside + 3);
    /* Granted again, it can be begun again. */
    fixture_grant(f, "tcp:192.0.2.1:443");
    fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN);
    assert_int_equal(f->outside.count, outside + 4);
}

static void test_the_first_grant_cuts_what_it_does_not_say(void **state)
{
    struct fixture *f = *state;
    fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN);
    fixture_tcp_in(f, "192.0.2.1", 443, NET_TCP_SYN | NET_TCP_ACK);
    fixture_grant(f, "tcp:192.0.2.2:443");
    expect_reset(f, 2);
    assert_int_equal(fixture_counter(f, "cut"), 1);
}

static void test_forged_frames(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path p = {
        .src_mac = {0x52, 0x54, 0, 0, 0, 9},
        .ends = {.src = fixture_address(GUEST), .dst = fixture_address("192.0.2.1")}};
    size_t len = net_reply_datagram(frame, &p, "x", 1);
    fixture_send(f, frame, len); /* another's station */
    p.src_mac[5] = 1;
    p.ends.src = fixture_address("10.0.2.16");
    fixture_send(f, frame, net_reply_datagram(frame, &p, "x", 1)); /* another's address */
    p.ends.src = fixture_address("fe80::1");
    p.ends.dst = fixture_address("2001:db8::1");
    fixture_send(f, frame, net_reply_datagram(frame, &p, "x", 1));
    assert_int_equal(f->outside.count, 0);
    assert_int_equal(fixture_counter(f, "forged"), 3);
}

static void test_other_frames(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[64] = {0};
    memcpy(frame + 6, f->options.mac, 6);
    frame[12] = 0x81;
    fixture_send(f, frame, sizeof(frame));
    assert_int_equal(fixture_counter(f, "unsupported"), 1);
    frame[12] = 0x08; /* an IPv4 packet of zeroes */
    fixture_send(f, frame, sizeof(frame));
    fixture_send(f, frame, 13);
    fixture_receive(f, frame, sizeof(frame));
    assert_int_equal(fixture_counter(f, "malformed"), 3);
    assert_int_equal(f->outside.count + f->guest.count, 0);
}

static void test_mapped_addresses_are_denied(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path p = {
        .src_mac = {0x52, 0x54, 0, 0, 0, 1},
        .ends = {.src = fixture_address(GUEST6), .dst = fixture_address("2001:db8::1")}};
    size_t len = net_reply_datagram(frame, &p, "x", 1);
    static const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
    memcpy(frame + 14 + 24, mapped, 16);
    fixture_send(f, frame, len);
    assert_int_equal(f->outside.count, 0);
    assert_int_equal(f->denial.rule, NET_RULE_EMBEDDED);
}

static int send_with(struct fixture *f, struct virtio_net_hdr hdr)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path p = {.src_mac = {0x52, 0x54, 0, 0, 0, 1},
                               .ends = {.src = fixture_address(GUEST),
                                        .dst = fixture_address("192.0.2.1"),
                                        .dst_port = 80,
                                        .protocol = IPPROTO_TCP}};
    size_t len = net_reply_segment(frame, &p, 1, 0, NET_TCP_SYN, 1, NULL, 0, "data", 4);
    struct iovec piece = {.iov_base = frame, .iov_len = len};
    fixture_start(f);
    return net_link_send(
        f->fence, &(struct net_frame){.hdr = hdr, .iov = &piece, .num_iov = 1, .bytes = len});
}

/* A partial checksum anywhere else would overwrite what was judged: the port, for one. */
static void test_offloads_must_fit_the_packet(void **state)
{
    struct fixture *f = *state;
    static const struct virtio_net_hdr good[] = {
        {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16},
        {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
         .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
         .gso_size = 1000,
         .csum_start = 34,
         .csum_offset = 16},
    };
    static const struct virtio_net_hdr bad[] = {
        {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 2},
        {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6},
        {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 30, .csum_offset = 6},
        {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 14, .csum_offset = 16},
        {.gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 1000},
        {.gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 1000},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(good); i++)
        assert_int_equal(send_with(f, good[i]), 0);
    assert_int_equal(f->outside.count, PV_ARRAY_SIZE(good));
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(send_with(f, bad[i]), 0);
    assert_int_equal(f->outside.count, PV_ARRAY_SIZE(good));
    assert_int_equal(fixture_counter(f, "malformed"), PV_ARRAY_SIZE(bad));
}

static size_t fragment(uint8_t *frame, const char *to, uint16_t port, unsigned at, bool more)
{
    struct net_reply_path p = {.src_mac = {0x52, 0x54, 0, 0, 0, 1},
                               .ends = {.src = fixture_address(GUEST),
                                        .dst = fixture_address(to),
                                        .dst_port = port,
                                        .protocol = IPPROTO_UDP}};
    size_t len = net_reply_datagram(frame, &p, "0123456789abcdef", 16);
    net_packet_put_u16(frame + 18, 77);
    net_packet_put_u16(frame + 20, (uint16_t)(at / 8 | (more ? 0x2000 : 0)));
    return len;
}

static void test_fragments_follow_the_first(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[NET_REPLY_BYTES_MAX];
    fixture_grant(f, "udp:192.0.2.1:53");
    fixture_send(f, frame, fragment(frame, "192.0.2.1", 0, 24, false));
    assert_int_equal(f->outside.count, 0); /* before the first */
    fixture_send(f, frame, fragment(frame, "192.0.2.1", 53, 0, true));
    fixture_send(f, frame, fragment(frame, "192.0.2.1", 0, 24, false));
    assert_int_equal(f->outside.count, 2);
    /* A second first fragment to a denied port takes the whole packet along. */
    fixture_send(f, frame, fragment(frame, "192.0.2.1", 54, 0, true));
    fixture_send(f, frame, fragment(frame, "192.0.2.1", 0, 24, false));
    assert_int_equal(f->outside.count, 2);
    fixture_now += 40 * SECOND;
    fixture_send(f, frame, fragment(frame, "192.0.2.1", 0, 24, false));
    assert_int_equal(f->outside.count, 2);
    assert_int_equal(fixture_counter(f, "fragments_lost"), 3);
}

static size_t echo(uint8_t *frame, const char *to, uint8_t type, uint16_t id)
{
    struct net_reply_path p = {.src_mac = {0x52, 0x54, 0, 0, 0, 1},
                               .ends = {.src = fixture_address(GUEST), .dst = fixture_address(to)}};
    size_t len = net_reply_datagram(frame, &p, "abcdefgh", 8);
    frame[23] = IPPROTO_ICMP;
    frame[34] = type;
    frame[35] = 0;
    net_packet_put_u16(frame + 38, id);
    return len;
}

static void test_echoes(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[NET_REPLY_BYTES_MAX];
    fixture_grant(f, "icmp:192.0.2.1");
    fixture_send(f, frame, echo(frame, "192.0.2.1", 8, 5));
    assert_int_equal(f->outside.count, 1);
    fixture_send(f, frame, echo(frame, "192.0.2.2", 8, 5));
    fixture_wait(f, 1);
    assert_true(f->guest.p.is_error);
    fixture_send(f, frame, echo(frame, "192.0.2.2", 0, 5)); /* a reply that nobody asked for */
    assert_int_equal(f->outside.count, 1);
    assert_int_equal(net_fence_denials(f->fence)[NET_RULE_NOT_GRANTED][NET_DENIED_ICMP], 1);
}

static void test_errors_must_be_about_a_conversation(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[NET_REPLY_BYTES_MAX], head[NET_PACKET_HEAD_MAX] = {0};
    fixture_udp(f, "192.0.2.1", 53);
    memcpy(head, f->outside.frame, f->outside.len);
    size_t len = net_reply_prohibited(frame, &f->outside.p, head);
    fixture_receive(f, frame, len);
    assert_int_equal(f->guest.count, 1);
    frame[14 + 20 + 8 + 20 + 3]++; /* about another port */
    fixture_receive(f, frame, len);
    assert_int_equal(f->guest.count, 1);
    assert_int_equal(fixture_counter(f, "stray"), 1);
}

static void test_arp(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_packet ask = {.src_mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    memcpy(ask.arp_sender_mac, f->options.mac, 6);
    /* The reply's writer exchanges sender and target. */
    ask.arp_sender = fixture_address("10.0.2.2");
    ask.arp_target = fixture_address(GUEST);
    size_t len = net_reply_arp(frame, &ask, f->options.mac);
    frame[21] = 1;
    fixture_send(f, frame, len);
    assert_int_equal(f->outside.count, 1);
    ask.arp_sender = fixture_address("10.0.2.9");
    ask.arp_target = fixture_address(DNS);
    len = net_reply_arp(frame, &ask, f->options.mac);
    fixture_send(f, frame, len);
    assert_int_equal(fixture_counter(f, "forged"), 1); /* "the DNS is me" */
    ask.arp_target = fixture_address(GUEST);
    ask.arp_sender = fixture_address(DNS);
    len = net_reply_arp(frame, &ask, f->options.mac);
    frame[21] = 1;
    fixture_send(f, frame, len);
    fixture_wait(f, 1);
    assert_int_equal(f->guest.p.kind, NET_PACKET_ARP);
    assert_int_equal(f->guest.p.arp_op, 2);
}

static void test_back_pressure(void **state)
{
    struct fixture *f = *state;
    f->outside.full = true;
    assert_int_equal(fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN), -EAGAIN);
    f->outside.full = false;
    f->below.upper.sendable(f->below.upper.data);
    assert_int_equal(f->guest.again, 1);
    assert_int_equal(fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN), 0);
    assert_int_equal(fixture_counter(f, "flows"), 1);
    f->guest.full = true;
    assert_int_equal(fixture_tcp_in(f, "192.0.2.1", 443, NET_TCP_SYN | NET_TCP_ACK), -EAGAIN);
    fixture_tcp(f, "127.0.0.1", 1, NET_TCP_SYN); /* the reset waits, too */
    fixture_turn(f);
    assert_int_equal(f->guest.count, 0);
    f->guest.full = false;
    net_link_resume(f->fence);
    assert_int_equal(f->guest.count, 1);
    assert_int_equal(f->outside.again, 1);
}

static void test_own_frames_are_bounded(void **state)
{
    struct fixture *f = *state;
    f->guest.full = true;
    for (unsigned i = 0; i < 1000; i++)
        fixture_tcp(f, "127.0.0.1", 1, NET_TCP_SYN);
    assert_true(fixture_counter(f, "own_lost") > 500);
}

static void test_rate_of_frames(void **state)
{
    struct fixture *f = *state;
    f->options.rate.frames.per_second = 20; /* two at once */
    assert_int_equal(fixture_udp(f, "192.0.2.1", 1), 0);
    assert_int_equal(fixture_udp(f, "192.0.2.1", 1), 0);
    assert_int_equal(fixture_udp(f, "192.0.2.1", 1), -EAGAIN);
    assert_int_equal(fixture_counter(f, "throttled"), 1);
    assert_int_equal(f->outside.count, 2);
    /* The other direction has a bucket of its own. */
    fixture_tcp(f, "192.0.2.1", 443, NET_TCP_SYN);
    assert_int_equal(fixture_tcp_in(f, "192.0.2.1", 9, NET_TCP_SYN), 0);
    assert_int_equal(fixture_tcp_in(f, "192.0.2.1", 9, NET_TCP_SYN), 0);
    assert_int_equal(fixture_tcp_in(f, "192.0.2.1", 9, NET_TCP_SYN), -EAGAIN);
    fixture_now += SECOND / 20;
    assert_int_equal(fixture_udp(f, "192.0.2.1", 1), 0);
    assert_int_equal(fixture_udp(f, "192.0.2.1", 1), -EAGAIN);
    /* Without a limit, who waits may go on. */
    net_fence_set_rate(f->fence, &(struct net_fence_rate){0});
    fixture_turn(f);
    assert_int_equal(f->guest.again, 1);
    assert_int_equal(f->outside.again, 1);
    assert_int_equal(fixture_udp(f, "192.0.2.1", 1), 0);
}

static void test_rate_of_bytes(void **state)
{
    struct fixture *f = *state;
    unsigned sent = 0;
    f->options.rate = (struct net_fence_rate){.bytes = {.per_second = 1000, .burst = 1}};
    while (fixture_udp(f, "192.0.2.1", 1) == 0 && sent < 100000)
        sent++;
    /* The burst is never less than one long frame. */
    assert_int_equal(sent, NET_FRAME_MAX / f->outside.len);
    fixture_now += SECOND;
    for (sent = 0; fixture_udp(f, "192.0.2.1", 1) == 0;)
        sent++;
    assert_in_range(sent, 1000 / f->outside.len, 1000 / f->outside.len + 1);
}

static void test_a_flood_of_conversations_is_bounded(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < NET_FLOWS_MAX + 10; i++)
        fixture_udp(f, i % 2 ? "192.0.2.1" : "192.0.2.2", (uint16_t)(1000 + i / 2));
    assert_int_equal(fixture_counter(f, "evicted"), 10);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_without_grants),
        TEST(test_a_denied_packet_is_answered_at_once),
        TEST(test_answers_come_in_and_nothing_else),
        TEST(test_what_begins_outside_may_be_answered),
        TEST(test_a_revoked_grant_cuts_its_conversations),
        TEST(test_the_first_grant_cuts_what_it_does_not_say),
        TEST(test_forged_frames),
        TEST(test_other_frames),
        TEST(test_mapped_addresses_are_denied),
        TEST(test_offloads_must_fit_the_packet),
        TEST(test_fragments_follow_the_first),
        TEST(test_echoes),
        TEST(test_errors_must_be_about_a_conversation),
        TEST(test_arp),
        TEST(test_back_pressure),
        TEST(test_own_frames_are_bounded),
        TEST(test_rate_of_frames),
        TEST(test_rate_of_bytes),
        TEST(test_a_flood_of_conversations_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
