/* SPDX-License-Identifier: Apache-2.0
 *
 * net.c: virtio network card: between the guest's queues and a link.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.1.
 * Trust:   chains and headers are guest input. The header is copied once and checked against the
 *          frame's length; the frame's bytes stay in guest memory, which may change under whoever
 *          reads them.
 *
 * Theory of operation: nothing is queued here. A frame that the link cannot take yet stays in the
 * guest's ring; one that the guest has no buffers for stays with the link, which goes on when the
 * guest adds some. What the link may carry is what the guest is offered; what the guest then
 * refuses to know is done here in software.
 *
 * One pair of queues: everything runs on one thread, more pairs would only be more rings to look
 * into. No control queue: the card is promiscuous anyway, and a guest waits for each answer.
 */
#include "virtio/device/net.h"

#include "virtio/device_internal.h"

#include "net/offload.h"

#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_ids.h>
#include <string.h>

#define RX 0
#define TX 1
#define FRAMES_PER_TURN 256u
#define BYTES_PER_TURN (4u * 1024u * 1024u)
/* That a frame was taken interests a guest that has no more room for others, in its queue or in the
 * socket's accounts. Else it finds out with the next frame that it sends or gets: it is told a
 * little later, which mostly is never. */
#define TX_UNTOLD_BYTES (160u << 10)
#define TX_UNTOLD_FRAMES 64u
#define TX_SIGNAL_DELAY_NS 300000u
#define HEADER_BYTES sizeof(struct virtio_net_hdr_v1)

/* Since Linux 6.2, for headers that are older. */
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif

enum {
    COUNTER_TX_FRAMES = VIRTIO_COUNTER_OWN, /* tx: as the guest sees it */
    COUNTER_TX_BYTES,
    COUNTER_TX_DROPPED,
    COUNTER_TX_WAITS,
    COUNTER_RX_FRAMES,
    COUNTER_RX_BYTES,
    COUNTER_RX_DROPPED,
    COUNTER_RX_WAITS,
    COUNTER_END,
};
static const char *const counter_labels[COUNTER_END - VIRTIO_COUNTER_OWN] = {
    "tx_frames", "tx_bytes", "tx_dropped", "tx_waits",
    "rx_frames", "rx_bytes", "rx_dropped", "rx_waits",
};

/* A chain of the guest that holds a part of a frame. */
struct part {
    struct virtio_chain chain; /* only its head stays valid */
    uint32_t len;
};

struct card {
    struct virtio_device base;
    struct net_link *link; /* borrowed */
    uint8_t mac[ETH_ALEN];
    struct pv_loop_source *after; /* signals what was received in this turn */
    bool rx_waiting;              /* the link has a frame for which the guest had no room */
    struct pv_loop_source *tx_timer;
    bool tx_told_later; /* the timer is armed */
    uint64_t tx_untold_bytes;
    unsigned tx_untold_frames;
    struct iovec iov[VIRTIO_QUEUE_SIZE_MAX];
    struct part parts[VIRTIO_QUEUE_SIZE_MAX];
    uint8_t whole[NET_FRAME_MAX], segment[NET_FRAME_MAX]; /* for what is done in software */
};

static struct card *card_of(const struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct card, base);
}

/* -- features -- */

static const struct {
    unsigned offload, host, guest; /* bits */
} offload_features[] = {
    {NET_OFFLOAD_CSUM, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM},
    {NET_OFFLOAD_TSO4, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4},
    {NET_OFFLOAD_TSO4, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_GUEST_ECN},
    {NET_OFFLOAD_TSO6, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6},
    {NET_OFFLOAD_USO, VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_GUEST_USO4},
    {NET_OFFLOAD_USO, VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_GUEST_USO6},
};

static uint64_t features(const struct virtio_device *dev)
{
    const struct net_link *link = card_of(dev)->link;
    /* GUEST_CSUM always: it lets us say that a checksum is known to be good. No STATUS: without it
     * the link counts as up from the start; with it a guest needs a while to see that. */
    uint64_t bits = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_MTU |
                    1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_GUEST_CSUM;
    for (size_t i = 0; i < PV_ARRAY_SIZE(offload_features); i++) {
        if (link->send_offloads & offload_features[i].offload)
            bits |= 1ull << offload_features[i].host;
        if (link->receive_offloads & offload_features[i].offload)
            bits |= 1ull << offload_features[i].guest;
    }
    return bits;
}

/* What the guest may use, or knows. */
static unsigned negotiated(const struct card *c, bool send)
{
    unsigned offloads = 0;
    for (size_t i = 0; i < PV_ARRAY_SIZE(offload_features); i++)
        if (virtio_device_has_feature(&c->base,
                                      send ? offload_features[i].host : offload_features[i].guest))
            offloads |= offload_features[i].offload;
    /* Half of USO is none; a guest that takes only one kind gets none. */
    if (!send && !virtio_device_has_feature(&c->base, VIRTIO_NET_F_GUEST_USO6))
        offloads &= ~(unsigned)NET_OFFLOAD_USO;
    return offloads;
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    const struct card *c = card_of(dev);
    struct virtio_net_config config = {
        .mtu = htole16((uint16_t)c->link->mtu),
    };
    memcpy(config.mac, c->mac, sizeof(config.mac));
    memcpy(buf, (const uint8_t *)&config + offset, len);
}

/* -- from the guest -- */

/* The frame behind the header. False: there is none, or it is too long. */
static bool fetch_frame(struct card *c, const struct virtio_chain *chain, struct net_frame *frame)
{
    struct virtio_net_hdr_v1 h;
    if (virtio_chain_read(chain, 0, &h, sizeof(h)) != sizeof(h))
        return false;
    *frame = (struct net_frame){
        .hdr = {.flags = h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
                .gso_type = h.gso_type,
                .hdr_len = le16toh(h.hdr_len),
                .gso_size = le16toh(h.gso_size),
                .csum_start = le16toh(h.csum_start),
                .csum_offset = le16toh(h.csum_offset)},
        .iov = c->iov,
        .bytes = chain->readable_bytes - sizeof(h),
    };
    if (chain->readable_bytes - sizeof(h) > NET_FRAME_MAX ||
        net_offload_check(&frame->hdr, frame->bytes, negotiated(c, true)) < 0)
        return false;
    size_t skip = sizeof(h);
    for (unsigned i = 0; i < chain->num_readable; i++) {
        const struct iovec *from = &chain->readable[i];
        size_t dropped = PV_MIN(skip, from->iov_len);
        skip -= dropped;
        if (from->iov_len > dropped)
            c->iov[frame->num_iov++] =
                (struct iovec){(uint8_t *)from->iov_base + dropped, from->iov_len - dropped};
    }
    return true;
}

static int transmit(struct card *c)
{
    uint64_t *counters = c->base.counters;
    size_t bytes = 0;
    int rc = 0;
    for (unsigned i = 0; i < FRAMES_PER_TURN && bytes < BYTES_PER_TURN; i++) {
        struct virtio_chain chain;
        struct net_frame frame = {0};
        rc = virtio_device_pop(&c->base, TX, &chain);
        if (rc <= 0)
            return rc;
        if (!fetch_frame(c, &chain, &frame)) {
            counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
            counters[COUNTER_TX_DROPPED]++;
        } else if (net_link_send(c->link, &frame) == -EAGAIN) {
            virtio_queue_unpop(c->base.queues[TX], &chain);
            counters[VIRTIO_COUNTER_CHAINS]--;
            counters[COUNTER_TX_WAITS]++;
            return 0;
        } else {
            counters[COUNTER_TX_FRAMES]++;
            counters[COUNTER_TX_BYTES] += frame.bytes;
            bytes += frame.bytes;
        }
        c->tx_untold_bytes += chain.readable_bytes;
        c->tx_untold_frames++;
        virtio_queue_push(c->base.queues[TX], chain.head, 0);
    }
    return 1;
}

static bool is_serving(const struct card *c)
{
    return virtio_device_is_active(&c->base) && !c->base.needs_reset;
}

static void sendable(void *data)
{
    struct card *c = data;
    if (is_serving(c))
        virtio_device_again(&c->base, TX);
}

/* -- to the guest -- */

/* A place in a frame's pieces. */
struct cursor {
    const struct iovec *iov;
    unsigned left;
    size_t offset;
};

/* Writes up to len bytes of the frame behind `at` of the chain: the bytes written. */
static size_t fill_chain(const struct virtio_chain *chain, uint64_t at, struct cursor *from,
                         size_t len)
{
    size_t done = 0;
    while (from->left && done < len) {
        size_t n = PV_MIN(from->iov->iov_len - from->offset, len - done);
        const uint8_t *bytes = (const uint8_t *)from->iov->iov_base + from->offset;
        done += virtio_chain_write(chain, at + done, bytes, n);
        from->offset += n;
        if (from->offset == from->iov->iov_len) {
            from->iov++;
            from->left--;
            from->offset = 0;
        }
    }
    return done;
}

/* The bytes of num_buffers in a chain, which may be split: written when the number is known. */
static bool find_count(const struct virtio_chain *chain, uint8_t *ret_at[2])
{
    size_t offset = offsetof(struct virtio_net_hdr_v1, num_buffers), seen = 0;
    unsigned found = 0;
    for (unsigned i = 0; i < chain->num_writable && found < 2; i++) {
        const struct iovec *v = &chain->writable[i];
        while (found < 2 && offset + found < seen + v->iov_len) {
            ret_at[found] = (uint8_t *)v->iov_base + (offset + found - seen);
            found++;
        }
        seen += v->iov_len;
    }
    return found == 2;
}

static void take_back(struct card *c, unsigned parts)
{
    c->base.counters[VIRTIO_COUNTER_CHAINS] -= parts;
    while (parts > 0)
        virtio_queue_unpop(c->base.queues[RX], &c->parts[--parts].chain);
}

static void put_header(const struct virtio_chain *chain, const struct virtio_net_hdr *hdr)
{
    struct virtio_net_hdr_v1 h = {
        .flags = hdr->flags,
        .gso_type = hdr->gso_type,
        .hdr_len = htole16(hdr->hdr_len),
        .gso_size = htole16(hdr->gso_size),
        .csum_start = htole16(hdr->csum_start),
        .csum_offset = htole16(hdr->csum_offset),
        .num_buffers = htole16(1),
    };
    virtio_chain_write(chain, 0, &h, sizeof(h));
}

/* Puts a frame into the guest's buffers. 0: done; 1: it can never fit; -EAGAIN: not enough of them;
 * else the guest broke the ring. */
static int put_frame(struct card *c, const struct net_frame *frame)
{
    bool merge = virtio_device_has_feature(&c->base, VIRTIO_NET_F_MRG_RXBUF);
    struct cursor from = {frame->iov, frame->num_iov, 0};
    uint8_t *count_at[2];
    size_t left = frame->bytes;
    unsigned n = 0;
    do {
        struct part *part = &c->parts[n];
        int rc = n == PV_ARRAY_SIZE(c->parts) ? 1 : 0;
        if (rc == 0 && (rc = virtio_device_pop(&c->base, RX, &part->chain)) < 0)
            return rc;
        if (rc == 0 || n == PV_ARRAY_SIZE(c->parts)) {
            take_back(c, n);
            return rc ? 1 : -EAGAIN;
        }
        size_t header = n == 0 ? HEADER_BYTES : 0;
        if (part->chain.writable_bytes <= header)
            return -EPROTO; /* buffers that no frame fits into: the driver is lost */
        if (n == 0 && find_count(&part->chain, count_at))
            put_header(&part->chain, &frame->hdr);
        size_t room = (size_t)PV_MIN(part->chain.writable_bytes - header, (uint64_t)left);
        if (!merge && room < left) {
            take_back(c, n + 1);
            return 1;
        }
        size_t done = fill_chain(&part->chain, header, &from, room);
        part->len = (uint32_t)(header + done);
        left -= room;
        n++;
    } while (left > 0);

    *count_at[0] = (uint8_t)n; /* little-endian */
    *count_at[1] = (uint8_t)(n >> 8);
    for (unsigned i = 0; i < n; i++)
        virtio_queue_push(c->base.queues[RX], c->parts[i].chain.head, c->parts[i].len);
    return 0;
}

/* As net_upper.receive, for a frame that the guest knows what to do with. */
static int give(struct card *c, const struct net_frame *frame)
{
    int rc = put_frame(c, frame);
    if (rc == -EAGAIN) {
        c->base.counters[COUNTER_RX_WAITS]++;
        c->rx_waiting = true;
        return rc;
    }
    if (rc == 0) {
        c->base.counters[COUNTER_RX_FRAMES]++;
        c->base.counters[COUNTER_RX_BYTES] += frame->bytes;
        pv_loop_wake(c->after);
        return 0;
    }
    c->base.counters[COUNTER_RX_DROPPED]++;
    if (rc < 0)
        virtio_device_break(&c->base, rc);
    return 0;
}

struct segments {
    struct card *card;
    bool given;
};

/* Of a frame that was begun the rest is dropped rather than kept: TCP sends it again. */
static int give_segment(void *data, const uint8_t *frame, size_t bytes)
{
    struct segments *s = data;
    struct iovec iov = {(void *)(uintptr_t)frame, bytes};
    struct net_frame part = {.iov = &iov, .num_iov = 1, .bytes = bytes};
    if (!is_serving(s->card))
        return -ENODEV;
    int rc = give(s->card, &part);
    s->given |= rc == 0;
    return rc;
}

/* The guest does not know this kind of frame. */
static int give_in_software(struct card *c, const struct net_frame *frame)
{
    struct virtio_net_hdr hdr = frame->hdr;
    size_t len = 0;
    if (net_offload_check(&hdr, frame->bytes, ~0u) < 0) {
        c->base.counters[COUNTER_RX_DROPPED]++;
        return 0;
    }
    for (unsigned i = 0; i < frame->num_iov; i++) {
        size_t n = PV_MIN(frame->iov[i].iov_len, sizeof(c->whole) - len);
        memcpy(c->whole + len, frame->iov[i].iov_base, n);
        len += n;
    }
    struct segments s = {.card = c};
    if (hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE) {
        net_offload_complete(&hdr, c->whole, len);
        return give_segment(&s, c->whole, len);
    }
    int rc = net_offload_segment(&hdr, c->whole, len, c->segment, give_segment, &s);
    if (rc == -EAGAIN && !s.given)
        return rc;
    if (rc < 0)
        c->base.counters[COUNTER_RX_DROPPED]++;
    return 0;
}

static int receive(void *data, const struct net_frame *frame)
{
    struct card *c = data;
    if (!is_serving(c) || !virtio_queue_is_enabled(c->base.queues[RX]) ||
        frame->bytes > NET_FRAME_MAX || frame->bytes < ETH_HLEN) {
        c->base.counters[COUNTER_RX_DROPPED]++;
        return 0;
    }
    bool plain = frame->hdr.flags == 0 && frame->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE;
    if (!plain && (net_offload_of(&frame->hdr) & ~negotiated(c, false)))
        return give_in_software(c, frame);
    if (!plain && !virtio_device_has_feature(&c->base, VIRTIO_NET_F_GUEST_CSUM)) {
        struct net_frame bare = *frame;
        bare.hdr = (struct virtio_net_hdr){0};
        return give(c, &bare);
    }
    return give(c, frame);
}

static void forget_untold(struct card *c)
{
    c->tx_untold_bytes = c->tx_untold_frames = 0;
}

/* The guest that takes frames looks after those that it sent, too. */
static void on_after(void *data)
{
    struct card *c = data;
    if (!is_serving(c))
        return;
    virtio_device_signal(&c->base, RX);
    forget_untold(c);
}

static void tell_sent(struct card *c)
{
    virtio_device_signal(&c->base, TX);
    forget_untold(c);
}

static void on_tx_timer(void *data)
{
    struct card *c = data;
    c->tx_told_later = false;
    if (is_serving(c))
        tell_sent(c);
}

/* The guest has added buffers. */
static int refilled(struct card *c)
{
    if (!c->rx_waiting)
        return 0;
    c->rx_waiting = false;
    net_link_resume(c->link);
    return 0;
}

/* -- the device -- */

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct card *c = card_of(dev);
    if (queue == RX)
        return refilled(c);
    int rc = transmit(c);
    if (rc != 0 || c->tx_untold_bytes >= TX_UNTOLD_BYTES ||
        c->tx_untold_frames >= TX_UNTOLD_FRAMES) {
        tell_sent(c);
    } else if (!c->tx_told_later && virtio_queue_wants_signal(c->base.queues[TX])) {
        c->tx_told_later = true;
        pv_loop_arm(c->tx_timer, TX_SIGNAL_DELAY_NS);
    }
    return rc;
}

static void reset(struct virtio_device *dev)
{
    struct card *c = card_of(dev);
    if (c->tx_timer)
        pv_loop_arm(c->tx_timer, 0);
    c->tx_told_later = false;
    forget_untold(c);
    if (!c->rx_waiting)
        return;
    c->rx_waiting = false;
    net_link_resume(c->link); /* what waits there finds nobody and is dropped */
}

static void free_card(struct virtio_device *dev)
{
    struct card *c = card_of(dev);
    if (c->link)
        c->link->upper = (struct net_upper){0};
    pv_loop_remove(c->after);
    pv_loop_remove(c->tx_timer);
    virtio_device_done(dev);
    free(c);
}

static const struct virtio_syscall syscalls[] = {
    {"timerfd_settime", "net: tell the guest later of frames that it sent"},
    {NULL, NULL}, /* the link's backend has its own list */
};

const struct virtio_device_class virtio_net_class = {
    .name = "net",
    .virtio_id = VIRTIO_ID_NET,
    .num_queues = 2,
    .queue_size_max = 256,
    .config_bytes = offsetof(struct virtio_net_config, speed),
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .process_queue = process_queue,
    .reset = reset,
    .free = free_card,
};

int virtio_net_new(const struct virtio_net_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err)
{
    if (options->mac[0] & 1 || options->link->mtu > NET_MTU_MAX)
        return pv_error_set(err, EINVAL, "create device net: a multicast address, or an MTU of %u",
                            options->link->mtu);
    struct card *c = calloc(1, sizeof(*c));
    if (!c)
        return pv_error_set(err, ENOMEM, "create device net: out of memory");
    memcpy(c->mac, options->mac, sizeof(c->mac));
    int rc = virtio_device_init(&c->base, &virtio_net_class, loop, err);
    if (rc == 0 && (!(c->after = pv_loop_add_after(loop, on_after, c)) ||
                    !(c->tx_timer = pv_loop_add_timer(loop, on_tx_timer, c))))
        rc = pv_error_set(err, ENOMEM, "create device net: out of memory");
    if (rc < 0) {
        free_card(&c->base);
        return rc;
    }
    c->link = options->link;
    c->link->upper = (struct net_upper){.receive = receive, .sendable = sendable, .data = c};
    *ret_dev = &c->base;
    return 0;
}
