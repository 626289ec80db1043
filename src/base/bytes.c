/* SPDX-License-Identifier: Apache-2.0
 *
 * bytes.c: a bounded byte queue; the queued bytes are always contiguous.
 *
 * Dropping moves the start; the bytes are moved to the front only when the tail has no room, so a
 * byte is moved at most a constant number of times on average.
 */
#include "base/bytes.h"

#include "base/attr.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAPACITY 4096

void pv_bytes_init(struct pv_bytes *b, size_t max)
{
    *b = (struct pv_bytes){.max = max};
}

void pv_bytes_done(struct pv_bytes *b)
{
    free(b->data);
    size_t max = b->max;
    pv_bytes_init(b, max);
}

size_t pv_bytes_room(const struct pv_bytes *b)
{
    return b->max - b->len;
}

/* Makes room for len more bytes behind the queued ones. */
static int reserve(struct pv_bytes *b, size_t len)
{
    if (len > b->max - b->len)
        return -ENOBUFS;
    if (b->start + b->len + len <= b->cap)
        return 0;

    if (b->len + len <= b->cap) {
        memmove(b->data, b->data + b->start, b->len);
        b->start = 0;
        return 0;
    }

    size_t cap = PV_MAX(b->cap, (size_t)FIRST_CAPACITY);
    while (cap < b->len + len)
        cap *= 2;
    uint8_t *data = malloc(cap);
    if (!data)
        return -ENOMEM;
    if (b->len)
        memcpy(data, b->data + b->start, b->len);
    free(b->data);
    b->data = data;
    b->cap = cap;
    b->start = 0;
    return 0;
}

int pv_bytes_push(struct pv_bytes *b, const void *buf, size_t len)
{
    if (len == 0)
        return 0;
    int rc = reserve(b, len);
    if (rc < 0)
        return rc;
    memcpy(b->data + b->start + b->len, buf, len);
    b->len += len;
    return 0;
}

void pv_bytes_drop(struct pv_bytes *b, size_t len)
{
    assert(len <= b->len);
    b->start += len;
    b->len -= len;
    if (b->len == 0)
        b->start = 0;
}

ssize_t pv_bytes_read_from(struct pv_bytes *b, int fd, size_t max)
{
    size_t want = PV_MIN(max, pv_bytes_room(b));
    if (want == 0)
        return -ENOBUFS;
    int rc = reserve(b, want);
    if (rc < 0)
        return rc;

    ssize_t n;
    do
        n = read(fd, b->data + b->start + b->len, want);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    b->len += (size_t)n;
    return n;
}

ssize_t pv_bytes_write_to(struct pv_bytes *b, int fd)
{
    if (b->len == 0)
        return 0;
    ssize_t n;
    do
        n = write(fd, pv_bytes_head(b), b->len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    pv_bytes_drop(b, (size_t)n);
    return n;
}
