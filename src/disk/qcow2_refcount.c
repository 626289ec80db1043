/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_refcount.c: how often each cluster of the file is used, and free ones.
 *
 * The refcount table names blocks, a block has the counts of adjacent clusters. A part of the file
 * without a block has no clusters in use, so a new block is put into the part that it describes,
 * and counts itself. A table that is too short is replaced by a longer one elsewhere.
 */
#include "disk/qcow2_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static uint64_t count_at(const struct qcow2 *q, const uint8_t *block, uint64_t index)
{
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;
    switch (q->refcount_order) {
    case 4:
        memcpy(&v16, block + 2 * index, 2);
        return be16toh(v16);
    case 3:
        return block[index];
    case 5:
        memcpy(&v32, block + 4 * index, 4);
        return be32toh(v32);
    case 6:
        memcpy(&v64, block + 8 * index, 8);
        return be64toh(v64);
    default: { /* 1, 2 or 4 bits, from the lowest one on */
        unsigned bits = 1u << q->refcount_order, per_byte = 8 / bits;
        return block[index / per_byte] >> (index % per_byte * bits) & ((1u << bits) - 1);
    }
    }
}

static void set_count_at(const struct qcow2 *q, uint8_t *block, uint64_t index, uint64_t count)
{
    uint16_t v16 = htobe16((uint16_t)count);
    uint32_t v32 = htobe32((uint32_t)count);
    uint64_t v64 = htobe64(count);
    switch (q->refcount_order) {
    case 4:
        memcpy(block + 2 * index, &v16, 2);
        return;
    case 3:
        block[index] = (uint8_t)count;
        return;
    case 5:
        memcpy(block + 4 * index, &v32, 4);
        return;
    case 6:
        memcpy(block + 8 * index, &v64, 8);
        return;
    default: {
        unsigned bits = 1u << q->refcount_order, per_byte = 8 / bits;
        unsigned shift = (unsigned)(index % per_byte) * bits, mask = ((1u << bits) - 1) << shift;
        uint8_t *byte = &block[index / per_byte];
        *byte = (uint8_t)((*byte & ~mask) | ((unsigned)count << shift & mask));
    }
    }
}

static uint64_t count_max(const struct qcow2 *q)
{
    return q->refcount_order == 6 ? UINT64_MAX : (1ull << (1u << q->refcount_order)) - 1;
}

static uint64_t index_of(const struct qcow2 *q, uint64_t cluster)
{
    return cluster & ((1ull << q->block_bits) - 1);
}

/* The block for a cluster; NULL when there is none. */
static int get_block(struct qcow2 *q, uint64_t cluster, struct qcow2_table **ret_block)
{
    uint64_t n = cluster >> q->block_bits;
    uint64_t offset = n < q->reftable_entries ? q->reftable[n] & ~511ull : 0;
    *ret_block = NULL;
    if (offset == 0)
        return 0;
    if (qcow2_in_cluster(q, offset))
        return qcow2_corrupt(q);
    return qcow2_cache_get(q, &q->blocks, offset, ret_block);
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret_count)
{
    struct qcow2_table *block;
    int rc = get_block(q, cluster, &block);
    if (rc == 0)
        *ret_count = block ? count_at(q, block->data, index_of(q, cluster)) : 0;
    return rc;
}

static void write_count(struct qcow2 *q, struct qcow2_table *block, uint64_t cluster,
                        uint64_t count)
{
    uint64_t index = index_of(q, cluster);
    size_t bits = (size_t)index << q->refcount_order;
    set_count_at(q, block->data, index, count);
    qcow2_cache_dirty(&q->blocks, block, bits / 8, (bits + (1u << q->refcount_order) + 7) / 8);
    if (count == 0)
        q->free_hint = PV_MIN(q->free_hint, cluster);
}

/* Makes the block for a part of the file in which nothing is used, in cluster `at` of it. */
static int add_block(struct qcow2 *q, uint64_t at, struct qcow2_table **ret_block)
{
    uint32_t n = (uint32_t)(at >> q->block_bits);
    struct qcow2_table *block;
    int rc = qcow2_set_add(&q->metadata, at);
    if (rc < 0)
        return rc == -EEXIST ? qcow2_corrupt(q) : rc;
    rc = qcow2_cache_add(q, &q->blocks, at << q->cluster_bits, &block);
    if (rc == 0)
        rc = qcow2_changes_add(&q->reftable_changes, n);
    if (rc < 0) {
        qcow2_set_remove(&q->metadata, at);
        return rc;
    }
    q->reftable[n] = at << q->cluster_bits;
    q->file_end = PV_MAX(q->file_end, (at + 1) << q->cluster_bits);
    write_count(q, block, at, 1);
    *ret_block = block;
    return 0;
}

/* How long a table must be for block n, for itself behind the end of the file, and for the blocks
 * of that place. */
static uint64_t table_length(const struct qcow2 *q, uint64_t n)
{
    uint64_t per_cluster = q->cluster_bytes / 8;
    uint64_t entries = PV_MAX(n + 1, (uint64_t)q->reftable_entries * 3 / 2);
    uint64_t end = PV_MAX(q->file_end >> q->cluster_bits, q->free_hint);
    for (;;) {
        entries = (entries + per_cluster) / per_cluster * per_cluster;
        uint64_t needed = ((end + 2 * (entries / per_cluster) + 64) >> q->block_bits) + 1;
        if (needed <= entries || entries * 8 > QCOW2_REFTABLE_BYTES_MAX)
            return entries;
        entries = needed;
    }
}

static int grow_table(struct qcow2 *q, uint64_t n)
{
    uint64_t entries = table_length(q, n);
    if (entries * 8 > QCOW2_REFTABLE_BYTES_MAX)
        return -EFBIG;
    uint64_t *table = reallocarray(q->reftable, entries, sizeof(*table));
    if (!table)
        return -ENOMEM;
    memset(table + q->reftable_entries, 0, (entries - q->reftable_entries) * sizeof(*table));
    uint64_t old_clusters = 8ull * q->reftable_entries >> q->cluster_bits;
    q->reftable = table;
    uint32_t old_entries = q->reftable_entries;
    q->reftable_entries = (uint32_t)entries;

    uint64_t at, first_old = q->reftable_offset >> q->cluster_bits;
    int rc = qcow2_alloc_run(q, 8 * entries >> q->cluster_bits, &at);
    if (rc < 0) { /* the table on the medium cannot hold what was added: forget it */
        q->reftable_entries = old_entries;
        return rc;
    }
    q->reftable_offset = at;
    q->reftable_changes.moved = true;
    for (uint64_t i = 0; i < 8 * entries >> q->cluster_bits && rc == 0; i++)
        rc = qcow2_set_add(&q->metadata, (at >> q->cluster_bits) + i);
    for (uint64_t i = 0; i < old_clusters && rc == 0; i++) {
        qcow2_set_remove(&q->metadata, first_old + i);
        rc = qcow2_drops_add(&q->drops, first_old + i, false);
    }
    return rc;
}

/* The block for a cluster, made when missing. */
static int get_writable_block(struct qcow2 *q, uint64_t cluster, struct qcow2_table **ret_block)
{
    uint64_t n = cluster >> q->block_bits;
    int rc = 0;
    if (n >= q->reftable_entries)
        rc = grow_table(q, n);
    if (rc == 0)
        rc = get_block(q, cluster, ret_block);
    if (rc == 0 && !*ret_block)
        rc = add_block(q, cluster, ret_block);
    return rc;
}

int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    struct qcow2_table *block;
    if (count > count_max(q))
        return -EMLINK;
    int rc = get_writable_block(q, cluster, &block);
    if (rc == 0)
        write_count(q, block, cluster, count);
    return rc;
}

int qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_table *block;
    int rc = get_block(q, cluster, &block);
    if (rc < 0)
        return rc;
    uint64_t count = block ? count_at(q, block->data, index_of(q, cluster)) : 0;
    if (count == 0)
        return qcow2_corrupt(q);
    write_count(q, block, cluster, count - 1);
    return 0;
}

/* Finds 1..num free clusters from q->free_hint on, in one block. */
static int find_free(struct qcow2 *q, uint64_t num, uint64_t *ret_first, uint64_t *ret_num,
                     struct qcow2_table **ret_block)
{
    for (uint64_t c = q->free_hint;;) {
        struct qcow2_table *block;
        if (c >= (1ull << 55) >> q->cluster_bits)
            return -EFBIG;
        int rc = get_writable_block(q, c, &block);
        if (rc < 0)
            return rc;
        uint64_t end = ((c >> q->block_bits) + 1) << q->block_bits;
        while (c < end && count_at(q, block->data, index_of(q, c)) != 0)
            c++;
        if (c == end)
            continue;
        uint64_t n = 1;
        while (n < num && c + n < end && count_at(q, block->data, index_of(q, c + n)) == 0)
            n++;
        *ret_first = c;
        *ret_num = n;
        *ret_block = block;
        return 0;
    }
}

static int take(struct qcow2 *q, struct qcow2_table *block, uint64_t first, uint64_t num,
                bool *ret_fresh)
{
    for (uint64_t i = 0; i < num; i++)
        if (qcow2_set_has(&q->metadata, first + i))
            return qcow2_corrupt(q); /* in use, though its refcount says that it is not */
    for (uint64_t i = 0; i < num; i++)
        write_count(q, block, first + i, 1);
    *ret_fresh = first << q->cluster_bits >= q->file_end;
    q->file_end = PV_MAX(q->file_end, (first + num) << q->cluster_bits);
    return 0;
}

int qcow2_alloc(struct qcow2 *q, uint64_t num, uint64_t *ret_offset, uint64_t *ret_num,
                bool *ret_fresh)
{
    struct qcow2_table *block;
    uint64_t first, got;
    int rc = find_free(q, num, &first, &got, &block);
    if (rc == 0)
        rc = take(q, block, first, got, ret_fresh);
    if (rc < 0)
        return rc;
    q->free_hint = first + got;
    *ret_offset = first << q->cluster_bits;
    *ret_num = got;
    return 0;
}

/* Runs of several are few and large (tables), so they go behind everything else. */
int qcow2_alloc_run(struct qcow2 *q, uint64_t num, uint64_t *ret_offset)
{
    uint64_t first = PV_MAX(q->file_end >> q->cluster_bits, q->free_hint);
    uint64_t n = 0;
    bool fresh;
    /* A block that is made on the way takes a cluster of its own: begin again behind it. */
    for (uint64_t c = first; n < num; c++) {
        uint64_t count;
        struct qcow2_table *block;
        int rc = get_writable_block(q, c, &block);
        if (rc == 0)
            rc = qcow2_refcount_get(q, c, &count);
        if (rc < 0)
            return rc;
        n = count == 0 ? n + 1 : 0;
        if (n == 0)
            first = c + 1;
    }
    for (uint64_t c = first; c < first + num; c++) {
        struct qcow2_table *block;
        int rc = get_writable_block(q, c, &block);
        if (rc == 0)
            rc = take(q, block, c, 1, &fresh);
        if (rc < 0)
            return rc;
    }
    *ret_offset = first << q->cluster_bits;
    return 0;
}

void qcow2_unalloc(struct qcow2 *q, uint64_t offset, uint64_t num)
{
    for (uint64_t i = 0; i < num; i++)
        if (qcow2_refcount_drop(q, (offset >> q->cluster_bits) + i) < 0)
            return; /* it leaks */
}
