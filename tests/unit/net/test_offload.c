/* SPDX-License-Identifier: Apache-2.0
 *
 * test_offload.c: segments add up to the frame they come from, with checksums that are right, and
 * headers that lie are refused.
 */
#include "net/offload.h"

#include "support/unit.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define TCP_AT (14 + 20)
#define ALL (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_USO)

/* The checksum as RFC 1071 writes it: 16 bits at a time. */
static uint16_t plain_sum(const uint8_t *bytes, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void test_sums_of_all_lengths(void **state)
{
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 151 + 7);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        uint16_t sum = net_offload_fold(net_offload_sum(0, bytes, len));
        assert_int_equal(ntohs(sum), plain_sum(bytes, len, 0));
    }
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(net_offload_fold(net_offload_sum(0, bytes, 64)), 0xffff);
}

static void put16(uint8_t *at, size_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static size_t get16(const uint8_t *at)
{
    return (size_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)(get16(at) << 16 | get16(at + 2));
}

/* A TCP or UDP frame with this much payload; returns its length. */
static size_t make_frame(uint8_t *f, bool v6, bool tcp, size_t payload)
{
    size_t t = v6 ? 14 + 40 : TCP_AT, own = tcp ? 20 : 8;
    memset(f, 0, t + own);
    memset(f, 2, 12);
    put16(f + 12, v6 ? ETH_P_IPV6 : ETH_P_IP);
    uint8_t *ip = f + 14;
    if (v6) {
        ip[0] = 0x60;
        put16(ip + 4, own + payload);
        ip[6] = tcp ? IPPROTO_TCP : IPPROTO_UDP;
        for (unsigned i = 8; i < 40; i++)
            ip[i] = (uint8_t)(i * 3);
    } else {
        ip[0] = 0x45;
        put16(ip + 2, 20 + own + payload);
        put16(ip + 4, 0xfffe); /* identification: wraps */
        ip[9] = tcp ? IPPROTO_TCP : IPPROTO_UDP;
        for (unsigned i = 12; i < 20; i++)
            ip[i] = (uint8_t)(i * 3);
    }
    if (tcp) {
        put16(f + t + 4, 0xffff); /* sequence: wraps */
        put16(f + t + 6, 0xff00);
        f[t + 12] = 5 << 4;
        f[t + 13] = 0x80 | 0x18 | 0x01; /* CWR ACK PSH FIN */
    }
    for (size_t i = 0; i < payload; i++)
        f[t + own + i] = (uint8_t)(i * 7 + i / 256);
    return t + own + payload;
}

/* The pseudo header's sum on top of the segment must come out as all ones. */
static void check_checksum(const uint8_t *f, size_t bytes, bool v6, bool tcp)
{
    size_t t = v6 ? 54 : TCP_AT;
    uint32_t sum = (uint32_t)(bytes - t) + (tcp ? IPPROTO_TCP : IPPROTO_UDP);
    sum = v6 ? plain_sum(f + 14 + 8, 32, sum) : plain_sum(f + 14 + 12, 8, sum);
    assert_int_equal(plain_sum(f + t, bytes - t, sum), 0xffff);
    if (!v6)
        assert_int_equal(plain_sum(f + 14, 20, 0), 0xffff);
}

struct collected {
    bool v6, tcp;
    size_t count, payload, size;
    const uint8_t *whole;
    int stop_at;
};

static int collect(void *data, const uint8_t *f, size_t bytes)
{
    struct collected *c = data;
    size_t t = c->v6 ? 54 : TCP_AT, own = c->tcp ? 20 : 8;
    check_checksum(f, bytes, c->v6, c->tcp);
    size_t payload = bytes - t - own;
    assert_true(payload <= c->size);
    assert_memory_equal(f + t + own, c->whole + t + own + c->payload, payload);
    if (c->v6)
        assert_int_equal(get16(f + 14 + 4), own + payload);
    else
        assert_int_equal(get16(f + 14 + 2), 20 + own + payload);
    if (c->tcp)
        assert_int_equal(get32(f + t + 4), (uint32_t)(0xffffff00u + c->payload));
    else
        assert_int_equal(get16(f + t + 4), own + payload);
    c->payload += payload;
    c->count++;
    return c->stop_at && c->count == (size_t)c->stop_at ? -EAGAIN : 0;
}

static struct virtio_net_hdr header(bool v6, bool tcp, uint16_t size)
{
    return (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = !tcp ? VIRTIO_NET_HDR_GSO_UDP_L4
                    : v6 ? VIRTIO_NET_HDR_GSO_TCPV6
                         : VIRTIO_NET_HDR_GSO_TCPV4,
        .gso_size = size,
        .csum_start = v6 ? 54 : TCP_AT,
        .csum_offset = tcp ? 16 : 6,
    };
}

static void test_segments_add_up(void **state)
{
    static uint8_t f[NET_FRAME_MAX], scratch[NET_FRAME_MAX];
    const size_t payloads[] = {0, 1, 999, 1000, 1001, 64000};
    for (unsigned kind = 0; kind < 4; kind++) {
        for (size_t i = 0; i < PV_ARRAY_SIZE(payloads); i++) {
            bool v6 = kind & 1, tcp = kind & 2;
            struct collected c = {.v6 = v6, .tcp = tcp, .size = 1000, .whole = f};
            struct virtio_net_hdr h = header(v6, tcp, 1000);
            size_t bytes = make_frame(f, v6, tcp, payloads[i]);
            assert_int_equal(net_offload_check(&h, bytes, ALL), 0);
            assert_int_equal(net_offload_segment(&h, f, bytes, scratch, collect, &c), 0);
            assert_int_equal(c.payload, payloads[i]);
            assert_int_equal(c.count, payloads[i] ? (payloads[i] + 999) / 1000 : 1);
        }
    }
}

static int check_flags(void *data, const uint8_t *f, size_t bytes)
{
    unsigned *n = data;
    const uint8_t flags[] = {0x80 | 0x10, 0x10, 0x18 | 0x01};
    assert_int_equal(f[TCP_AT + 13], flags[*n]);
    assert_int_equal(get16(f + 14 + 4), (0xfffe + *n) & 0xffff);
    ++*n;
    return 0;
}

static void test_flags_and_identification(void **state)
{
    uint8_t f[2000], scratch[NET_FRAME_MAX];
    unsigned n = 0;
    struct virtio_net_hdr h = header(false, true, 100);
    size_t bytes = make_frame(f, false, true, 300);
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, check_flags, &n), 0);
    assert_int_equal(n, 3);
}

static void test_what_emit_returns_ends_it(void **state)
{
    uint8_t f[2000], scratch[NET_FRAME_MAX];
    struct collected c = {.tcp = true, .size = 100, .whole = f, .stop_at = 2};
    struct virtio_net_hdr h = header(false, true, 100);
    size_t bytes = make_frame(f, false, true, 1000);
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, collect, &c), -EAGAIN);
    assert_int_equal(c.count, 2);
}

static void test_partial_checksums_are_completed(void **state)
{
    uint8_t f[2000];
    struct virtio_net_hdr h = header(false, false, 0);
    size_t bytes = make_frame(f, false, false, 333);
    put16(f + TCP_AT + 4, bytes - TCP_AT);
    uint32_t pseudo = (uint32_t)(bytes - TCP_AT) + IPPROTO_UDP;
    put16(f + TCP_AT + 6, plain_sum(f + 14 + 12, 8, pseudo));
    h.gso_type = VIRTIO_NET_HDR_GSO_NONE;
    assert_int_equal(net_offload_check(&h, bytes, NET_OFFLOAD_CSUM), 0);
    net_offload_complete(&h, f, bytes);
    assert_int_equal(plain_sum(f + TCP_AT, bytes - TCP_AT, plain_sum(f + 26, 8, pseudo)), 0xffff);
}

static void refuse(struct virtio_net_hdr h, size_t bytes, unsigned allowed)
{
    assert_int_equal(net_offload_check(&h, bytes, allowed), -EINVAL);
}

static void test_headers_that_lie_are_refused(void **state)
{
    struct virtio_net_hdr h = header(false, true, 1000);
    refuse(h, 13, ALL);
    refuse(h, NET_FRAME_MAX + 1, ALL);
    refuse(h, 1000, ALL & ~(unsigned)NET_OFFLOAD_CSUM);
    refuse(h, 1000, ALL & ~(unsigned)NET_OFFLOAD_TSO4);
    refuse(h, TCP_AT + 17, ALL); /* the checksum's second byte is behind the end */
    assert_int_equal(net_offload_check(&h, TCP_AT + 18, ALL), 0);
    h.csum_start = 0xffff;
    refuse(h, 1000, ALL);
    h.csum_offset = 0xffff;
    refuse(h, 1000, ALL);
    h = header(false, true, 0);
    refuse(h, 1000, ALL);
    h = header(false, true, 1000);
    h.flags = 0;
    refuse(h, 1000, ALL);
    h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    h.gso_type = VIRTIO_NET_HDR_GSO_UDP;
    refuse(h, 1000, ALL);
    h.gso_type = 0x7f;
    refuse(h, 1000, ALL);
    h.csum_start = 13;
    h.gso_type = 0;
    refuse(h, 1000, ALL);
}

static void test_headers_become_plain(void **state)
{
    struct virtio_net_hdr h = {.flags = 0xfe, .gso_size = 7, .hdr_len = 9, .csum_start = 5};
    assert_int_equal(net_offload_check(&h, 60, 0), 0);
    assert_int_equal(h.flags, VIRTIO_NET_HDR_F_DATA_VALID);
    assert_int_equal(h.gso_size + h.hdr_len + h.csum_start, 0);
    h = header(false, true, 10);
    h.hdr_len = 5000;
    h.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    assert_int_equal(net_offload_check(&h, 60, ALL), 0);
    assert_int_equal(h.hdr_len, 60);
    assert_int_equal(net_offload_of(&h), NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
}

static int never(void *data, const uint8_t *f, size_t bytes)
{
    fail();
    return 0;
}

static void test_frames_that_are_not_what_the_header_says_are_refused(void **state)
{
    uint8_t f[200], scratch[NET_FRAME_MAX];
    size_t bytes = make_frame(f, false, true, 100);
    struct virtio_net_hdr h = header(true, true, 10);
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, never, NULL), -EINVAL);
    h = header(false, true, 10);
    f[TCP_AT + 12] = 4 << 4; /* shorter than a TCP header */
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, never, NULL), -EINVAL);
    f[TCP_AT + 12] = 15 << 4; /* longer than the frame */
    assert_int_equal(net_offload_segment(&h, f, TCP_AT + 20, scratch, never, NULL), -EINVAL);
    f[TCP_AT + 12] = 5 << 4;
    f[14] = 0x44; /* shorter than an IP header */
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, never, NULL), -EINVAL);
    f[14] = 0x4f; /* reaches into TCP */
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, never, NULL), -EINVAL);
    f[14] = 0x45;
    h.csum_offset = 6;
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, never, NULL), -EINVAL);
    h = header(false, true, 10);
    h.csum_start = 14;
    assert_int_equal(net_offload_segment(&h, f, bytes, scratch, never, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_of_all_lengths),
        cmocka_unit_test(test_segments_add_up),
        cmocka_unit_test(test_flags_and_identification),
        cmocka_unit_test(test_what_emit_returns_ends_it),
        cmocka_unit_test(test_partial_checksums_are_completed),
        cmocka_unit_test(test_headers_that_lie_are_refused),
        cmocka_unit_test(test_headers_become_plain),
        cmocka_unit_test(test_frames_that_are_not_what_the_header_says_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
