/* SPDX-License-Identifier: Apache-2.0
 *
 * packet.c: what an Ethernet frame says.
 * Trust:    every byte was written by a guest or by a remote machine. A length is believed only
 *           when the bytes are there, and nothing is read twice.
 */
#include "net/packet.h"

#include <errno.h>
#include <netinet/in.h>

#define ETHERTYPE_V4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_V6 0x86dd

#define ARP_BYTES 28u
#define V4_BYTES 20u
#define V6_BYTES 40u
#define TCP_BYTES 20u
#define UDP_BYTES 8u
#define ICMP_BYTES 8u
#define EXTENSIONS_MAX 8

#define IPPROTO_HOPOPTS_ 0 /* <netinet/in.h> has it as a macro of another type */

/* The bytes that are there, and where the packet ends by its own word. */
struct view {
    const uint8_t *head;
    size_t known; /* bytes at head */
    size_t end;   /* of the packet, >= known */
};

static bool has(const struct view *v, size_t at, size_t len)
{
    return at <= v->known && len <= v->known - at;
}

static int parse_arp(const struct view *v, struct net_packet *p)
{
    const uint8_t *arp = v->head + p->l3;
    if (!has(v, p->l3, ARP_BYTES) || net_packet_u16(arp) != 1 ||
        net_packet_u16(arp + 2) != ETHERTYPE_V4 || arp[4] != 6 || arp[5] != 4)
        return -EBADMSG;
    p->kind = NET_PACKET_ARP;
    p->end = p->l3 + ARP_BYTES;
    p->arp_op = net_packet_u16(arp + 6);
    memcpy(p->arp_sender_mac, arp + 8, 6);
    p->arp_sender = workload_address_from_v4(arp + 14);
    p->arp_target = workload_address_from_v4(arp + 24);
    return 0;
}

/* -- the transport's header -- */

/* Reads the ports of a packet that an ICMP error quotes; quotes may be cut after 8 bytes. */
static void parse_inner(const struct view *v, size_t at, bool v6, struct net_packet *p)
{
    const uint8_t *ip = v->head + at;
    struct net_packet_ends e = {0};
    size_t l4;
    if (!has(v, at, v6 ? V6_BYTES : V4_BYTES) || ip[0] >> 4 != (v6 ? 6 : 4))
        return;
    if (v6) { /* without extension headers: ours has none, and others cannot be matched */
        e.src = workload_address_from_v6(ip + 8);
        e.dst = workload_address_from_v6(ip + 24);
        e.protocol = ip[6] == IPPROTO_ICMPV6 ? IPPROTO_ICMP : ip[6];
        l4 = at + V6_BYTES;
        if (workload_address_is_v4(&e.src) || workload_address_is_v4(&e.dst))
            return;
    } else {
        e.src = workload_address_from_v4(ip + 12);
        e.dst = workload_address_from_v4(ip + 16);
        e.protocol = ip[9];
        l4 = at + (ip[0] & 15) * 4u;
        if ((ip[0] & 15) * 4u < V4_BYTES || net_packet_u16(ip + 6) & 0x1fff)
            return;
    }
    if (!has(v, l4, 8))
        return;
    if (e.protocol == IPPROTO_TCP || e.protocol == IPPROTO_UDP) {
        e.src_port = net_packet_u16(v->head + l4);
        e.dst_port = net_packet_u16(v->head + l4 + 2);
    } else if (e.protocol == IPPROTO_ICMP) {
        e.src_port = e.dst_port = net_packet_u16(v->head + l4 + 4);
    }
    p->inner = e;
}

static bool is_error_type(const struct net_packet *p)
{
    if (p->v6)
        return p->icmp_type < 128;
    return p->icmp_type == 3 || p->icmp_type == 4 || p->icmp_type == 5 || p->icmp_type == 11 ||
           p->icmp_type == 12;
}

static bool is_echo(const struct net_packet *p)
{
    return p->v6 ? p->icmp_type == 128 || p->icmp_type == 129
                 : p->icmp_type == 8 || p->icmp_type == 0;
}

static int parse_neighbour(const struct view *v, struct net_packet *p)
{
    /* Only a packet that no router has touched (RFC 4861, 6.1 and 7.1). */
    if (v->head[p->l3 + 7] != 255 || p->icmp_code != 0 || p->fragment != NET_FRAGMENT_WHOLE)
        return -EBADMSG;
    p->is_neighbour = true;
    if (p->icmp_type != 135 && p->icmp_type != 136)
        return 0;
    if (!has(v, p->l4, 24))
        return -EBADMSG;
    p->neighbour_target = workload_address_from_v6(v->head + p->l4 + 8);
    return 0;
}

static int parse_icmp(const struct view *v, struct net_packet *p)
{
    const uint8_t *icmp = v->head + p->l4;
    if (!has(v, p->l4, ICMP_BYTES))
        return -EBADMSG;
    p->ends.protocol = IPPROTO_ICMP;
    p->icmp_type = icmp[0];
    p->icmp_code = icmp[1];
    p->payload = p->l4 + ICMP_BYTES;
    if (is_echo(p)) {
        p->ends.src_port = p->ends.dst_port = net_packet_u16(icmp + 4);
    } else if (is_error_type(p)) {
        p->is_error = true;
        parse_inner(v, p->payload, p->v6, p);
    } else if (p->v6 && p->icmp_type >= 133 && p->icmp_type <= 137) {
        return parse_neighbour(v, p);
    }
    return 0;
}

static int parse_tcp(const struct view *v, struct net_packet *p)
{
    const uint8_t *tcp = v->head + p->l4;
    if (!has(v, p->l4, TCP_BYTES))
        return -EBADMSG;
    size_t len = (tcp[12] >> 4) * 4u;
    if (len < TCP_BYTES || !has(v, p->l4, len))
        return -EBADMSG;
    p->ends.src_port = net_packet_u16(tcp);
    p->ends.dst_port = net_packet_u16(tcp + 2);
    p->tcp_seq = net_packet_u32(tcp + 4);
    p->tcp_ack = net_packet_u32(tcp + 8);
    p->tcp_flags = tcp[13];
    p->tcp_window = net_packet_u16(tcp + 14);
    p->payload = p->l4 + len;
    return 0;
}

static int parse_udp(const struct view *v, struct net_packet *p)
{
    const uint8_t *udp = v->head + p->l4;
    if (!has(v, p->l4, UDP_BYTES))
        return -EBADMSG;
    size_t len = net_packet_u16(udp + 4);
    /* A length of 0 means "to the end" in a segmented frame only. */
    if (len && (len < UDP_BYTES || (p->fragment == NET_FRAGMENT_WHOLE && len > v->end - p->l4)))
        return -EBADMSG;
    p->ends.src_port = net_packet_u16(udp);
    p->ends.dst_port = net_packet_u16(udp + 2);
    p->payload = p->l4 + UDP_BYTES;
    return 0;
}

static int parse_transport(const struct view *v, struct net_packet *p)
{
    p->payload = p->l4;
    if (p->fragment == NET_FRAGMENT_LATER) {
        if (p->ends.protocol == IPPROTO_ICMPV6)
            p->ends.protocol = IPPROTO_ICMP;
        return 0;
    }
    switch (p->ends.protocol) {
    case IPPROTO_TCP:
        return parse_tcp(v, p);
    case IPPROTO_UDP:
        return parse_udp(v, p);
    case IPPROTO_ICMP:
        return p->v6 ? -EBADMSG : parse_icmp(v, p);
    case IPPROTO_ICMPV6:
        return p->v6 ? parse_icmp(v, p) : -EBADMSG;
    default:
        return 0;
    }
}

/* -- IP -- */

static int set_end(struct view *v, struct net_packet *p, size_t bytes)
{
    if (bytes > v->end - p->l3)
        return -EBADMSG;
    v->end = p->end = p->l3 + bytes;
    if (v->known > v->end)
        v->known = v->end;
    return 0;
}

/* at: bytes before this fragment; the fragments of a packet must fit into 64 KiB. */
static int set_fragment(const struct view *v, struct net_packet *p, uint32_t id, size_t at,
                        bool more)
{
    size_t bytes = v->end - p->l4;
    if (at == 0 && !more)
        return 0; /* an atomic fragment */
    if (at + bytes > UINT16_MAX || (more && (bytes == 0 || bytes % 8)))
        return -EBADMSG;
    p->fragment = at ? NET_FRAGMENT_LATER : NET_FRAGMENT_FIRST;
    p->fragment_id = id;
    p->fragment_at = (uint16_t)at;
    p->more_fragments = more;
    return 0;
}

static int parse_v4(struct view *v, struct net_packet *p)
{
    const uint8_t *ip = v->head + p->l3;
    if (!has(v, p->l3, V4_BYTES) || ip[0] >> 4 != 4)
        return -EBADMSG;
    size_t len = (ip[0] & 15) * 4u;
    size_t total = net_packet_u16(ip + 2);
    if (len < V4_BYTES || total < len || set_end(v, p, total) < 0 || !has(v, p->l3, len))
        return -EBADMSG;
    unsigned flags = net_packet_u16(ip + 6);
    p->kind = NET_PACKET_IP;
    p->ends.src = workload_address_from_v4(ip + 12);
    p->ends.dst = workload_address_from_v4(ip + 16);
    p->ends.protocol = ip[9];
    p->l4 = p->l3 + len;
    int rc = set_fragment(v, p, net_packet_u16(ip + 4), (flags & 0x1fff) * 8u, flags & 0x2000);
    return rc < 0 ? rc : parse_transport(v, p);
}

static bool is_extension(uint8_t next)
{
    return next == IPPROTO_HOPOPTS_ || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
           next == IPPROTO_DSTOPTS;
}

/* Walks the extension headers up to the transport's. */
static int walk_extensions(const struct view *v, struct net_packet *p, uint8_t next)
{
    for (unsigned n = 0; is_extension(next) && p->fragment != NET_FRAGMENT_LATER; n++) {
        const uint8_t *h = v->head + p->l4;
        if (n == EXTENSIONS_MAX || !has(v, p->l4, 8))
            return -EBADMSG;
        size_t len = next == IPPROTO_FRAGMENT ? 8 : (h[1] + 1u) * 8;
        if (!has(v, p->l4, len) || (next == IPPROTO_HOPOPTS_ && n))
            return -EBADMSG;
        if (next == IPPROTO_ROUTING) /* a way around the destination that was checked */
            return -EBADMSG;
        p->l4 += len;
        if (next == IPPROTO_FRAGMENT) {
            unsigned at = net_packet_u16(h + 2);
            if (p->fragment != NET_FRAGMENT_WHOLE ||
                set_fragment(v, p, net_packet_u32(h + 4), at & 0xfff8, at & 1) < 0)
                return -EBADMSG;
        }
        next = h[0];
    }
    p->ends.protocol = next;
    return 0;
}

static int parse_v6(struct view *v, struct net_packet *p)
{
    const uint8_t *ip = v->head + p->l3;
    if (!has(v, p->l3, V6_BYTES) || ip[0] >> 4 != 6)
        return -EBADMSG;
    if (set_end(v, p, V6_BYTES + net_packet_u16(ip + 4)) < 0)
        return -EBADMSG;
    p->kind = NET_PACKET_IP;
    p->v6 = true;
    p->ends.src = workload_address_from_v6(ip + 8);
    p->ends.dst = workload_address_from_v6(ip + 24);
    p->mapped = workload_address_is_v4(&p->ends.src) || workload_address_is_v4(&p->ends.dst);
    p->l4 = p->l3 + V6_BYTES;
    int rc = walk_extensions(v, p, ip[6]);
    return rc < 0 ? rc : parse_transport(v, p);
}

int net_packet_parse(const uint8_t *head, size_t frame_bytes, struct net_packet *ret_packet)
{
    struct view v = {.head = head,
                     .known = frame_bytes < NET_PACKET_HEAD_MAX ? frame_bytes : NET_PACKET_HEAD_MAX,
                     .end = frame_bytes};
    struct net_packet p = {.kind = NET_PACKET_OTHER, .l3 = NET_ETHERNET_BYTES, .end = frame_bytes};
    int rc = 0;
    if (!has(&v, 0, NET_ETHERNET_BYTES))
        return -EBADMSG;
    memcpy(p.dst_mac, head, 6);
    memcpy(p.src_mac, head + 6, 6);
    p.ethertype = net_packet_u16(head + 12);
    if (p.ethertype == ETHERTYPE_ARP)
        rc = parse_arp(&v, &p);
    else if (p.ethertype == ETHERTYPE_V4)
        rc = parse_v4(&v, &p);
    else if (p.ethertype == ETHERTYPE_V6)
        rc = parse_v6(&v, &p);
    if (rc == 0)
        *ret_packet = p;
    return rc;
}

uint32_t net_packet_sum(uint32_t sum, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint64_t total = sum;
    for (; len > 1; p += 2, len -= 2)
        total += net_packet_u16(p);
    if (len)
        total += (uint32_t)p[0] << 8;
    while (total >> 32)
        total = (total & UINT32_MAX) + (total >> 32);
    return (uint32_t)total;
}

uint16_t net_packet_sum_finish(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}
