/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_driver.h: plays the guest for a virtio device: memory, rings, chains, kicks.
 *
 * The same device object is driven directly through virtio/device.h, or over a real socket through
 * the vhost-user transport. What must not fail ends the test with abort().
 */
#ifndef TESTS_SUPPORT_FAKE_DRIVER_H
#define TESTS_SUPPORT_FAKE_DRIVER_H

#include "base/loop.h"
#include "memory/map.h"
#include "virtio/device.h"
#include "virtio/transport/vhost_user.h"
#include "virtio/transport/vhost_user_wire.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_MEMORY_BYTES (8u << 20)
/* Guest memory has two regions with a hole between, neither where its bytes are in the file. */
#define FAKE_LOW_START 0x100000u
#define FAKE_HIGH_START 0x10000000u
#define FAKE_REGION_BYTES (FAKE_MEMORY_BYTES / 2)
#define FAKE_USER_SHIFT 0x7f0000000000ull /* user address = guest address + this */

/* A ring as the driver sees it. */
struct fake_ring {
    const struct memory_map *map;
    uint16_t size;
    gpa_t desc, avail, used;
    uint16_t next_desc;  /* next free descriptor: they are handed out in turn */
    uint16_t next_avail; /* published by fake_ring_publish */
    uint16_t next_used;  /* next used element to look at */
};

struct fake_desc {
    gpa_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next; /* as given with `raw`, else the driver fills it in */
};

struct fake_used {
    uint32_t id, len;
};

enum fake_transport { FAKE_DIRECT, FAKE_VHOST_USER, FAKE_VHOST_USER_INBAND };
#define FAKE_TRANSPORTS 3

struct fake_driver {
    enum fake_transport transport;
    struct pv_loop *loop;
    struct memory *memory;
    struct memory_map map; /* the driver's own view */
    struct virtio_device *dev;
    uint64_t next_alloc;
    struct fake_ring rings[VIRTIO_DEVICE_QUEUES_MAX];
    unsigned signals[VIRTIO_DEVICE_QUEUES_MAX]; /* as counted by fake_driver_turn */
    unsigned config_signals, drains;
    bool broken, closed;
    const char *reason;

    struct virtio_guest guest; /* direct */

    struct virtio_vhost_user *conn; /* vhost-user */
    int sock, request_sock;
    int kick_fds[VIRTIO_DEVICE_QUEUES_MAX], call_socks[VIRTIO_DEVICE_QUEUES_MAX];
    uint64_t protocol_features;
    bool trust_call_fds;
};

/* -- rings -- */

/* Lays a ring of `size` entries out at guest address `at` (16-aligned). Returns its end. */
uint64_t fake_ring_init(struct fake_ring *r, const struct memory_map *map, uint16_t size,
                        uint64_t at);
struct vring_desc *fake_ring_desc(struct fake_ring *r, uint16_t index);
struct vring_avail *fake_ring_avail(struct fake_ring *r);
struct vring_used *fake_ring_used(struct fake_ring *r);
/* Writes n descriptors, chained, into the next free places: the head. Not available yet. */
uint16_t fake_ring_put(struct fake_ring *r, const struct fake_desc *descs, unsigned n);
/* Makes the chain `head` available. */
void fake_ring_publish(struct fake_ring *r, uint16_t head);
/* put and publish */
uint16_t fake_ring_add(struct fake_ring *r, const struct fake_desc *descs, unsigned n);
/* Takes the next used element: false when there is none. */
bool fake_ring_get_used(struct fake_ring *r, struct fake_used *ret_used);

/* -- driver -- */

/* Memory, loop and transport; the device is made by the test, over driver->loop, and given to
 * fake_driver_start. */
struct fake_driver *fake_driver_new(enum fake_transport transport);
void fake_driver_free(struct fake_driver *d);
/* As a Linux driver does: negotiates what is offered without `refuse`, sets up all queues with
 * `size` entries, says DRIVER_OK. Takes over the device. */
void fake_driver_start(struct fake_driver *d, struct virtio_device *dev, uint64_t refuse,
                       uint16_t size);
/* Only connects, for tests of the protocol itself. */
void fake_driver_connect(struct fake_driver *d, struct virtio_device *dev);
/* The steps of fake_driver_start over vhost-user, behind connecting. */
void fake_driver_negotiate(struct fake_driver *d, uint64_t refuse);
void fake_driver_set_table(struct fake_driver *d);
void fake_driver_set_up_queue(struct fake_driver *d, uint16_t queue, uint16_t size);
/* Resets the device through the transport, in order. */
void fake_driver_reset(struct fake_driver *d);

/* Zeroed guest memory, 16-aligned. */
gpa_t fake_driver_alloc(struct fake_driver *d, uint64_t len);
void *fake_driver_at(struct fake_driver *d, gpa_t gpa, uint64_t len);
/* Guest memory with these bytes. */
gpa_t fake_driver_bytes(struct fake_driver *d, const void *bytes, uint64_t len);

void fake_driver_kick(struct fake_driver *d, uint16_t queue);
/* Lets the loop run until nothing has happened for a millisecond; collects signals. */
void fake_driver_turn(struct fake_driver *d);
/* Waits until the queue has a used element and takes it; aborts after some seconds. */
struct fake_used fake_driver_wait_used(struct fake_driver *d, uint16_t queue);
bool fake_driver_get_used(struct fake_driver *d, uint16_t queue, struct fake_used *ret_used);
/* Config space through the transport. */
void fake_driver_read_config(struct fake_driver *d, uint32_t offset, void *buf, uint32_t len);
int fake_driver_write_config(struct fake_driver *d, uint32_t offset, const void *buf, uint32_t len);

/* The value of a counter of the device. */
uint64_t fake_driver_counter(struct fake_driver *d, const char *label);

/* -- vhost-user messages -- */

/* Sends a message with descriptors; does not wait. */
void fake_driver_send(struct fake_driver *d, uint32_t request, uint32_t flags, const void *payload,
                      uint32_t size, const int *fds, unsigned num_fds);
/* Waits for a reply: the size of its payload (at most max bytes are kept), or -1 when the
 * connection was closed instead. Checks its header against `request`. */
int fake_driver_receive(struct fake_driver *d, uint32_t request, void *payload, uint32_t max);
/* Sends with NEED_REPLY and waits: the acknowledgement, or -1 when the connection was closed. */
int64_t fake_driver_ask(struct fake_driver *d, uint32_t request, const void *payload, uint32_t size,
                        const int *fds, unsigned num_fds);
int64_t fake_driver_ask_u64(struct fake_driver *d, uint32_t request, uint64_t value);
int64_t fake_driver_ask_state(struct fake_driver *d, uint32_t request, uint32_t index,
                              uint32_t num);
/* Sends an empty message with a u64 reply. */
uint64_t fake_driver_get_u64(struct fake_driver *d, uint32_t request);

/* How many descriptors this process has open. */
unsigned fake_count_fds(void);

#endif
