/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_read.c: reads, from wherever the content is.
 *
 * Runs on: any thread.
 */
#include "disk/qcow2_internal.h"

#include "base/iov.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* Content of a file; behind its end there are zeroes, since the last cluster may be cut short. */
static int read_file(const struct disk_image *file, const struct iovec *iov, unsigned num,
                     uint64_t offset, uint64_t bytes)
{
    int64_t size = disk_file_size(file->fd);
    if (size < 0)
        return (int)size;
    uint64_t there = offset >= (uint64_t)size ? 0 : PV_MIN(bytes, (uint64_t)size - offset);
    struct iovec piece[IOV_MAX];
    if (there < bytes)
        disk_iov_zero(piece, pv_iov_slice(iov, num, there, bytes - there, piece, IOV_MAX, NULL));
    if (there == 0)
        return 0;
    return disk_transfer(file->fd, false, piece,
                         pv_iov_slice(iov, num, 0, there, piece, IOV_MAX, NULL), offset, there);
}

int qcow2_read_below(struct qcow2 *q, const struct iovec *iov, unsigned num, uint64_t offset,
                     uint64_t bytes)
{
    struct disk_image *below = q->image.below;
    uint64_t there = !below || offset >= below->bytes ? 0 : PV_MIN(bytes, below->bytes - offset);
    struct iovec piece[IOV_MAX];
    if (there < bytes)
        disk_iov_zero(piece, pv_iov_slice(iov, num, there, bytes - there, piece, IOV_MAX, NULL));
    if (there == 0)
        return 0;
    return below->format->read(below, piece, pv_iov_slice(iov, num, 0, there, piece, IOV_MAX, NULL),
                               offset, there);
}

/* Finds the next run, and says that a transfer is under way. */
static int begin_run(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct qcow2_run *ret_run,
                     uint32_t *ret_ticket)
{
    pthread_mutex_lock(&q->lock);
    int rc = qcow2_map_run(q, offset, bytes, false, ret_run);
    if (rc == 0)
        *ret_ticket = qcow2_ticket_take(q);
    pthread_mutex_unlock(&q->lock);
    return rc;
}

static int read_run(struct qcow2 *q, const struct qcow2_run *run, const struct iovec *iov,
                    unsigned num, uint64_t offset)
{
    switch (run->kind) {
    case QCOW2_KIND_ZERO:
        disk_iov_zero(iov, num);
        return 0;
    case QCOW2_KIND_DATA:
        return read_file(&q->image, iov, num, run->host, run->bytes);
    case QCOW2_KIND_PACKED:
        return qcow2_packed_read(q, run->entry, iov, num, qcow2_in_cluster(q, offset), run->bytes);
    case QCOW2_KIND_NONE:
        break;
    }
    return qcow2_read_below(q, iov, num, offset, run->bytes);
}

int qcow2_read(struct disk_image *image, const struct iovec *iov, unsigned num_iov, uint64_t offset,
               uint64_t bytes)
{
    struct qcow2 *q = qcow2_of(image);
    struct iovec piece[IOV_MAX];
    int rc = 0;
    for (uint64_t done = 0; done < bytes && rc == 0;) {
        struct qcow2_run run;
        uint32_t ticket;
        rc = begin_run(q, offset + done, bytes - done, &run, &ticket);
        if (rc < 0)
            return rc;
        unsigned num = pv_iov_slice(iov, num_iov, done, run.bytes, piece, IOV_MAX, NULL);
        rc = read_run(q, &run, piece, num, offset + done);
        qcow2_ticket_return(q, ticket);
        done += run.bytes;
    }
    return rc;
}
