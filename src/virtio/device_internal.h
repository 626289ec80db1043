/* SPDX-License-Identifier: Apache-2.0
 *
 * device_internal.h: what every device is made of; for virtio/device/ only.
 *
 * A device embeds struct virtio_device as its first member `base`, calls virtio_device_init in its
 * constructor and virtio_device_done in its class's free.
 */
#ifndef VIRTIO_DEVICE_INTERNAL_H
#define VIRTIO_DEVICE_INTERNAL_H

#include "virtio/device.h"

/* The counters that every device has; a class's own follow from VIRTIO_COUNTER_OWN on. */
enum virtio_counter {
    VIRTIO_COUNTER_KICKS,
    VIRTIO_COUNTER_CHAINS,
    VIRTIO_COUNTER_SIGNALS,
    VIRTIO_COUNTER_RING_ERRORS,  /* the guest broke a ring */
    VIRTIO_COUNTER_BAD_REQUESTS, /* the guest sent a request that makes no sense */
    VIRTIO_COUNTER_RESETS,
    VIRTIO_COUNTER_OWN,
};

struct virtio_device {
    const struct virtio_device_class *class;
    struct pv_loop *loop; /* borrowed */
    uint16_t num_queues;  /* of this device: set before virtio_device_init, or the class's */
    struct virtio_queue *queues[VIRTIO_DEVICE_QUEUES_MAX];
    const struct virtio_guest *guest; /* borrowed; NULL unless active */
    uint64_t features;                /* negotiated */
    bool negotiated, needs_reset, draining;
    struct pv_loop_source *turn; /* timer: queues in `more` get their next turn */
    uint32_t more;               /* by queue index */
    const char **labels;         /* of all counters */
    uint64_t *counters;
};

/* Prepares a zeroed device: queues, counters. On failure too virtio_device_done cleans up. */
int virtio_device_init(struct virtio_device *dev, const struct virtio_device_class *class,
                       struct pv_loop *loop, struct pv_error *err);
void virtio_device_done(struct virtio_device *dev);

/* Pops a chain and counts it: as virtio_queue_pop. */
int virtio_device_pop(struct virtio_device *dev, uint16_t queue, struct virtio_chain *ret_chain);
/* Tells the guest of what was pushed, if it asked for that. Once per turn, after the pushes. */
void virtio_device_signal(struct virtio_device *dev, uint16_t queue);
/* Gives a queue a turn soon: for what became possible outside of process_queue. */
void virtio_device_again(struct virtio_device *dev, uint16_t queue);
/* The guest broke a ring (rc as from virtio_queue_pop), found outside of process_queue. The device
 * may be reset when it returns: call it last. */
void virtio_device_break(struct virtio_device *dev, int rc);
/* The drain that was answered -EINPROGRESS is over. Call it last, too. */
void virtio_device_drained(struct virtio_device *dev);

static inline bool virtio_device_has_feature(const struct virtio_device *dev, unsigned bit)
{
    return dev->features >> bit & 1;
}

#endif
