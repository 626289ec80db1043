/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_write.c: writes: in place where a cluster is ours alone, else to new clusters.
 *
 * Runs on: any thread but the loop's.
 */
#include "disk/qcow2_internal.h"

#include "base/iov.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define NEW_BYTES_MAX (4u << 20) /* written to new places in one go */
#define DROPS_MAX 16384u

struct step {
    bool in_place;
    uint64_t host;  /* where it goes: in place the byte, else the first new cluster */
    uint64_t bytes; /* of the request */
    uint32_t ticket;
    struct qcow2_table *table;     /* pinned */
    uint64_t index;                /* of the first cluster in it */
    bool fresh;                    /* the new clusters read as zeroes already */
    bool zero_before, zero_behind; /* what is around the request in its clusters is zeroes */
    struct qcow2_writer writer;
};

static bool overlaps(const struct qcow2_writer *w, uint64_t first, uint64_t num)
{
    return first < w->first + w->num && w->first < first + num;
}

void qcow2_writers_wait(struct qcow2 *q, uint64_t first, uint64_t num)
{
    struct qcow2_writer *w = LIST_FIRST(&q->writers);
    while (w) {
        if (!overlaps(w, first, num)) {
            w = LIST_NEXT(w, link);
            continue;
        }
        pthread_cond_wait(&q->changed, &q->lock);
        w = LIST_FIRST(&q->writers);
    }
}

int qcow2_write_make_room(struct qcow2 *q)
{
    pthread_mutex_lock(&q->lock);
    bool full = q->l2s.num_dirty >= q->l2s.max / 2 || q->blocks.num_dirty >= q->blocks.max / 2 ||
                q->drops.num >= DROPS_MAX;
    pthread_mutex_unlock(&q->lock);
    return full ? qcow2_flush(&q->image) : 0;
}

/* Whether a cluster reads as zeroes. */
static bool is_zero(const struct qcow2 *q, enum qcow2_kind kind, uint64_t cluster)
{
    const struct disk_image *below = q->image.below;
    return kind == QCOW2_KIND_ZERO ||
           (kind == QCOW2_KIND_NONE && (!below || cluster << q->cluster_bits >= below->bytes));
}

static int plan_in_place(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct step *s)
{
    struct qcow2_run run;
    int rc = qcow2_map_run(q, offset, bytes, false, &run);
    if (rc < 0)
        return rc;
    uint64_t last = (run.host + run.bytes - 1) >> q->cluster_bits;
    for (uint64_t c = run.host >> q->cluster_bits; c <= last; c++)
        if (qcow2_set_has(&q->metadata, c))
            return qcow2_corrupt(q);
    *s = (struct step){
        .in_place = true, .host = run.host, .bytes = run.bytes, .ticket = qcow2_ticket_take(q)};
    return 0;
}

/* How many clusters from index on need a new place, at most max. */
static int count_new(struct qcow2 *q, const struct qcow2_table *table, uint64_t index, uint64_t max,
                     uint64_t *ret_num)
{
    uint64_t n = 0;
    for (; n < max; n++) {
        uint64_t entry = qcow2_l2_entry(table, index + n);
        enum qcow2_kind kind;
        int rc = qcow2_entry_kind(q, entry, &kind);
        if (rc < 0)
            return rc;
        if (kind == QCOW2_KIND_DATA && (entry & QCOW2_COPIED))
            break;
    }
    *ret_num = n;
    return 0;
}

static int plan_new(struct qcow2 *q, struct qcow2_table *table, uint64_t offset, uint64_t bytes,
                    uint64_t max, struct step *s)
{
    uint64_t index = qcow2_l2_index(q, offset), first = offset >> q->cluster_bits, num;
    uint64_t inside = qcow2_in_cluster(q, offset);
    int rc = count_new(q, table, index, max, &num);
    *s = (struct step){.table = table, .index = index, .ticket = DISK_NO_TICKET};
    if (rc == 0)
        rc = qcow2_alloc(q, num, &s->host, &num, &s->fresh);
    if (rc < 0)
        return rc;
    enum qcow2_kind kind_first, kind_last;
    qcow2_entry_kind(q, qcow2_l2_entry(table, index), &kind_first);
    qcow2_entry_kind(q, qcow2_l2_entry(table, index + num - 1), &kind_last);
    s->zero_before = is_zero(q, kind_first, first);
    s->zero_behind = is_zero(q, kind_last, first + num - 1);
    s->bytes = PV_MIN(bytes, (num << q->cluster_bits) - inside);
    s->writer = (struct qcow2_writer){.first = first, .num = num};
    table->pins++;
    LIST_INSERT_HEAD(&q->writers, &s->writer, link);
    return 0;
}

/* Decides about the first clusters of a request. Locked. */
static int plan(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct step *s)
{
    uint64_t index = qcow2_l2_index(q, offset), inside = qcow2_in_cluster(q, offset);
    uint64_t max = (inside + bytes + q->cluster_bytes - 1) >> q->cluster_bits;
    max = PV_MIN(max, q->table_entries - index);
    max = PV_MIN(max, (uint64_t)NEW_BYTES_MAX >> q->cluster_bits); /* at least 2 */
    qcow2_writers_wait(q, offset >> q->cluster_bits, max);
    if (q->failed || q->corrupt)
        return -EIO;
    struct qcow2_table *table;
    int rc = qcow2_l2_get_writable(q, offset, &table);
    if (rc < 0)
        return rc;
    uint64_t entry = qcow2_l2_entry(table, index);
    enum qcow2_kind kind;
    rc = qcow2_entry_kind(q, entry, &kind);
    if (rc < 0)
        return rc;
    if (kind == QCOW2_KIND_DATA && (entry & QCOW2_COPIED))
        return plan_in_place(q, offset, bytes, s);
    return plan_new(q, table, offset, bytes, max, s);
}

/* What surrounds the request in its first or last cluster: old content or zeroes, in a buffer that
 * the caller frees; NULL when nothing needs to be written there. */
static int read_around(struct qcow2 *q, uint64_t offset, uint64_t len, bool is_zeroes, bool fresh,
                       uint8_t **ret_buf)
{
    *ret_buf = NULL;
    if (len == 0 || (is_zeroes && fresh))
        return 0;
    uint8_t *buf = calloc(1, len);
    if (!buf)
        return -ENOMEM;
    struct iovec iov = {buf, len};
    int rc = is_zeroes ? 0 : qcow2_read(&q->image, &iov, 1, offset, len);
    if (rc < 0)
        free(buf);
    else
        *ret_buf = buf;
    return rc;
}

static int write_new(struct qcow2 *q, const struct step *s, const struct iovec *iov, unsigned num,
                     uint64_t offset)
{
    uint64_t before = qcow2_in_cluster(q, offset);
    uint64_t behind = (s->writer.num << q->cluster_bits) - before - s->bytes;
    pv_auto_free uint8_t *head = NULL;
    pv_auto_free uint8_t *tail = NULL;
    int fd = q->image.fd;
    int rc = read_around(q, offset - before, before, s->zero_before, s->fresh, &head);
    if (rc == 0)
        rc = read_around(q, offset + s->bytes, behind, s->zero_behind, s->fresh, &tail);
    if (rc < 0)
        return rc;
    uint64_t at = s->host + (head ? 0 : before);
    uint64_t bytes = s->bytes + (head ? before : 0) + (tail ? behind : 0);
    struct iovec all[IOV_MAX];
    unsigned n = 0;
    if (num + 2 <= IOV_MAX) {
        if (head)
            all[n++] = (struct iovec){head, before};
        memcpy(all + n, iov, num * sizeof(*iov));
        n += num;
        if (tail)
            all[n++] = (struct iovec){tail, behind};
        return disk_transfer(fd, true, all, n, at, bytes);
    }
    if (head)
        rc = disk_write_bytes(fd, head, before, s->host);
    if (rc == 0)
        rc = disk_transfer(fd, true, iov, num, s->host + before, s->bytes);
    if (rc == 0 && tail)
        rc = disk_write_bytes(fd, tail, behind, s->host + before + s->bytes);
    return rc;
}

/* The clusters are written: now the table says so. Or they are not, and nobody knows of them. */
static void finish_new(struct qcow2 *q, struct step *s, int rc)
{
    pthread_mutex_lock(&q->lock);
    if (rc < 0)
        qcow2_unalloc(q, s->host, s->writer.num);
    for (uint64_t i = 0; i < s->writer.num && rc == 0; i++) {
        uint64_t old = qcow2_l2_entry(s->table, s->index + i);
        qcow2_l2_set(q, s->table, s->index + i, (s->host + (i << q->cluster_bits)) | QCOW2_COPIED);
        qcow2_entry_drop(q, old, false); /* fails without memory: a leak */
    }
    s->table->pins--;
    LIST_REMOVE(&s->writer, link);
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

int qcow2_write(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                uint64_t offset, uint64_t bytes)
{
    struct qcow2 *q = qcow2_of(image);
    struct iovec piece[IOV_MAX];
    int rc = 0;
    for (uint64_t done = 0; done < bytes && rc == 0;) {
        struct step s;
        rc = qcow2_write_make_room(q);
        if (rc < 0)
            return rc;
        pthread_mutex_lock(&q->lock);
        rc = plan(q, offset + done, bytes - done, &s);
        pthread_mutex_unlock(&q->lock);
        if (rc < 0)
            return rc;
        unsigned num = pv_iov_slice(iov, num_iov, done, s.bytes, piece, IOV_MAX, NULL);
        if (s.in_place) {
            rc = disk_transfer(image->fd, true, piece, num, s.host, s.bytes);
            qcow2_ticket_return(q, s.ticket);
        } else {
            rc = write_new(q, &s, piece, num, offset + done);
            finish_new(q, &s, rc);
        }
        done += s.bytes;
    }
    return rc;
}
