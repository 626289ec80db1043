/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.c: requests to a disk: checked, done at once where that cannot block, else by the worker.
 *
 * Runs on: the loop thread; run_request also on the worker.
 *
 * Waking the worker costs more than a small transfer from or to the page cache. So small reads
 * and writes are first tried with RWF_NOWAIT; what would have to wait for the medium goes to the
 * worker, whole: doing a part of it twice does no harm.
 */
#include "disk/disk.h"

#include "disk/disk_internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define INLINE_BYTES_MAX (128u * 1024u)

enum counter {
    COUNTER_READS,
    COUNTER_WRITES,
    COUNTER_FLUSHES,
    COUNTER_DISCARDS, /* write-zeroes too */
    COUNTER_READ_BYTES,
    COUNTER_WRITTEN_BYTES,
    COUNTER_HANDED_OVER,
    COUNTER_ERRORS,
    COUNTERS,
};

static const char *const counter_labels[COUNTERS] = {
    "reads",      "writes",        "flushes",     "discards",
    "read_bytes", "written_bytes", "handed_over", "errors",
};

struct disk {
    struct disk_image *image;
    struct disk_worker *worker; /* NULL: not started */
    unsigned in_flight;
    bool no_nowait_read, no_nowait_write; /* the host's file system does not know it */
    uint64_t counters[COUNTERS];
};

const struct disk_syscall disk_syscalls[] = {
    {"preadv2", "disk: read from the image"},
    {"pwritev2", "disk: write to the image"},
    {"preadv", "disk: read, as some C libraries call it"},
    {"pwritev", "disk: write, as some C libraries call it"},
    {"fdatasync", "disk: flush"},
    {"fallocate", "disk: discard and write zeroes"},
    {"futex", "disk: hand requests over to the worker thread"},
    {"read", "disk: notice completions on an eventfd"},
    {"write", "disk: announce completions on an eventfd"},
    {NULL, NULL},
};

int disk_open(const char *path, bool read_only, struct disk **ret_disk, struct pv_error *err)
{
    pv_auto(disk) struct disk *disk = calloc(1, sizeof(*disk));
    if (!disk)
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", path);
    int rc = disk_raw_open(path, read_only, &disk->image, err);
    if (rc < 0)
        return rc;
    *ret_disk = pv_take_ptr(disk);
    return 0;
}

void disk_close(struct disk *disk)
{
    if (!disk)
        return;
    disk_worker_stop(disk->worker);
    if (disk->image)
        disk->image->format->close(disk->image);
    free(disk);
}

uint64_t disk_get_size(const struct disk *disk)
{
    return disk->image->bytes;
}

bool disk_is_read_only(const struct disk *disk)
{
    return disk->image->read_only;
}

bool disk_can_discard(const struct disk *disk)
{
    return disk->image->can_discard;
}

unsigned disk_get_in_flight(const struct disk *disk)
{
    return disk->in_flight;
}

void disk_get_counters(const struct disk *disk, const char *name,
                       struct pv_counter_group *ret_group)
{
    *ret_group = (struct pv_counter_group){
        .name = name, .labels = counter_labels, .values = disk->counters, .count = COUNTERS};
}

/* -- doing -- */

/* Drops the first n bytes of *iov, whose array is ours. */
static void advance(struct iovec **iov, unsigned *num, size_t n)
{
    while (*num > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*num)--;
    }
    if (n > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

/* Reads or writes all of it, however many calls that takes. */
static int transfer(struct disk_image *image, const struct disk_request *r)
{
    struct iovec copy[IOV_MAX], *iov = copy;
    unsigned num = r->num_iov;
    memcpy(copy, r->iov, num * sizeof(*copy));
    uint64_t done = 0;
    while (done < r->bytes) {
        ssize_t n = r->op == DISK_READ
                        ? image->format->read(image, iov, num, r->offset + done, false)
                        : image->format->write(image, iov, num, r->offset + done, false);
        if (n == -EINTR)
            continue;
        if (n <= 0) /* 0: somebody cut the file */
            return n < 0 ? (int)n : -EIO;
        done += (uint64_t)n;
        advance(&iov, &num, (size_t)n);
    }
    return 0;
}

static void run_request(void *data, struct disk_request *r)
{
    struct disk_image *image = ((const struct disk *)data)->image;
    switch (r->op) {
    case DISK_READ:
    case DISK_WRITE:
        r->result = transfer(image, r);
        break;
    case DISK_FLUSH:
        r->result = image->read_only ? 0 : image->format->flush(image);
        break;
    case DISK_DISCARD:
        r->result = image->format->discard(image, r->offset, r->bytes);
        break;
    case DISK_WRITE_ZEROES:
    case DISK_UNMAP_ZEROES:
        r->result = image->format->zero(image, r->offset, r->bytes, r->op == DISK_UNMAP_ZEROES);
        break;
    }
}

static void count(struct disk *disk, const struct disk_request *r)
{
    static const enum counter of_op[] = {
        [DISK_READ] = COUNTER_READS,
        [DISK_WRITE] = COUNTER_WRITES,
        [DISK_FLUSH] = COUNTER_FLUSHES,
        [DISK_DISCARD] = COUNTER_DISCARDS,
        [DISK_WRITE_ZEROES] = COUNTER_DISCARDS,
        [DISK_UNMAP_ZEROES] = COUNTER_DISCARDS,
    };
    disk->counters[of_op[r->op]]++;
    if (r->result < 0)
        disk->counters[COUNTER_ERRORS]++;
    else if (r->op == DISK_READ)
        disk->counters[COUNTER_READ_BYTES] += r->bytes;
    else if (r->op == DISK_WRITE)
        disk->counters[COUNTER_WRITTEN_BYTES] += r->bytes;
}

static void on_completed(void *data, struct disk_request *r)
{
    struct disk *disk = data;
    disk->in_flight--;
    count(disk, r);
    r->done(r);
}

int disk_start(struct disk *disk, struct pv_loop *loop, struct pv_error *err)
{
    return disk_worker_start(loop, run_request, on_completed, disk, &disk->worker, err);
}

/* -- accepting -- */

static int check(const struct disk *disk, const struct disk_request *r)
{
    if (r->op == DISK_FLUSH)
        return 0;
    if (r->op != DISK_READ && disk->image->read_only)
        return -EROFS;
    if (r->offset > disk->image->bytes || r->bytes > disk->image->bytes - r->offset)
        return -EINVAL;
    if (r->op != DISK_READ && r->op != DISK_WRITE)
        return 0;
    if (r->num_iov > IOV_MAX)
        return -EINVAL;
    uint64_t sum = 0;
    for (unsigned i = 0; i < r->num_iov; i++)
        if (__builtin_add_overflow(sum, r->iov[i].iov_len, &sum))
            return -EINVAL;
    return sum == r->bytes ? 0 : -EINVAL;
}

/* Whether the request was done at once: it needed nothing but the page cache. */
static bool try_now(struct disk *disk, const struct disk_request *r)
{
    bool is_read = r->op == DISK_READ;
    bool *unknown = is_read ? &disk->no_nowait_read : &disk->no_nowait_write;
    if ((!is_read && r->op != DISK_WRITE) || r->bytes > INLINE_BYTES_MAX || *unknown)
        return false;
    struct disk_image *image = disk->image;
    ssize_t n = is_read ? image->format->read(image, r->iov, r->num_iov, r->offset, true)
                        : image->format->write(image, r->iov, r->num_iov, r->offset, true);
    *unknown = n == -EOPNOTSUPP;
    return n == (ssize_t)r->bytes;
}

int disk_submit(struct disk *disk, struct disk_request *r)
{
    r->result = check(disk, r);
    bool nothing = r->op != DISK_FLUSH && r->bytes == 0;
    if (r->result < 0 || nothing || try_now(disk, r)) {
        count(disk, r);
        return 1;
    }
    if (!disk->worker) {
        run_request(disk, r);
        count(disk, r);
        return 1;
    }
    if (disk->in_flight == DISK_REQUESTS_MAX)
        return -EAGAIN;
    disk->in_flight++;
    disk->counters[COUNTER_HANDED_OVER]++;
    disk_worker_submit(disk->worker, r);
    return 0;
}
