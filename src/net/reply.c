/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.c: frames that we say ourselves.
 */
#include "net/reply.h"

#include "base/attr.h"

#include <assert.h>
#include <netinet/in.h>

#define V4_BYTES 20u
#define V6_BYTES 40u
#define TTL 64
#define QUOTE_MAX 128u /* of the packet that an ICMP error is about */

struct net_reply_path net_reply_back(const struct net_packet *p)
{
    struct net_reply_path path;
    memcpy(path.src_mac, p->dst_mac, 6);
    memcpy(path.dst_mac, p->src_mac, 6);
    path.ends = (struct net_packet_ends){.src = p->ends.dst,
                                         .dst = p->ends.src,
                                         .src_port = p->ends.dst_port,
                                         .dst_port = p->ends.src_port,
                                         .protocol = p->ends.protocol};
    return path;
}

static bool is_v6(const struct net_reply_path *path)
{
    return !workload_address_is_v4(&path->ends.dst);
}

static size_t ip_bytes(const struct net_reply_path *path)
{
    return is_v6(path) ? V6_BYTES : V4_BYTES;
}

static void put_ethernet(uint8_t *frame, const uint8_t dst[6], const uint8_t src[6], uint16_t type)
{
    memcpy(frame, dst, 6);
    memcpy(frame + 6, src, 6);
    net_packet_put_u16(frame + 12, type);
}

/* Writes Ethernet and IP headers for len bytes of protocol (as in the header) behind them. */
static void put_ip(uint8_t *frame, const struct net_reply_path *path, uint8_t protocol, size_t len,
                   uint8_t hops)
{
    uint8_t *ip = frame + NET_ETHERNET_BYTES;
    if (is_v6(path)) {
        put_ethernet(frame, path->dst_mac, path->src_mac, 0x86dd);
        memset(ip, 0, V6_BYTES);
        ip[0] = 0x60;
        net_packet_put_u16(ip + 4, (uint16_t)len);
        ip[6] = protocol;
        ip[7] = hops;
        memcpy(ip + 8, path->ends.src.bytes, 16);
        memcpy(ip + 24, path->ends.dst.bytes, 16);
        return;
    }
    put_ethernet(frame, path->dst_mac, path->src_mac, 0x0800);
    memset(ip, 0, V4_BYTES);
    ip[0] = 0x45;
    net_packet_put_u16(ip + 2, (uint16_t)(V4_BYTES + len));
    ip[6] = 0x40; /* don't fragment: the identification may stay zero (RFC 6864) */
    ip[8] = hops;
    ip[9] = protocol;
    memcpy(ip + 12, workload_address_v4(&path->ends.src), 4);
    memcpy(ip + 16, workload_address_v4(&path->ends.dst), 4);
    net_packet_put_u16(ip + 10, net_packet_sum_finish(net_packet_sum(0, ip, V4_BYTES)));
}

/* Puts the checksum at `at` of the transport's len bytes (there still zero). */
static void put_sum(uint8_t *l4, size_t len, size_t at, const struct net_reply_path *path,
                    uint8_t protocol)
{
    uint8_t tail[8] = {0};
    size_t bytes = is_v6(path) ? 16 : 4;
    net_packet_put_u32(tail, (uint32_t)len);
    tail[7] = protocol;
    uint32_t sum = net_packet_sum(0, path->ends.src.bytes + 16 - bytes, bytes);
    sum = net_packet_sum(sum, path->ends.dst.bytes + 16 - bytes, bytes);
    sum = net_packet_sum(sum, tail, sizeof(tail));
    uint16_t value = net_packet_sum_finish(net_packet_sum(sum, l4, len));
    net_packet_put_u16(l4 + at, protocol == IPPROTO_UDP && value == 0 ? 0xffff : value);
}

size_t net_reply_segment(uint8_t *frame, const struct net_reply_path *path, uint32_t seq,
                         uint32_t ack, uint8_t flags, uint16_t window, const uint8_t *options,
                         size_t option_bytes, const void *data, size_t len)
{
    size_t header = 20 + option_bytes;
    uint8_t *tcp = frame + NET_ETHERNET_BYTES + ip_bytes(path);
    assert(option_bytes % 4 == 0 && option_bytes <= 4);
    put_ip(frame, path, IPPROTO_TCP, header + len, TTL);
    memset(tcp, 0, 20);
    net_packet_put_u16(tcp, path->ends.src_port);
    net_packet_put_u16(tcp + 2, path->ends.dst_port);
    net_packet_put_u32(tcp + 4, seq);
    net_packet_put_u32(tcp + 8, ack);
    tcp[12] = (uint8_t)(header / 4 << 4);
    tcp[13] = flags;
    net_packet_put_u16(tcp + 14, window);
    if (option_bytes)
        memcpy(tcp + 20, options, option_bytes);
    if (len)
        memcpy(tcp + header, data, len);
    put_sum(tcp, header + len, 16, path, IPPROTO_TCP);
    return (size_t)(tcp - frame) + header + len;
}

size_t net_reply_datagram(uint8_t *frame, const struct net_reply_path *path, const void *data,
                          size_t len)
{
    uint8_t *udp = frame + NET_ETHERNET_BYTES + ip_bytes(path);
    assert(len <= UINT16_MAX - V6_BYTES - 8);
    put_ip(frame, path, IPPROTO_UDP, 8 + len, TTL);
    net_packet_put_u16(udp, path->ends.src_port);
    net_packet_put_u16(udp + 2, path->ends.dst_port);
    net_packet_put_u16(udp + 4, (uint16_t)(8 + len));
    net_packet_put_u16(udp + 6, 0);
    memcpy(udp + 8, data, len);
    put_sum(udp, 8 + len, 6, path, IPPROTO_UDP);
    return (size_t)(udp - frame) + 8 + len;
}

size_t net_reply_reset(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p)
{
    struct net_reply_path path = net_reply_back(p);
    uint32_t len = (uint32_t)(p->end - p->payload) + !!(p->tcp_flags & NET_TCP_SYN) +
                   !!(p->tcp_flags & NET_TCP_FIN);
    if (p->tcp_flags & NET_TCP_ACK)
        return net_reply_segment(frame, &path, p->tcp_ack, 0, NET_TCP_RST, 0, NULL, 0, NULL, 0);
    return net_reply_segment(frame, &path, 0, p->tcp_seq + len, NET_TCP_RST | NET_TCP_ACK, 0, NULL,
                             0, NULL, 0);
}

/* "Destination unreachable" with the code of each family. */
static size_t say_unreachable(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                              const uint8_t *head, uint8_t code4, uint8_t code6)
{
    struct net_reply_path path = net_reply_back(p);
    bool v6 = is_v6(&path);
    uint8_t *icmp = frame + NET_ETHERNET_BYTES + ip_bytes(&path);
    size_t known = PV_MIN(p->end, (size_t)NET_PACKET_HEAD_MAX);
    size_t quote = PV_MIN(known - p->l3, (size_t)QUOTE_MAX);
    put_ip(frame, &path, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 8 + quote, TTL);
    memset(icmp, 0, 8);
    icmp[0] = v6 ? 1 : 3;
    icmp[1] = v6 ? code6 : code4;
    memcpy(icmp + 8, head + p->l3, quote);
    if (v6)
        put_sum(icmp, 8 + quote, 2, &path, IPPROTO_ICMPV6);
    else
        net_packet_put_u16(icmp + 2, net_packet_sum_finish(net_packet_sum(0, icmp, 8 + quote)));
    return (size_t)(icmp - frame) + 8 + quote;
}

size_t net_reply_prohibited(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                            const uint8_t *head)
{
    return say_unreachable(frame, p, head, 13, 1); /* communication administratively prohibited */
}

size_t net_reply_unreachable(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                             const uint8_t *head, bool host)
{
    return host ? say_unreachable(frame, p, head, 1, 3) : say_unreachable(frame, p, head, 0, 0);
}

size_t net_reply_echo6(uint8_t *frame, const struct net_reply_path *path, const void *body,
                       size_t len)
{
    uint8_t *icmp = frame + NET_ETHERNET_BYTES + V6_BYTES;
    put_ip(frame, path, IPPROTO_ICMPV6, 4 + len, TTL);
    memset(icmp, 0, 4);
    icmp[0] = 129;
    memcpy(icmp + 4, body, len);
    put_sum(icmp, 4 + len, 2, path, IPPROTO_ICMPV6);
    return (size_t)(icmp - frame) + 4 + len;
}

size_t net_reply_arp(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                     const uint8_t mac[6])
{
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 2}; /* Ethernet, IPv4, reply */
    uint8_t *arp = frame + NET_ETHERNET_BYTES;
    put_ethernet(frame, p->src_mac, mac, 0x0806);
    memcpy(arp, head, sizeof(head));
    memcpy(arp + 8, mac, 6);
    memcpy(arp + 14, workload_address_v4(&p->arp_target), 4);
    memcpy(arp + 18, p->arp_sender_mac, 6);
    memcpy(arp + 24, workload_address_v4(&p->arp_sender), 4);
    return NET_ETHERNET_BYTES + 28;
}

size_t net_reply_neighbour(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                           const uint8_t mac[6])
{
    struct net_reply_path path = net_reply_back(p);
    uint8_t *icmp = frame + NET_ETHERNET_BYTES + V6_BYTES;
    path.ends.src = p->neighbour_target;
    memcpy(path.src_mac, mac, 6);
    put_ip(frame, &path, IPPROTO_ICMPV6, 32, 255);
    memset(icmp, 0, 32);
    icmp[0] = 136;
    icmp[4] = 0x60; /* solicited, override */
    memcpy(icmp + 8, p->neighbour_target.bytes, 16);
    icmp[24] = 2; /* target link-layer address */
    icmp[25] = 1;
    memcpy(icmp + 26, mac, 6);
    put_sum(icmp, 32, 2, &path, IPPROTO_ICMPV6);
    return NET_ETHERNET_BYTES + V6_BYTES + 32;
}
