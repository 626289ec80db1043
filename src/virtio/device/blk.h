/* SPDX-License-Identifier: Apache-2.0
 *
 * blk.h: virtio block device over a disk.   Spec: virtio 1.2, 5.2.
 */
#ifndef VIRTIO_DEVICE_BLK_H
#define VIRTIO_DEVICE_BLK_H

#include "disk/disk.h"
#include "virtio/device.h"

#define VIRTIO_BLK_SERIAL_MAX 20

struct virtio_blk_options {
    struct disk *disk;  /* borrowed, must outlive the device */
    bool read_only;     /* also when the disk is writable */
    const char *serial; /* copied, at most VIRTIO_BLK_SERIAL_MAX bytes; NULL: "" */
};

extern const struct virtio_device_class virtio_blk_class;

/* -EINVAL when the serial is too long. The caller owns *ret_dev: virtio_device_free, before
 * disk_close. */
int virtio_blk_new(const struct virtio_blk_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err);

#endif
