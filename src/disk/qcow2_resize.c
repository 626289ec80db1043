/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_resize.c: an image grows.
 *
 * Runs on: the loop thread, with nothing of its own under way; the other threads go on.
 */
#include "disk/qcow2_internal.h"

#include <errno.h>
#include <string.h>

/* A longer L1 table, in a new place. Locked. */
static int grow_l1(struct qcow2 *q, uint64_t bytes)
{
    uint64_t per_l1 = q->cluster_bytes * q->table_entries;
    uint64_t entries = bytes / per_l1 + (bytes % per_l1 != 0);
    if (entries <= q->l1_entries)
        return 0;
    if (entries * 8 > QCOW2_L1_BYTES_MAX)
        return -EFBIG;
    uint64_t *l1 = reallocarray(q->l1, entries, sizeof(*l1));
    if (!l1)
        return -ENOMEM;
    q->l1 = l1;
    memset(l1 + q->l1_entries, 0, (entries - q->l1_entries) * sizeof(*l1));

    uint64_t at, clusters = (8 * entries + q->cluster_bytes - 1) >> q->cluster_bits;
    uint64_t old = (8ull * q->l1_entries + q->cluster_bytes - 1) >> q->cluster_bits;
    uint64_t first_old = q->l1_offset >> q->cluster_bits;
    int rc = qcow2_alloc_run(q, clusters, &at);
    for (uint64_t i = 0; i < clusters && rc == 0; i++)
        rc = qcow2_set_add(&q->metadata, (at >> q->cluster_bits) + i);
    if (rc < 0)
        return rc;
    for (uint64_t i = 0; i < old && rc == 0; i++) {
        qcow2_set_remove(&q->metadata, first_old + i);
        rc = qcow2_drops_add(&q->drops, first_old + i, false);
    }
    q->l1_offset = at;
    q->l1_entries = (uint32_t)entries;
    q->l1_changes.moved = true;
    return rc;
}

/* What comes in sight must not show what is below, nor what was behind the old end. */
static int hide(struct qcow2 *q, uint64_t from, uint64_t to)
{
    uint64_t below = q->image.below ? q->image.below->bytes : 0;
    uint64_t part = qcow2_in_cluster(q, from) ? q->cluster_bytes - qcow2_in_cluster(q, from) : 0;
    uint64_t covered = PV_MIN(below, to);
    uint64_t end = from + PV_MIN(part, to - from);
    end = PV_MAX(end, covered);
    return end > from ? qcow2_zero(&q->image, from, end - from, true) : 0;
}

int qcow2_resize(struct disk_image *image, uint64_t bytes, struct pv_error *err)
{
    struct qcow2 *q = qcow2_of(image);
    uint64_t before = image->bytes;
    if (bytes == 0 || bytes == before)
        return 0;
    if (q->version < 3 && q->num_snapshots > 0)
        return pv_error_set(err, ENOTSUP,
                            "resize disk '%s': version 2 of qcow2 cannot keep the sizes of its "
                            "snapshots: run qemu-img amend -o compat=v3, or delete them",
                            image->path);
    pthread_mutex_lock(&q->lock);
    int rc = q->corrupt || q->failed ? -EIO : grow_l1(q, bytes);
    pthread_mutex_unlock(&q->lock);
    if (rc == 0)
        rc = hide(q, before, bytes);
    if (rc == 0)
        rc = qcow2_flush(image);
    if (rc == 0) {
        pthread_mutex_lock(&q->lock);
        q->disk_bytes = bytes;
        q->header_changed = true;
        pthread_mutex_unlock(&q->lock);
        rc = qcow2_flush(image);
    }
    if (rc < 0) {
        pthread_mutex_lock(&q->lock);
        q->disk_bytes = before;
        pthread_mutex_unlock(&q->lock);
        return pv_error_set(err, -rc, "resize disk '%s': %s", image->path, strerror(-rc));
    }
    image->bytes = bytes;
    return 0;
}
