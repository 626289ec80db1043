/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_check.c: before an image is written: where its metadata is, and that none of it lies over
 * another or outside of the file.
 */
#include "disk/qcow2_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define SNAPSHOT_BYTES 40u
#define SNAPSHOT_EXTRA_MAX 1024u

static int damaged(const struct qcow2 *q, struct pv_error *err, const char *what, uint64_t at)
{
    return pv_error_set(err, EUCLEAN,
                        "open disk '%s' for writing: damaged qcow2 image: %s at 0x%llx: repair it "
                        "by qemu-img check -r all, or attach it read-only",
                        q->image.path, what, (unsigned long long)at);
}

/* Notes `bytes` bytes at offset as metadata. */
static int note(struct qcow2 *q, const char *what, uint64_t offset, uint64_t bytes,
                struct pv_error *err)
{
    if (bytes == 0)
        return 0;
    if (qcow2_in_cluster(q, offset) || offset >= q->file_end || bytes > q->file_end - offset)
        return damaged(q, err, what, offset);
    uint64_t last = (offset + bytes - 1) >> q->cluster_bits;
    for (uint64_t c = offset >> q->cluster_bits; c <= last; c++) {
        int rc = qcow2_set_add(&q->metadata, c);
        if (rc == -EEXIST)
            return damaged(q, err, what, offset);
        if (rc < 0)
            return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", q->image.path);
    }
    return 0;
}

struct snapshot_header {
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint16_t id_len, name_len;
    uint32_t date_s, date_ns;
    uint64_t clock_ns;
    uint32_t vm_state_bytes, extra_bytes;
} __attribute__((packed));

_Static_assert(sizeof(struct snapshot_header) == SNAPSHOT_BYTES, "as in the file");

int qcow2_check_snapshots(struct qcow2 *q,
                          int (*visit)(struct qcow2 *q, uint64_t l1_offset, uint32_t l1_entries,
                                       void *data, struct pv_error *err),
                          void *data, struct pv_error *err)
{
    uint64_t at = q->snapshots_offset;
    for (uint32_t i = 0; i < q->num_snapshots; i++) {
        struct snapshot_header h;
        int rc = qcow2_file_read(q, &h, sizeof(h), at);
        if (rc < 0)
            return pv_error_set(err, -rc, "read disk '%s': %s", q->image.path, strerror(-rc));
        uint64_t l1_offset = be64toh(h.l1_offset);
        uint32_t entries = be32toh(h.l1_entries), extra = be32toh(h.extra_bytes);
        if (at >= q->file_end || extra > SNAPSHOT_EXTRA_MAX || entries > QCOW2_L1_BYTES_MAX / 8)
            return damaged(q, err, "a snapshot", at);
        rc = visit(q, l1_offset, entries, data, err);
        if (rc < 0)
            return rc;
        at += SNAPSHOT_BYTES + extra + be16toh(h.id_len) + be16toh(h.name_len);
        at = (at + 7) & ~7ull;
    }
    q->snapshots_bytes = (uint32_t)(at - q->snapshots_offset);
    return 0;
}

static int note_snapshot(struct qcow2 *q, uint64_t l1_offset, uint32_t l1_entries, void *data,
                         struct pv_error *err)
{
    return note(q, "the L1 table of a snapshot", l1_offset, 8ull * l1_entries, err);
}

static int note_l2_tables(struct qcow2 *q, struct pv_error *err)
{
    for (uint32_t i = 0; i < q->l1_entries; i++) {
        uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK;
        if (q->l1[i] & ~(QCOW2_OFFSET_MASK | QCOW2_COPIED))
            return damaged(q, err, "an entry of its L1 table", q->l1_offset + 8ull * i);
        if (!offset)
            continue;
        int rc = note(q, "an L2 table", offset, q->cluster_bytes, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int note_blocks(struct qcow2 *q, struct pv_error *err)
{
    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        if (q->reftable[i] & 511)
            return damaged(q, err, "an entry of its refcount table", q->reftable_offset + 8ull * i);
        int rc =
            q->reftable[i] ? note(q, "a refcount block", q->reftable[i], q->cluster_bytes, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

int qcow2_check_metadata(struct qcow2 *q, struct pv_error *err)
{
    int rc = note(q, "the header", 0, q->cluster_bytes, err);
    if (rc == 0)
        rc = note(q, "the L1 table", q->l1_offset, 8ull * q->l1_entries, err);
    if (rc == 0)
        rc = note(q, "the refcount table", q->reftable_offset, 8ull * q->reftable_entries, err);
    if (rc == 0)
        rc = note_blocks(q, err);
    if (rc == 0)
        rc = note_l2_tables(q, err);
    if (rc == 0)
        rc = qcow2_check_snapshots(q, note_snapshot, NULL, err);
    if (rc == 0 && q->num_snapshots)
        rc = note(q, "the snapshot table", q->snapshots_offset, q->snapshots_bytes, err);
    return rc;
}
