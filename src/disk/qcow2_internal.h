/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_internal.h: a qcow2 image, as its parts see it.   Spec: QEMU's docs/interop/qcow2.txt.
 *
 * Trust: every byte of the image. Sizes are bounded before anything is allocated, offsets are
 *        checked before they are used; what makes no sense is -EIO for whoever asked for it, and a
 *        writer that meets it marks the image as corrupt and writes no more.
 *
 * Theory of operation
 *
 * Threads: `lock` guards everything in struct qcow2 that changes. It is held while a table is read
 * from the file, never while data moves or something is synced.
 *
 * What is on the medium is consistent at any moment, but for leaked clusters, whatever is killed
 * and whenever the power fails. Tables are changed in memory only. A checkpoint (qcow2_flush.c)
 * takes a copy of all changes at one moment and writes them so that nothing is referred to before
 * it is there: refcounts and data, then L2 tables, then L1, with a sync between. A reference that
 * is dropped lowers its refcount only after the checkpoint that drops it; until then nobody gets
 * the cluster, so no old table on the medium ever points to new content. The price is two syncs
 * instead of one for a flush after an allocation.
 *
 * From the first change of a refcount, or the first reference that goes, an image of version 3 has
 * the mark of lazy refcounts (QCOW2_DIRTY), though ours are never lazy: whoever opens it after a
 * kill, we or QEMU, frees what leaked. Version 2 has no marks: there, leaks are looked for at each
 * opening.
 *
 * Data transfers run outside of the lock, and a cluster must not get another owner while one is
 * under way. So each takes a ticket of the current epoch, and a checkpoint that gives clusters back
 * first begins another epoch and waits for the old one's tickets.
 *
 * A write to clusters that are not ours alone enters its guest clusters into `writers`, writes to
 * new clusters, and only then changes the table. Whoever wants to change the same clusters waits.
 */
#ifndef DISK_QCOW2_INTERNAL_H
#define DISK_QCOW2_INTERNAL_H

#include "disk/disk_internal.h"

#include <stdatomic.h>
#include <sys/queue.h>

#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull /* of L1, L2 and refcount table entries */
#define QCOW2_COPIED (1ull << 63)
#define QCOW2_COMPRESSED (1ull << 62)
#define QCOW2_ZERO 1ull
#define QCOW2_RESERVED 0x3f000000000001feull /* of an L2 entry that is not compressed */

#define QCOW2_DIRTY (1ull << 0) /* incompatible features */
#define QCOW2_CORRUPT (1ull << 1)
#define QCOW2_EXTERNAL_DATA (1ull << 2)
#define QCOW2_COMPRESSION_TYPE (1ull << 3)
#define QCOW2_EXTENDED_L2 (1ull << 4)

#define QCOW2_L1_BYTES_MAX (32u << 20)
#define QCOW2_REFTABLE_BYTES_MAX (8u << 20)
#define QCOW2_SNAPSHOTS_MAX 65536u
#define QCOW2_REPAIR_CLUSTERS_MAX (64u << 20) /* 4 TiB of 64 KiB clusters */

/* A cached table: an L2 table or a refcount block. */
struct qcow2_table {
    uint64_t offset;
    uint8_t *data; /* a cluster, big-endian as in the file */
    unsigned pins;
    uint32_t dirty_from, dirty_to; /* bytes; equal: clean */
    TAILQ_ENTRY(qcow2_table) order;
    LIST_ENTRY(qcow2_table) same_bucket;
};

#define QCOW2_BUCKETS 256u

struct qcow2_cache {
    TAILQ_HEAD(qcow2_tables, qcow2_table) tables; /* the one used last comes last */
    LIST_HEAD(, qcow2_table) buckets[QCOW2_BUCKETS];
    unsigned num, num_dirty, max;
};

/* Changed entries of L1 or of the refcount table: their indexes. */
struct qcow2_changes {
    uint32_t *index;
    size_t num, cap;
    bool moved; /* the whole table is to be written, and the header to name it */
};

/* A reference that was dropped. */
struct qcow2_drop {
    uint64_t cluster;
    bool punch; /* the guest asked to give the space back */
};

struct qcow2_drops {
    struct qcow2_drop *list;
    size_t num, cap;
};

/* A set of cluster numbers: where metadata is. */
struct qcow2_set {
    uint64_t *slots; /* number + 1; 0: free */
    size_t num, cap; /* cap: a power of two */
};

/* Guest clusters that are being written to new places. */
struct qcow2_writer {
    uint64_t first, num;
    LIST_ENTRY(qcow2_writer) link;
};

struct qcow2 {
    struct disk_image image;
    unsigned version, cluster_bits, refcount_order;
    uint64_t cluster_bytes, table_entries; /* entries of an L2 table */
    unsigned block_bits;                   /* log2 of the refcounts in a block */
    uint64_t incompatible;
    bool zstd;
    bool clears_features; /* autoclear ones are set */
    bool knows_all;       /* no unknown header extension, which could own clusters */
    uint32_t num_snapshots, snapshots_bytes;
    uint64_t snapshots_offset;
    char *below_name, *below_format; /* owned, or NULL */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* a writer is done, an epoch is over */
    uint64_t disk_bytes;    /* as in the header to be written */
    uint64_t *l1, l1_offset;
    uint32_t l1_entries;
    uint64_t *reftable, reftable_offset;
    uint32_t reftable_entries;
    struct qcow2_changes l1_changes, reftable_changes;
    bool header_changed; /* disk_bytes or incompatible */
    struct qcow2_cache l2s, blocks;
    struct qcow2_set metadata;
    struct qcow2_drops drops;
    LIST_HEAD(, qcow2_writer) writers;
    uint64_t free_hint; /* no free cluster is below */
    uint64_t file_end;  /* behind the last cluster that ever had content */
    int failed;         /* -errno: what was to be on the medium may not be there */
    bool corrupt;       /* no more writes */
    bool checkpointing;
    uint64_t begun, ended;    /* checkpoints: numbers of the last ones */
    unsigned epoch;           /* 0 or 1 */
    atomic_uint transfers[2]; /* tickets of each epoch */
    atomic_bool waits_for_epoch;

    pthread_mutex_t checkpoint; /* one at a time; taken before lock */

    pthread_mutex_t unpacked_lock; /* the cluster that was decompressed last */
    uint64_t unpacked_entry;       /* 0: none */
    uint8_t *unpacked;
};

static inline struct qcow2 *qcow2_of(struct disk_image *image)
{
    return PV_CONTAINER_OF(image, struct qcow2, image);
}

static inline uint64_t qcow2_in_cluster(const struct qcow2 *q, uint64_t offset)
{
    return offset & (q->cluster_bytes - 1);
}

/* What calls itself "locked" needs q->lock. All return 0 or -errno. */

/* qcow2_header.c */

/* Reads and checks the header, its extensions, and the name of what is below. */
int qcow2_header_read(struct qcow2 *q, struct pv_error *err);
/* Writes the fields that change: size, L1, refcount table, incompatible and autoclear features. */
int qcow2_header_write(struct qcow2 *q, uint64_t disk_bytes, uint64_t incompatible,
                       uint64_t l1_offset, uint32_t l1_entries);
int qcow2_header_write_reftable(struct qcow2 *q, uint64_t offset, uint32_t entries);
/* Locked: writes and sets the incompatible features, of version 3 only. */
int qcow2_header_write_features(struct qcow2 *q, uint64_t incompatible);
/* Locked: the image contradicts itself. Marks it and stops all writing; returns -EIO. */
int qcow2_corrupt(struct qcow2 *q);

/* qcow2_cache.c: locked. */
void qcow2_cache_init(struct qcow2_cache *cache, unsigned max);
void qcow2_cache_done(struct qcow2_cache *cache);
/* Finds a table without reading it; NULL: not there. */
struct qcow2_table *qcow2_cache_find(struct qcow2_cache *cache, uint64_t offset);
/* Gets the table at offset, which is aligned. It stays valid until the next call for the cache, or
 * as long as it is pinned. */
int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
                    struct qcow2_table **ret_table);
/* Makes a new table of zeroes, which is all dirty. */
int qcow2_cache_add(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
                    struct qcow2_table **ret_table);
void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_table *table, size_t from,
                       size_t to);
void qcow2_cache_clean(struct qcow2_cache *cache, struct qcow2_table *table);

/* qcow2_set.c */
int qcow2_set_add(struct qcow2_set *set, uint64_t number); /* -EEXIST when it is there */
bool qcow2_set_has(const struct qcow2_set *set, uint64_t number);
void qcow2_set_remove(struct qcow2_set *set, uint64_t number);
int qcow2_changes_add(struct qcow2_changes *changes, uint32_t index);
int qcow2_drops_add(struct qcow2_drops *drops, uint64_t cluster, bool punch);

/* qcow2_refcount.c: locked. */
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret_count);
int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Takes 1..num adjacent clusters. fresh: nothing was ever in them. */
int qcow2_alloc(struct qcow2 *q, uint64_t num, uint64_t *ret_offset, uint64_t *ret_num,
                bool *ret_fresh);
/* The same, for exactly num. */
int qcow2_alloc_run(struct qcow2 *q, uint64_t num, uint64_t *ret_offset);
/* Gives clusters back at once that nobody ever referred to. */
void qcow2_unalloc(struct qcow2 *q, uint64_t offset, uint64_t num);
/* Lowers the refcount by one. */
int qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster);

/* qcow2_l2.c: locked. */
enum qcow2_kind {
    QCOW2_KIND_NONE, /* what is below, or zeroes */
    QCOW2_KIND_ZERO,
    QCOW2_KIND_DATA,
    QCOW2_KIND_PACKED, /* compressed */
};

/* Checks an L2 entry and says what it is; -EIO. */
int qcow2_entry_kind(struct qcow2 *q, uint64_t entry, enum qcow2_kind *ret_kind);
/* Of a compressed entry: where, and how many bytes at most. */
void qcow2_entry_packed(const struct qcow2 *q, uint64_t entry, uint64_t *ret_offset,
                        uint64_t *ret_bytes);
/* The L2 table for a guest offset; *ret_table is NULL when there is none. only_cached: -EAGAIN
 * rather than read it. */
int qcow2_l2_get(struct qcow2 *q, uint64_t offset, bool only_cached,
                 struct qcow2_table **ret_table);
/* The same, made or copied so that it may be changed. */
int qcow2_l2_get_writable(struct qcow2 *q, uint64_t offset, struct qcow2_table **ret_table);
uint64_t qcow2_l2_entry(const struct qcow2_table *table, uint64_t index);
void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *table, uint64_t index, uint64_t entry);
static inline uint64_t qcow2_l2_index(const struct qcow2 *q, uint64_t offset)
{
    return (offset >> q->cluster_bits) & (q->table_entries - 1);
}
/* Drops what an entry referred to. */
int qcow2_entry_drop(struct qcow2 *q, uint64_t entry, bool punch);

/* qcow2_map.c: locked. */
struct qcow2_run {
    enum qcow2_kind kind;
    uint64_t entry; /* of the first cluster */
    uint64_t host;  /* where `offset` is: only for DATA */
    uint64_t bytes;
    bool copied; /* all of them are ours alone */
};
/* What stands from offset on, in 1..bytes bytes that are of one kind. */
int qcow2_map_run(struct qcow2 *q, uint64_t offset, uint64_t bytes, bool only_cached,
                  struct qcow2_run *ret_run);
uint32_t qcow2_ticket_take(struct qcow2 *q);
/* Needs no lock. */
void qcow2_ticket_return(struct qcow2 *q, uint32_t ticket);
int qcow2_map(struct disk_image *image, bool write, uint64_t offset, uint64_t bytes,
              struct disk_extent *ret_extent);
void qcow2_release(struct disk_image *image, uint32_t ticket);

/* qcow2_read.c */
int qcow2_read(struct disk_image *image, const struct iovec *iov, unsigned num_iov, uint64_t offset,
               uint64_t bytes);
/* Reads what is below an image: zeroes behind its end. */
int qcow2_read_below(struct qcow2 *q, const struct iovec *iov, unsigned num_iov, uint64_t offset,
                     uint64_t bytes);

/* qcow2_packed.c. Home of zlib and libzstd. */
/* Copies `bytes` bytes from `offset` in the cluster of a compressed entry. */
int qcow2_packed_read(struct qcow2 *q, uint64_t entry, const struct iovec *iov, unsigned num_iov,
                      uint64_t offset, uint64_t bytes);

/* qcow2_write.c */
int qcow2_write(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                uint64_t offset, uint64_t bytes);
/* Locked: waits until nobody writes to new places in these guest clusters. */
void qcow2_writers_wait(struct qcow2 *q, uint64_t first, uint64_t num);
/* Makes a checkpoint when too much is kept in memory. Without the lock. */
int qcow2_write_make_room(struct qcow2 *q);

/* qcow2_zero.c */
int qcow2_discard(struct disk_image *image, uint64_t offset, uint64_t bytes);
int qcow2_zero(struct disk_image *image, uint64_t offset, uint64_t bytes, bool unmap);

/* qcow2_flush.c */
int qcow2_flush(struct disk_image *image);
bool qcow2_flush_is_sync(struct disk_image *image);

/* qcow2_resize.c */
int qcow2_resize(struct disk_image *image, uint64_t bytes, struct pv_error *err);

/* qcow2_check.c: before anything is written. */
/* Collects where metadata is, and refuses what overlaps or lies outside of the file. */
int qcow2_check_metadata(struct qcow2 *q, struct pv_error *err);
/* Calls visit with the L1 table (host byte order) of each snapshot. */
int qcow2_check_snapshots(struct qcow2 *q,
                          int (*visit)(struct qcow2 *q, uint64_t l1_offset, uint32_t l1_entries,
                                       void *data, struct pv_error *err),
                          void *data, struct pv_error *err);

/* qcow2_repair.c: both count all references, and note in q->image.repair what they did. */
/* Sets the refcounts right of an image that was not closed cleanly. */
int qcow2_repair(struct qcow2 *q, struct pv_error *err);
/* Frees leaked clusters of an image that is right otherwise; else, or when that would read too
 * much, it is left as it is. -errno only when it cannot be written. */
int qcow2_repair_leaks(struct qcow2 *q, struct pv_error *err);

/* qcow2.c */
/* Reads a piece of the file; behind its end there are zeroes. */
int qcow2_file_read(const struct qcow2 *q, void *buf, size_t len, uint64_t offset);
/* Reads num big-endian entries into host byte order. */
int qcow2_file_read_entries(const struct qcow2 *q, uint64_t *entries, size_t num, uint64_t offset);
/* Whether a cluster that begins here lies (at least partly) in the file. */
bool qcow2_file_has(const struct qcow2 *q, uint64_t offset);

#endif
