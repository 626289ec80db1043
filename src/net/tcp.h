/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp.h: ends the guest's TCP connections on this host: each becomes a socket of this process. For
 * net/user.c, which gives it all segments of the guest.
 *
 * Runs on: the loop thread of the machine.
 */
#ifndef NET_TCP_H
#define NET_TCP_H

#include "base/loop.h"
#include "net/link.h"
#include "net/packet.h"
#include "workload/network.h"

#include <netinet/in.h>

enum net_tcp_counter {
    NET_TCP_OPENED,        /* connections that both ends agreed on */
    NET_TCP_FAILED,        /* connections that did not come about */
    NET_TCP_RESET,         /* connections that an end, or the fence, broke off */
    NET_TCP_EXHAUSTED,     /* connections refused because there were too many, or no descriptors */
    NET_TCP_RETRANSMITTED, /* segments said again to the guest */
    NET_TCP_DROPPED,       /* segments of the guest that came out of order or found no room */
    NET_TCP_OUT_BYTES,     /* data of the guest */
    NET_TCP_IN_BYTES,      /* data for the guest */
    NET_TCP_COUNTERS,
};
extern const char *const net_tcp_counter_labels[NET_TCP_COUNTERS];

struct net_tcp_options {
    struct pv_loop *loop;
    uint8_t guest_mac[6], gateway_mac[6];
    uint32_t mtu;
    bool has4, has6;
    struct in_addr guest4, gateway4;
    struct in6_addr guest6, gateway6;
    unsigned prefix6;      /* all addresses with gateway6's prefix stand for the gateway */
    bool host_loopback;    /* the gateway leads to the host's loopback; otherwise to nothing */
    unsigned max;          /* connections at a time; 0: as many as a fence knows flows */
    uint64_t (*now)(void); /* nanoseconds; NULL: pv_time_monotonic_ns */
    /* A frame for the guest. 0, or -EAGAIN: net_tcp_resume follows. It may lead to net_tcp_input
     * with a reset before it returns. */
    int (*give)(void *data, const struct net_frame *frame);
    void *data;
};

struct net_tcp;

/* NULL: out of memory. */
struct net_tcp *net_tcp_new(const struct net_tcp_options *options);
/* Closes all sockets. Accepts NULL. */
void net_tcp_free(struct net_tcp *tcp);
/* Leads a port of the host to the guest. */
int net_tcp_publish(struct net_tcp *tcp, const struct workload_port *port, struct pv_error *err);
/* A segment of the guest, whole (not a fragment): p is what net_packet_parse made of head, a copy
 * of ours of the frame's first bytes, min(bytes, NET_PACKET_HEAD_MAX) of them. */
void net_tcp_input(struct net_tcp *tcp, const struct net_packet *p, const uint8_t *head,
                   const struct net_frame *frame);
/* After give said -EAGAIN: there is room again. */
void net_tcp_resume(struct net_tcp *tcp);
/* What the timer does: everything that is due by now. For tests with a clock of their own. */
void net_tcp_expire(struct net_tcp *tcp);
/* NET_TCP_COUNTERS of them; borrowed. */
const uint64_t *net_tcp_counters(const struct net_tcp *tcp);
/* Connections there are. */
unsigned net_tcp_count(const struct net_tcp *tcp);

#endif
