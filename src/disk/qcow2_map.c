/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_map.c: from a place on the disk to one in a file, for as long as a transfer takes.
 */
#include "disk/qcow2_internal.h"

#include <errno.h>

static bool continues(const struct qcow2 *q, const struct qcow2_run *run, uint64_t entry,
                      uint64_t clusters)
{
    uint64_t expected = run->entry & ~QCOW2_COPIED;
    if (run->kind == QCOW2_KIND_PACKED)
        return false;
    if (run->kind == QCOW2_KIND_DATA)
        expected += clusters << q->cluster_bits;
    else if (run->kind == QCOW2_KIND_ZERO)
        return !(entry & QCOW2_COMPRESSED) && (entry & QCOW2_ZERO) && !(entry & QCOW2_RESERVED);
    return (entry & ~QCOW2_COPIED) == expected;
}

int qcow2_map_run(struct qcow2 *q, uint64_t offset, uint64_t bytes, bool only_cached,
                  struct qcow2_run *ret_run)
{
    uint64_t index = qcow2_l2_index(q, offset), inside = qcow2_in_cluster(q, offset);
    uint64_t to_end = ((q->table_entries - index) << q->cluster_bits) - inside;
    struct qcow2_table *table;
    int rc = qcow2_l2_get(q, offset, only_cached, &table);
    if (rc < 0)
        return rc;
    bytes = PV_MIN(bytes, to_end);
    if (!table) {
        *ret_run = (struct qcow2_run){.kind = QCOW2_KIND_NONE, .bytes = bytes};
        return 0;
    }
    struct qcow2_run run = {.entry = qcow2_l2_entry(table, index)};
    rc = qcow2_entry_kind(q, run.entry, &run.kind);
    if (rc < 0)
        return rc;
    run.copied = run.entry & QCOW2_COPIED;
    uint64_t n = 1, clusters = (inside + bytes + q->cluster_bytes - 1) >> q->cluster_bits;
    for (; n < clusters; n++) {
        uint64_t entry = qcow2_l2_entry(table, index + n);
        if (!continues(q, &run, entry, n) || ((entry & QCOW2_COPIED) != 0) != run.copied)
            break;
    }
    run.host = (run.entry & QCOW2_OFFSET_MASK) + inside;
    run.bytes = PV_MIN(bytes, (n << q->cluster_bits) - inside);
    /* The first cluster begins in the file, the last one has to as well. */
    if (run.kind == QCOW2_KIND_DATA && n > 1 &&
        !qcow2_file_has(q, (run.entry & QCOW2_OFFSET_MASK) + ((n - 1) << q->cluster_bits)))
        run.bytes = PV_MIN(bytes, q->cluster_bytes - inside);
    *ret_run = run;
    return 0;
}

uint32_t qcow2_ticket_take(struct qcow2 *q)
{
    if (q->image.read_only)
        return DISK_NO_TICKET;
    atomic_fetch_add(&q->transfers[q->epoch], 1);
    return q->epoch;
}

void qcow2_ticket_return(struct qcow2 *q, uint32_t ticket)
{
    if (ticket == DISK_NO_TICKET || atomic_fetch_sub(&q->transfers[ticket], 1) != 1 ||
        !atomic_load(&q->waits_for_epoch))
        return;
    pthread_mutex_lock(&q->lock);
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void qcow2_release(struct disk_image *image, uint32_t ticket)
{
    qcow2_ticket_return(qcow2_of(image), ticket);
}

/* What is not in this image. */
static int map_below(struct qcow2 *q, uint64_t offset, uint64_t bytes,
                     struct disk_extent *ret_extent)
{
    struct disk_image *below = q->image.below;
    *ret_extent = (struct disk_extent){.bytes = bytes, .ticket = DISK_NO_TICKET};
    if (!below || offset >= below->bytes)
        return 0;
    return below->format->map(below, false, offset, PV_MIN(bytes, below->bytes - offset),
                              ret_extent);
}

static int map_locked(struct qcow2 *q, bool write, uint64_t offset, uint64_t bytes,
                      struct disk_extent *ret_extent)
{
    struct qcow2_run run;
    if (write && (q->failed || q->corrupt))
        return -EAGAIN; /* the slow way says what is wrong */
    int rc = qcow2_map_run(q, offset, bytes, true, &run);
    if (rc < 0)
        return -EAGAIN;
    if (run.kind == QCOW2_KIND_DATA && (run.copied || !write)) {
        uint64_t first = run.host >> q->cluster_bits;
        uint64_t last = (run.host + run.bytes - 1) >> q->cluster_bits;
        for (uint64_t c = first; write && c <= last; c++)
            if (qcow2_set_has(&q->metadata, c))
                return -EAGAIN;
        *ret_extent = (struct disk_extent){.file = &q->image,
                                           .offset = run.host,
                                           .bytes = run.bytes,
                                           .ticket = qcow2_ticket_take(q)};
        return 0;
    }
    *ret_extent = (struct disk_extent){.bytes = run.bytes, .ticket = DISK_NO_TICKET};
    if (write || run.kind == QCOW2_KIND_PACKED)
        return -EAGAIN;
    return run.kind == QCOW2_KIND_ZERO ? 0 : map_below(q, offset, run.bytes, ret_extent);
}

int qcow2_map(struct disk_image *image, bool write, uint64_t offset, uint64_t bytes,
              struct disk_extent *ret_extent)
{
    struct qcow2 *q = qcow2_of(image);
    if (pthread_mutex_trylock(&q->lock) != 0)
        return -EAGAIN;
    int rc = map_locked(q, write, offset, bytes, ret_extent);
    pthread_mutex_unlock(&q->lock);
    return rc;
}
