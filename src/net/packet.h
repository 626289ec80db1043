/* SPDX-License-Identifier: Apache-2.0
 *
 * packet.h: what an Ethernet frame says, read from its first bytes with every length checked.
 *
 * Spec: RFC 826 (ARP), 791 and 6864 (IPv4), 8200 (IPv6), 9293 (TCP), 768 (UDP), 792 and 4443
 * (ICMP), 4861 (neighbours).
 */
#ifndef NET_PACKET_H
#define NET_PACKET_H

#include "workload/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As much of a frame as the parser looks at: Ethernet, IPv6 with its extension headers or IPv4 with
 * its options, TCP with its options, or an ICMP error with the packet that it is about. */
#define NET_PACKET_HEAD_MAX 320u
#define NET_ETHERNET_BYTES 14u

#define NET_TCP_FIN 0x01
#define NET_TCP_SYN 0x02
#define NET_TCP_RST 0x04
#define NET_TCP_PSH 0x08
#define NET_TCP_ACK 0x10

enum net_packet_kind {
    NET_PACKET_ARP,
    NET_PACKET_IP,
    NET_PACKET_OTHER, /* another ethertype, VLAN tags included: only the Ethernet header is known */
};

enum net_fragment {
    NET_FRAGMENT_WHOLE, /* not fragmented */
    NET_FRAGMENT_FIRST, /* has the transport's header */
    NET_FRAGMENT_LATER, /* protocol is known, ports are not */
};

/* The ends of a conversation. Echo requests and replies have their identifier as both ports. */
struct net_packet_ends {
    struct workload_address src, dst;
    uint16_t src_port, dst_port; /* 0 where the protocol has none */
    uint8_t protocol;            /* IPPROTO_*; both ICMPs are IPPROTO_ICMP */
};

struct net_packet {
    enum net_packet_kind kind;
    uint8_t dst_mac[6], src_mac[6];
    uint16_t ethertype;

    /* ARP */
    uint16_t arp_op;
    uint8_t arp_sender_mac[6];
    struct workload_address arp_sender, arp_target;

    /* IP */
    bool v6;
    /* Of an IPv6 packet: an address is in the form of an IPv4-mapped one, which may not appear on
     * a wire. ends.src and ends.dst are then not to be believed. */
    bool mapped;
    struct net_packet_ends ends;
    enum net_fragment fragment;
    uint32_t fragment_id;
    bool more_fragments;
    uint16_t fragment_at;   /* bytes before this fragment */
    size_t l3, l4, payload; /* offsets in the frame; payload: behind the transport's header */
    size_t end;             /* where the IP packet ends; what follows is padding */
    uint8_t tcp_flags;
    uint32_t tcp_seq, tcp_ack;
    uint16_t tcp_window;
    uint8_t icmp_type, icmp_code;
    bool is_error;                            /* an ICMP error; inner says about which packet */
    struct net_packet_ends inner;             /* protocol 0 when it cannot be told */
    bool is_neighbour;                        /* ICMPv6 133 to 137 with the hop limit of 255 */
    struct workload_address neighbour_target; /* of a solicitation or advertisement */
};

/* Reads a frame. head: its first bytes, min(frame_bytes, NET_PACKET_HEAD_MAX) of them. 0, or
 * -EBADMSG when the frame contradicts itself or is too long to be read in its first bytes. */
int net_packet_parse(const uint8_t *head, size_t frame_bytes, struct net_packet *ret_packet);

/* The Internet checksum over pieces: add each (all but the last of even length), then finish. */
uint32_t net_packet_sum(uint32_t sum, const void *bytes, size_t len);
uint16_t net_packet_sum_finish(uint32_t sum);

static inline uint16_t net_packet_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t net_packet_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void net_packet_put_u16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}
static inline void net_packet_put_u32(uint8_t *p, uint32_t value)
{
    net_packet_put_u16(p, (uint16_t)(value >> 16));
    net_packet_put_u16(p + 2, (uint16_t)value);
}

#endif
