/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.h: frames that we say ourselves, whole and with checksums: the fence's, and answers of the
 * user-mode network.
 */
#ifndef NET_REPLY_H
#define NET_REPLY_H

#include "net/packet.h"

#define NET_REPLY_BYTES_MAX 256u /* of all but datagrams and segments with data */
#define NET_REPLY_HEADERS_MAX (NET_ETHERNET_BYTES + 40u + 24u)

/* From whom to whom. Both addresses are of one family; the ports are TCP's or UDP's. */
struct net_reply_path {
    uint8_t src_mac[6], dst_mac[6];
    struct net_packet_ends ends;
};

/* The way back from a packet: ends and stations exchanged. */
struct net_reply_path net_reply_back(const struct net_packet *p);

/* Each writes a frame and returns its length. */
/* A TCP segment with options (option_bytes, whole words, at most 4) and data. */
size_t net_reply_segment(uint8_t *frame, const struct net_reply_path *path, uint32_t seq,
                         uint32_t ack, uint8_t flags, uint16_t window, const uint8_t *options,
                         size_t option_bytes, const void *data, size_t len);
/* A UDP datagram; data at most 65487 bytes. */
size_t net_reply_datagram(uint8_t *frame, const struct net_reply_path *path, const void *data,
                          size_t len);
/* The reset that answers segment p (RFC 9293, 3.10.7.1). */
size_t net_reply_reset(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p);
/* "Administratively prohibited" about the packet p whose first bytes are head. */
size_t net_reply_prohibited(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                            const uint8_t *head);
/* "Unreachable" about it: the host, or the network that it is in. */
size_t net_reply_unreachable(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                             const uint8_t *head, bool host);
/* An IPv6 echo reply. body: identifier, number and data, at most 65476 bytes. */
size_t net_reply_echo6(uint8_t *frame, const struct net_reply_path *path, const void *body,
                       size_t len);
/* The answer to an ARP request, and to a neighbour solicitation: the target is at mac. */
size_t net_reply_arp(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                     const uint8_t mac[6]);
size_t net_reply_neighbour(uint8_t frame[NET_REPLY_BYTES_MAX], const struct net_packet *p,
                           const uint8_t mac[6]);

#endif
