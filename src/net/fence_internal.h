/* SPDX-License-Identifier: Apache-2.0
 *
 * fence_internal.h: the fence, as its files share it.
 */
#ifndef NET_FENCE_INTERNAL_H
#define NET_FENCE_INTERNAL_H

#include "base/rate.h"
#include "net/dns.h"
#include "net/dns_tcp.h"
#include "net/fence.h"
#include "net/flow.h"
#include "net/packet.h"
#include "net/reply.h"

#define FENCE_FRAGMENTS 64u
#define FENCE_OWN_MAX 256u

enum fence_counter {
    FENCE_FLOWS,          /* conversations that were let through */
    FENCE_DENIED,         /* packets of the guest */
    FENCE_CUT,            /* conversations that a change of the grants ended */
    FENCE_MALFORMED,      /* frames that contradict themselves */
    FENCE_FORGED,         /* frames of the guest under another address than its own */
    FENCE_UNSUPPORTED,    /* neither IP nor ARP; VLAN tags; announcements of groups */
    FENCE_FRAGMENTS_LOST, /* later fragments without a first one */
    FENCE_STRAY,          /* from outside: for nobody, or of no conversation */
    FENCE_OWN_LOST,       /* answers of ours that the guest had no room for */
    FENCE_EVICTED,        /* conversations that left before their time: there were too many */
    FENCE_THROTTLED,      /* frames that had to wait for their rate */
    FENCE_DNS,            /* NET_DNS_COUNTERS of them */
    FENCE_COUNTERS = FENCE_DNS + NET_DNS_COUNTERS,
};

/* What became of the first fragment of a packet, for the later ones. */
struct fence_fragment {
    struct net_packet_ends ends; /* without ports */
    uint32_t id;
    bool from_guest, passes;
    uint64_t expires_ns; /* 0: free */
};

/* A frame of ours that waits for the guest. */
struct fence_own {
    struct fence_own *next;
    size_t len;
    uint8_t frame[];
};

struct fence_bucket {
    struct pv_rate bytes, frames;
    struct pv_loop_source *timer;
    bool waits; /* somebody was told -EAGAIN */
};

struct net_fence {
    struct net_link link;
    struct net_link *below;
    struct net_fence_options o;
    struct net_names *names;
    struct net_policy *policy;
    struct net_upstream *upstream;
    struct net_dns *dns;
    struct net_dns_tcp *dns_tcp;
    struct net_flows *flows;
    struct fence_fragment fragments[FENCE_FRAGMENTS];
    unsigned next_fragment;
    struct fence_bucket out, in;
    struct fence_own *own, **own_end;
    unsigned num_own;
    struct pv_loop_source *own_timer;
    struct iovec *pieces; /* of the frame that is passed down */
    unsigned max_pieces;
    uint64_t denials[NET_RULE_COUNT][NET_DENIED_COUNT];
    uint64_t counters[FENCE_COUNTERS];
    uint8_t scratch[NET_FRAME_MAX];
};

/* The station of the fence's own addresses. */
extern const uint8_t net_fence_mac[6];

/* fence.c */
/* Hands a frame of ours to the guest, as soon as it has room. */
void net_fence_say(struct net_fence *f, const uint8_t *frame, size_t len);
/* Copies len bytes at `at` of a frame. The frame has them. */
void net_fence_gather(const struct net_frame *frame, size_t at, uint8_t *to, size_t len);
bool net_fence_is_dns(const struct net_fence *f, const struct workload_address *a);
/* True when the guest has no addresses of its own to be checked, or this is one. */
bool net_fence_is_own(const struct net_fence *f, const struct workload_address *a);
/* Whether the fragment passes; a later one without a first does not. */
bool net_fence_fragment_passes(struct net_fence *f, const struct net_packet *p, bool from_guest);
void net_fence_note_fragment(struct net_fence *f, const struct net_packet *p, bool from_guest,
                             bool passes);
/* The ends as flows have them: of a packet from outside, exchanged. */
struct net_packet_ends net_fence_exchange(const struct net_packet_ends *ends);
void net_fence_note_denial(struct net_fence *f, const struct net_denial *denial);

/* fence_guest.c: a frame of the guest. 0, or -EAGAIN of the link below. */
int net_fence_from_guest(struct net_fence *f, const struct net_frame *frame);
/* fence_outside.c: a frame for the guest. 0, or -EAGAIN of the guest. */
int net_fence_from_outside(struct net_fence *f, const struct net_frame *frame);

#endif
