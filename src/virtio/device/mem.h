/* SPDX-License-Identifier: Apache-2.0
 *
 * mem.h: virtio memory device: memory that is plugged into a running guest in blocks, and unplugged
 * again.   Spec: virtio 1.2, 5.15.
 */
#ifndef VIRTIO_DEVICE_MEM_H
#define VIRTIO_DEVICE_MEM_H

#include "virtio/device.h"

/* The unit of plugging: what Linux's page allocator holds together, so that it plugs in it too. */
#define VIRTIO_MEM_BLOCK (4ull << 20)
/* Where a region may begin: what Linux adds memory in. */
#define VIRTIO_MEM_ALIGNMENT (128ull << 20)

struct virtio_mem_options {
    struct memory *memory; /* borrowed; grows as blocks are plugged */
    /* The region: guest physical addresses, which are offsets in the memory file. Both are
     * multiples of VIRTIO_MEM_ALIGNMENT, size > 0, and it all lies in what memory may grow to. */
    uint64_t start, size;
    /* Another amount is plugged now; may be NULL. */
    void (*on_change)(void *data);
    void *data;
};

extern const struct virtio_device_class virtio_mem_class;

/* The caller owns *ret_dev: virtio_device_free. Nothing is plugged or requested. */
int virtio_mem_new(const struct virtio_mem_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err);

/* How much the guest should plug: whole blocks, at most the size. More than that it cannot; to
 * unplug it takes its time, and may never do so. */
void virtio_mem_set_requested(struct virtio_device *dev, uint64_t bytes);
uint64_t virtio_mem_get_requested(const struct virtio_device *dev);
uint64_t virtio_mem_get_plugged(const struct virtio_device *dev);
/* Takes away again what is not plugged, should the guest have used it. */
void virtio_mem_discard(struct virtio_device *dev);

#endif
