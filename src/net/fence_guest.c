/* SPDX-License-Identifier: Apache-2.0
 *
 * fence_guest.c: what the guest sends: checked, judged, answered or passed down.
 *
 * Theory of operation: the first bytes of a frame are copied once; what is checked is the copy, and
 * the copy is what goes down in their place, so the guest cannot change a header behind our back.
 * The rest is passed on as it is.
 */
#include "net/fence_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#define PORT_DNS 53
#define PORT_DHCP_SERVER 67
#define PORT_DHCP_CLIENT 68
#define PORT_DHCP6_CLIENT 546
#define PORT_DHCP6_SERVER 547
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_ROUTER_SOLICITATION 133

struct work {
    struct net_fence *f;
    const struct net_frame *frame;
    struct net_packet p;
    size_t head_len;
    uint8_t head[NET_PACKET_HEAD_MAX];
};

static int drop(struct work *w, enum fence_counter why)
{
    w->f->counters[why]++;
    return 0;
}

/* Passes the frame down, its head replaced by the copy that was checked. */
static int pass(struct work *w)
{
    struct net_fence *f = w->f;
    struct net_frame down = *w->frame;
    unsigned need = w->frame->num_iov + 1, n = 0;
    size_t skip = w->head_len;
    if (need > f->max_pieces) {
        struct iovec *pieces = realloc(f->pieces, need * sizeof(*pieces));
        if (!pieces)
            return drop(w, FENCE_MALFORMED);
        f->pieces = pieces;
        f->max_pieces = need;
    }
    f->pieces[n++] = (struct iovec){.iov_base = w->head, .iov_len = w->head_len};
    for (unsigned i = 0; i < w->frame->num_iov; i++) {
        struct iovec v = w->frame->iov[i];
        size_t cut = PV_MIN(skip, v.iov_len);
        skip -= cut;
        if (v.iov_len > cut)
            f->pieces[n++] =
                (struct iovec){.iov_base = (uint8_t *)v.iov_base + cut, .iov_len = v.iov_len - cut};
    }
    down.iov = f->pieces;
    down.num_iov = n;
    return net_link_send(f->below, &down);
}

/* -- what the header of the card says must fit the packet -- */

/* A partial checksum is written where the header says: only its own place is allowed, or it would
 * overwrite what was checked. */
static bool offload_fits(const struct work *w)
{
    const struct virtio_net_hdr *h = &w->frame->hdr;
    const struct net_packet *p = &w->p;
    unsigned gso = h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
    bool tcp = p->kind == NET_PACKET_IP && p->ends.protocol == IPPROTO_TCP;
    bool udp = p->kind == NET_PACKET_IP && p->ends.protocol == IPPROTO_UDP;
    if ((h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM || gso) &&
        (!(tcp || udp) || p->fragment != NET_FRAGMENT_WHOLE))
        return false;
    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
        (h->csum_start != p->l4 || h->csum_offset != (tcp ? 16 : 6)))
        return false;
    switch (gso) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return tcp && !p->v6;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return tcp && p->v6;
    default:
        return udp;
    }
}

/* -- telling the guest -- */

static bool is_group(const struct net_packet *p)
{
    return p->dst_mac[0] & 1;
}

static enum net_denied_protocol protocol_of(uint8_t protocol)
{
    return protocol == IPPROTO_TCP    ? NET_DENIED_TCP
           : protocol == IPPROTO_UDP  ? NET_DENIED_UDP
           : protocol == IPPROTO_ICMP ? NET_DENIED_ICMP
                                      : NET_DENIED_OTHER;
}

static void say_denied(struct work *w)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    const struct net_packet *p = &w->p;
    if (is_group(p) || p->mapped)
        return;
    if (p->ends.protocol != IPPROTO_TCP)
        net_fence_say(w->f, frame, net_reply_prohibited(frame, p, w->head));
    else if (!(p->tcp_flags & NET_TCP_RST))
        net_fence_say(w->f, frame, net_reply_reset(frame, p));
}

static int deny(struct work *w, enum net_rule rule)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    struct net_denial denial = {.protocol = protocol_of(p->ends.protocol),
                                .rule = rule,
                                .address = &p->ends.dst,
                                .port = p->ends.protocol == IPPROTO_ICMP ? 0 : p->ends.dst_port,
                                .ip_protocol = p->ends.protocol};
    denial.name = net_names_find(f->names, &p->ends.dst, f->o.now());
    net_fence_note_denial(f, &denial);
    if (p->fragment == NET_FRAGMENT_FIRST)
        net_fence_note_fragment(f, p, true, false);
    say_denied(w);
    return drop(w, FENCE_DENIED);
}

/* -- DNS -- */

/* Who asked over UDP. */
struct asker {
    struct net_fence *f;
    struct net_reply_path back;
};

static void answer_datagram(void *data, const uint8_t *message, size_t len)
{
    struct asker *a = data;
    struct net_fence *f = a->f;
    if (message) {
        size_t bytes = net_reply_datagram(f->scratch, &a->back, message, len);
        net_fence_say(f, f->scratch, bytes);
    }
    free(a);
}

static int ask_datagram(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    size_t len = p->end - p->payload, told = net_packet_u16(w->head + p->l4 + 4);
    struct asker *a = malloc(sizeof(*a));
    if (!a)
        return 0; /* as if it were lost on its way */
    if (told >= 8 && told - 8 < len)
        len = told - 8;
    *a = (struct asker){.f = f, .back = net_reply_back(p)};
    uint8_t *message = f->scratch;
    net_fence_gather(w->frame, p->payload, message, len);
    net_dns_ask(f->dns, message, len, f->link.mtu - 48, true, answer_datagram, a);
    return 0;
}

static int to_dns(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    bool port = p->ends.dst_port == PORT_DNS && p->fragment == NET_FRAGMENT_WHOLE;
    if (port && p->ends.protocol == IPPROTO_UDP &&
        w->frame->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return ask_datagram(w);
    if (port && p->ends.protocol == IPPROTO_TCP) {
        size_t len = p->end - p->payload;
        net_fence_gather(w->frame, p->payload, f->scratch, len);
        net_dns_tcp_input(f->dns_tcp, p, f->scratch);
        return 0;
    }
    return deny(w, NET_RULE_HOST_LOOPBACK);
}

/* -- packets of IP -- */

static bool is_dhcp(const struct net_packet *p)
{
    return p->ends.protocol == IPPROTO_UDP && p->fragment == NET_FRAGMENT_WHOLE &&
           (p->v6 ? p->ends.src_port == PORT_DHCP6_CLIENT && p->ends.dst_port == PORT_DHCP6_SERVER
                  : p->ends.src_port == PORT_DHCP_CLIENT && p->ends.dst_port == PORT_DHCP_SERVER);
}

/* Reports of groups, which nobody here keeps. */
static bool is_group_report(const struct net_packet *p)
{
    if (!p->v6)
        return p->ends.protocol == IPPROTO_IGMP;
    return p->ends.protocol == IPPROTO_ICMP &&
           (p->icmp_type == 143 || (p->icmp_type >= 130 && p->icmp_type <= 132));
}

static bool is_link_local(const struct workload_address *a)
{
    return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

static int neighbour(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    static const struct workload_address nobody;
    uint8_t frame[NET_REPLY_BYTES_MAX];
    const struct workload_address *says =
        p->icmp_type == ND_ADVERTISEMENT ? &p->neighbour_target : &p->ends.src;
    if (!net_fence_is_own(f, says) && !is_link_local(says) &&
        !(p->icmp_type == ND_SOLICITATION && workload_address_equal(says, &nobody)))
        return drop(w, FENCE_FORGED);
    if (p->icmp_type == ND_SOLICITATION && net_fence_is_dns(f, &p->neighbour_target)) {
        if (!workload_address_equal(says, &nobody))
            net_fence_say(f, frame, net_reply_neighbour(frame, p, net_fence_mac));
        return 0;
    }
    if (p->icmp_type != ND_SOLICITATION && p->icmp_type != ND_ADVERTISEMENT &&
        p->icmp_type != ND_ROUTER_SOLICITATION)
        return drop(w, FENCE_FORGED); /* a guest is no router */
    return pass(w);
}

/* An ICMP error: only about what came to the guest. */
static int icmp_error(struct work *w)
{
    struct net_packet_ends ends = net_fence_exchange(&w->p.inner);
    struct net_flow *flow =
        w->p.inner.protocol ? net_flows_find(w->f->flows, &ends, w->f->o.now()) : NULL;
    if (!flow || flow->cut)
        return drop(w, FENCE_STRAY);
    return pass(w);
}

static bool is_first_syn(const struct net_packet *p)
{
    return p->ends.protocol == IPPROTO_TCP &&
           (p->tcp_flags & (NET_TCP_SYN | NET_TCP_ACK)) == NET_TCP_SYN;
}

/* Whether this packet of the guest begins a conversation although a flow has its ends: the old one
 * is over, or it was not the guest's to begin. */
static bool begins_again(const struct net_flow *flow, const struct net_packet *p)
{
    return is_first_syn(p) &&
           (flow->from_outside || flow->reset || (flow->guest_fin && flow->other_fin));
}

static int pass_in_flow(struct work *w, struct net_flow *flow)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    memcpy(flow->other_mac, p->dst_mac, 6);
    int rc = pass(w);
    if (rc == 0) {
        net_flows_note(f->flows, flow, p, true, f->o.now());
        if (p->fragment == NET_FRAGMENT_FIRST)
            net_fence_note_fragment(f, p, true, true);
    }
    return rc;
}

static bool is_echo_reply(const struct net_packet *p)
{
    return p->ends.protocol == IPPROTO_ICMP && p->icmp_type == (p->v6 ? 129 : ICMP_ECHO_REPLY);
}

static int begin(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    uint64_t now = f->o.now();
    uint16_t port = p->ends.protocol == IPPROTO_ICMP ? 0 : p->ends.dst_port;
    if (is_echo_reply(p))
        return drop(w, FENCE_STRAY); /* nobody asked */
    struct net_verdict v =
        net_policy_judge(f->policy, p->ends.protocol, &p->ends.dst, port, NULL, now);
    if (!v.allowed)
        return deny(w, v.rule);
    struct net_flow *flow = net_flows_add(f->flows, &p->ends, false, v.name, now);
    if (!flow)
        return drop(w, FENCE_OWN_LOST);
    f->counters[FENCE_FLOWS]++;
    return pass_in_flow(w, flow);
}

static int conversation(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    struct net_flow *flow = net_flows_find(f->flows, &p->ends, f->o.now());
    if (flow && begins_again(flow, p)) {
        net_flows_remove(f->flows, flow);
        flow = NULL;
    }
    if (!flow)
        return begin(w);
    if (!flow->cut)
        return pass_in_flow(w, flow);
    if (is_first_syn(p)) { /* a new try: the policy says no again, and writes it down */
        net_flows_remove(f->flows, flow);
        return begin(w);
    }
    say_denied(w);
    return drop(w, FENCE_DENIED);
}

static int from_ip(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    if (p->mapped)
        return deny(w, NET_RULE_EMBEDDED);
    if (is_group_report(p))
        return drop(w, FENCE_UNSUPPORTED);
    if (p->is_neighbour)
        return neighbour(w);
    if (is_dhcp(p))
        return pass(w);
    if (!net_fence_is_own(f, &p->ends.src))
        return drop(w, FENCE_FORGED);
    if (p->fragment == NET_FRAGMENT_LATER)
        return net_fence_fragment_passes(f, p, true) ? pass(w) : 0;
    if (p->is_error)
        return icmp_error(w);
    if (net_fence_is_dns(f, &p->ends.dst))
        return to_dns(w);
    return conversation(w);
}

static int from_arp(struct work *w)
{
    struct net_fence *f = w->f;
    const struct net_packet *p = &w->p;
    static const uint8_t zero[4];
    struct workload_address nobody = workload_address_from_v4(zero);
    bool probe = workload_address_equal(&p->arp_sender, &nobody);
    uint8_t frame[NET_REPLY_BYTES_MAX];
    if (memcmp(p->arp_sender_mac, f->o.mac, 6) != 0 ||
        (!probe && !net_fence_is_own(f, &p->arp_sender)))
        return drop(w, FENCE_FORGED);
    if (!net_fence_is_dns(f, &p->arp_target))
        return pass(w);
    if (p->arp_op == 1 && !probe)
        net_fence_say(f, frame, net_reply_arp(frame, p, net_fence_mac));
    return 0;
}

int net_fence_from_guest(struct net_fence *f, const struct net_frame *frame)
{
    struct work w = {.f = f, .frame = frame};
    w.head_len = PV_MIN(frame->bytes, (size_t)NET_PACKET_HEAD_MAX);
    if (frame->bytes > NET_FRAME_MAX)
        return drop(&w, FENCE_MALFORMED);
    net_fence_gather(frame, 0, w.head, w.head_len);
    if (net_packet_parse(w.head, frame->bytes, &w.p) < 0)
        return drop(&w, FENCE_MALFORMED);
    if (memcmp(w.p.src_mac, f->o.mac, 6) != 0)
        return drop(&w, FENCE_FORGED);
    if (w.p.kind == NET_PACKET_OTHER)
        return drop(&w, FENCE_UNSUPPORTED);
    if (!offload_fits(&w))
        return drop(&w, FENCE_MALFORMED);
    return w.p.kind == NET_PACKET_ARP ? from_arp(&w) : from_ip(&w);
}
