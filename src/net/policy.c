/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.c: what an instance may reach.
 *
 * Theory of operation: an address that is denied by default has a range that denies it. A grant
 * opens such an address only when it names it: when the grant's own prefix lies inside that range.
 * So cidr:0.0.0.0/0 is the outside and not the metadata service, and tcp:169.254.169.254:80 is the
 * metadata service. A granted name never opens one: whoever answers for the name would choose.
 */
#include "net/policy.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

const char *const net_rule_names[NET_RULE_COUNT] = {
    [NET_RULE_NOT_GRANTED] = "not-granted", [NET_RULE_HOST_LOOPBACK] = "host-loopback",
    [NET_RULE_METADATA] = "metadata",       [NET_RULE_LINK_LOCAL] = "link-local",
    [NET_RULE_MULTICAST] = "multicast",     [NET_RULE_PRIVATE] = "private-network",
    [NET_RULE_EMBEDDED] = "embedded-v4",    [NET_RULE_REBINDING] = "rebinding",
};

/* Denied by default, the narrower ranges first. never: no grant opens it. */
static const struct range {
    const char *prefix;
    enum net_rule rule;
    bool never;
} ranges[] = {
    {"127.0.0.0/8", NET_RULE_HOST_LOOPBACK, true},
    {"0.0.0.0/8", NET_RULE_HOST_LOOPBACK, true},
    {"::1", NET_RULE_HOST_LOOPBACK, true},
    {"::", NET_RULE_HOST_LOOPBACK, true},
    {"169.254.169.254", NET_RULE_METADATA, false}, /* most clouds */
    {"169.254.170.2", NET_RULE_METADATA, false},   /* credentials of Amazon's containers */
    {"100.100.100.200", NET_RULE_METADATA, false}, /* Alibaba */
    {"168.63.129.16", NET_RULE_METADATA, false},   /* Azure's wire server */
    {"192.0.0.192", NET_RULE_METADATA, false},     /* Oracle */
    {"fd00:ec2::/32", NET_RULE_METADATA, false},   /* Amazon: metadata, DNS, time, credentials */
    {"fd20:ce::254", NET_RULE_METADATA, false},    /* Google */
    {"169.254.0.0/16", NET_RULE_LINK_LOCAL, false},
    {"fe80::/10", NET_RULE_LINK_LOCAL, false},
    {"224.0.0.0/4", NET_RULE_MULTICAST, true},
    {"255.255.255.255", NET_RULE_MULTICAST, true},
    {"ff00::/8", NET_RULE_MULTICAST, true},
    {"::/96", NET_RULE_EMBEDDED, true}, /* IPv4-compatible, which no host speaks any more */
};
#define NUM_RANGES PV_ARRAY_SIZE(ranges)

/* IPv6 addresses that carry an IPv4 one, which some gateway may use: the inner address is judged
 * by the default rules, too. */
static const struct {
    const char *prefix;
    unsigned at;   /* byte of the IPv4 address */
    uint8_t flips; /* xor of its bytes */
} carriers[] = {
    {"64:ff9b::/96", 12, 0},   /* NAT64 */
    {"64:ff9b:1::/48", 12, 0}, /* NAT64 of a site */
    {"2002::/16", 2, 0},       /* 6to4 */
    {"2001::/32", 12, 0xff},   /* Teredo: the client */
    {"2001::/32", 4, 0},       /* Teredo: the server */
};

struct denied_range {
    struct workload_prefix prefix;
    enum net_rule rule;
    bool never;
};

struct net_policy {
    struct net_policy_config config;
    struct net_names *names; /* borrowed */
    struct workload_grants grants;
    struct denied_range denied[NUM_RANGES];
    struct workload_prefix carriers[PV_ARRAY_SIZE(carriers)];
};

struct net_policy *net_policy_new(const struct net_policy_config *config, struct net_names *names)
{
    struct net_policy *policy = calloc(1, sizeof(*policy));
    if (!policy)
        return NULL;
    policy->config = *config;
    policy->names = names;
    for (size_t i = 0; i < NUM_RANGES; i++) {
        workload_prefix_parse(ranges[i].prefix, &policy->denied[i].prefix);
        policy->denied[i].rule = ranges[i].rule;
        policy->denied[i].never = ranges[i].never;
    }
    for (size_t i = 0; i < PV_ARRAY_SIZE(carriers); i++)
        workload_prefix_parse(carriers[i].prefix, &policy->carriers[i]);
    return policy;
}

void net_policy_free(struct net_policy *policy)
{
    if (!policy)
        return;
    workload_grants_done(&policy->grants);
    free(policy);
}

int net_policy_set_grants(struct net_policy *policy, const struct workload_grants *grants)
{
    struct workload_grants copy;
    int rc = workload_grants_copy(&copy, grants);
    if (rc < 0)
        return rc;
    workload_grants_done(&policy->grants);
    policy->grants = copy;
    return 0;
}

const struct workload_grants *net_policy_grants(const struct net_policy *policy)
{
    return &policy->grants;
}

/* -- ranges -- */

static bool in_any(const struct workload_prefix *prefixes, unsigned count,
                   const struct workload_address *a)
{
    for (unsigned i = 0; i < count; i++)
        if (workload_prefix_contains(&prefixes[i], a))
            return true;
    return false;
}

static bool is_host_loop(const struct net_policy *policy, const struct workload_address *a)
{
    for (unsigned i = 0; i < policy->config.num_host_loop; i++)
        if (workload_address_equal(&policy->config.host_loop[i], a))
            return true;
    return false;
}

/* The range that denies the address by itself. */
static bool find_plain(const struct net_policy *policy, const struct workload_address *a,
                       struct denied_range *ret_range)
{
    for (size_t i = 0; i < NUM_RANGES; i++) {
        if (workload_prefix_contains(&policy->denied[i].prefix, a)) {
            *ret_range = policy->denied[i];
            return true;
        }
    }
    if (in_any(policy->config.local, policy->config.num_local, a))
        return false;
    for (unsigned i = 0; i < policy->config.num_others; i++) {
        if (workload_prefix_contains(&policy->config.others[i], a)) {
            *ret_range =
                (struct denied_range){.prefix = policy->config.others[i], .rule = NET_RULE_PRIVATE};
            return true;
        }
    }
    return false;
}

static bool find_denied(const struct net_policy *policy, const struct workload_address *a,
                        struct denied_range *ret_range)
{
    if (find_plain(policy, a, ret_range))
        return true;
    for (size_t i = 0; i < PV_ARRAY_SIZE(carriers); i++) {
        uint8_t v4[4];
        if (!workload_prefix_contains(&policy->carriers[i], a))
            continue;
        for (unsigned b = 0; b < 4; b++)
            v4[b] = a->bytes[carriers[i].at + b] ^ carriers[i].flips;
        struct workload_address inner = workload_address_from_v4(v4);
        if (find_plain(policy, &inner, ret_range) || is_host_loop(policy, &inner)) {
            *ret_range = (struct denied_range){.rule = NET_RULE_EMBEDDED, .never = true};
            return true;
        }
    }
    return false;
}

/* -- grants -- */

static bool has_protocol(const struct workload_grant *g, uint8_t protocol)
{
    switch (g->protocol) {
    case WORKLOAD_GRANT_TCP:
        return protocol == IPPROTO_TCP;
    case WORKLOAD_GRANT_UDP:
        return protocol == IPPROTO_UDP;
    case WORKLOAD_GRANT_ICMP:
        return protocol == IPPROTO_ICMP;
    case WORKLOAD_GRANT_CIDR:
        return true;
    default:
        return false;
    }
}

struct name_search {
    const struct workload_grant *grant;
    const char *found;
};

static bool visit_name(void *data, const char *name)
{
    struct name_search *s = data;
    if (!workload_grant_has_name(s->grant, name))
        return false;
    s->found = name;
    return true;
}

/* The live name of the address that the grant means, or NULL. */
static const char *granted_name(struct net_policy *policy, const struct workload_grant *g,
                                const struct workload_address *a, const char *also, uint64_t now_ns)
{
    struct name_search s = {.grant = g};
    if (also && workload_grant_has_name(g, also))
        return also;
    net_names_each(policy->names, a, now_ns, visit_name, &s);
    return s.found;
}

struct question {
    const struct workload_address *address;
    const char *also;
    uint64_t now_ns;
    const struct denied_range *range; /* that denies it by default, or NULL */
    bool host_loop;
};

static bool means(struct net_policy *policy, const struct workload_grant *g,
                  const struct question *q, const char **ret_name)
{
    switch (g->target) {
    case WORKLOAD_GRANT_HOST_LOOP:
        return q->host_loop;
    case WORKLOAD_GRANT_PREFIX:
        return !q->host_loop && workload_prefix_contains(&g->prefix, q->address) &&
               (!q->range || workload_prefix_covers(&q->range->prefix, &g->prefix));
    case WORKLOAD_GRANT_ANY:
        return !q->host_loop && !q->range;
    case WORKLOAD_GRANT_HOST:
    case WORKLOAD_GRANT_BELOW:
        if (q->host_loop || q->range)
            return false;
        *ret_name = granted_name(policy, g, q->address, q->also, q->now_ns);
        return *ret_name;
    default:
        return false;
    }
}

struct net_verdict net_policy_judge(struct net_policy *policy, uint8_t protocol,
                                    const struct workload_address *address, uint16_t port,
                                    const char *also, uint64_t now_ns)
{
    struct denied_range range;
    struct question q = {.address = address, .also = also, .now_ns = now_ns};
    struct net_verdict verdict = {.rule = NET_RULE_NOT_GRANTED};
    q.host_loop = is_host_loop(policy, address);
    if (!q.host_loop && find_denied(policy, address, &range)) {
        q.range = &range;
        verdict.rule = range.rule;
        if (range.never)
            return verdict;
    }
    if (q.host_loop)
        verdict.rule = NET_RULE_HOST_LOOPBACK;
    for (size_t i = 0; i < policy->grants.count && !verdict.allowed; i++) {
        const struct workload_grant *g = &policy->grants.items[i];
        verdict.allowed = has_protocol(g, protocol) && workload_grant_has_port(g, port) &&
                          means(policy, g, &q, &verdict.name);
    }
    if (!verdict.allowed && !policy->grants.closed)
        /* An echo to the gateway is answered by the gateway. */
        verdict.allowed = !q.range && (!q.host_loop || protocol == IPPROTO_ICMP);
    return verdict;
}

bool net_policy_may_resolve(const struct net_policy *policy, const char *name)
{
    const struct workload_grants *grants = &policy->grants;
    for (size_t i = 0; i < grants->count; i++)
        if (workload_grant_has_name(&grants->items[i], name))
            return true;
    return !grants->closed;
}

bool net_policy_may_answer(const struct net_policy *policy, const struct workload_address *address,
                           enum net_rule *ret_rule)
{
    struct denied_range range;
    if (is_host_loop(policy, address)) {
        *ret_rule = NET_RULE_HOST_LOOPBACK;
        return false;
    }
    if (!find_denied(policy, address, &range))
        return true;
    *ret_rule = range.rule;
    return false;
}

bool net_policy_may_vsock(const struct workload_grants *grants, uint32_t port)
{
    for (size_t i = 0; i < grants->count; i++)
        if (grants->items[i].protocol == WORKLOAD_GRANT_VSOCK &&
            workload_grant_has_port(&grants->items[i], port))
            return true;
    return !grants->closed;
}
