/* SPDX-License-Identifier: Apache-2.0
 *
 * rng.h: virtio entropy device over getrandom(2).   Spec: virtio 1.2, 5.4.
 */
#ifndef VIRTIO_DEVICE_RNG_H
#define VIRTIO_DEVICE_RNG_H

#include "virtio/device.h"

#define VIRTIO_RNG_REQUEST_MAX 4096u /* bytes given to one request at most */

struct virtio_rng_options {
    uint64_t bytes_per_second; /* rate limit; 0: the default of 1 MiB */
};

extern const struct virtio_device_class virtio_rng_class;

/* The caller owns *ret_dev: virtio_device_free. */
int virtio_rng_new(const struct virtio_rng_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err);

#endif
