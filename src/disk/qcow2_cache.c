/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_cache.c: tables of an image in memory: a bounded number of those that were used last.
 *
 * Changed tables stay until a checkpoint wrote them, pinned ones until they are released; the bound
 * holds for the others. Writers make a checkpoint before too many have changed.
 */
#include "disk/qcow2_internal.h"

#include <errno.h>
#include <string.h>

static unsigned bucket_of(uint64_t offset)
{
    return (unsigned)(offset * 0x9e3779b97f4a7c15ull >> 56) % QCOW2_BUCKETS;
}

void qcow2_cache_init(struct qcow2_cache *c, unsigned max)
{
    *c = (struct qcow2_cache){.max = max};
    TAILQ_INIT(&c->tables);
    for (unsigned i = 0; i < QCOW2_BUCKETS; i++)
        LIST_INIT(&c->buckets[i]);
}

static void drop(struct qcow2_cache *c, struct qcow2_table *t)
{
    TAILQ_REMOVE(&c->tables, t, order);
    LIST_REMOVE(t, same_bucket);
    c->num--;
    free(t->data);
    free(t);
}

void qcow2_cache_done(struct qcow2_cache *c)
{
    struct qcow2_table *t;
    while ((t = TAILQ_FIRST(&c->tables)))
        drop(c, t);
}

struct qcow2_table *qcow2_cache_find(struct qcow2_cache *c, uint64_t offset)
{
    struct qcow2_table *t;
    LIST_FOREACH(t, &c->buckets[bucket_of(offset)], same_bucket)
    {
        if (t->offset != offset)
            continue;
        TAILQ_REMOVE(&c->tables, t, order);
        TAILQ_INSERT_TAIL(&c->tables, t, order);
        return t;
    }
    return NULL;
}

static void make_room(struct qcow2_cache *c)
{
    struct qcow2_table *t, *next;
    for (t = TAILQ_FIRST(&c->tables); t && c->num >= c->max; t = next) {
        next = TAILQ_NEXT(t, order);
        if (t->pins == 0 && t->dirty_from == t->dirty_to)
            drop(c, t);
    }
}

static struct qcow2_table *new_table(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset)
{
    make_room(c);
    struct qcow2_table *t = calloc(1, sizeof(*t));
    if (t)
        t->data = calloc(1, q->cluster_bytes);
    if (!t || !t->data) {
        free(t);
        return NULL;
    }
    t->offset = offset;
    TAILQ_INSERT_TAIL(&c->tables, t, order);
    LIST_INSERT_HEAD(&c->buckets[bucket_of(offset)], t, same_bucket);
    c->num++;
    return t;
}

int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset,
                    struct qcow2_table **ret_table)
{
    struct qcow2_table *t = qcow2_cache_find(c, offset);
    if (!t) {
        if (!qcow2_file_has(q, offset))
            return qcow2_corrupt(q);
        t = new_table(q, c, offset);
        if (!t)
            return -ENOMEM;
        int rc = qcow2_file_read(q, t->data, q->cluster_bytes, offset);
        if (rc < 0) {
            drop(c, t);
            return rc;
        }
    }
    *ret_table = t;
    return 0;
}

int qcow2_cache_add(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset,
                    struct qcow2_table **ret_table)
{
    struct qcow2_table *t = qcow2_cache_find(c, offset);
    if (t) { /* left over from what was there before */
        memset(t->data, 0, q->cluster_bytes);
    } else {
        t = new_table(q, c, offset);
        if (!t)
            return -ENOMEM;
    }
    qcow2_cache_dirty(c, t, 0, q->cluster_bytes);
    *ret_table = t;
    return 0;
}

void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_table *t, size_t from, size_t to)
{
    if (t->dirty_from == t->dirty_to) {
        c->num_dirty++;
        t->dirty_from = (uint32_t)from;
        t->dirty_to = (uint32_t)to;
        return;
    }
    t->dirty_from = PV_MIN(t->dirty_from, (uint32_t)from);
    t->dirty_to = PV_MAX(t->dirty_to, (uint32_t)to);
}

void qcow2_cache_clean(struct qcow2_cache *c, struct qcow2_table *t)
{
    if (t->dirty_from != t->dirty_to)
        c->num_dirty--;
    t->dirty_from = t->dirty_to = 0;
}
