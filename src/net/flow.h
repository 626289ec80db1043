/* SPDX-License-Identifier: Apache-2.0
 *
 * flow.h: the conversations of an instance that are under way.
 *
 * A flow is told by its ends: src is the instance, dst the other one, whoever began it. The table
 * is bounded: when it is full, the flow that was silent for longest leaves.
 */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include "net/packet.h"

#define NET_FLOWS_MAX 16384u

struct net_flow {
    struct net_packet_ends ends;
    bool from_outside; /* the other end began it */
    bool cut;          /* no longer granted: what comes is answered with a reset */
    bool answered;     /* both ends have spoken */
    char *name;        /* the granted name under which it began, or NULL; owned */
    uint64_t last_ns;
    uint8_t other_mac[6]; /* the station that packets to the other end go to */

    /* TCP: what a reset must carry to be believed (RFC 5961). */
    uint32_t guest_next, other_next; /* the sequence number after the last byte of each end */
    bool guest_spoke, other_spoke;   /* which of these are known */
    bool guest_fin, other_fin, reset;

    /* flow.c */
    uint32_t hash;
    struct net_flow *chain, *older, *newer;
};

struct net_flows;

struct net_flows *net_flows_new(unsigned max); /* at least 1; NULL: out of memory */
void net_flows_free(struct net_flows *flows);
/* The flow, or NULL. One whose time is over is removed. */
struct net_flow *net_flows_find(struct net_flows *flows, const struct net_packet_ends *ends,
                                uint64_t now_ns);
/* A new flow (it must not be there yet). name is copied. NULL: out of memory. */
struct net_flow *net_flows_add(struct net_flows *flows, const struct net_packet_ends *ends,
                               bool from_outside, const char *name, uint64_t now_ns);
/* A packet of the flow passes, in the direction given. */
void net_flows_note(struct net_flows *flows, struct net_flow *flow, const struct net_packet *p,
                    bool from_guest, uint64_t now_ns);
void net_flows_remove(struct net_flows *flows, struct net_flow *flow);
/* Calls visit for each flow; it may remove that one. */
void net_flows_each(struct net_flows *flows, void (*visit)(void *data, struct net_flow *flow),
                    void *data);
size_t net_flows_count(const struct net_flows *flows);
uint64_t net_flows_evicted(const struct net_flows *flows); /* had to leave before their time */

#endif
