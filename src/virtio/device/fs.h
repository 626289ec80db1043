/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.h: virtio file system device over a shared folder.
 */
#ifndef VIRTIO_DEVICE_FS_H
#define VIRTIO_DEVICE_FS_H

#include "fs/fs.h"
#include "virtio/device.h"

#define VIRTIO_FS_TAG_MAX 36 /* bytes */

extern const struct virtio_device_class virtio_fs_class;

struct virtio_fs_options {
    struct fs *fs;   /* borrowed: must outlive the device */
    const char *tag; /* what the guest mounts it by, 1 to VIRTIO_FS_TAG_MAX bytes */
    /* The folder itself disappeared on the host: told once. May be NULL. */
    void (*on_gone)(void *data);
    /* The host is full or fails (-ENOSPC, -EDQUOT, -EIO), which the guest was told. May be NULL. */
    void (*on_error)(void *data, int error);
    void *data;
};

/* 0, -EINVAL for a tag that is empty or too long, -ENOMEM. The caller owns *ret_dev:
 * virtio_device_free, before fs_free. */
int virtio_fs_new(const struct virtio_fs_options *options, struct pv_loop *loop,
                  struct virtio_device **ret_dev, struct pv_error *err);

#endif
