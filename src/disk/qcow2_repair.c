/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_repair.c: an image that was not closed: all references are counted, and the refcounts
 * follow. Nothing is guessed: what contradicts itself otherwise is refused.
 *
 * Runs on: whoever opens, alone. The tables are right then, that is what the mark promises; only
 * refcounts and the flags that mirror them are not. Ours are too high at most (leaks), those that
 * QEMU kept lazily may be anything. All L2 tables are read: 8 bytes per cluster of content.
 */
#include "disk/qcow2_internal.h"

#include "base/clock.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* What is read of an image that does not say whether it has leaks: 1 TiB of 64 KiB clusters. */
#define UNMARKED_CLUSTERS_MAX (16u << 20)
/* Clusters may be counted that the file does not have yet: what was under way. */
#define BEHIND_END_BYTES (1ull << 30)

struct counts {
    uint16_t *of; /* per cluster of the file */
    uint64_t num;
};

static int damaged(const struct qcow2 *q, struct pv_error *err, const char *what)
{
    return pv_error_set(err, EUCLEAN,
                        "repair disk '%s': %s: repair it by qemu-img check -r all, or attach it "
                        "read-only",
                        q->image.path, what);
}

static int count_range(struct qcow2 *q, struct counts *counts, uint64_t offset, uint64_t bytes,
                       struct pv_error *err)
{
    if (bytes == 0)
        return 0;
    if (offset >= q->file_end || bytes > q->file_end - offset)
        return damaged(q, err, "a table names what lies outside of the file");
    for (uint64_t c = offset >> q->cluster_bits; c <= (offset + bytes - 1) >> q->cluster_bits;
         c++) {
        if (counts->of[c] == UINT16_MAX)
            return damaged(q, err, "a cluster is used too often");
        counts->of[c]++;
    }
    return 0;
}

static int count_entry(struct qcow2 *q, struct counts *counts, uint64_t entry, struct pv_error *err)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK, bytes = q->cluster_bytes;
    if (entry & QCOW2_COMPRESSED)
        qcow2_entry_packed(q, entry, &offset, &bytes);
    else if (entry & QCOW2_RESERVED || qcow2_in_cluster(q, offset))
        return damaged(q, err, "an L2 table has an entry that makes no sense");
    else if (offset == 0)
        return 0;
    if (!(entry & QCOW2_COMPRESSED) && qcow2_set_has(&q->metadata, offset >> q->cluster_bits))
        return damaged(q, err, "content lies over a table");
    if (entry & QCOW2_COMPRESSED &&
        offset < q->file_end) /* the last sectors may be no more there */
        bytes = PV_MIN(bytes, q->file_end - offset);
    return count_range(q, counts, offset, bytes, err);
}

static int count_l2(struct qcow2 *q, struct counts *counts, uint64_t offset, struct pv_error *err)
{
    struct qcow2_table *table;
    if (qcow2_in_cluster(q, offset))
        return damaged(q, err, "an L1 table has an entry that makes no sense");
    int rc = count_range(q, counts, offset, q->cluster_bytes, err);
    if (rc < 0)
        return rc;
    rc = qcow2_cache_get(q, &q->l2s, offset, &table);
    if (rc < 0)
        return pv_error_set(err, -rc, "repair disk '%s': %s", q->image.path, strerror(-rc));
    for (uint64_t i = 0; i < q->table_entries && rc == 0; i++)
        rc = count_entry(q, counts, qcow2_l2_entry(table, i), err);
    return rc;
}

static int count_l1(struct qcow2 *q, struct counts *counts, const uint64_t *l1, uint32_t entries,
                    uint64_t offset, struct pv_error *err)
{
    int rc = count_range(q, counts, offset, 8ull * entries, err);
    for (uint32_t i = 0; i < entries && rc == 0; i++)
        if (l1[i] & QCOW2_OFFSET_MASK)
            rc = count_l2(q, counts, l1[i] & QCOW2_OFFSET_MASK, err);
    return rc;
}

static int count_snapshot(struct qcow2 *q, uint64_t l1_offset, uint32_t l1_entries, void *data,
                          struct pv_error *err)
{
    pv_auto_free uint64_t *l1 = calloc(l1_entries + 1ull, sizeof(*l1));
    if (!l1)
        return pv_error_set(err, ENOMEM, "repair disk '%s': out of memory", q->image.path);
    int rc = qcow2_file_read_entries(q, l1, l1_entries, l1_offset);
    if (rc < 0)
        return pv_error_set(err, -rc, "repair disk '%s': %s", q->image.path, strerror(-rc));
    return count_l1(q, data, l1, l1_entries, l1_offset, err);
}

static int count_all(struct qcow2 *q, struct counts *counts, struct pv_error *err)
{
    int rc = count_range(q, counts, 0, q->cluster_bytes, err);
    if (rc == 0)
        rc = count_l1(q, counts, q->l1, q->l1_entries, q->l1_offset, err);
    if (rc == 0)
        rc = count_range(q, counts, q->reftable_offset, 8ull * q->reftable_entries, err);
    for (uint32_t i = 0; i < q->reftable_entries && rc == 0; i++)
        if (q->reftable[i])
            rc = count_range(q, counts, q->reftable[i], q->cluster_bytes, err);
    if (rc == 0)
        rc = qcow2_check_snapshots(q, count_snapshot, counts, err);
    if (rc == 0 && q->num_snapshots)
        rc = count_range(q, counts, q->snapshots_offset, q->snapshots_bytes, err);
    return rc;
}

/* Without snapshots everything belongs to one owner, but for clusters that hold several compressed
 * ones, which nobody writes in place. */
static int set_copied(struct qcow2 *q, struct counts *counts, struct pv_error *err)
{
    for (uint32_t i = 0; i < q->l1_entries; i++) {
        struct qcow2_table *table;
        uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK;
        if (!offset)
            continue;
        bool alone = counts->of[offset >> q->cluster_bits] == 1;
        if (alone != ((q->l1[i] & QCOW2_COPIED) != 0)) {
            q->l1[i] = offset | (alone ? QCOW2_COPIED : 0);
            if (qcow2_changes_add(&q->l1_changes, i) < 0)
                return -ENOMEM;
        }
        int rc = qcow2_cache_get(q, &q->l2s, offset, &table);
        for (uint64_t j = 0; j < q->table_entries && rc == 0; j++) {
            uint64_t entry = qcow2_l2_entry(table, j), host = entry & QCOW2_OFFSET_MASK;
            if ((entry & QCOW2_COMPRESSED) || !host)
                continue;
            uint16_t count = counts->of[host >> q->cluster_bits];
            if (count > 1 && q->num_snapshots == 0)
                return damaged(q, err, "a cluster has two owners, and there is no snapshot");
            uint64_t right = (entry & ~QCOW2_COPIED) | (count == 1 ? QCOW2_COPIED : 0);
            if (right != entry)
                qcow2_l2_set(q, table, j, right);
        }
        if (rc < 0)
            return rc;
        rc = q->l2s.num_dirty >= q->l2s.max / 2 ? qcow2_flush(&q->image) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Sets those refcounts that are too low or, with lower, too high. With only_look, -EUCLEAN at the
 * first one. */
static int set_refcounts(struct qcow2 *q, const struct counts *counts, bool lower, bool only_look)
{
    uint64_t end = counts->num + (BEHIND_END_BYTES >> q->cluster_bits);
    int rc = 0;
    for (uint64_t n = 0; n < q->reftable_entries && n << q->block_bits < end; n++) {
        uint64_t from = n << q->block_bits, to = from + (1ull << q->block_bits);
        if (!q->reftable[n])
            continue;
        for (uint64_t c = from; c < to && rc == 0; c++) {
            uint64_t now = 0, right = c < counts->num ? counts->of[c] : 0;
            rc = qcow2_refcount_get(q, c, &now);
            if (rc < 0 || (lower ? now <= right : now >= right))
                continue;
            rc = only_look ? -EUCLEAN : qcow2_refcount_set(q, c, right);
            q->image.repair.clusters++;
        }
        if (rc == 0 && q->blocks.num_dirty >= q->blocks.max / 2)
            rc = qcow2_flush(&q->image);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The caller frees counts->of, also after a failure. */
static int count_references(struct qcow2 *q, struct counts *counts, struct pv_error *err)
{
    counts->num = q->file_end >> q->cluster_bits;
    counts->of = calloc(counts->num, sizeof(*counts->of));
    if (!counts->of)
        return pv_error_set(err, ENOMEM, "repair disk '%s': out of memory", q->image.path);
    int rc = count_all(q, counts, err);
    for (uint64_t c = 0; c < counts->num && rc == 0; c++)
        if (counts->of[c] &&
            (c >> q->block_bits >= q->reftable_entries || !q->reftable[c >> q->block_bits]))
            rc = damaged(q, err, "the image was not closed, and refcount blocks are missing");
    return rc;
}

static int set_right(struct qcow2 *q, struct counts *counts, struct pv_error *err)
{
    /* Those that are too low first: what is made on the way finds no cluster that is in use. */
    int rc = set_refcounts(q, counts, false, false);
    if (rc == 0)
        rc = set_refcounts(q, counts, true, false);
    if (rc == 0)
        rc = set_copied(q, counts, err);
    if (rc == 0)
        rc = qcow2_flush(&q->image);
    if (rc == 0) {
        q->incompatible &= ~QCOW2_DIRTY;
        q->header_changed = true;
        rc = qcow2_flush(&q->image);
    }
    return rc;
}

int qcow2_repair(struct qcow2 *q, struct pv_error *err)
{
    struct counts counts = {0};
    uint64_t begin = pv_time_monotonic_ns();
    if (q->file_end >> q->cluster_bits > QCOW2_REPAIR_CLUSTERS_MAX)
        return damaged(q, err, "the image was not closed and is too large to be repaired here");
    int rc = count_references(q, &counts, err);
    if (rc == 0) {
        if (err)
            err->code = 0;
        rc = set_right(q, &counts, err);
        if (rc < 0 && (!err || err->code == 0))
            rc = pv_error_set(err, -rc, "repair disk '%s': %s", q->image.path, strerror(-rc));
    }
    free(counts.of);
    q->image.repair.done = true;
    q->image.repair.ns = pv_time_monotonic_ns() - begin;
    return rc;
}

int qcow2_repair_leaks(struct qcow2 *q, struct pv_error *err)
{
    struct counts counts = {0};
    uint64_t begin = pv_time_monotonic_ns();
    if (!q->knows_all || q->file_end >> q->cluster_bits > UNMARKED_CLUSTERS_MAX)
        return 0;
    int rc = count_references(q, &counts, NULL);
    if (rc == 0)
        rc = set_refcounts(q, &counts, false, true);
    q->image.repair.clusters = 0;
    if (rc < 0) { /* nobody asked for a judgement: reads and writes will find what is wrong */
        free(counts.of);
        return 0;
    }
    rc = set_refcounts(q, &counts, true, false);
    if (rc == 0 && q->blocks.num_dirty)
        rc = qcow2_flush(&q->image);
    free(counts.of);
    q->image.repair.done = q->image.repair.clusters > 0;
    q->image.repair.ns = pv_time_monotonic_ns() - begin;
    return rc < 0 ? pv_error_set(err, -rc, "repair disk '%s': %s", q->image.path, strerror(-rc))
                  : 0;
}
