/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_tcp.h: DNS over TCP for the guest: a TCP that serves one port and nothing else.
 *
 * Resolvers come over TCP when an answer does not fit into a datagram. The way to the guest loses
 * nothing by itself, so this TCP takes only what is in order and sends again after a second.
 *
 * Spec: RFC 9293 (as far as a server of short conversations needs it), 7766.
 */
#ifndef NET_DNS_TCP_H
#define NET_DNS_TCP_H

#include "base/loop.h"
#include "net/dns.h"
#include "net/packet.h"

struct net_dns_tcp;

struct net_dns_tcp_options {
    struct pv_loop *loop;
    struct net_dns *dns; /* borrowed; must outlive this */
    uint32_t mtu;
    /* Sends a frame to the guest. It may be lost. */
    void (*send)(void *data, const uint8_t *frame, size_t len);
    void *data;
    uint64_t (*now)(void); /* nanoseconds */
};

#define NET_DNS_TCP_CONNECTIONS_MAX 32u

struct net_dns_tcp *net_dns_tcp_new(const struct net_dns_tcp_options *options); /* or NULL */
void net_dns_tcp_free(struct net_dns_tcp *t);
/* A segment of the guest to the DNS port; payload: its data, p->end - p->payload bytes. */
void net_dns_tcp_input(struct net_dns_tcp *t, const struct net_packet *p, const uint8_t *payload);

#endif
