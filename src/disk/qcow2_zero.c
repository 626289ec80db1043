/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_zero.c: discards and zeroes: whole clusters are changed in the tables, parts are written.
 *
 * A discarded cluster reads as zeroes, never as what is below. Version 2 has no entry for that, so
 * there, what covers something below is kept by a discard, and written by a write of zeroes.
 */
#include "disk/qcow2_internal.h"

#include <errno.h>
#include <string.h>

#define ZEROES_BYTES 65536u
#define ZEROES_IOVS 16u
static const uint8_t zeroes[ZEROES_BYTES];

static int write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    int rc = 0;
    while (bytes > 0 && rc == 0) {
        struct iovec iov[ZEROES_IOVS];
        uint64_t step = 0;
        unsigned num = 0;
        for (; num < ZEROES_IOVS && step < bytes; num++) {
            size_t n = (size_t)PV_MIN(bytes - step, (uint64_t)ZEROES_BYTES);
            iov[num] = (struct iovec){(void *)(uintptr_t)zeroes, n};
            step += n;
        }
        rc = qcow2_write(&q->image, iov, num, offset, step);
        offset += step;
        bytes -= step;
    }
    return rc;
}

/* Whether what has no entry at this place reads as zeroes. */
static bool none_is_zero(const struct qcow2 *q, uint64_t offset)
{
    return !q->image.below || offset >= q->image.below->bytes;
}

enum change { CHANGED, CANNOT };

/* Makes one cluster read as zeroes and drops its content. */
static int clear_entry(struct qcow2 *q, struct qcow2_table *table, uint64_t index, uint64_t offset,
                       enum change *ret_change)
{
    uint64_t entry = qcow2_l2_entry(table, index);
    enum qcow2_kind kind;
    int rc = qcow2_entry_kind(q, entry, &kind);
    if (rc < 0)
        return rc;
    bool covers = !none_is_zero(q, offset);
    *ret_change = covers && q->version < 3 ? CANNOT : CHANGED;
    uint64_t cleared = covers ? QCOW2_ZERO : 0;
    if (*ret_change == CANNOT || entry == cleared)
        return 0;
    qcow2_l2_set(q, table, index, cleared);
    return qcow2_entry_drop(q, entry, true);
}

/* Clears whole clusters from offset on, within one L2 table: *ret_done of them. It may be fewer
 * than num, and 0 when the first one cannot be cleared. */
static int clear_clusters(struct qcow2 *q, uint64_t offset, uint64_t num, uint64_t *ret_done)
{
    uint64_t index = qcow2_l2_index(q, offset);
    uint64_t n = PV_MIN(num, q->table_entries - index), done = 0;
    struct qcow2_table *table;
    int rc = qcow2_write_make_room(q);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&q->lock);
    qcow2_writers_wait(q, offset >> q->cluster_bits, n);
    rc = q->failed || q->corrupt ? -EIO : qcow2_l2_get(q, offset, false, &table);
    if (rc == 0 && !table && none_is_zero(q, offset)) {
        *ret_done = n;
        pthread_mutex_unlock(&q->lock);
        return 0;
    }
    if (rc == 0)
        rc = qcow2_l2_get_writable(q, offset, &table);
    for (; done < n && rc == 0; done++) {
        enum change change;
        rc = clear_entry(q, table, index + done, offset + (done << q->cluster_bits), &change);
        if (rc == 0 && change == CANNOT)
            break;
    }
    pthread_mutex_unlock(&q->lock);
    *ret_done = done;
    return rc;
}

int qcow2_discard(struct disk_image *image, uint64_t offset, uint64_t bytes)
{
    struct qcow2 *q = qcow2_of(image);
    uint64_t end = offset + bytes;
    uint64_t first = (offset + q->cluster_bytes - 1) >> q->cluster_bits;
    uint64_t last = (end == image->bytes ? end + q->cluster_bytes - 1 : end) >> q->cluster_bits;
    int rc = 0;
    while (first < last && rc == 0) {
        uint64_t done;
        rc = clear_clusters(q, first << q->cluster_bits, last - first, &done);
        first += rc == 0 && done == 0 ? 1 : done; /* it was advice */
    }
    return rc;
}

/* Clusters that keep their place: zeroes are written there. *ret_bytes: 0 when they have none. */
static int zero_in_place(struct qcow2 *q, uint64_t offset, uint64_t bytes, uint64_t *ret_bytes)
{
    struct qcow2_run run;
    uint32_t ticket = DISK_NO_TICKET;
    *ret_bytes = 0;
    pthread_mutex_lock(&q->lock);
    qcow2_writers_wait(q, offset >> q->cluster_bits,
                       (bytes + q->cluster_bytes - 1) >> q->cluster_bits);
    int rc = q->failed || q->corrupt ? -EIO : qcow2_map_run(q, offset, bytes, false, &run);
    bool mine = rc == 0 && run.kind == QCOW2_KIND_DATA && run.copied;
    for (uint64_t c = 0; mine && c << q->cluster_bits < run.bytes; c++)
        if (qcow2_set_has(&q->metadata, (run.host >> q->cluster_bits) + c))
            rc = qcow2_corrupt(q);
    if (rc == 0 && mine)
        ticket = qcow2_ticket_take(q);
    pthread_mutex_unlock(&q->lock);
    if (rc < 0 || !mine)
        return rc;
    *ret_bytes = run.bytes;
    rc = disk_file_zero(q->image.fd, run.host, run.bytes, false);
    qcow2_ticket_return(q, ticket);
    return rc;
}

/* A part of a cluster, or one that the tables cannot clear. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    struct qcow2_run run;
    pthread_mutex_lock(&q->lock);
    qcow2_writers_wait(q, offset >> q->cluster_bits, 1);
    int rc = qcow2_map_run(q, offset, bytes, false, &run);
    pthread_mutex_unlock(&q->lock);
    if (rc < 0)
        return rc;
    bool already =
        run.kind == QCOW2_KIND_ZERO || (run.kind == QCOW2_KIND_NONE && none_is_zero(q, offset));
    return already ? 0 : write_zeroes(q, offset, bytes);
}

static int zero_clusters(struct qcow2 *q, uint64_t offset, uint64_t num, bool unmap,
                         uint64_t *ret_done)
{
    uint64_t bytes = 0;
    int rc = unmap ? 0 : zero_in_place(q, offset, num << q->cluster_bits, &bytes);
    *ret_done = bytes >> q->cluster_bits;
    if (rc < 0 || bytes > 0)
        return rc;
    rc = clear_clusters(q, offset, unmap ? num : 1, ret_done);
    if (rc == 0 && *ret_done == 0) {
        rc = zero_part(q, offset, q->cluster_bytes);
        *ret_done = 1;
    }
    return rc;
}

int qcow2_zero(struct disk_image *image, uint64_t offset, uint64_t bytes, bool unmap)
{
    struct qcow2 *q = qcow2_of(image);
    int rc = 0;
    /* Behind the end of the disk its last cluster may be zeroed as well. */
    if (offset + bytes == image->bytes && qcow2_in_cluster(q, image->bytes))
        bytes += q->cluster_bytes - qcow2_in_cluster(q, image->bytes);
    while (bytes > 0 && rc == 0) {
        uint64_t inside = qcow2_in_cluster(q, offset);
        uint64_t step = PV_MIN(bytes, q->cluster_bytes - inside), done;
        if (inside || step < q->cluster_bytes) {
            rc = zero_part(q, offset, step);
        } else {
            rc = zero_clusters(q, offset, bytes >> q->cluster_bits, unmap, &done);
            step = rc == 0 ? done << q->cluster_bits : 0;
        }
        offset += step;
        bytes -= step;
    }
    return rc;
}
