/* SPDX-License-Identifier: Apache-2.0
 *
 * upstream.h: asks the host's nameservers, over UDP, and over TCP when an answer is too long.
 *
 * Every question goes out with a random id from a socket of its own, connected to one server, so
 * an answer counts only when it comes from that server, to that port, with that id and question.
 *
 * Runs on: the loop thread of the machine.
 */
#ifndef NET_UPSTREAM_H
#define NET_UPSTREAM_H

#include "base/loop.h"
#include "net/dns_message.h"

#define NET_UPSTREAM_SERVERS_MAX 8u
#define NET_UPSTREAM_QUERIES_MAX 64u /* under way at a time */
#define NET_UPSTREAM_TIMEOUT_NS 2000000000ull

struct net_upstream_server {
    struct workload_address address;
    uint16_t port; /* 0: 53 */
};

struct net_upstream_options {
    struct pv_loop *loop;
    struct net_upstream_server servers[NET_UPSTREAM_SERVERS_MAX];
    unsigned num_servers;
    uint64_t timeout_ns; /* for one try; 0: NET_UPSTREAM_TIMEOUT_NS */
};

struct net_upstream;

/* answer: borrowed for the call; NULL when no server gave one. The query is over. */
typedef void net_upstream_done_fn(void *data, const struct net_dns_answer *answer);

struct net_upstream *net_upstream_new(const struct net_upstream_options *options); /* or NULL */
/* Ends all queries without a word. */
void net_upstream_free(struct net_upstream *upstream);
/* Asks. The answer comes from the loop, never inside this call. -EAGAIN: too many are under way;
 * -ENETUNREACH: there are no servers; -ENOMEM. */
int net_upstream_ask(struct net_upstream *upstream, const char *name, uint16_t type,
                     net_upstream_done_fn *fn, void *data);

#endif
