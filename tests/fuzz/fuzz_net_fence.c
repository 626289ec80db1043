/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_net_fence.c: a fence that is sent frames by both sides. The input is a row of records: one
 * byte that says from where, two of length, then the frame behind its Ethernet addresses. What
 * passes must be what the policy allows.
 */
#include "net/fence.h"
#include "net/packet.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 1};
static uint64_t now = 1000000000;

static uint64_t clock_of_ours(void)
{
    return now;
}

/* Nothing of the guest reaches the denied range. */
static int below_send(struct net_link *link, const struct net_frame *frame)
{
    static uint8_t copy[NET_FRAME_MAX];
    struct net_packet p;
    size_t at = 0;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(copy + at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += frame->iov[i].iov_len;
    }
    assert(at == frame->bytes);
    int rc = net_packet_parse(copy, at, &p);
    assert(rc == 0 && p.kind != NET_PACKET_OTHER && !p.mapped);
    assert(memcmp(p.src_mac, mac, 6) == 0);
    if (p.kind == NET_PACKET_IP && workload_address_is_v4(&p.ends.dst))
        assert(workload_address_v4(&p.ends.dst)[0] != 127);
    return 0;
}

static void below_resume(struct net_link *link)
{
}

static void below_free(struct net_link *link)
{
}

static int upper_receive(void *data, const struct net_frame *frame)
{
    static uint8_t copy[NET_FRAME_MAX];
    size_t at = 0;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(copy + at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += frame->iov[i].iov_len;
    }
    return 0;
}

static void upper_sendable(void *data)
{
}

static void feed(struct net_link *fence, struct net_link *below, uint8_t from, const uint8_t *bytes,
                 size_t len)
{
    uint8_t frame[2048] = {0};
    struct net_frame whole = {.num_iov = 1};
    memcpy(frame + 6, mac, 6);
    memcpy(frame + 12, bytes, len);
    struct iovec piece = {.iov_base = frame, .iov_len = 12 + len};
    whole.iov = &piece;
    whole.bytes = piece.iov_len;
    if (from & 2) {
        whole.hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        whole.hdr.csum_start = 34;
        whole.hdr.csum_offset = 16;
    }
    now += (uint64_t)(from >> 4) * 1000000000;
    if (from & 1)
        below->upper.receive(below->upper.data, &whole);
    else
        net_link_send(fence, &whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct net_link_class below_class = {
        .name = "fuzz", .send = below_send, .resume = below_resume, .free = below_free};
    struct net_link below = {.class = &below_class, .mtu = 1500}, *fence;
    struct net_fence_options o = {
        .loop = pv_loop_new(), .num_addresses = 2, .num_dns = 1, .now = clock_of_ours};
    memcpy(o.mac, mac, 6);
    workload_address_parse("10.0.2.15", &o.addresses[0]);
    workload_address_parse("fd00::15", &o.addresses[1]);
    workload_address_parse("10.0.2.3", &o.dns[0]);
    if (net_fence_new(&o, &below, &fence, NULL) == 0) {
        fence->upper = (struct net_upper){.receive = upper_receive, .sendable = upper_sendable};
        while (size > 3) {
            size_t len = net_packet_u16(data + 1) % 2000;
            len = len < size - 3 ? len : size - 3;
            feed(fence, &below, data[0], data + 3, len);
            data += 3 + len;
            size -= 3 + len;
        }
        net_link_resume(fence);
        net_link_free(fence);
    }
    pv_loop_free(o.loop);
    return 0;
}
