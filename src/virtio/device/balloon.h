/* SPDX-License-Identifier: Apache-2.0
 *
 * balloon.h: virtio memory balloon: pages that the guest does without, and free pages that it
 * reports, go back to the host.   Spec: virtio 1.2, 5.5.
 */
#ifndef VIRTIO_DEVICE_BALLOON_H
#define VIRTIO_DEVICE_BALLOON_H

#include "virtio/device.h"

#define VIRTIO_BALLOON_PAGE 4096u

/* What the guest kernel says about its memory, in bytes; VIRTIO_BALLOON_UNKNOWN: nothing. */
struct virtio_balloon_stats {
    uint64_t total, free, available, cached;
};

#define VIRTIO_BALLOON_UNKNOWN UINT64_MAX

struct virtio_balloon_options {
    const struct memory *memory; /* borrowed: the file behind the guest's memory map */
    /* The balloon has another size now; may be NULL. */
    void (*on_change)(void *data);
    /* Answers virtio_balloon_ask_stats; may be NULL. */
    void (*on_stats)(void *data, const struct virtio_balloon_stats *stats);
    void *data;
};

extern const struct virtio_device_class virtio_balloon_class;

/* The caller owns *ret_dev: virtio_device_free. */
int virtio_balloon_new(const struct virtio_balloon_options *options, struct pv_loop *loop,
                       struct virtio_device **ret_dev, struct pv_error *err);

/* How many pages the guest should put into the balloon. It takes its time, and may never do so. */
void virtio_balloon_set_target(struct virtio_device *dev, uint32_t pages);
uint32_t virtio_balloon_get_target(const struct virtio_device *dev);
/* How many pages are in it, as we counted them. */
uint32_t virtio_balloon_get_pages(const struct virtio_device *dev);
/* Bytes of free pages that the guest has reported so far, and that were given back. */
uint64_t virtio_balloon_get_reported(const struct virtio_device *dev);
/* Takes away again what is in the balloon, should the guest have used it. */
void virtio_balloon_discard(struct virtio_device *dev);
/* Asks the driver for its numbers; on_stats gets them, once for all who ask meanwhile. -EAGAIN when
 * there is no driver that tells them. It may never answer. */
int virtio_balloon_ask_stats(struct virtio_device *dev);

#endif
