/* SPDX-License-Identifier: Apache-2.0
 *
 * ping.h: IPv6 echo requests of the guest to the outside; for net/user.c.
 *
 * libslirp answers echo requests to its own IPv6 addresses, and knows IPv4 ones to all others, but
 * forgets the rest. They go out through ping sockets of the host, where that lets its users have
 * them (net.ipv4.ping_group_range, which holds for IPv6, too); else the guest is told so at once.
 *
 * Runs on: the loop thread of the machine.
 * Trust:   requests are the guest's, replies whoever's it asked. The host's kernel chooses the
 *          identifier on the wire and lets only replies to it come back.
 */
#ifndef NET_PING_H
#define NET_PING_H

#include "base/loop.h"
#include "workload/address.h"

struct net_ping;

struct net_ping_options {
    struct pv_loop *loop;
    struct workload_prefix own; /* addresses that somebody else answers for */
    /* A frame for the guest. */
    void (*give)(void *data, const uint8_t *frame, size_t bytes);
    void *data;
};

/* NULL when out of memory or descriptors. */
struct net_ping *net_ping_new(const struct net_ping_options *options);
void net_ping_free(struct net_ping *p); /* accepts NULL */
/* A frame of the guest, a copy of ours with whole checksums: true when it was an echo request to
 * the outside, and is dealt with. */
bool net_ping_request(struct net_ping *p, const uint8_t *frame, size_t bytes);

#endif
