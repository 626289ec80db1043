/* SPDX-License-Identifier: Apache-2.0
 *
 * net.h: virtio network card.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.1.
 */
#ifndef VIRTIO_DEVICE_NET_H
#define VIRTIO_DEVICE_NET_H

#include "net/link.h"
#include "virtio/device.h"

struct virtio_net_options {
    struct net_link *link; /* borrowed: frees after the device; the card becomes its upper end */
    uint8_t mac[6];        /* unicast */
};

extern const struct virtio_device_class virtio_net_class;

/* Creates a card over the link. Caller: virtio_device_free. -EINVAL, -ENOMEM. */
int virtio_net_new(const struct virtio_net_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err);

#endif
