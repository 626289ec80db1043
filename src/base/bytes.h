/* SPDX-License-Identifier: Apache-2.0
 *
 * bytes.h: a bounded byte queue between a producer and a consumer of one thread.
 */
#ifndef PV_BASE_BYTES_H
#define PV_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pv_bytes {
    uint8_t *data;     /* owned; grows up to max */
    size_t start, len; /* the queued bytes are data[start .. start + len) */
    size_t cap, max;
};

/* max: the most bytes that the queue may ever hold. Allocates nothing yet. */
void pv_bytes_init(struct pv_bytes *b, size_t max);
void pv_bytes_done(struct pv_bytes *b);
/* Adds all of buf: 0, -ENOBUFS when it would pass max (nothing is added), -ENOMEM. */
int pv_bytes_push(struct pv_bytes *b, const void *buf, size_t len);
/* How many more bytes pv_bytes_push would take. */
size_t pv_bytes_room(const struct pv_bytes *b);
/* The queued bytes, contiguous; valid until the next call that changes the queue. */
static inline const uint8_t *pv_bytes_head(const struct pv_bytes *b)
{
    return b->data + b->start;
}
/* Drops the first len (<= b->len) bytes. */
void pv_bytes_drop(struct pv_bytes *b, size_t len);
/* read(2) into the queue, at most max bytes: bytes read, 0 at the end of file, -errno (-EAGAIN,
 * -ENOBUFS when full). */
ssize_t pv_bytes_read_from(struct pv_bytes *b, int fd, size_t max);
/* write(2) from the queue: bytes written (and dropped) or -errno (-EAGAIN). */
ssize_t pv_bytes_write_to(struct pv_bytes *b, int fd);

#endif
