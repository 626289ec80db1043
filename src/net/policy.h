/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.h: what an instance may reach: its grants, and what is denied unless it is granted.
 *
 * docs/design/grants.md tells the rules; this file decides one conversation at a time and knows
 * neither packets nor machines.
 */
#ifndef NET_POLICY_H
#define NET_POLICY_H

#include "net/names.h"
#include "workload/grant.h"

/* Why something is denied. The order is that of the tables of names and counters. */
enum net_rule {
    NET_RULE_NOT_GRANTED,   /* there are grants, and none of them says so */
    NET_RULE_HOST_LOOPBACK, /* the host's own loopback, under whatever address */
    NET_RULE_METADATA,      /* a cloud's metadata service */
    NET_RULE_LINK_LOCAL,
    NET_RULE_MULTICAST, /* broadcast included */
    NET_RULE_PRIVATE,   /* the networks of other instances */
    NET_RULE_EMBEDDED,  /* an IPv4 address in an IPv6 form that may not be on a wire */
    NET_RULE_REBINDING, /* a name that was answered with a denied address */
    NET_RULE_COUNT,
};
extern const char *const net_rule_names[NET_RULE_COUNT]; /* "not-granted" */

#define NET_POLICY_ADDRESSES_MAX 8u

struct net_policy_config {
    /* The instance's own network: other machines there are reachable. */
    struct workload_prefix local[NET_POLICY_ADDRESSES_MAX];
    unsigned num_local;
    /* Networks of other instances. */
    struct workload_prefix others[NET_POLICY_ADDRESSES_MAX];
    unsigned num_others;
    /* Addresses under which the backend reaches the host's loopback. */
    struct workload_address host_loop[NET_POLICY_ADDRESSES_MAX];
    unsigned num_host_loop;
};

struct net_policy;

struct net_verdict {
    bool allowed;
    enum net_rule rule; /* when denied */
    const char *name;   /* the granted name that allowed it, or NULL; borrowed from the names */
};

/* names is borrowed and must outlive the policy. NULL: out of memory. */
struct net_policy *net_policy_new(const struct net_policy_config *config, struct net_names *names);
void net_policy_free(struct net_policy *policy);
/* Replaces the grants by a copy. 0 or -ENOMEM (the old ones stay). */
int net_policy_set_grants(struct net_policy *policy, const struct workload_grants *grants);
const struct workload_grants *net_policy_grants(const struct net_policy *policy);

/* Whether the instance may speak with address. protocol: IPPROTO_*, both ICMPs as IPPROTO_ICMP;
 * port: 0 where there is none. also: a name that counts for the address although its answer may be
 * over (a flow that began under it), or NULL. */
struct net_verdict net_policy_judge(struct net_policy *policy, uint8_t protocol,
                                    const struct workload_address *address, uint16_t port,
                                    const char *also, uint64_t now_ns);
/* Whether the name (lower case, no last dot) may be resolved. */
bool net_policy_may_resolve(const struct net_policy *policy, const char *name);
/* Whether a name of the outside may be answered with this address. On refusal, why. */
bool net_policy_may_answer(const struct net_policy *policy, const struct workload_address *address,
                           enum net_rule *ret_rule);
/* Whether the guest may connect to this vsock port of the host. */
bool net_policy_may_vsock(const struct workload_grants *grants, uint32_t port);

#endif
