/* SPDX-License-Identifier: Apache-2.0
 *
 * console.h: virtio console with one port.   Spec: virtio 1.2, 5.3.
 */
#ifndef VIRTIO_DEVICE_CONSOLE_H
#define VIRTIO_DEVICE_CONSOLE_H

#include "virtio/device.h"

/* Bytes that wait for the guest's buffers at most. */
#define VIRTIO_CONSOLE_INPUT_MAX 65536u

struct virtio_console_options {
    /* The guest printed `len` bytes, 1 .. 4096, valid during the call. Must take them all, must not
     * free or reset the device. */
    void (*output)(void *data, const void *bytes, size_t len);
    /* There is room for input again, after virtio_console_input took less than it was given. May
     * be NULL. */
    void (*input_room)(void *data);
    void *data;
    uint16_t cols, rows; /* 0, 0: size unknown, VIRTIO_CONSOLE_F_SIZE is not offered */
};

extern const struct virtio_device_class virtio_console_class;

/* The caller owns *ret_dev: virtio_device_free. */
int virtio_console_new(const struct virtio_console_options *options, struct pv_loop *loop,
                       struct virtio_device **ret_dev, struct pv_error *err);
/* Types bytes: returns how many were taken, fewer when VIRTIO_CONSOLE_INPUT_MAX wait already.
 * Input before the guest is there waits; a reset drops it. */
size_t virtio_console_input(struct virtio_device *dev, const void *bytes, size_t len);
/* Tells the guest the window's size. -EOPNOTSUPP when the size was not offered at new. */
int virtio_console_resize(struct virtio_device *dev, uint16_t cols, uint16_t rows);

#endif
