/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_l2.c: L1 and L2 tables: where the guest's clusters are.
 */
#include "disk/qcow2_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

int qcow2_entry_kind(struct qcow2 *q, uint64_t entry, enum qcow2_kind *ret_kind)
{
    uint64_t host = entry & QCOW2_OFFSET_MASK;
    if (entry & QCOW2_COMPRESSED) {
        uint64_t offset, bytes;
        qcow2_entry_packed(q, entry, &offset, &bytes);
        if ((entry & QCOW2_COPIED) || !qcow2_file_has(q, offset))
            return qcow2_corrupt(q);
        *ret_kind = QCOW2_KIND_PACKED;
        return 0;
    }
    if ((entry & QCOW2_RESERVED) || qcow2_in_cluster(q, host) ||
        ((entry & QCOW2_ZERO) && q->version < 3) || (host && !qcow2_file_has(q, host)))
        return qcow2_corrupt(q);
    *ret_kind = entry & QCOW2_ZERO ? QCOW2_KIND_ZERO : host ? QCOW2_KIND_DATA : QCOW2_KIND_NONE;
    return 0;
}

/* The offset has as many bits as the cluster size leaves, then comes the number of further
 * sectors. */
void qcow2_entry_packed(const struct qcow2 *q, uint64_t entry, uint64_t *ret_offset,
                        uint64_t *ret_bytes)
{
    unsigned bits = 62 - (q->cluster_bits - 8);
    uint64_t offset = entry & ((1ull << bits) - 1);
    uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> bits;
    *ret_offset = offset;
    *ret_bytes = (sectors + 1) * 512 - (offset & 511);
}

static int l2_offset(struct qcow2 *q, uint64_t l1_index, uint64_t *ret_offset)
{
    if (l1_index >= q->l1_entries)
        return -EIO;
    uint64_t offset = q->l1[l1_index] & QCOW2_OFFSET_MASK;
    if (qcow2_in_cluster(q, offset))
        return qcow2_corrupt(q);
    *ret_offset = offset;
    return 0;
}

static uint64_t l1_index_of(const struct qcow2 *q, uint64_t offset)
{
    return (offset >> q->cluster_bits) / q->table_entries;
}

int qcow2_l2_get(struct qcow2 *q, uint64_t offset, bool only_cached, struct qcow2_table **ret_table)
{
    uint64_t at = 0;
    int rc = l2_offset(q, l1_index_of(q, offset), &at);
    *ret_table = NULL;
    if (rc < 0 || at == 0)
        return rc;
    if (only_cached) {
        *ret_table = qcow2_cache_find(&q->l2s, at);
        return *ret_table ? 0 : -EAGAIN;
    }
    return qcow2_cache_get(q, &q->l2s, at, ret_table);
}

/* A table of its own for an L1 entry: empty, or a copy of the one that a snapshot has too. */
static int make_table(struct qcow2 *q, uint64_t l1_index, uint64_t old,
                      struct qcow2_table **ret_table)
{
    struct qcow2_table *from = NULL, *table;
    uint64_t at, num;
    bool fresh;
    int rc = qcow2_changes_add(&q->l1_changes, (uint32_t)l1_index);
    if (rc == 0 && old)
        rc = qcow2_cache_get(q, &q->l2s, old, &from);
    if (rc < 0)
        return rc;
    if (from)
        from->pins++;
    rc = qcow2_alloc(q, 1, &at, &num, &fresh);
    if (rc == 0) {
        rc = qcow2_cache_add(q, &q->l2s, at, &table);
        if (rc == 0)
            rc = qcow2_set_add(&q->metadata, at >> q->cluster_bits);
        if (rc == 0 && old)
            rc = qcow2_drops_add(&q->drops, old >> q->cluster_bits, false);
        if (rc < 0)
            qcow2_unalloc(q, at, 1);
    }
    if (rc == 0 && from)
        memcpy(table->data, from->data, q->cluster_bytes);
    if (from)
        from->pins--;
    if (rc < 0)
        return rc;
    q->l1[l1_index] = at | QCOW2_COPIED;
    *ret_table = table;
    return 0;
}

int qcow2_l2_get_writable(struct qcow2 *q, uint64_t offset, struct qcow2_table **ret_table)
{
    uint64_t index = l1_index_of(q, offset), at = 0;
    int rc = l2_offset(q, index, &at);
    if (rc < 0)
        return rc;
    if (at && (q->l1[index] & QCOW2_COPIED))
        return qcow2_cache_get(q, &q->l2s, at, ret_table);
    return make_table(q, index, at, ret_table);
}

uint64_t qcow2_l2_entry(const struct qcow2_table *table, uint64_t index)
{
    uint64_t v;
    memcpy(&v, table->data + 8 * index, sizeof(v));
    return be64toh(v);
}

void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *table, uint64_t index, uint64_t entry)
{
    uint64_t v = htobe64(entry);
    memcpy(table->data + 8 * index, &v, sizeof(v));
    qcow2_cache_dirty(&q->l2s, table, 8 * index, 8 * index + 8);
}

int qcow2_entry_drop(struct qcow2 *q, uint64_t entry, bool punch)
{
    uint64_t first = entry & QCOW2_OFFSET_MASK, bytes = q->cluster_bytes;
    if (entry & QCOW2_COMPRESSED)
        qcow2_entry_packed(q, entry, &first, &bytes);
    else if (first == 0)
        return 0;
    int rc = 0;
    for (uint64_t c = first >> q->cluster_bits; c <= (first + bytes - 1) >> q->cluster_bits; c++)
        if (rc == 0)
            rc = qcow2_drops_add(&q->drops, c, punch);
    return rc;
}
