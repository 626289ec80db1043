/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c: all device classes, in the order in which help and documents show them.
 */
#include "virtio/device.h"

#include "virtio/device/balloon.h"
#include "virtio/device/blk.h"
#include "virtio/device/console.h"
#include "virtio/device/fs.h"
#include "virtio/device/mem.h"
#include "virtio/device/net.h"
#include "virtio/device/rng.h"
#include "virtio/device/vsock.h"

#include <string.h>

const struct virtio_device_class *const virtio_device_classes[] = {
    &virtio_balloon_class, &virtio_blk_class,   &virtio_console_class,
    &virtio_mem_class,     &virtio_net_class,   &virtio_fs_class,
    &virtio_rng_class,     &virtio_vsock_class, NULL,
};

const struct virtio_device_class *virtio_device_class_find(const char *name)
{
    for (unsigned i = 0; virtio_device_classes[i]; i++)
        if (strcmp(virtio_device_classes[i]->name, name) == 0)
            return virtio_device_classes[i];
    return NULL;
}
