/* SPDX-License-Identifier: Apache-2.0
 *
 * dns.h: the DNS of an instance, on the guest's side of the fence.
 *
 * It answers the guest's questions itself: names of machines on the instance's network, names that
 * may be resolved from the host's nameservers, and nothing else. What it answers it notes in the
 * table of names, so that an address counts for its name as long as the answer lives.
 *
 * Runs on: the loop thread of the machine.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include "net/policy.h"
#include "net/upstream.h"

/* How long answers live: what the servers say, held to these. An answer that dies at once would be
 * dead before the guest connects; one that lives for days would keep an address that has changed
 * hands. The guest is told the same time. */
#define NET_DNS_TTL_MIN 5u
#define NET_DNS_TTL_MAX 3600u
#define NET_DNS_LOCAL_TTL 5u
#define NET_DNS_LOCAL_ADDRESSES_MAX 8u

struct net_dns;

struct net_dns_options {
    /* Borrowed, and they must outlive the DNS. */
    struct net_policy *policy;
    struct net_names *names;
    struct net_upstream *upstream; /* NULL: there is no outside */
    /* The addresses of a machine of this name on the instance's network: how many (at most max), or
     * -ENOENT when there is no such machine. NULL: none are known. */
    int (*lookup)(void *data, const char *name, struct workload_address *addresses, unsigned max);
    void *lookup_data;
    /* A question was refused (NET_RULE_NOT_GRANTED, address NULL), or an address was taken out of
     * an answer. NULL: nobody wants to know. */
    void (*denied)(void *data, const char *name, const struct workload_address *address,
                   enum net_rule rule);
    void *denied_data;
    uint64_t (*now)(void); /* nanoseconds; NULL: pv_time_monotonic_ns */
};

enum net_dns_counter {
    NET_DNS_QUESTIONS,
    NET_DNS_ANSWERED, /* with records, or that there are none */
    NET_DNS_DENIED,   /* names that are not granted */
    NET_DNS_FAILED,   /* no server answered */
    NET_DNS_BROKEN,   /* questions that are none */
    NET_DNS_STRIPPED, /* addresses taken out of answers */
    NET_DNS_COUNTERS,
};

/* message: NULL: there is no answer. Borrowed for the call. */
typedef void net_dns_reply_fn(void *data, const uint8_t *message, size_t len);

struct net_dns *net_dns_new(const struct net_dns_options *options); /* NULL: out of memory */
/* Open questions are answered with NULL. */
void net_dns_free(struct net_dns *dns);
/* A question of the guest. fn is called exactly once, perhaps inside this call. answer_max: the
 * longest answer that the way back can carry; udp: the asker's own limit counts, too. */
void net_dns_ask(struct net_dns *dns, const uint8_t *message, size_t len, size_t answer_max,
                 bool udp, net_dns_reply_fn *fn, void *data);
const uint64_t *net_dns_counters(const struct net_dns *dns); /* NET_DNS_COUNTERS values */

#endif
