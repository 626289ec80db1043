/* SPDX-License-Identifier: Apache-2.0
 *
 * fence_outside.c: what comes for the guest: answers to what it began, and what may begin outside.
 */
#include "net/fence_internal.h"

#include <errno.h>
#include <netinet/in.h>

struct work {
    struct net_fence *f;
    const struct net_frame *frame;
    struct net_packet p;
    struct net_packet_ends ends; /* as the flow has them */
};

static int drop(struct work *w, enum fence_counter why)
{
    w->f->counters[why]++;
    return 0;
}

static int pass(struct work *w)
{
    return w->f->link.upper.receive(w->f->link.upper.data, w->frame);
}

/* Answers a segment of a cut conversation, so that the other end learns of it. */
static int reset_other(struct work *w)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct iovec piece = {.iov_base = frame};
    if (w->p.ends.protocol == IPPROTO_TCP && !(w->p.tcp_flags & NET_TCP_RST)) {
        piece.iov_len = net_reply_reset(frame, &w->p);
        struct net_frame down = {.iov = &piece, .num_iov = 1, .bytes = piece.iov_len};
        net_link_send(w->f->below, &down);
    }
    return drop(w, FENCE_STRAY);
}

static int pass_in_flow(struct work *w, struct net_flow *flow)
{
    struct net_fence *f = w->f;
    memcpy(flow->other_mac, w->p.src_mac, 6);
    int rc = pass(w);
    if (rc == 0) {
        net_flows_note(f->flows, flow, &w->p, false, f->o.now());
        if (w->p.fragment == NET_FRAGMENT_FIRST)
            net_fence_note_fragment(f, &w->p, false, true);
    }
    return rc;
}

/* Only what asks for something begins a conversation. */
static bool may_begin(const struct net_packet *p)
{
    switch (p->ends.protocol) {
    case IPPROTO_TCP:
        return (p->tcp_flags & (NET_TCP_SYN | NET_TCP_ACK | NET_TCP_RST)) == NET_TCP_SYN;
    case IPPROTO_ICMP:
        return p->icmp_type == (p->v6 ? 128 : 8);
    default:
        return true;
    }
}

static bool is_over(const struct net_flow *flow)
{
    return flow->cut || flow->reset || (flow->guest_fin && flow->other_fin);
}

static int conversation(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    uint64_t now = f->o.now();
    struct net_flow *flow = net_flows_find(f->flows, &w->ends, now);
    bool syn = p->ends.protocol == IPPROTO_TCP && may_begin(p);
    if (flow && syn && is_over(flow)) {
        net_flows_remove(f->flows, flow);
        flow = NULL;
    }
    if (flow && flow->cut)
        return reset_other(w);
    if (!flow) {
        if (!may_begin(p))
            return drop(w, FENCE_STRAY);
        flow = net_flows_add(f->flows, &w->ends, true, NULL, now);
        if (!flow)
            return drop(w, FENCE_OWN_LOST);
        f->counters[FENCE_FLOWS]++;
    }
    return pass_in_flow(w, flow);
}

/* About a packet of the guest: its ends are the flow's. */
static int icmp_error(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_flow *flow =
        w->p.inner.protocol ? net_flows_find(f->flows, &w->p.inner, f->o.now()) : NULL;
    return flow && !flow->cut ? pass(w) : drop(w, FENCE_STRAY);
}

static bool is_dhcp(const struct net_packet *p)
{
    return p->ends.protocol == IPPROTO_UDP && p->fragment == NET_FRAGMENT_WHOLE &&
           (p->v6 ? p->ends.src_port == 547 && p->ends.dst_port == 546
                  : p->ends.src_port == 67 && p->ends.dst_port == 68);
}

static int from_ip(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    w->ends = net_fence_exchange(&p->ends);
    if (p->mapped)
        return drop(w, FENCE_MALFORMED);
    if (p->is_neighbour || is_dhcp(p))
        return pass(w);
    if (!net_fence_is_own(f, &p->ends.dst) || p->dst_mac[0] & 1)
        return drop(w, FENCE_STRAY);
    if (p->fragment == NET_FRAGMENT_LATER)
        return net_fence_fragment_passes(f, p, false) ? pass(w) : 0;
    if (p->is_error)
        return icmp_error(w);
    return conversation(w);
}

int net_fence_from_outside(struct net_fence *f, const struct net_frame *frame)
{
    struct work w = {.f = f, .frame = frame};
    uint8_t head[NET_PACKET_HEAD_MAX];
    if (frame->bytes > NET_FRAME_MAX)
        return drop(&w, FENCE_MALFORMED);
    net_fence_gather(frame, 0, head, PV_MIN(frame->bytes, sizeof(head)));
    if (net_packet_parse(head, frame->bytes, &w.p) < 0)
        return drop(&w, FENCE_MALFORMED);
    if (w.p.kind == NET_PACKET_OTHER)
        return drop(&w, FENCE_UNSUPPORTED);
    return w.p.kind == NET_PACKET_ARP ? pass(&w) : from_ip(&w);
}
