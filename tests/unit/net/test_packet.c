/* SPDX-License-Identifier: Apache-2.0
 *
 * test_packet.c: frames that are right, and each way in which they lie about their lengths.
 */
#include "support/unit.h"

#include "base/attr.h"
#include "net/packet.h"
#include "net/reply.h"

#include <errno.h>
#include <netinet/in.h>

static struct net_reply_path path(const char *src, const char *dst, uint8_t protocol)
{
    struct net_reply_path p = {.src_mac = {2, 0, 0, 0, 0, 1},
                               .dst_mac = {2, 0, 0, 0, 0, 2},
                               .ends = {.src_port = 1234, .dst_port = 80, .protocol = protocol}};
    assert_int_equal(workload_address_parse(src, &p.ends.src), 0);
    assert_int_equal(workload_address_parse(dst, &p.ends.dst), 0);
    return p;
}

static size_t segment(uint8_t *frame, const char *src, const char *dst)
{
    struct net_reply_path p = path(src, dst, IPPROTO_TCP);
    return net_reply_segment(frame, &p, 7, 9, NET_TCP_SYN | NET_TCP_ACK, 100, NULL, 0, "data", 4);
}

static void test_segment(void **state)
{
    static const char *const ends[][2] = {{"192.0.2.1", "192.0.2.2"},
                                          {"2001:db8::1", "2001:db8::2"}};
    for (size_t i = 0; i < 2; i++) {
        uint8_t frame[256];
        struct net_packet p;
        struct net_reply_path to = path(ends[i][0], ends[i][1], IPPROTO_TCP);
        size_t len = segment(frame, ends[i][0], ends[i][1]);
        assert_int_equal(net_packet_parse(frame, len, &p), 0);
        assert_int_equal(p.kind, NET_PACKET_IP);
        assert_int_equal(p.v6, i == 1);
        assert_memory_equal(&p.ends.src, &to.ends.src, sizeof(p.ends.src));
        assert_memory_equal(&p.ends.dst, &to.ends.dst, sizeof(p.ends.dst));
        assert_int_equal(p.ends.src_port, 1234);
        assert_int_equal(p.ends.dst_port, 80);
        assert_int_equal(p.tcp_seq, 7);
        assert_int_equal(p.tcp_ack, 9);
        assert_int_equal(p.tcp_flags, NET_TCP_SYN | NET_TCP_ACK);
        assert_int_equal(p.end - p.payload, 4);
        /* Padding behind the packet is no data. */
        assert_int_equal(net_packet_parse(frame, len + 20, &p), 0);
        assert_int_equal(p.end - p.payload, 4);
    }
}

static void test_checksums(void **state)
{
    uint8_t frame[256];
    struct net_packet p;
    size_t len = segment(frame, "192.0.2.1", "192.0.2.2");
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(net_packet_sum_finish(net_packet_sum(0, frame + p.l3, 20)), 0);
    uint8_t pseudo[4] = {0, IPPROTO_TCP, 0, (uint8_t)(p.end - p.l4)};
    uint32_t sum = net_packet_sum(0, frame + p.l3 + 12, 8);
    sum = net_packet_sum(sum, pseudo, sizeof(pseudo));
    assert_int_equal(net_packet_sum_finish(net_packet_sum(sum, frame + p.l4, p.end - p.l4)), 0);
}

static void test_every_cut_is_refused(void **state)
{
    static const char *const ends[][2] = {{"192.0.2.1", "192.0.2.2"},
                                          {"2001:db8::1", "2001:db8::2"}};
    for (size_t i = 0; i < 2; i++) {
        uint8_t frame[256];
        struct net_packet p;
        size_t len = segment(frame, ends[i][0], ends[i][1]);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(net_packet_parse(frame, cut, &p), -EBADMSG);
    }
}

/* A byte of a good frame that makes it a bad one. */
static void test_lies(void **state)
{
    static const struct {
        bool v6;
        size_t at;
        uint8_t value;
    } lies[] = {
        {false, 14, 0x55}, /* version */
        {false, 14, 0x44}, /* header of 16 bytes */
        {false, 14, 0x4f}, /* header beyond the packet's end */
        {false, 16, 0xff}, /* total length beyond the frame */
        {false, 17, 10},   /* total length less than the header */
        {false, 46, 0x40}, /* TCP header of 16 bytes */
        {false, 46, 0xf0}, /* TCP header beyond the end */
        {false, 23, IPPROTO_ICMPV6},
        {true, 14, 0x50}, /* version */
        {true, 18, 0xff}, /* length beyond the frame */
        {true, 19, 10},   /* length cuts the TCP header */
        {true, 20, IPPROTO_ICMP},
        {true, 20, IPPROTO_ROUTING},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(lies); i++) {
        uint8_t frame[256];
        struct net_packet p;
        size_t len = lies[i].v6 ? segment(frame, "2001:db8::1", "2001:db8::2")
                                : segment(frame, "192.0.2.1", "192.0.2.2");
        frame[lies[i].at] = lies[i].value;
        if (net_packet_parse(frame, len, &p) != -EBADMSG)
            fail_msg("lie %zu was believed", i);
    }
}

static void test_other_ethertypes(void **state)
{
    uint8_t frame[64] = {0};
    struct net_packet p;
    frame[12] = 0x81; /* a VLAN tag */
    assert_int_equal(net_packet_parse(frame, sizeof(frame), &p), 0);
    assert_int_equal(p.kind, NET_PACKET_OTHER);
}

static void test_fragments(void **state)
{
    uint8_t frame[256];
    struct net_packet p;
    struct net_reply_path to = path("192.0.2.1", "192.0.2.2", IPPROTO_UDP);
    size_t len = net_reply_datagram(frame, &to, "0123456789abcdef", 16);
    frame[20] = 0x20; /* more fragments */
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(p.fragment, NET_FRAGMENT_FIRST);
    assert_int_equal(p.ends.dst_port, 80);
    assert_true(p.more_fragments);
    frame[21] = 3;
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(p.fragment, NET_FRAGMENT_LATER);
    assert_int_equal(p.fragment_at, 24);
    assert_int_equal(p.ends.dst_port, 0);
    /* The ping of death: it would end beyond 64 KiB. */
    frame[20] = 0x1f;
    frame[21] = 0xff;
    assert_int_equal(net_packet_parse(frame, len, &p), -EBADMSG);
    /* All but the last are whole words of 8 bytes. */
    frame[20] = 0x20;
    frame[21] = 0;
    frame[17] = (uint8_t)(frame[17] - 1);
    assert_int_equal(net_packet_parse(frame, len - 1, &p), -EBADMSG);
}

/* An IPv6 packet with a header of 8 bytes between. */
static size_t with_extension(uint8_t *frame, uint8_t type, uint8_t word)
{
    uint8_t plain[256];
    struct net_reply_path to = path("2001:db8::1", "2001:db8::2", IPPROTO_UDP);
    size_t len = net_reply_datagram(plain, &to, "01234567", 8);
    memcpy(frame, plain, 54);
    memset(frame + 54, 0, 8);
    memcpy(frame + 62, plain + 54, len - 54);
    frame[54] = frame[20];
    frame[20] = type;
    frame[57] = word;
    frame[19] = (uint8_t)(frame[19] + 8);
    return len + 8;
}

static void test_extension_headers(void **state)
{
    uint8_t frame[256];
    struct net_packet p;
    size_t len = with_extension(frame, IPPROTO_DSTOPTS, 0);
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(p.ends.dst_port, 80);
    len = with_extension(frame, IPPROTO_ROUTING, 0);
    assert_int_equal(net_packet_parse(frame, len, &p), -EBADMSG);
    len = with_extension(frame, IPPROTO_FRAGMENT, 1);
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(p.fragment, NET_FRAGMENT_FIRST);
    assert_int_equal(p.ends.dst_port, 80);
    len = with_extension(frame, IPPROTO_FRAGMENT, 8);
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(p.fragment, NET_FRAGMENT_LATER);
    len = with_extension(frame, IPPROTO_FRAGMENT, 0); /* an atomic fragment */
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(p.fragment, NET_FRAGMENT_WHOLE);
    len = with_extension(frame, IPPROTO_DSTOPTS, 0);
    frame[55] = 200; /* an extension header beyond the frame */
    assert_int_equal(net_packet_parse(frame, len, &p), -EBADMSG);
}

static void test_mapped_addresses(void **state)
{
    uint8_t frame[256];
    struct net_packet p;
    size_t len = segment(frame, "2001:db8::1", "2001:db8::2");
    static const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
    memcpy(frame + 14 + 24, mapped, 16);
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_true(p.mapped);
}

static void test_errors_quote_a_packet(void **state)
{
    static const char *const ends[][2] = {{"192.0.2.1", "192.0.2.2"},
                                          {"2001:db8::1", "2001:db8::2"}};
    for (size_t i = 0; i < 2; i++) {
        uint8_t frame[256], error[NET_REPLY_BYTES_MAX];
        struct net_packet p, e;
        size_t len = segment(frame, ends[i][0], ends[i][1]);
        assert_int_equal(net_packet_parse(frame, len, &p), 0);
        uint8_t head[NET_PACKET_HEAD_MAX] = {0};
        memcpy(head, frame, len);
        size_t error_len = net_reply_prohibited(error, &p, head);
        assert_int_equal(net_packet_parse(error, error_len, &e), 0);
        assert_true(e.is_error);
        assert_memory_equal(&e.inner, &p.ends, sizeof(e.inner));
        assert_memory_equal(&e.ends.dst, &p.ends.src, sizeof(e.ends.dst));
    }
}

static void test_arp(void **state)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_packet ask = {.src_mac = {2, 0, 0, 0, 0, 1}, .arp_sender_mac = {2, 0, 0, 0, 0, 1}},
                      p;
    static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
    workload_address_parse("10.0.2.15", &ask.arp_sender);
    workload_address_parse("10.0.2.3", &ask.arp_target);
    size_t len = net_reply_arp(frame, &ask, mac);
    assert_int_equal(net_packet_parse(frame, len, &p), 0);
    assert_int_equal(p.kind, NET_PACKET_ARP);
    assert_int_equal(p.arp_op, 2);
    assert_memory_equal(p.arp_sender_mac, mac, 6);
    assert_memory_equal(&p.arp_sender, &ask.arp_target, 16);
    assert_memory_equal(&p.arp_target, &ask.arp_sender, 16);
    frame[14 + 4] = 8;
    assert_int_equal(net_packet_parse(frame, len, &p), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_other_ethertypes),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_extension_headers),
        cmocka_unit_test(test_mapped_addresses),
        cmocka_unit_test(test_errors_quote_a_packet),
        cmocka_unit_test(test_arp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
