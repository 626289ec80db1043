/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_output.c: segments for the guest.
 *
 * Their checksums are partial (the sum of the pseudo header): a guest that knows such frames needs
 * no more, and the card completes them for one that does not.
 */
#include "net/tcp_internal.h"

#include <errno.h>
#include <netinet/in.h>

#define TCP_HEADER 20u
#define HEADER_MAX (NET_ETHERNET_BYTES + 40u + TCP_HEADER + 8u)
#define TTL 64
#define ETHERTYPE_V4 0x0800
#define ETHERTYPE_V6 0x86dd

/* A segment to be made. */
struct segment {
    uint32_t seq;
    uint8_t flags;
    size_t at, len; /* of to_guest */
};

/* -- the window of the guest -- */

static uint32_t most_to_host(const struct tcp_conn *c)
{
    const struct net_tcp_budget *b = &c->tcp->budget;
    if (!c->scaled)
        return UINT16_MAX;
    if (b->used < b->max / 2)
        return NET_TCP_RING_MAX;
    return b->used < b->max / 4 * 3 ? NET_TCP_RING_MAX / 4 : UINT16_MAX;
}

uint32_t tcp_output_edge(const struct tcp_conn *c)
{
    uint32_t most = most_to_host(c), used = c->to_host.used;
    uint32_t edge = c->rcv_nxt + (most > used ? most - used : 0);
    int32_t more = (int32_t)(edge - c->rcv_edge);
    /* What was promised stays; and nothing is gained by promising little (RFC 9293, 3.8.6.2.2). */
    if (more < 0 || (used && (uint32_t)more < PV_MIN(most / 4, (uint32_t)c->mss)))
        return c->rcv_edge;
    return edge;
}

/* -- headers -- */

static size_t put_ip(const struct tcp_conn *c, uint8_t *frame, size_t len)
{
    uint8_t *ip = frame + NET_ETHERNET_BYTES;
    bool v4 = workload_address_is_v4(&c->ends.src);
    memcpy(frame, c->guest_mac, 6);
    memcpy(frame + 6, c->gateway_mac, 6);
    net_packet_put_u16(frame + 12, v4 ? ETHERTYPE_V4 : ETHERTYPE_V6);
    if (!v4) {
        net_packet_put_u32(ip, 0x60000000);
        net_packet_put_u16(ip + 4, (uint16_t)len);
        ip[6] = IPPROTO_TCP;
        ip[7] = TTL;
        memcpy(ip + 8, c->ends.dst.bytes, 16);
        memcpy(ip + 24, c->ends.src.bytes, 16);
        return NET_ETHERNET_BYTES + 40;
    }
    net_packet_put_u32(ip, 0x45000000 | (uint32_t)(20 + len));
    net_packet_put_u32(ip + 4, 0x4000); /* don't fragment */
    net_packet_put_u32(ip + 8, TTL << 24 | IPPROTO_TCP << 16);
    memcpy(ip + 12, workload_address_v4(&c->ends.dst), 4);
    memcpy(ip + 16, workload_address_v4(&c->ends.src), 4);
    net_packet_put_u16(ip + 10, net_packet_sum_finish(net_packet_sum(0, ip, 20)));
    return NET_ETHERNET_BYTES + 20;
}

/* Addresses, protocol, length: what NEEDS_CSUM wants to find in the field. */
static uint16_t partial_sum(const struct tcp_conn *c, size_t len)
{
    bool v4 = workload_address_is_v4(&c->ends.src);
    size_t skip = v4 ? 12 : 0;
    uint32_t sum = net_packet_sum(IPPROTO_TCP, c->ends.src.bytes + skip, 16 - skip);
    sum = net_packet_sum(sum, c->ends.dst.bytes + skip, 16 - skip);
    uint8_t bytes[4];
    net_packet_put_u32(bytes, (uint32_t)len);
    return (uint16_t)~net_packet_sum_finish(net_packet_sum(sum, bytes, sizeof(bytes)));
}

static size_t put_options(const struct tcp_conn *c, uint8_t *at)
{
    bool v4 = workload_address_is_v4(&c->ends.src);
    /* Ours is offered with the first SYN; an answer has it only when the guest offered its own. */
    bool scale = c->state == CONN_ASKING || c->scaled;
    net_packet_put_u32(at, 0x02040000 | (c->tcp->o.mtu - (v4 ? 20u : 40u) - TCP_HEADER));
    if (scale)
        net_packet_put_u32(at + 4, 0x01030300 | TCP_SCALE);
    return scale ? 8 : 4;
}

/* Gives one segment to the guest. 0 or -EAGAIN. It may be gone then. */
static int emit(struct tcp_conn *c, const struct segment *s)
{
    struct net_tcp *t = c->tcp;
    uint8_t header[HEADER_MAX];
    struct iovec pieces[3] = {{.iov_base = header}};
    bool syn = s->flags & NET_TCP_SYN;
    if (t->blocked) {
        tcp_conn_schedule(c);
        return -EAGAIN;
    }
    uint32_t edge = tcp_output_edge(c);
    uint32_t window = (edge - c->rcv_nxt) >> (c->scaled && !syn ? TCP_SCALE : 0);
    size_t options = 0;
    uint8_t *tcp = header + NET_ETHERNET_BYTES + (workload_address_is_v4(&c->ends.src) ? 20 : 40);
    memset(tcp, 0, TCP_HEADER);
    if (syn)
        options = put_options(c, tcp + TCP_HEADER);
    size_t tcp_bytes = TCP_HEADER + options + s->len;
    size_t l4 = put_ip(c, header, tcp_bytes);
    net_packet_put_u16(tcp, c->ends.dst_port);
    net_packet_put_u16(tcp + 2, c->ends.src_port);
    net_packet_put_u32(tcp + 4, s->seq);
    if (s->flags & NET_TCP_ACK)
        net_packet_put_u32(tcp + 8, c->rcv_nxt);
    tcp[12] = (uint8_t)((TCP_HEADER + options) / 4 << 4);
    tcp[13] = s->flags;
    if (!(s->flags & NET_TCP_RST))
        net_packet_put_u16(tcp + 14, (uint16_t)PV_MIN(window, (uint32_t)UINT16_MAX));
    net_packet_put_u16(tcp + 16, partial_sum(c, tcp_bytes));
    pieces[0].iov_len = l4 + TCP_HEADER + options;
    unsigned num = 1 + net_tcp_ring_at(&c->to_guest, s->at, s->len, pieces + 1);
    struct net_frame frame = {.hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                      .csum_start = (uint16_t)l4,
                                      .csum_offset = 16},
                              .iov = pieces,
                              .num_iov = num,
                              .bytes = l4 + tcp_bytes};
    if (t->o.give(t->o.data, &frame) == -EAGAIN) {
        t->blocked = true;
        tcp_conn_schedule(c);
        return -EAGAIN;
    }
    c->rcv_edge = edge;
    c->ack_due = false;
    return 0;
}

void tcp_output_frame(struct net_tcp *t, uint8_t *bytes, size_t len)
{
    struct iovec piece = {bytes, len};
    struct net_frame frame = {
        .hdr = {.flags = VIRTIO_NET_HDR_F_DATA_VALID}, .iov = &piece, .num_iov = 1, .bytes = len};
    if (!t->blocked && t->o.give(t->o.data, &frame) == -EAGAIN)
        t->blocked = true;
}

/* -- what there is to say -- */

uint32_t tcp_output_unsent(const struct tcp_conn *c)
{
    uint32_t in_flight = c->snd_nxt - c->snd_una - (c->fin_sent && !c->fin_acked);
    return c->to_guest.used - in_flight;
}

void tcp_output_ack(struct tcp_conn *c)
{
    emit(c, &(struct segment){.seq = c->snd_nxt, .flags = NET_TCP_ACK});
}

void tcp_output_syn(struct tcp_conn *c)
{
    uint8_t flags = NET_TCP_SYN | (c->state == CONN_ANSWERED ? NET_TCP_ACK : 0);
    c->syn_due = emit(c, &(struct segment){.seq = c->iss, .flags = flags}) < 0;
}

/* A number that the guest has had: it must answer with what it waits for, and its window. */
void tcp_output_probe(struct tcp_conn *c)
{
    emit(c, &(struct segment){.seq = c->snd_una - 1, .flags = NET_TCP_ACK});
}

int tcp_output_reset(struct tcp_conn *c)
{
    uint32_t seq = c->state == CONN_CONNECTING ? 0 : c->snd_nxt;
    return emit(c, &(struct segment){.seq = seq, .flags = NET_TCP_RST | NET_TCP_ACK});
}

void tcp_output_again(struct tcp_conn *c)
{
    uint32_t sent = c->to_guest.used - tcp_output_unsent(c);
    struct segment s = {.seq = c->snd_una,
                        .flags = NET_TCP_ACK | NET_TCP_PSH,
                        .len = PV_MIN(sent, (uint32_t)c->mss)};
    if (c->fin_sent && s.len == sent)
        s.flags |= NET_TCP_FIN;
    c->tcp->counters[NET_TCP_RETRANSMITTED]++;
    emit(c, &s);
}

/* One more segment with data, an end, or both. False: there is none to be said now. */
static bool say_more(struct tcp_conn *c)
{
    uint32_t in_flight = c->snd_nxt - c->snd_una, unsent = tcp_output_unsent(c);
    uint32_t usable = c->snd_wnd > in_flight ? c->snd_wnd - in_flight : 0;
    uint32_t len = PV_MIN(unsent, usable);
    len = PV_MIN(len, (uint32_t)c->mss);
    bool fin = c->host_eof && !c->host_broken && !c->fin_sent && len == unsent;
    /* A part of what there is waits until the window has room for more, unless nothing else would
     * ever open it. */
    if (!fin && (!len || (len < unsent && len < c->mss && in_flight)))
        return false;
    struct segment s = {
        .seq = c->snd_nxt, .flags = NET_TCP_ACK, .at = c->to_guest.used - unsent, .len = len};
    s.flags |= len && len == unsent ? NET_TCP_PSH : 0;
    s.flags |= fin ? NET_TCP_FIN : 0;
    if (emit(c, &s) < 0 || c->state == CONN_GONE)
        return false;
    c->snd_nxt += len + fin;
    c->fin_sent |= fin;
    if (!c->due_ns)
        tcp_conn_arm(c, tcp_rto(c));
    return true;
}

void tcp_output(struct tcp_conn *c)
{
    unsigned n = 0;
    if (c->state == CONN_OPEN)
        while (n < TCP_SEGMENTS_PER_TURN && say_more(c))
            n++;
    if (c->state == CONN_GONE || c->tcp->blocked)
        return;
    if (c->ack_due)
        tcp_output_ack(c);
    if (c->state != CONN_OPEN)
        return;
    uint32_t unsent = tcp_output_unsent(c);
    if (c->host_broken && !unsent) { /* the guest has what came before */
        if (tcp_output_reset(c) < 0)
            return;
        c->tcp->counters[NET_TCP_RESET]++;
        tcp_conn_end(c, true);
        return;
    }
    if (n == TCP_SEGMENTS_PER_TURN)
        tcp_conn_schedule(c);
    if (unsent && !c->due_ns) /* the window is closed */
        tcp_conn_arm(c, tcp_rto(c));
}
