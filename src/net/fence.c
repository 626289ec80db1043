/* SPDX-License-Identifier: Apache-2.0
 *
 * fence.c: the fence as a link: its life, its rates, its own frames, and changes of the grants.
 */
#include "net/fence.h"

#include "base/clock.h"
#include "net/fence_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#define SECOND_NS 1000000000ull
#define FRAGMENT_NS (30 * SECOND_NS)

/* Of the locally administered ones: "DNS" in its middle. */
const uint8_t net_fence_mac[6] = {0x02, 0x50, 0x44, 0x4e, 0x53, 0x01};

const char *const net_denied_names[NET_DENIED_COUNT] = {
    [NET_DENIED_TCP] = "tcp",     [NET_DENIED_UDP] = "udp", [NET_DENIED_ICMP] = "icmp",
    [NET_DENIED_OTHER] = "other", [NET_DENIED_DNS] = "dns",
};

const struct net_fence_syscall net_fence_syscalls[] = {
    {"socket", "fence: ask the host's name servers"},
    {"connect", "fence: ask the host's name servers"},
    {"sendto", "fence: ask the host's name servers"},
    {"recvfrom", "fence: the name servers' answers"},
    {"getrandom", "fence: ids of questions, the seed of the table of flows"},
    {NULL, NULL},
};

static const char *const labels[FENCE_COUNTERS] = {
    [FENCE_FLOWS] = "flows",
    [FENCE_DENIED] = "denied",
    [FENCE_CUT] = "cut",
    [FENCE_MALFORMED] = "malformed",
    [FENCE_FORGED] = "forged",
    [FENCE_UNSUPPORTED] = "unsupported",
    [FENCE_FRAGMENTS_LOST] = "fragments_lost",
    [FENCE_STRAY] = "stray",
    [FENCE_OWN_LOST] = "own_lost",
    [FENCE_EVICTED] = "evicted",
    [FENCE_THROTTLED] = "throttled",
    [FENCE_DNS + NET_DNS_QUESTIONS] = "dns_questions",
    [FENCE_DNS + NET_DNS_ANSWERED] = "dns_answered",
    [FENCE_DNS + NET_DNS_DENIED] = "dns_denied",
    [FENCE_DNS + NET_DNS_FAILED] = "dns_failed",
    [FENCE_DNS + NET_DNS_BROKEN] = "dns_broken",
    [FENCE_DNS + NET_DNS_STRIPPED] = "dns_stripped",
};

static struct net_fence *fence_of(const struct net_link *link)
{
    return PV_CONTAINER_OF(link, struct net_fence, link);
}

/* -- what its files share -- */

void net_fence_gather(const struct net_frame *frame, size_t at, uint8_t *to, size_t len)
{
    for (unsigned i = 0; i < frame->num_iov && len; i++) {
        size_t piece = frame->iov[i].iov_len;
        if (at >= piece) {
            at -= piece;
            continue;
        }
        size_t take = PV_MIN(piece - at, len);
        memcpy(to, (const uint8_t *)frame->iov[i].iov_base + at, take);
        to += take;
        len -= take;
        at = 0;
    }
}

static bool is_one_of(const struct workload_address *list, unsigned count,
                      const struct workload_address *a)
{
    for (unsigned i = 0; i < count; i++)
        if (workload_address_equal(&list[i], a))
            return true;
    return false;
}

bool net_fence_is_dns(const struct net_fence *f, const struct workload_address *a)
{
    return is_one_of(f->o.dns, f->o.num_dns, a);
}

bool net_fence_is_own(const struct net_fence *f, const struct workload_address *a)
{
    return f->o.num_addresses == 0 || is_one_of(f->o.addresses, f->o.num_addresses, a);
}

struct net_packet_ends net_fence_exchange(const struct net_packet_ends *e)
{
    return (struct net_packet_ends){.src = e->dst,
                                    .dst = e->src,
                                    .src_port = e->dst_port,
                                    .dst_port = e->src_port,
                                    .protocol = e->protocol};
}

static struct fence_fragment *find_fragment(struct net_fence *f, const struct net_packet *p,
                                            bool from_guest)
{
    uint64_t now = f->o.now();
    for (unsigned i = 0; i < FENCE_FRAGMENTS; i++) {
        struct fence_fragment *g = &f->fragments[i];
        if (g->expires_ns > now && g->id == p->fragment_id && g->from_guest == from_guest &&
            g->ends.protocol == p->ends.protocol &&
            workload_address_equal(&g->ends.src, &p->ends.src) &&
            workload_address_equal(&g->ends.dst, &p->ends.dst))
            return g;
    }
    return NULL;
}

bool net_fence_fragment_passes(struct net_fence *f, const struct net_packet *p, bool from_guest)
{
    const struct fence_fragment *g = find_fragment(f, p, from_guest);
    /* A fragment over the header of TCP would change what was judged (RFC 1858). */
    if (g && p->ends.protocol == IPPROTO_TCP && p->fragment_at < 60) {
        f->counters[FENCE_MALFORMED]++;
        return false;
    }
    if (!g || !g->passes)
        f->counters[FENCE_FRAGMENTS_LOST]++;
    return g && g->passes;
}

void net_fence_note_fragment(struct net_fence *f, const struct net_packet *p, bool from_guest,
                             bool passes)
{
    struct fence_fragment *g = find_fragment(f, p, from_guest);
    /* Once denied, a packet stays denied: a second first fragment changes nothing. */
    if (g) {
        g->passes &= passes;
        return;
    }
    g = &f->fragments[f->next_fragment++ % FENCE_FRAGMENTS];
    *g = (struct fence_fragment){.ends = p->ends,
                                 .id = p->fragment_id,
                                 .from_guest = from_guest,
                                 .passes = passes,
                                 .expires_ns = f->o.now() + FRAGMENT_NS};
}

void net_fence_note_denial(struct net_fence *f, const struct net_denial *denial)
{
    f->denials[denial->rule][denial->protocol]++;
    if (f->o.denied)
        f->o.denied(f->o.denied_data, denial);
}

static void on_dns_denied(void *data, const char *name, const struct workload_address *address,
                          enum net_rule rule)
{
    struct net_denial denial = {
        .protocol = NET_DENIED_DNS, .rule = rule, .address = address, .name = name};
    net_fence_note_denial(data, &denial);
}

/* -- frames of ours -- */

static void drop_own(struct net_fence *f)
{
    struct fence_own *own = f->own;
    f->own = own->next;
    if (!f->own)
        f->own_end = &f->own;
    f->num_own--;
    free(own);
}

static void flush_own(void *data)
{
    struct net_fence *f = data;
    while (f->own) {
        struct iovec piece = {.iov_base = f->own->frame, .iov_len = f->own->len};
        struct net_frame frame = {.iov = &piece, .num_iov = 1, .bytes = f->own->len};
        if (f->link.upper.receive(f->link.upper.data, &frame) == -EAGAIN)
            return; /* resume comes */
        drop_own(f);
    }
}

void net_fence_say(struct net_fence *f, const uint8_t *frame, size_t len)
{
    struct fence_own *own = f->num_own < FENCE_OWN_MAX ? malloc(sizeof(*own) + len) : NULL;
    if (!own) {
        f->counters[FENCE_OWN_LOST]++;
        return;
    }
    own->next = NULL;
    own->len = len;
    memcpy(own->frame, frame, len);
    *f->own_end = own;
    f->own_end = &own->next;
    /* Not inside the guest's own send. */
    if (f->num_own++ == 0)
        pv_loop_arm(f->own_timer, 1);
}

static void say(void *data, const uint8_t *frame, size_t len)
{
    net_fence_say(data, frame, len);
}

/* -- rates -- */

static void set_bucket(struct net_fence *f, struct fence_bucket *b)
{
    const struct net_fence_rate *r = &f->o.rate;
    uint64_t burst = r->bytes.burst ? r->bytes.burst : r->bytes.per_second / 10;
    uint64_t frames = r->frames.burst ? r->frames.burst : r->frames.per_second / 10;
    uint64_t now = f->o.now();
    pv_rate_change(&b->bytes, r->bytes.per_second, PV_MAX(burst, (uint64_t)NET_FRAME_MAX), now);
    pv_rate_change(&b->frames, r->frames.per_second, PV_MAX(frames, (uint64_t)1), now);
}

/* Whether a frame has to wait; then the timer says when it can come again. */
static bool must_wait(struct net_fence *f, struct fence_bucket *b, size_t bytes)
{
    uint64_t now = f->o.now();
    uint64_t wait_bytes = pv_rate_wait(&b->bytes, bytes, now);
    uint64_t wait_frames = pv_rate_wait(&b->frames, 1, now);
    uint64_t wait = PV_MAX(wait_bytes, wait_frames);
    if (!wait)
        return false;
    f->counters[FENCE_THROTTLED] += !b->waits;
    b->waits = true;
    pv_loop_arm(b->timer, wait);
    return true;
}

static void take_rate(struct net_fence *f, struct fence_bucket *b, size_t bytes)
{
    uint64_t now = f->o.now();
    pv_rate_take(&b->bytes, bytes, now);
    pv_rate_take(&b->frames, 1, now);
}

static void on_out_timer(void *data)
{
    struct net_fence *f = data;
    if (!f->out.waits)
        return;
    f->out.waits = false;
    f->link.upper.sendable(f->link.upper.data);
}

static void on_in_timer(void *data)
{
    struct net_fence *f = data;
    if (!f->in.waits)
        return;
    f->in.waits = false;
    net_link_resume(f->below);
}

/* -- the link -- */

static int fence_send(struct net_link *link, const struct net_frame *frame)
{
    struct net_fence *f = fence_of(link);
    if (must_wait(f, &f->out, frame->bytes))
        return -EAGAIN;
    int rc = net_fence_from_guest(f, frame);
    if (rc == 0)
        take_rate(f, &f->out, frame->bytes);
    return rc;
}

static int fence_receive(void *data, const struct net_frame *frame)
{
    struct net_fence *f = data;
    if (must_wait(f, &f->in, frame->bytes))
        return -EAGAIN;
    int rc = net_fence_from_outside(f, frame);
    if (rc == 0)
        take_rate(f, &f->in, frame->bytes);
    return rc;
}

static void fence_sendable(void *data)
{
    struct net_fence *f = data;
    f->link.upper.sendable(f->link.upper.data);
}

static void fence_resume(struct net_link *link)
{
    struct net_fence *f = fence_of(link);
    flush_own(f);
    if (!f->own && !f->in.waits)
        net_link_resume(f->below);
}

static void fence_get_counters(const struct net_link *link, const char *name,
                               struct pv_counter_group *ret_group)
{
    struct net_fence *f = fence_of(link);
    f->counters[FENCE_EVICTED] = net_flows_evicted(f->flows);
    memcpy(f->counters + FENCE_DNS, net_dns_counters(f->dns), NET_DNS_COUNTERS * sizeof(uint64_t));
    *ret_group = (struct pv_counter_group){
        .name = name, .labels = labels, .values = f->counters, .count = FENCE_COUNTERS};
}

static void fence_free(struct net_link *link)
{
    struct net_fence *f = fence_of(link);
    /* From the top down; open questions end with their DNS, so it goes before what they use. */
    net_link_free(f->below);
    net_upstream_free(f->upstream);
    if (f->dns)
        net_dns_free(f->dns);
    net_dns_tcp_free(f->dns_tcp);
    net_policy_free(f->policy);
    net_flows_free(f->flows);
    net_names_free(f->names);
    while (f->own)
        drop_own(f);
    pv_loop_remove(f->own_timer);
    pv_loop_remove(f->out.timer);
    pv_loop_remove(f->in.timer);
    free(f->pieces);
    free(f);
}

static const struct net_link_class fence_class = {
    .name = "fence",
    .send = fence_send,
    .resume = fence_resume,
    .get_counters = fence_get_counters,
    .free = fence_free,
};

static int make_dns(struct net_fence *f)
{
    struct net_upstream_options upstream = {
        .loop = f->o.loop, .num_servers = f->o.num_servers, .timeout_ns = f->o.dns_timeout_ns};
    memcpy(upstream.servers, f->o.servers, sizeof(upstream.servers));
    f->upstream = net_upstream_new(&upstream);
    struct net_dns_options dns = {.policy = f->policy,
                                  .names = f->names,
                                  .upstream = f->upstream,
                                  .lookup = f->o.lookup,
                                  .lookup_data = f->o.lookup_data,
                                  .denied = on_dns_denied,
                                  .denied_data = f,
                                  .now = f->o.now};
    f->dns = f->upstream ? net_dns_new(&dns) : NULL;
    struct net_dns_tcp_options tcp = {.loop = f->o.loop,
                                      .dns = f->dns,
                                      .mtu = f->link.mtu,
                                      .send = say,
                                      .data = f,
                                      .now = f->o.now};
    f->dns_tcp = f->dns ? net_dns_tcp_new(&tcp) : NULL;
    return f->dns_tcp ? 0 : -ENOMEM;
}

static int make_parts(struct net_fence *f)
{
    f->names = net_names_new();
    f->policy = f->names ? net_policy_new(&f->o.policy, f->names) : NULL;
    f->flows = net_flows_new(NET_FLOWS_MAX);
    f->own_timer = pv_loop_add_timer(f->o.loop, flush_own, f);
    f->out.timer = pv_loop_add_timer(f->o.loop, on_out_timer, f);
    f->in.timer = pv_loop_add_timer(f->o.loop, on_in_timer, f);
    if (!f->policy || !f->flows || !f->own_timer || !f->out.timer || !f->in.timer)
        return -ENOMEM;
    int rc = f->o.grants ? net_policy_set_grants(f->policy, f->o.grants) : 0;
    f->o.grants = NULL; /* it was the caller's */
    return rc < 0 ? rc : make_dns(f);
}

int net_fence_new(const struct net_fence_options *options, struct net_link *below,
                  struct net_link **ret_link, struct pv_error *err)
{
    struct net_fence *f = calloc(1, sizeof(*f));
    if (!f) {
        net_link_free(below);
        return pv_error_set(err, ENOMEM, "fence: out of memory");
    }
    f->link = (struct net_link){.class = &fence_class,
                                .send_offloads = below->send_offloads,
                                .receive_offloads = below->receive_offloads,
                                .mtu = below->mtu,
                                .below = below};
    f->below = below;
    f->o = *options;
    f->own_end = &f->own;
    if (!f->o.now)
        f->o.now = pv_time_monotonic_ns;
    int rc = make_parts(f);
    if (rc < 0) {
        fence_free(&f->link);
        return pv_error_set(err, -rc, "fence: out of memory or descriptors");
    }
    pv_rate_init(&f->out.bytes, 0, 0, f->o.now());
    pv_rate_init(&f->out.frames, 0, 0, f->o.now());
    f->in.bytes = f->in.frames = f->out.bytes;
    set_bucket(f, &f->out);
    set_bucket(f, &f->in);
    below->upper =
        (struct net_upper){.receive = fence_receive, .sendable = fence_sendable, .data = f};
    *ret_link = &f->link;
    return 0;
}

/* -- changes -- */

void net_fence_set_rate(struct net_link *link, const struct net_fence_rate *rate)
{
    struct net_fence *f = fence_of(link);
    f->o.rate = *rate;
    set_bucket(f, &f->out);
    set_bucket(f, &f->in);
    /* Whoever waits may not have to any more. */
    if (f->out.waits)
        pv_loop_arm(f->out.timer, 1);
    if (f->in.waits)
        pv_loop_arm(f->in.timer, 1);
}

/* Resets both ends of a TCP flow. A lost reset is made up for by the next segment. */
static void reset_ends(struct net_fence *f, struct net_flow *flow)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path to_guest = {.ends = net_fence_exchange(&flow->ends)};
    struct net_reply_path to_other = {.ends = flow->ends};
    memcpy(to_guest.src_mac, flow->other_mac, 6);
    memcpy(to_guest.dst_mac, f->o.mac, 6);
    memcpy(to_other.src_mac, f->o.mac, 6);
    memcpy(to_other.dst_mac, flow->other_mac, 6);
    size_t len = net_reply_segment(frame, &to_guest, flow->other_next, flow->guest_next,
                                   NET_TCP_RST | NET_TCP_ACK, 0, NULL, 0, NULL, 0);
    net_fence_say(f, frame, len);
    len = net_reply_segment(frame, &to_other, flow->guest_next, flow->other_next,
                            NET_TCP_RST | NET_TCP_ACK, 0, NULL, 0, NULL, 0);
    struct iovec piece = {.iov_base = frame, .iov_len = len};
    net_link_send(f->below, &(struct net_frame){.iov = &piece, .num_iov = 1, .bytes = len});
}

static void cut_if_denied(void *data, struct net_flow *flow)
{
    struct net_fence *f = data;
    const struct net_packet_ends *e = &flow->ends;
    if (flow->from_outside || flow->cut)
        return;
    if (net_policy_judge(f->policy, e->protocol, &e->dst, e->dst_port, flow->name, f->o.now())
            .allowed)
        return;
    f->counters[FENCE_CUT]++;
    if (e->protocol != IPPROTO_TCP || flow->reset) {
        net_flows_remove(f->flows, flow);
        return;
    }
    flow->cut = true;
    reset_ends(f, flow);
}

int net_fence_set_grants(struct net_link *link, const struct workload_grants *grants)
{
    struct net_fence *f = fence_of(link);
    int rc = net_policy_set_grants(f->policy, grants);
    if (rc < 0)
        return rc;
    /* What was let through in fragments is judged again, too. */
    memset(f->fragments, 0, sizeof(f->fragments));
    net_flows_each(f->flows, cut_if_denied, f);
    return 0;
}

const uint64_t (*net_fence_denials(const struct net_link *link))[NET_DENIED_COUNT]
{
    return (const uint64_t(*)[NET_DENIED_COUNT])fence_of(link)->denials;
}
