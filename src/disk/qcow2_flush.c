/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_flush.c: checkpoints: all changes of the tables go to the file, in an order that never
 * refers to what is not there yet. See the theory of operation in qcow2_internal.h.
 *
 *   0  the mark of an open image, once                    then sync
 *   1  refcount blocks, and whole tables at new places    then sync (with all data before)
 *   2  the refcount table, or its place in the header     then sync
 *   3  L2 tables                                          then sync
 *   4  L1, or its place and the disk's size in the header then sync
 *   5  in memory: dropped references lower their refcounts, which the next checkpoint writes
 *
 * Steps without anything to write need no sync; without any, there is one sync for the data. So a
 * flush after writes in place has one, after allocations two, and rarely more.
 */
#include "disk/qcow2_internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

enum { STEP_BLOCKS = 1, STEP_REFTABLE, STEP_L2, STEP_L1, STEP_END };

struct piece {
    unsigned step;
    uint64_t offset;
    uint8_t *bytes; /* owned */
    uint32_t from, to;
    struct qcow2_table *table; /* where it is from; pinned */
    struct qcow2_cache *cache;
};

/* All changes at one moment. */
struct cut {
    struct piece *pieces;
    size_t num, cap;
    struct qcow2_changes l1_changes, reftable_changes;
    struct qcow2_drops drops;
    bool header_changed;
    uint64_t disk_bytes, incompatible, l1_offset, reftable_offset;
    uint32_t l1_entries, reftable_entries;
};

/* -- collecting: locked -- */

static struct piece *add_piece(struct cut *cut, unsigned step, uint64_t offset, size_t len)
{
    if (cut->num == cut->cap) {
        size_t cap = cut->cap ? 2 * cut->cap : 32;
        struct piece *moved = reallocarray(cut->pieces, cap, sizeof(*moved));
        if (!moved)
            return NULL;
        cut->pieces = moved;
        cut->cap = cap;
    }
    struct piece *p = &cut->pieces[cut->num];
    *p = (struct piece){.step = step, .offset = offset, .bytes = malloc(len), .to = (uint32_t)len};
    if (!p->bytes)
        return NULL;
    cut->num++;
    return p;
}

static int collect_tables(struct cut *cut, struct qcow2_cache *cache, unsigned step)
{
    struct qcow2_table *t;
    if (cache->num_dirty == 0)
        return 0;
    TAILQ_FOREACH(t, &cache->tables, order)
    {
        uint32_t from = t->dirty_from, to = t->dirty_to;
        if (from == to)
            continue;
        struct piece *p = add_piece(cut, step, t->offset + from, to - from);
        if (!p)
            return -ENOMEM;
        memcpy(p->bytes, t->data + from, to - from);
        p->table = t;
        p->cache = cache;
        p->from = from;
        p->to = to;
        t->pins++;
        qcow2_cache_clean(cache, t);
    }
    return 0;
}

/* Entries of L1 or of the refcount table, which are kept in host byte order. */
static int collect_entries(struct cut *cut, struct qcow2_changes *changes, const uint64_t *table,
                           uint32_t entries, uint64_t offset, unsigned step)
{
    size_t num = changes->moved ? 1 : changes->num;
    for (size_t i = 0; i < num; i++) {
        uint32_t first = changes->moved ? 0 : changes->index[i];
        uint32_t count = changes->moved ? entries : 1;
        if (first >= entries)
            continue;
        struct piece *p = add_piece(cut, changes->moved ? STEP_BLOCKS : step, offset + 8ull * first,
                                    8ull * count);
        if (!p)
            return -ENOMEM;
        for (uint32_t j = 0; j < count; j++) {
            uint64_t v = htobe64(table[first + j]);
            memcpy(p->bytes + 8ull * j, &v, sizeof(v));
        }
    }
    return 0;
}

static int collect(struct qcow2 *q, struct cut *cut)
{
    int rc = collect_tables(cut, &q->blocks, STEP_BLOCKS);
    if (rc == 0)
        rc = collect_tables(cut, &q->l2s, STEP_L2);
    if (rc == 0)
        rc = collect_entries(cut, &q->reftable_changes, q->reftable, q->reftable_entries,
                             q->reftable_offset, STEP_REFTABLE);
    if (rc == 0)
        rc = collect_entries(cut, &q->l1_changes, q->l1, q->l1_entries, q->l1_offset, STEP_L1);
    cut->l1_changes = q->l1_changes;
    cut->reftable_changes = q->reftable_changes;
    cut->drops = q->drops;
    cut->header_changed = q->header_changed;
    q->l1_changes = q->reftable_changes = (struct qcow2_changes){0};
    q->drops = (struct qcow2_drops){0};
    q->header_changed = false;
    cut->disk_bytes = q->disk_bytes;
    cut->incompatible = q->incompatible;
    cut->l1_offset = q->l1_offset;
    cut->l1_entries = q->l1_entries;
    cut->reftable_offset = q->reftable_offset;
    cut->reftable_entries = q->reftable_entries;
    return rc;
}

static void put_back_changes(struct qcow2_changes *to, const struct qcow2_changes *from)
{
    to->moved |= from->moved;
    for (size_t i = 0; i < from->num; i++)
        if (qcow2_changes_add(to, from->index[i]) < 0)
            to->moved = true; /* no memory: then all of it, in place */
}

/* It was not written: it is still to be. */
static void put_back(struct qcow2 *q, struct cut *cut)
{
    for (size_t i = 0; i < cut->num; i++) {
        struct piece *p = &cut->pieces[i];
        if (p->table)
            qcow2_cache_dirty(p->cache, p->table, p->from, p->to);
    }
    put_back_changes(&q->l1_changes, &cut->l1_changes);
    put_back_changes(&q->reftable_changes, &cut->reftable_changes);
    for (size_t i = 0; i < cut->drops.num; i++)
        qcow2_drops_add(&q->drops, cut->drops.list[i].cluster, cut->drops.list[i].punch);
    q->header_changed |= cut->header_changed;
}

static void cut_done(struct cut *cut)
{
    for (size_t i = 0; i < cut->num; i++) {
        if (cut->pieces[i].table)
            cut->pieces[i].table->pins--;
        free(cut->pieces[i].bytes);
    }
    free(cut->pieces);
    free(cut->l1_changes.index);
    free(cut->reftable_changes.index);
    free(cut->drops.list);
}

/* -- writing: not locked -- */

static int sync_file(struct qcow2 *q)
{
    int rc = disk_file_sync(q->image.fd);
    if (rc < 0) {
        /* The kernel forgets what it could not write: a second sync would succeed and mean
         * nothing. */
        pthread_mutex_lock(&q->lock);
        q->failed = rc;
        pthread_mutex_unlock(&q->lock);
    }
    return rc;
}

static int write_step(struct qcow2 *q, const struct cut *cut, unsigned step, bool *ret_wrote)
{
    int rc = 0;
    for (size_t i = 0; i < cut->num && rc == 0; i++) {
        const struct piece *p = &cut->pieces[i];
        if (p->step != step)
            continue;
        rc = disk_write_bytes(q->image.fd, p->bytes, p->to - p->from, p->offset);
        *ret_wrote = true;
    }
    if (rc == 0 && step == STEP_REFTABLE && cut->reftable_changes.moved) {
        rc = qcow2_header_write_reftable(q, cut->reftable_offset, cut->reftable_entries);
        *ret_wrote = true;
    }
    if (rc == 0 && step == STEP_L1 && (cut->l1_changes.moved || cut->header_changed)) {
        rc = qcow2_header_write(q, cut->disk_bytes, cut->incompatible, cut->l1_offset,
                                cut->l1_entries);
        *ret_wrote = true;
    }
    return rc;
}

static bool has_step(const struct cut *cut, unsigned step)
{
    for (size_t i = 0; i < cut->num; i++)
        if (cut->pieces[i].step == step)
            return true;
    return step == STEP_L1 && (cut->l1_changes.moved || cut->header_changed);
}

static int write_cut(struct qcow2 *q, const struct cut *cut)
{
    bool synced = false;
    for (unsigned step = STEP_BLOCKS; step < STEP_END; step++) {
        bool wrote = false;
        /* Data comes before the tables that name it. */
        int rc = step >= STEP_L2 && !synced && has_step(cut, step) ? sync_file(q) : 0;
        if (rc == 0)
            rc = write_step(q, cut, step, &wrote);
        if (rc == 0 && wrote) {
            rc = sync_file(q);
            synced = true;
        }
        if (rc < 0)
            return rc;
    }
    return synced ? 0 : sync_file(q);
}

/* The image says that it is being written before the first refcount changes or the first reference
 * goes: whoever opens it after a kill then knows that clusters may be counted that nobody refers
 * to. Locked. */
static int mark(struct qcow2 *q, bool *ret_wrote)
{
    bool wanted = q->version >= 3 && q->file_end >> q->cluster_bits <= QCOW2_REPAIR_CLUSTERS_MAX;
    bool is = q->incompatible & QCOW2_DIRTY;
    if (wanted == is || (q->blocks.num_dirty == 0 && q->drops.num == 0))
        return 0;
    int rc = qcow2_header_write_features(q, q->incompatible ^ QCOW2_DIRTY);
    *ret_wrote = rc == 0;
    return rc;
}

/* -- giving back -- */

/* Locked. Afterwards no transfer that began before uses a cluster that is named no more. */
static void wait_for_transfers(struct qcow2 *q)
{
    unsigned before = q->epoch;
    q->epoch = !before;
    atomic_store(&q->waits_for_epoch, true);
    while (atomic_load(&q->transfers[before]) > 0)
        pthread_cond_wait(&q->changed, &q->lock);
    atomic_store(&q->waits_for_epoch, false);
}

static int compare_drops(const void *a, const void *b)
{
    const struct qcow2_drop *x = a, *y = b;
    return x->cluster < y->cluster ? -1 : x->cluster > y->cluster;
}

/* Keeps the punch mark of those whose last reference goes. Locked. */
static void choose_holes(struct qcow2 *q, struct qcow2_drops *drops)
{
    for (size_t i = 0; i < drops->num; i++) {
        uint64_t count = 0;
        struct qcow2_drop *d = &drops->list[i];
        if (d->punch)
            d->punch = q->image.can_discard && qcow2_refcount_get(q, d->cluster, &count) == 0 &&
                       count == 1;
    }
}

/* Nobody can get these clusters yet. Not locked. */
static void punch_holes(struct qcow2 *q, const struct qcow2_drops *drops)
{
    for (size_t i = 0; i < drops->num;) {
        size_t n = 1;
        const struct qcow2_drop *d = &drops->list[i];
        while (d->punch && i + n < drops->num && d[n].punch && d[n].cluster == d->cluster + n)
            n++;
        if (d->punch &&
            disk_file_allocate(q->image.fd, FALLOC_FL_PUNCH_HOLE, d->cluster << q->cluster_bits,
                               (uint64_t)n << q->cluster_bits) < 0)
            return; /* it was advice */
        i += n;
    }
}

/* Locked; unlocks in between. */
static void release_drops(struct qcow2 *q, struct qcow2_drops *drops)
{
    if (drops->num == 0)
        return;
    wait_for_transfers(q);
    qsort(drops->list, drops->num, sizeof(*drops->list), compare_drops);
    choose_holes(q, drops);
    pthread_mutex_unlock(&q->lock);
    punch_holes(q, drops);
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < drops->num; i++)
        if (qcow2_refcount_drop(q, drops->list[i].cluster) < 0 && q->corrupt)
            return; /* the rest leaks */
}

/* Needs q->checkpoint. */
static int checkpoint(struct qcow2 *q)
{
    struct cut cut = {0};
    pthread_mutex_lock(&q->lock);
    int rc = q->failed;
    if (rc < 0) {
        pthread_mutex_unlock(&q->lock);
        return rc;
    }
    uint64_t number = ++q->begun;
    bool marked = false;
    q->checkpointing = true;
    rc = mark(q, &marked);
    int collected = collect(q, &cut);
    rc = rc < 0 ? rc : collected;
    pthread_mutex_unlock(&q->lock);

    if (rc == 0 && marked)
        rc = sync_file(q);
    if (rc == 0)
        rc = write_cut(q, &cut);

    pthread_mutex_lock(&q->lock);
    if (rc < 0)
        put_back(q, &cut);
    else
        release_drops(q, &cut.drops);
    cut_done(&cut);
    q->checkpointing = false;
    if (rc == 0)
        q->ended = number;
    pthread_mutex_unlock(&q->lock);
    return rc;
}

int qcow2_flush(struct disk_image *image)
{
    struct qcow2 *q = qcow2_of(image);
    int rc = 0;
    pthread_mutex_lock(&q->lock);
    uint64_t wanted = q->begun + 1;
    pthread_mutex_unlock(&q->lock);
    pthread_mutex_lock(&q->checkpoint);
    if (q->ended < wanted) /* else somebody made one while we waited */
        rc = checkpoint(q);
    pthread_mutex_unlock(&q->checkpoint);
    return rc;
}

bool qcow2_flush_is_sync(struct disk_image *image)
{
    struct qcow2 *q = qcow2_of(image);
    if (pthread_mutex_trylock(&q->lock) != 0)
        return false;
    bool nothing = !q->failed && !q->checkpointing && !q->header_changed && q->l2s.num_dirty == 0 &&
                   q->blocks.num_dirty == 0 && q->drops.num == 0 && q->l1_changes.num == 0 &&
                   !q->l1_changes.moved && q->reftable_changes.num == 0 &&
                   !q->reftable_changes.moved;
    pthread_mutex_unlock(&q->lock);
    return nothing;
}
