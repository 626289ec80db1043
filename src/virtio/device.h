/* SPDX-License-Identifier: Apache-2.0
 *
 * device.h: a virtio device, as its owner and its transport see it.
 *
 * A device says what it does and knows no transport; a transport carries messages and knows no
 * device. Devices are made by virtio_<name>_new in virtio/device/<name>.h.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 2 and 3.
 * Life:    new -> (set_features, queues set up) -> activate -> kick ... -> drain -> reset -> the
 *          same again, or free.
 */
#ifndef VIRTIO_DEVICE_H
#define VIRTIO_DEVICE_H

#include "base/counter.h"
#include "base/error.h"
#include "base/loop.h"
#include "memory/map.h"
#include "virtio/queue.h"

#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_DEVICE_QUEUES_MAX 8
#define VIRTIO_DEVICE_CONFIG_MAX 256 /* bytes of config space that a guest may ask for */

struct virtio_device;

/* What a transport lends to an active device. Valid from activate to reset. */
struct virtio_guest {
    const struct memory_map *memory;
    void (*signal_queue)(void *transport, uint16_t queue);
    void (*signal_config)(void *transport);
    /* The guest broke a ring (`reason` is a constant text): the device does nothing more until it
     * is reset. The transport may reset it from within the call. */
    void (*broken)(void *transport, const char *reason);
    /* The drain that returned -EINPROGRESS is over. */
    void (*drained)(void *transport);
    void *transport;
};

/* A system call that a class makes while it serves, for the monitor's seccomp list. */
struct virtio_syscall {
    const char *name;   /* "preadv2" */
    const char *reason; /* "blk: read from the disk" */
};

/* Const, one per kind of device. Pointers may be NULL where marked. */
struct virtio_device_class {
    const char *name; /* "blk", as written in specs and on the command line */
    uint16_t virtio_id;
    uint16_t num_queues; /* the most that a device may have */
    uint16_t queue_size_max;
    uint32_t config_bytes;             /* size of the config space */
    const char *const *counter_labels; /* num_counters names, device's own */
    unsigned num_counters;
    const struct virtio_syscall *syscalls; /* a NULL name ends the list */

    uint64_t (*features)(const struct virtio_device *dev); /* device type's own bits, offered */
    /* offset + len lies in config_bytes. NULL when there is no config space. */
    void (*read_config)(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len);
    /* -EPERM for a field that is not writable. NULL: nothing is. */
    int (*write_config)(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len);
    /* The guest is there: 0 or -errno. NULL: nothing to do. */
    int (*activate)(struct virtio_device *dev, struct pv_error *err);
    /* Serves a queue for one turn of bounded work. 0: it is empty or must wait; 1: there is more,
     * call again on a later turn; < 0: the guest broke the ring. */
    int (*process_queue)(struct virtio_device *dev, uint16_t queue);
    /* 0: no chain is in flight anywhere; -EINPROGRESS: virtio_guest.drained will be called. NULL:
     * this device keeps no chain beyond a turn that must not be forgotten. */
    int (*drain)(struct virtio_device *dev);
    /* Forgets the guest, which is not there any more: chains, connections. Also called when there
     * never was one. */
    void (*reset)(struct virtio_device *dev);
    void (*free)(struct virtio_device *dev);
};

/* All classes. The list ends with NULL. */
extern const struct virtio_device_class *const virtio_device_classes[];
/* The class of that name, or NULL. */
const struct virtio_device_class *virtio_device_class_find(const char *name);

/* -- for owners -- */

/* Resets and frees. The transport must be gone. Accepts NULL. */
void virtio_device_free(struct virtio_device *dev);
PV_DEFINE_AUTO(virtio_device, struct virtio_device *, virtio_device_free)
const struct virtio_device_class *virtio_device_get_class(const struct virtio_device *dev);
bool virtio_device_is_active(const struct virtio_device *dev);
/* The guest broke a ring and has not reset the device since. */
bool virtio_device_needs_reset(const struct virtio_device *dev);
/* Counters of the device: the common ones (kicks, chains, signals, ring_errors, bad_requests,
 * resets), then the class's own. `name` is borrowed by *ret_group; labels and values stay valid
 * as long as the device. */
void virtio_device_get_counters(const struct virtio_device *dev, const char *name,
                                struct pv_counter_group *ret_group);

/* -- for transports; all arguments may be guest input -- */

/* Offered bits: the class's, VIRTIO_F_VERSION_1, indirect descriptors, event index. */
uint64_t virtio_device_get_features(const struct virtio_device *dev);
/* -EINVAL for a bit that was not offered or without VIRTIO_F_VERSION_1, -EBUSY while active. */
int virtio_device_set_features(struct virtio_device *dev, uint64_t features);
/* Whether set_features succeeded since the last reset. */
bool virtio_device_has_features(const struct virtio_device *dev);
uint16_t virtio_device_get_num_queues(const struct virtio_device *dev);
/* Borrowed; NULL when there is no such queue. */
struct virtio_queue *virtio_device_get_queue(struct virtio_device *dev, uint32_t index);
/* Fills buf; bytes behind the end of the config space read as zeroes. */
void virtio_device_read_config(const struct virtio_device *dev, uint32_t offset, void *buf,
                               uint32_t len);
/* -EINVAL outside of the config space, -EPERM when it is not writable. */
int virtio_device_write_config(struct virtio_device *dev, uint32_t offset, const void *buf,
                               uint32_t len);
/* Lends the guest (borrowed until reset). Queues that are enabled already are not looked at: the
 * transport kicks them. -EALREADY when active, -EINVAL without set_features. */
int virtio_device_activate(struct virtio_device *dev, const struct virtio_guest *guest,
                           struct pv_error *err);
/* The guest made something available on a queue, or the queue was just enabled. Ignored while the
 * device is not active or needs a reset. Work beyond a turn goes on by itself. */
void virtio_device_kick(struct virtio_device *dev, uint32_t queue);
/* Before queues are disabled in an orderly way: 0 when nothing is in flight, or -EINPROGRESS, then
 * virtio_guest.drained follows. Stop delivering kicks before. */
int virtio_device_drain(struct virtio_device *dev);
/* To the state after new: not active, no features, queues reset. What is in flight is dropped and
 * never reaches the guest. */
void virtio_device_reset(struct virtio_device *dev);

#endif
