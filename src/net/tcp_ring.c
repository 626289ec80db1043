/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_ring.c: bytes that wait in order.
 */
#include "net/tcp_ring.h"

#include "base/attr.h"

#include <assert.h>
#include <string.h>

static bool resize(struct net_tcp_ring *r, struct net_tcp_budget *budget, uint32_t size)
{
    size_t more = size - r->size;
    if (size > NET_TCP_RING_LEAST &&
        (budget->used > budget->max || more > budget->max - budget->used))
        return false;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return false;
    struct iovec pieces[2];
    size_t at = 0;
    unsigned n = net_tcp_ring_at(r, 0, r->used, pieces);
    for (unsigned i = 0; i < n; at += pieces[i++].iov_len)
        memcpy(bytes + at, pieces[i].iov_base, pieces[i].iov_len);
    free(r->bytes);
    r->bytes = bytes;
    r->size = size;
    r->first = 0;
    budget->used += more;
    return true;
}

bool net_tcp_ring_grow(struct net_tcp_ring *r, struct net_tcp_budget *budget)
{
    if (r->size >= NET_TCP_RING_MAX)
        return false;
    if (resize(r, budget, r->size < NET_TCP_RING_FIRST ? NET_TCP_RING_FIRST : r->size * 4))
        return true;
    return r->size < NET_TCP_RING_LEAST && resize(r, budget, NET_TCP_RING_LEAST);
}

void net_tcp_ring_reserve(struct net_tcp_ring *r, struct net_tcp_budget *budget, size_t room)
{
    while (r->size - r->used < room && net_tcp_ring_grow(r, budget))
        ;
}

void net_tcp_ring_release(struct net_tcp_ring *r, struct net_tcp_budget *budget)
{
    budget->used -= r->size;
    free(r->bytes);
    *r = (struct net_tcp_ring){0};
}

/* len bytes from the place `at` of the memory on. */
static unsigned cut(const struct net_tcp_ring *r, uint32_t at, size_t len, struct iovec pieces[2])
{
    if (!len)
        return 0;
    size_t n = PV_MIN(len, (size_t)(r->size - at));
    pieces[0] = (struct iovec){r->bytes + at, n};
    pieces[1] = (struct iovec){r->bytes, len - n};
    return n < len ? 2 : 1;
}

unsigned net_tcp_ring_free(const struct net_tcp_ring *r, struct iovec ret_pieces[2])
{
    return r->size ? cut(r, (r->first + r->used) & (r->size - 1), r->size - r->used, ret_pieces)
                   : 0;
}

unsigned net_tcp_ring_at(const struct net_tcp_ring *r, size_t at, size_t len,
                         struct iovec ret_pieces[2])
{
    assert(at <= r->used && len <= r->used - at);
    return len ? cut(r, (uint32_t)(r->first + at) & (r->size - 1), len, ret_pieces) : 0;
}

void net_tcp_ring_added(struct net_tcp_ring *r, size_t len)
{
    assert(len <= r->size - r->used);
    r->used += (uint32_t)len;
}

void net_tcp_ring_drop(struct net_tcp_ring *r, struct net_tcp_budget *budget, size_t len)
{
    assert(len <= r->used);
    if (!len)
        return;
    r->used -= (uint32_t)len;
    /* From the start again: the same memory is used again, and in one piece. */
    r->first = r->used ? (r->first + (uint32_t)len) & (r->size - 1) : 0;
    if (!r->used && budget->used > budget->max / 4)
        net_tcp_ring_release(r, budget);
}
