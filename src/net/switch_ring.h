/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_ring.h: memory that the monitors of two machines share: frames, in each direction.
 *
 * A ring is a sealed memfd. Whoever makes it passes a descriptor of it to the other. In each
 * direction there is one that sends and one that receives; neither waits here. Who sleeps until the
 * other has done something says so in the memory, and is woken then by a bell, which is its owner's
 * business (a message on the line).
 *
 * Runs on: the loop thread of the machine.
 * Trust:   the other end may write every byte at any time: it may have been taken over by its
 *          guest. It cannot take the memory away. Indices and headers are fetched once, checked,
 *          then used; a lie is -EBADMSG, after which the ring is of no use. The bytes of a frame
 * may change under whoever reads them, but for its head, which is a copy.
 */
#ifndef NET_SWITCH_RING_H
#define NET_SWITCH_RING_H

#include "net/link.h"
#include "net/packet.h"

/* The memory, which is also the protocol: a page of words, then the records of both directions. */
#define SWITCH_RING_BYTES (1u << 20) /* of records in one direction: a power of two */
#define SWITCH_RING_WORDS 4096u
#define SWITCH_RING_FILE_BYTES (SWITCH_RING_WORDS + 2u * SWITCH_RING_BYTES)
#define SWITCH_RING_ALIGN 64u /* of each record */

/* The words of one direction, each written by one end and read by the other. Bytes are counted from
 * the beginning, modulo 2^32. */
struct switch_ring_way {
    _Alignas(SWITCH_RING_ALIGN) uint32_t sent;  /* by who sends: where the next record begins */
    uint32_t sender_waits;                      /* 1: it wants a bell when there is room again */
    _Alignas(SWITCH_RING_ALIGN) uint32_t taken; /* by who receives: what is before it is free */
    uint32_t receiver_waits;                    /* 1: it wants a bell when there is a record */
};

/* At the beginning of a record; the frame follows. All of it may continue at the beginning of the
 * ring but this, which is never split. */
struct switch_ring_record {
    uint32_t bytes; /* of the frame */
    struct virtio_net_hdr hdr;
    uint8_t unused[2];
};
_Static_assert(sizeof(struct switch_ring_record) == 16, "as it is on the other side");

struct switch_ring;

/* Makes one. The caller owns *ret_ring (switch_ring_free) and *ret_fd, to be passed on. 0 or
 * -errno: the host has no memory or no descriptors. */
int switch_ring_make(struct switch_ring **ret_ring, int *ret_fd);
/* Maps what another monitor passed. fd is borrowed, and of no use afterwards. 0, -EINVAL: it is no
 * ring, or one that could be taken away; or -errno. The caller owns *ret_ring. */
int switch_ring_open(int fd, struct switch_ring **ret_ring);
void switch_ring_free(struct switch_ring *ring); /* accepts NULL */

/* Writes a frame of at most NET_FRAME_MAX bytes. 0; 1: the same, and the other end wants a bell.
 * -EAGAIN: there is no room, the other end has been asked for a bell. -EBADMSG: it lies. */
int switch_ring_send(struct switch_ring *ring, const struct net_frame *frame);
/* Whether half of the ring is free; else the other end has been asked for a bell. */
bool switch_ring_has_room(struct switch_ring *ring);
/* Gives the pages of what was sent back to the host, when all of it has been taken; both ends go on
 * as before. True: there are none now. */
bool switch_ring_give_back(struct switch_ring *ring);

/* A frame that stands in the ring. Its first iovec is a copy of its first bytes (at most
 * NET_PACKET_HEAD_MAX, less only when the frame ends there), the others lead into the ring. The
 * offload header is not checked. */
struct switch_ring_frame {
    struct net_frame frame;
    struct iovec iov[3];
    uint8_t head[NET_PACKET_HEAD_MAX];
};

/* The next frame: 1; it stays there until switch_ring_release. 0: there is none now. ask: then the
 * other end has been asked for a bell. -EBADMSG: the other end lies. */
int switch_ring_peek(struct switch_ring *ring, bool ask, struct switch_ring_frame *ret_frame);
/* The frame of the last peek is not needed any more. True: the other end wants a bell. */
bool switch_ring_release(struct switch_ring *ring);

#endif
