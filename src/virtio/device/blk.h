/* SPDX-License-Identifier: Apache-2.0
 *
 * blk.h: virtio block device over a disk.   Spec: virtio 1.2, 5.2.
 */
#ifndef VIRTIO_DEVICE_BLK_H
#define VIRTIO_DEVICE_BLK_H

#include "base/rate.h"
#include "disk/disk.h"
#include "virtio/device.h"

#define VIRTIO_BLK_SERIAL_MAX 20
#define VIRTIO_BLK_QUEUES_MAX 4u

struct virtio_blk_options {
    struct disk *disk;   /* borrowed, must outlive the device */
    bool read_only;      /* also when the disk is writable */
    const char *serial;  /* copied, at most VIRTIO_BLK_SERIAL_MAX bytes; NULL: "" */
    unsigned num_queues; /* 1 .. VIRTIO_BLK_QUEUES_MAX; 0: 1 */
    struct pv_rate_limit bytes, operations; /* see virtio_blk_set_rate */
    /* The host refused a request (-errno, as for a full file system); the guest sees an I/O error.
     * May be NULL. */
    void (*on_error)(void *data, enum disk_op op, uint64_t offset, int error);
    void *data;
};

extern const struct virtio_device_class virtio_blk_class;

/* -EINVAL when the serial is too long. The caller owns *ret_dev: virtio_device_free, before
 * disk_close. */
int virtio_blk_new(const struct virtio_blk_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err);
/* Limits the device from now on. Bytes are those of reads, writes and zeroes that are written;
 * operations are all that reach the disk. */
void virtio_blk_set_rate(struct virtio_device *dev, const struct pv_rate_limit *bytes,
                         const struct pv_rate_limit *operations);
/* The disk has another size: tells the guest. */
void virtio_blk_resized(struct virtio_device *dev);

#endif
