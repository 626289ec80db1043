/* SPDX-License-Identifier: Apache-2.0
 *
 * fence.h: the stage that keeps an instance to what it may reach.
 *
 * It stands between the card and what carries the frames (link.h). Frames of the guest that begin a
 * conversation are judged by the policy; what belongs to one under way passes, both ways. It
 * answers DNS itself (dns.h), tells the guest at once what is denied (a reset, or "prohibited"),
 * drops what is broken or forged, and holds both directions to their rates.
 *
 * Conversations that begin outside pass: only what was published (-p), a private network or a tap
 * can begin them.
 *
 * Runs on: the loop thread of the machine.
 */
#ifndef NET_FENCE_H
#define NET_FENCE_H

#include "base/loop.h"
#include "base/rate.h"
#include "net/link.h"
#include "net/policy.h"
#include "net/upstream.h"

#define NET_FENCE_ADDRESSES_MAX 8u

enum net_denied_protocol {
    NET_DENIED_TCP,
    NET_DENIED_UDP,
    NET_DENIED_ICMP,
    NET_DENIED_OTHER,
    NET_DENIED_DNS,
    NET_DENIED_COUNT,
};
extern const char *const net_denied_names[NET_DENIED_COUNT]; /* "tcp" */

/* Something that was denied. */
struct net_denial {
    enum net_denied_protocol protocol;
    enum net_rule rule;
    const struct workload_address *address; /* NULL: a question of DNS */
    uint16_t port;                          /* 0 where there is none */
    uint8_t ip_protocol;
    const char *name; /* the name asked for, or one under which the address was told; or NULL */
};

/* Zero: no limit. The same for each direction, each with buckets of its own. Without a burst, what
 * a tenth of a second brings may come at once; in bytes at least one frame of 64 KiB. */
struct net_fence_rate {
    struct pv_rate_limit bytes, frames;
};

struct net_fence_options {
    struct pv_loop *loop;
    uint8_t mac[6]; /* of the guest */
    /* Of the guest; none: it may have any. */
    struct workload_address addresses[NET_FENCE_ADDRESSES_MAX];
    unsigned num_addresses;
    /* Where the guest asks for names; the fence is there. */
    struct workload_address dns[NET_FENCE_ADDRESSES_MAX];
    unsigned num_dns;
    struct net_policy_config policy;
    const struct workload_grants *grants;                         /* copied; NULL: none */
    struct net_upstream_server servers[NET_UPSTREAM_SERVERS_MAX]; /* who is asked for names */
    unsigned num_servers;
    uint64_t dns_timeout_ns; /* for one server; 0: the default */
    struct net_fence_rate rate;
    /* See dns.h. */
    int (*lookup)(void *data, const char *name, struct workload_address *addresses, unsigned max);
    void *lookup_data;
    void (*denied)(void *data, const struct net_denial *denial); /* NULL: nobody wants to know */
    void *denied_data;
    uint64_t (*now)(void); /* nanoseconds; NULL: pv_time_monotonic_ns */
};

/* Puts a fence on the link below, which it takes, also on failure. */
int net_fence_new(const struct net_fence_options *options, struct net_link *below,
                  struct net_link **ret_link, struct pv_error *err);
/* Replaces the grants. Conversations that are not granted any more are cut. 0 or -ENOMEM. */
int net_fence_set_grants(struct net_link *link, const struct workload_grants *grants);
void net_fence_set_rate(struct net_link *link, const struct net_fence_rate *rate);
/* How often each rule denied each protocol; borrowed. */
const uint64_t (*net_fence_denials(const struct net_link *link))[NET_DENIED_COUNT];

/* The system calls that the fence makes while it serves, for the monitor's list: name and reason,
 * ended by NULL. */
struct net_fence_syscall {
    const char *name, *reason;
};
extern const struct net_fence_syscall net_fence_syscalls[];

#endif
