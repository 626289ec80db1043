/* SPDX-License-Identifier: Apache-2.0
 *
 * link.h: a network link: where the Ethernet frames of one guest go, and where they come from.
 *
 * Links are stacked. The guest's network card (virtio/device/net.c) is the upper end; below it
 * stand stages that look at frames (the fence that keeps the grants) and at the bottom backends
 * that carry them (user-mode stack, tap, private switch). A stage is the upper end of the link
 * below it. Every neighbour sees the same two calls, so each can be tested alone.
 *
 * Runs on: the loop thread of the machine.
 * Trust:   frames that come down were written by the guest, frames that come up by a remote
 *          machine: every byte is input. The header's offload fields are checked once, by the
 *          card, against the frame's length; what a stage needs beyond it checks itself.
 */
#ifndef NET_LINK_H
#define NET_LINK_H

#include "base/counter.h"
#include "base/error.h"

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Since Linux 6.2, for headers that are older. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define NET_MTU_MAX 65520u
/* The longest frame: an IP packet of 64 KiB, its Ethernet header and a VLAN tag. */
#define NET_FRAME_MAX (65535u + 18u)

/* A frame in more pieces than this may be dropped: a descriptor chain of the largest queue. */
#define NET_LINK_IOV_MAX 1023u

/* What a link can carry beyond plain frames with valid checksums. */
enum net_offload {
    NET_OFFLOAD_CSUM = 1 << 0, /* VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum is partial */
    NET_OFFLOAD_TSO4 = 1 << 1, /* VIRTIO_NET_HDR_GSO_TCPV4, includes ECN */
    NET_OFFLOAD_TSO6 = 1 << 2, /* VIRTIO_NET_HDR_GSO_TCPV6, includes ECN */
    NET_OFFLOAD_USO = 1 << 3,  /* VIRTIO_NET_HDR_GSO_UDP_L4 */
};

/* One frame. The pieces are borrowed for the duration of the call. */
struct net_frame {
    struct virtio_net_hdr hdr; /* all zero: nothing is offloaded */
    const struct iovec *iov;   /* from the destination address on */
    unsigned num_iov;
    size_t bytes; /* the sum of the iovecs, at most NET_FRAME_MAX */
};

/* What the upper end offers to its link. */
struct net_upper {
    /* A frame for the guest. 0: taken (or dropped and counted); -EAGAIN: no room now: the link
     * keeps it and stops until net_link_resume is called. */
    int (*receive)(void *data, const struct net_frame *frame);
    /* After send said -EAGAIN: there is room again. */
    void (*sendable)(void *data);
    void *data;
};

struct net_link;

struct net_link_class {
    const char *name; /* "user" */
    /* A frame of the guest. 0: taken (or dropped and counted); -EAGAIN: no room now, sendable
     * follows. */
    int (*send)(struct net_link *link, const struct net_frame *frame);
    /* The upper end has room again after its receive said -EAGAIN. */
    void (*resume)(struct net_link *link);
    void (*get_counters)(const struct net_link *link, const char *name,
                         struct pv_counter_group *ret_group);
    /* Frees it and, for a stage, the links below it. */
    void (*free)(struct net_link *link);
};

/* The head of every link; the rest is the class's own. */
struct net_link {
    const struct net_link_class *class;
    struct net_upper upper;    /* set by whoever stands above, before the first frame */
    unsigned send_offloads;    /* enum net_offload: what send accepts */
    unsigned receive_offloads; /* what it may hand to upper.receive, if the guest can take it */
    uint32_t mtu;              /* bytes of an IP packet, at most NET_MTU_MAX */
    /* Of a stage: the link that it stands on, only to be looked at from outside. NULL: none. */
    const struct net_link *below;
};

static inline int net_link_send(struct net_link *link, const struct net_frame *frame)
{
    return link->class->send(link, frame);
}

static inline void net_link_resume(struct net_link *link)
{
    link->class->resume(link);
}

/* Accepts NULL. */
static inline void net_link_free(struct net_link *link)
{
    if (link)
        link->class->free(link);
}

#endif
