/* SPDX-License-Identifier: Apache-2.0
 *
 * flow.c: the conversations of an instance, in a hash table and in the order of their last packet.
 */
#include "net/flow.h"

#include "base/attr.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/random.h>

#define SECOND_NS 1000000000ull
/* How long a flow may be silent. RFC 5382 (TCP), RFC 4787 (UDP), RFC 5508 (ICMP) say at least. */
#define TCP_OPEN_NS (7440 * SECOND_NS)
#define TCP_OPENING_NS (120 * SECOND_NS)
#define TCP_CLOSING_NS (240 * SECOND_NS)
#define TCP_RESET_NS (10 * SECOND_NS)
#define UDP_NS (300 * SECOND_NS)
#define UDP_ONE_WAY_NS (60 * SECOND_NS)
#define OTHER_NS (60 * SECOND_NS)
#define CUT_NS (60 * SECOND_NS)
/* The order is kept as exactly as this, so that a busy flow seldom moves. */
#define ORDER_NS (SECOND_NS / 4)

struct net_flows {
    struct net_flow **buckets;
    uint32_t mask;
    unsigned count, max;
    struct net_flow *oldest, *newest;
    uint64_t evicted;
    uint32_t seed; /* or a guest could choose its ends to be in one chain */
};

struct net_flows *net_flows_new(unsigned max)
{
    assert(max > 0);
    struct net_flows *flows = calloc(1, sizeof(*flows));
    if (!flows)
        return NULL;
    uint32_t buckets = 64;
    while (buckets < max)
        buckets *= 2;
    flows->mask = buckets - 1;
    flows->max = max;
    flows->buckets = calloc(buckets, sizeof(struct net_flow *));
    if (getrandom(&flows->seed, sizeof(flows->seed), GRND_NONBLOCK) < 0)
        flows->seed = (uint32_t)(uintptr_t)flows;
    if (!flows->buckets) {
        free(flows);
        return NULL;
    }
    return flows;
}

static void release(struct net_flow *flow)
{
    free(flow->name);
    free(flow);
}

void net_flows_free(struct net_flows *flows)
{
    if (!flows)
        return;
    while (flows->oldest) {
        struct net_flow *flow = flows->oldest;
        flows->oldest = flow->newer;
        release(flow);
    }
    free(flows->buckets);
    free(flows);
}

static uint32_t mix(uint32_t hash, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i + 4 <= len; i += 4) {
        uint32_t word;
        memcpy(&word, p + i, 4);
        hash = (hash ^ word) * 0x9e3779b1u;
        hash ^= hash >> 15;
    }
    return hash;
}

static uint32_t hash_of(const struct net_flows *flows, const struct net_packet_ends *e)
{
    uint32_t ports[2] = {(uint32_t)e->src_port << 16 | e->dst_port, e->protocol};
    uint32_t hash = mix(flows->seed, e->src.bytes, sizeof(e->src.bytes));
    hash = mix(hash, e->dst.bytes, sizeof(e->dst.bytes));
    return mix(hash, ports, sizeof(ports));
}

static bool same_ends(const struct net_packet_ends *a, const struct net_packet_ends *b)
{
    return a->src_port == b->src_port && a->dst_port == b->dst_port && a->protocol == b->protocol &&
           workload_address_equal(&a->dst, &b->dst) && workload_address_equal(&a->src, &b->src);
}

static uint64_t time_of(const struct net_flow *flow)
{
    if (flow->cut)
        return CUT_NS;
    switch (flow->ends.protocol) {
    case IPPROTO_TCP:
        return flow->reset                          ? TCP_RESET_NS
               : flow->guest_fin && flow->other_fin ? TCP_CLOSING_NS
               : flow->answered                     ? TCP_OPEN_NS
                                                    : TCP_OPENING_NS;
    case IPPROTO_UDP:
        return flow->answered ? UDP_NS : UDP_ONE_WAY_NS;
    default:
        return OTHER_NS;
    }
}

static void leave_order(struct net_flows *flows, struct net_flow *flow)
{
    *(flow->older ? &flow->older->newer : &flows->oldest) = flow->newer;
    *(flow->newer ? &flow->newer->older : &flows->newest) = flow->older;
    flow->older = flow->newer = NULL;
}

static void enter_order(struct net_flows *flows, struct net_flow *flow)
{
    flow->older = flows->newest;
    *(flows->newest ? &flows->newest->newer : &flows->oldest) = flow;
    flows->newest = flow;
}

void net_flows_remove(struct net_flows *flows, struct net_flow *flow)
{
    struct net_flow **at = &flows->buckets[flow->hash & flows->mask];
    while (*at != flow)
        at = &(*at)->chain;
    *at = flow->chain;
    leave_order(flows, flow);
    flows->count--;
    release(flow);
}

struct net_flow *net_flows_find(struct net_flows *flows, const struct net_packet_ends *ends,
                                uint64_t now_ns)
{
    uint32_t hash = hash_of(flows, ends);
    struct net_flow *flow = flows->buckets[hash & flows->mask];
    while (flow && (flow->hash != hash || !same_ends(&flow->ends, ends)))
        flow = flow->chain;
    if (flow && now_ns > flow->last_ns && now_ns - flow->last_ns > time_of(flow)) {
        net_flows_remove(flows, flow);
        return NULL;
    }
    return flow;
}

struct net_flow *net_flows_add(struct net_flows *flows, const struct net_packet_ends *ends,
                               bool from_outside, const char *name, uint64_t now_ns)
{
    struct net_flow *flow = calloc(1, sizeof(*flow));
    if (!flow)
        return NULL;
    flow->name = name ? strdup(name) : NULL;
    if (name && !flow->name) {
        free(flow);
        return NULL;
    }
    if (flows->count >= flows->max) {
        struct net_flow *oldest = flows->oldest;
        flows->evicted += now_ns - oldest->last_ns <= time_of(oldest);
        net_flows_remove(flows, oldest);
    }
    flow->ends = *ends;
    flow->from_outside = from_outside;
    flow->last_ns = now_ns;
    flow->hash = hash_of(flows, ends);
    struct net_flow **bucket = &flows->buckets[flow->hash & flows->mask];
    flow->chain = *bucket;
    *bucket = flow;
    flows->count++;
    enter_order(flows, flow);
    return flow;
}

static void note_tcp(struct net_flow *flow, const struct net_packet *p, bool from_guest)
{
    bool fin = p->tcp_flags & NET_TCP_FIN, syn = p->tcp_flags & NET_TCP_SYN;
    uint32_t next = p->tcp_seq + (uint32_t)(p->end - p->payload) + fin + syn;
    uint32_t *known = from_guest ? &flow->guest_next : &flow->other_next;
    bool *spoke = from_guest ? &flow->guest_spoke : &flow->other_spoke;
    if (p->tcp_flags & NET_TCP_RST) {
        flow->reset = true;
        return;
    }
    if (syn) /* the ends begin again */
        flow->reset = flow->guest_fin = flow->other_fin = false;
    if (!*spoke || syn || (int32_t)(next - *known) > 0)
        *known = next;
    *spoke = true;
    if (fin)
        *(from_guest ? &flow->guest_fin : &flow->other_fin) = true;
}

void net_flows_note(struct net_flows *flows, struct net_flow *flow, const struct net_packet *p,
                    bool from_guest, uint64_t now_ns)
{
    if (from_guest == flow->from_outside)
        flow->answered = true;
    if (flow->ends.protocol == IPPROTO_TCP)
        note_tcp(flow, p, from_guest);
    if (now_ns - flow->last_ns < ORDER_NS)
        return;
    flow->last_ns = now_ns;
    leave_order(flows, flow);
    enter_order(flows, flow);
}

void net_flows_each(struct net_flows *flows, void (*visit)(void *data, struct net_flow *flow),
                    void *data)
{
    struct net_flow *next;
    for (struct net_flow *flow = flows->oldest; flow; flow = next) {
        next = flow->newer;
        visit(data, flow);
    }
}

size_t net_flows_count(const struct net_flows *flows)
{
    return flows->count;
}

uint64_t net_flows_evicted(const struct net_flows *flows)
{
    return flows->evicted;
}
