/* SPDX-License-Identifier: Apache-2.0
 *
 * queue.h: split virtqueue, device side.
 *
 * Runs on: the device's loop thread only.   Spec: virtio 1.2, 2.7.
 * Trust:   everything in the rings is guest input: fetched once, checked, then used. An error
 *          says that the guest broke the ring: the queue refuses everything until it is enabled
 *          again, and the device asks for a reset.
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include "memory/map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTIO_QUEUE_SIZE_MAX 1024u

struct virtio_queue;

/* A descriptor chain that the guest made available. The iovecs are slices of guest memory:
 * borrowed from the queue, valid until the next pop of this queue; who keeps a chain copies them.
 * Zero-length buffers are left out. */
struct virtio_chain {
    uint16_t head; /* names the chain towards virtio_queue_push */
    const struct iovec *readable;
    const struct iovec *writable;
    unsigned num_readable, num_writable;
    uint64_t readable_bytes, writable_bytes;
};

/* A queue that is not enabled, with the largest size `size_max` that it will accept: a power of
 * two up to VIRTIO_QUEUE_SIZE_MAX. NULL when out of memory. */
struct virtio_queue *virtio_queue_new(uint16_t size_max);
void virtio_queue_free(struct virtio_queue *q); /* accepts NULL */

/* Set-up, for transports. Values come from the guest. Each returns 0 or -errno and is refused with
 * -EBUSY while the queue is enabled. */
uint16_t virtio_queue_get_size_max(const struct virtio_queue *q);
/* -EINVAL unless size is a power of two in 1 .. size_max. */
int virtio_queue_set_size(struct virtio_queue *q, uint32_t size);
/* Guest addresses of descriptor table, avail ring and used ring: -EINVAL when one is not aligned
 * to 16, 2, 4. Whether they lie in memory is known at enable. */
int virtio_queue_set_rings(struct virtio_queue *q, gpa_t desc, gpa_t avail, gpa_t used);
/* Index of the next available entry to take: 0 for a new queue. */
int virtio_queue_set_base(struct virtio_queue *q, uint16_t base);
uint16_t virtio_queue_get_base(const struct virtio_queue *q);
/* Negotiated features: VIRTIO_RING_F_EVENT_IDX and VIRTIO_RING_F_INDIRECT_DESC matter. */
int virtio_queue_set_features(struct virtio_queue *q, uint64_t features);

/* Resolves the rings through `map` (borrowed until disabled) and lets pop begin. Returns 0,
 * -EINVAL when size or rings were never set, -EFAULT when a ring is not in one region of memory,
 * -ENOMEM. A queue that is enabled already is resolved anew and goes on. */
int virtio_queue_enable(struct virtio_queue *q, const struct memory_map *map);
/* Stops; indices are kept so that the queue can be enabled again. Chains that were popped and not
 * pushed are forgotten. */
void virtio_queue_disable(struct virtio_queue *q);
/* Back to the state of virtio_queue_new. */
void virtio_queue_reset(struct virtio_queue *q);
bool virtio_queue_is_enabled(const struct virtio_queue *q);

/* Takes the next available chain.
 *   1        *ret_chain is filled;
 *   0        none (or the queue is not enabled): the guest will kick for the next one;
 *   -ELOOP   the chain is longer than the queue, or than its indirect table, or with it longer
 *            than size_max;
 *   -EFAULT  a buffer or indirect table is not in guest memory, or wraps;
 *   -EINVAL  an index is beyond the table; a readable buffer follows a writable one; an indirect
 *            table that was not negotiated, is nested, has a successor, is empty, longer than
 *            size_max or no multiple of 16 bytes;
 *   -EEXIST  the guest made available a chain that it has not got back;
 *   -EOVERFLOW the available index ran away by more than the queue's size.
 * After an error the queue is broken: further pops return the same error. */
int virtio_queue_pop(struct virtio_queue *q, struct virtio_chain *ret_chain);
/* Gives the last popped chain back as if it had not been taken: it will be popped again. */
void virtio_queue_unpop(struct virtio_queue *q, const struct virtio_chain *chain);
/* Returns the chain `head` to the guest, `len` bytes of its writable part written. Does nothing
 * when the queue was disabled since the pop. */
void virtio_queue_push(struct virtio_queue *q, uint16_t head, uint32_t len);
/* Whether the guest wants to be told of the pushes since this was last asked. */
bool virtio_queue_should_signal(struct virtio_queue *q);
/* The same, for one that does not tell it now: the pushes stay untold. */
bool virtio_queue_wants_signal(const struct virtio_queue *q);
/* Whether pop would find something (or an error): for a device that cannot take it yet. */
bool virtio_queue_has_available(const struct virtio_queue *q);

/* Copies between guest buffers and memory of ours, starting `offset` bytes into the iovecs.
 * Returns the bytes copied: less than len when the iovecs end. The guest may change its bytes at
 * any time: what was copied out is what is checked and used. */
size_t virtio_chain_read(const struct virtio_chain *chain, uint64_t offset, void *buf, size_t len);
size_t virtio_chain_write(const struct virtio_chain *chain, uint64_t offset, const void *buf,
                          size_t len);

#endif
