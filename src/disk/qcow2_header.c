/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_header.c: the first cluster of a qcow2 image: header, extensions, the name of what is
 * below.
 */
#include "disk/qcow2_internal.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define V2_BYTES 72u
#define V3_BYTES 104u
#define NAME_MAX_BYTES 1023u

#define EXTENSION_END 0u
#define EXTENSION_BELOW_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES 0x6803f857u

/* Where the fields are that are written. */
#define AT_SIZE 24u
#define AT_L1_ENTRIES 36u
#define AT_REFTABLE 48u
#define AT_INCOMPATIBLE 72u
#define AT_AUTOCLEAR 88u

static uint32_t get32(const uint8_t *bytes)
{
    uint32_t v;
    memcpy(&v, bytes, sizeof(v));
    return be32toh(v);
}

static uint64_t get64(const uint8_t *bytes)
{
    uint64_t v;
    memcpy(&v, bytes, sizeof(v));
    return be64toh(v);
}

static int damaged(const struct qcow2 *q, struct pv_error *err, const char *what)
{
    return pv_error_set(err, EUCLEAN,
                        "open disk '%s': damaged qcow2 image: %s: look at it by qemu-img check",
                        q->image.path, what);
}

static int unsupported(const struct qcow2 *q, struct pv_error *err, const char *what)
{
    return pv_error_set(err, ENOTSUP,
                        "open disk '%s': qcow2 image with %s, which is not supported: convert it, "
                        "for example by qemu-img convert -O qcow2",
                        q->image.path, what);
}

/* What the image itself calls an incompatible feature: its table has 48 bytes per feature. */
static void feature_name(const uint8_t *table, size_t len, unsigned bit, char *name, size_t max)
{
    snprintf(name, max, "feature bit %u", bit);
    for (size_t at = 0; at + 48 <= len; at += 48) {
        char text[47];
        if (table[at] != 0 || table[at + 1] != bit)
            continue;
        memcpy(text, table + at + 2, 46);
        text[46] = '\0';
        for (char *c = text; *c; c++)
            if (*c < ' ' || *c > '~')
                *c = '?';
        snprintf(name, max, "feature '%s' (bit %u)", text, bit);
    }
}

struct extensions {
    const uint8_t *names; /* of features */
    size_t names_len;
};

static int read_extensions(struct qcow2 *q, const uint8_t *bytes, size_t at, size_t end,
                           struct extensions *x, struct pv_error *err)
{
    while (end - at >= 8) {
        uint32_t type = get32(bytes + at), len = get32(bytes + at + 4);
        at += 8;
        if (type == EXTENSION_END)
            return 0;
        if (len > end - at)
            return damaged(q, err, "a header extension is too long");
        if (type == EXTENSION_FEATURE_NAMES)
            *x = (struct extensions){bytes + at, len};
        else if (type != EXTENSION_BELOW_FORMAT)
            q->knows_all = false;
        if (type == EXTENSION_BELOW_FORMAT && !q->below_format) {
            q->below_format = strndup((const char *)bytes + at, len);
            if (!q->below_format)
                return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", q->image.path);
        }
        uint32_t padded = (len + 7u) & ~7u;
        if (len > UINT32_MAX - 7 || padded > end - at)
            return 0;
        at += padded;
    }
    return 0;
}

static int check_features(struct qcow2 *q, const struct extensions *x, const uint8_t *bytes,
                          uint32_t header_len, struct pv_error *err)
{
    const uint64_t known = QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION_TYPE |
                           QCOW2_EXTERNAL_DATA | QCOW2_EXTENDED_L2;
    uint64_t unknown = q->incompatible & ~known;
    if (q->incompatible & QCOW2_EXTERNAL_DATA)
        return unsupported(q, err, "an external data file");
    if (q->incompatible & QCOW2_EXTENDED_L2)
        return unsupported(q, err, "extended L2 entries (subclusters)");
    if (unknown) {
        char name[96];
        feature_name(x->names, x->names_len, (unsigned)__builtin_ctzll(unknown), name,
                     sizeof(name));
        return unsupported(q, err, name);
    }
    unsigned type = header_len > V3_BYTES ? bytes[V3_BYTES] : 0;
    if ((type != 0) != ((q->incompatible & QCOW2_COMPRESSION_TYPE) != 0))
        return damaged(q, err, "its compression type and its feature bits contradict each other");
    if (type > 1)
        return unsupported(q, err, "an unknown compression type");
    q->zstd = type == 1;
    if ((q->incompatible & QCOW2_CORRUPT) && !q->image.read_only)
        return pv_error_set(err, EUCLEAN,
                            "open disk '%s': the qcow2 image is marked as corrupt: repair it by "
                            "qemu-img check -r all, or attach it read-only",
                            q->image.path);
    return 0;
}

static int read_below_name(struct qcow2 *q, const uint8_t *bytes, size_t have, struct pv_error *err)
{
    uint64_t at = get64(bytes + 8);
    uint32_t len = get32(bytes + 16);
    if (at == 0 || len == 0)
        return 0;
    if (len > NAME_MAX_BYTES || at > have || len > have - at)
        return damaged(q, err, "the name of its backing file lies outside of the header");
    if (memchr(bytes + at, '\0', len))
        return damaged(q, err, "the name of its backing file is none");
    q->below_name = strndup((const char *)bytes + at, len);
    return q->below_name
               ? 0
               : pv_error_set(err, ENOMEM, "open disk '%s': out of memory", q->image.path);
}

static int check_tables(struct qcow2 *q, uint64_t reftable_bytes, struct pv_error *err)
{
    uint64_t end = q->file_end;
    uint64_t per_l1 = q->cluster_bytes * q->table_entries;
    uint64_t needed = q->disk_bytes / per_l1 + (q->disk_bytes % per_l1 != 0);
    uint64_t l1_bytes = 8ull * q->l1_entries;
    if (q->disk_bytes > INT64_MAX - q->cluster_bytes || needed > QCOW2_L1_BYTES_MAX / 8)
        return unsupported(q, err, "more content than this cluster size can hold");
    if (q->l1_entries > QCOW2_L1_BYTES_MAX / 8)
        return unsupported(q, err, "an L1 table above 32 MiB");
    if (q->l1_entries < needed)
        return damaged(q, err, "its L1 table is shorter than the disk");
    if (qcow2_in_cluster(q, q->l1_offset) ||
        (l1_bytes && (q->l1_offset == 0 || q->l1_offset >= end || l1_bytes > end - q->l1_offset)))
        return damaged(q, err, "its L1 table lies outside of the file");
    if (reftable_bytes > QCOW2_REFTABLE_BYTES_MAX)
        return unsupported(q, err, "a refcount table above 8 MiB");
    if (reftable_bytes == 0 || qcow2_in_cluster(q, q->reftable_offset) || q->reftable_offset == 0 ||
        q->reftable_offset >= end || reftable_bytes > end - q->reftable_offset)
        return damaged(q, err, "its refcount table lies outside of the file");
    q->reftable_entries = (uint32_t)(reftable_bytes / 8);
    if (q->num_snapshots > QCOW2_SNAPSHOTS_MAX)
        return unsupported(q, err, "more than 65536 snapshots");
    if (q->num_snapshots && (qcow2_in_cluster(q, q->snapshots_offset) || q->snapshots_offset == 0 ||
                             q->snapshots_offset >= end))
        return damaged(q, err, "its snapshot table lies outside of the file");
    return 0;
}

static int read_fields(struct qcow2 *q, const uint8_t *bytes, uint32_t *ret_len,
                       struct pv_error *err)
{
    if (memcmp(bytes, "QFI\xfb", 4) != 0)
        return pv_error_set(err, EINVAL,
                            "open disk '%s': it is no qcow2 image: give format raw, or another "
                            "file",
                            q->image.path);
    q->version = get32(bytes + 4);
    if (q->version != 2 && q->version != 3)
        return unsupported(q, err, "a version other than 2 and 3");
    q->cluster_bits = get32(bytes + 20);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return damaged(q, err, "its cluster size is not between 512 bytes and 2 MiB");
    if (get32(bytes + 32) != 0)
        return unsupported(q, err, "encryption");
    q->cluster_bytes = 1ull << q->cluster_bits;
    q->table_entries = q->cluster_bytes / 8;
    q->disk_bytes = get64(bytes + 24);
    q->l1_entries = get32(bytes + AT_L1_ENTRIES);
    q->l1_offset = get64(bytes + 40);
    q->reftable_offset = get64(bytes + AT_REFTABLE);
    q->num_snapshots = get32(bytes + 60);
    q->snapshots_offset = get64(bytes + 64);
    q->refcount_order = 4;
    q->knows_all = true;
    *ret_len = V2_BYTES;
    if (q->version == 3) {
        q->incompatible = get64(bytes + AT_INCOMPATIBLE);
        q->clears_features = get64(bytes + AT_AUTOCLEAR) != 0;
        q->refcount_order = get32(bytes + 96);
        *ret_len = get32(bytes + 100);
        if (*ret_len < V3_BYTES || *ret_len > q->cluster_bytes)
            return damaged(q, err, "its header has an impossible length");
    }
    if (q->refcount_order > 6)
        return damaged(q, err, "its refcounts have an impossible size");
    q->block_bits = q->cluster_bits + 3 - q->refcount_order;
    return 0;
}

int qcow2_header_read(struct qcow2 *q, struct pv_error *err)
{
    uint8_t first[V3_BYTES + 8];
    uint32_t header_len = 0;
    int rc = qcow2_file_read(q, first, sizeof(first), 0);
    if (rc < 0)
        return pv_error_set(err, -rc, "read disk '%s': %s", q->image.path, strerror(-rc));
    rc = read_fields(q, first, &header_len, err);
    if (rc < 0)
        return rc;

    struct extensions x = {0};
    pv_auto_free uint8_t *cluster = malloc(q->cluster_bytes);
    if (!cluster)
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", q->image.path);
    rc = qcow2_file_read(q, cluster, q->cluster_bytes, 0);
    if (rc < 0)
        return pv_error_set(err, -rc, "read disk '%s': %s", q->image.path, strerror(-rc));
    rc = read_below_name(q, cluster, q->cluster_bytes, err);
    uint64_t end = q->below_name ? get64(cluster + 8) : q->cluster_bytes;
    if (rc == 0 && end >= header_len)
        rc = read_extensions(q, cluster, header_len, end, &x, err);
    if (rc == 0)
        rc = check_features(q, &x, first, header_len, err);
    if (rc == 0)
        rc = check_tables(q, (uint64_t)get32(first + 56) << q->cluster_bits, err);
    return rc;
}

static void put32(uint8_t *bytes, uint32_t v)
{
    v = htobe32(v);
    memcpy(bytes, &v, sizeof(v));
}

static void put64(uint8_t *bytes, uint64_t v)
{
    v = htobe64(v);
    memcpy(bytes, &v, sizeof(v));
}

/* The header lies in one sector, and is written as one. */
int qcow2_header_write(struct qcow2 *q, uint64_t disk_bytes, uint64_t incompatible,
                       uint64_t l1_offset, uint32_t l1_entries)
{
    uint8_t bytes[V3_BYTES];
    size_t len = q->version == 3 ? V3_BYTES : V2_BYTES;
    int rc = qcow2_file_read(q, bytes, len, 0);
    if (rc < 0)
        return rc;
    put64(bytes + AT_SIZE, disk_bytes);
    put32(bytes + AT_L1_ENTRIES, l1_entries);
    put64(bytes + AT_L1_ENTRIES + 4, l1_offset);
    if (q->version == 3) {
        put64(bytes + AT_INCOMPATIBLE, incompatible);
        put64(bytes + AT_AUTOCLEAR, 0); /* what we do not keep up to date while writing */
    }
    return disk_write_bytes(q->image.fd, bytes, len, 0);
}

int qcow2_header_write_reftable(struct qcow2 *q, uint64_t offset, uint32_t entries)
{
    uint8_t bytes[12];
    put64(bytes, offset);
    put32(bytes + 8, (uint32_t)(8ull * entries >> q->cluster_bits));
    return disk_write_bytes(q->image.fd, bytes, sizeof(bytes), AT_REFTABLE);
}

int qcow2_header_write_features(struct qcow2 *q, uint64_t incompatible)
{
    uint64_t bits = htobe64(incompatible);
    int rc = disk_write_bytes(q->image.fd, &bits, sizeof(bits), AT_INCOMPATIBLE);
    if (rc == 0)
        q->incompatible = incompatible;
    return rc;
}

int qcow2_corrupt(struct qcow2 *q)
{
    if (q->image.read_only || q->corrupt)
        return -EIO;
    q->corrupt = true;
    if (q->version == 3 && qcow2_header_write_features(q, q->incompatible | QCOW2_CORRUPT) < 0)
        return -EIO; /* no mark, but still no writes */
    return -EIO;
}
