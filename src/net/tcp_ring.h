/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_ring.h: bytes that wait in order, in a piece of memory that grows with the need, out of a
 * budget that many rings share.
 */
#ifndef NET_TCP_RING_H
#define NET_TCP_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Everybody gets that much, whatever the budget says, so that nobody stands still. */
#define NET_TCP_RING_LEAST 4096u
#define NET_TCP_RING_FIRST (16u << 10)
#define NET_TCP_RING_MAX (1u << 20)

struct net_tcp_budget {
    size_t used, max; /* bytes */
};

/* All zero: empty, without memory. */
struct net_tcp_ring {
    uint8_t *bytes;
    uint32_t size, first, used; /* size: 0 or a power of two */
};

/* Makes place for at least `room` more bytes, as far as ring and budget may grow. What there is
 * then: ring->size - ring->used. */
void net_tcp_ring_reserve(struct net_tcp_ring *ring, struct net_tcp_budget *budget, size_t room);
/* Four times as large, once. False: that cannot be. */
bool net_tcp_ring_grow(struct net_tcp_ring *ring, struct net_tcp_budget *budget);
/* Gives the memory back. */
void net_tcp_ring_release(struct net_tcp_ring *ring, struct net_tcp_budget *budget);

/* The free place, in at most two pieces: their number. */
unsigned net_tcp_ring_free(const struct net_tcp_ring *ring, struct iovec ret_pieces[2]);
/* len bytes from `at` on (there are that many), in at most two pieces: their number. */
unsigned net_tcp_ring_at(const struct net_tcp_ring *ring, size_t at, size_t len,
                         struct iovec ret_pieces[2]);
/* len bytes have been put into the free place. */
void net_tcp_ring_added(struct net_tcp_ring *ring, size_t len);
/* len bytes at the front are needed no more. An empty ring keeps its memory for what comes next,
 * unless much of the budget is used. */
void net_tcp_ring_drop(struct net_tcp_ring *ring, struct net_tcp_budget *budget, size_t len);

#endif
