/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.c: requests to a disk: checked, done at once where that cannot block, else by the ring or a
 * thread.
 *
 * Runs on: the loop thread; run_request also on the threads.
 *
 * Whatever leaves the loop costs a wake-up on another core, which is more than a small transfer
 * from the page cache. So small reads, and writes where the file system can, are first tried with
 * RWF_NOWAIT. What would have to wait for the medium goes to the ring when it lies in one piece,
 * and to a thread else, whole: doing a part of it twice does no harm. Writes that may block are
 * never made on the loop, though they seldom do: the whole machine would stand still with them.
 */
#include "disk/disk.h"

#include "base/iov.h"
#include "disk/disk_internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define THREADS_MAX 4u
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
    struct pv_pool *pool;    /* NULL: not started */
    struct disk_uring *ring; /* NULL: the host has none for us */
    unsigned in_flight;
    bool no_nowait_read, no_nowait_write; /* the host's file system does not know it */
    uint64_t counters[COUNTERS];
};

const struct disk_syscall disk_syscalls[] = {
    {"preadv2", "disk: read from the image"},
    {"pwritev2", "disk: write to the image"},
    {"preadv", "disk: read from the image"},
    {"pwritev", "disk: write to the image"},
    {"fdatasync", "disk: flush"},
    {"fallocate", "disk: discard and write zeroes"},
    {"fcntl", "disk: unlock the image at the end"},
    {"lseek", "disk: resize: the size of the file"},
    {"ftruncate", "disk: resize"},
    {"sysinfo", "disk: qcow2: qsort of the C library asks how much memory there is"},
    {"futex", "disk: hand requests over to threads"},
    {"read", "disk: notice completions on an eventfd"},
    {"write", "disk: announce completions on an eventfd"},
    {"io_uring_enter", "disk: a ring that can only read, write and sync the images"},
    {NULL, NULL},
};

/* -- opening -- */

static void make_ring(struct disk *disk)
{
    int fds[DISK_BACKING_MAX + 1];
    unsigned num = 0;
    for (struct disk_image *i = disk->image; i && num < PV_ARRAY_SIZE(fds); i = i->below) {
        i->ring_index = (int)num;
        fds[num++] = i->fd;
    }
    if (disk_uring_new(fds, num, &disk->ring) < 0)
        disk->ring = NULL; /* then threads do it */
}

int disk_open(const char *path, const struct disk_options *options, struct disk **ret_disk,
              struct pv_error *err)
{
    static const struct disk_options defaults;
    const struct disk_options *o = options ? options : &defaults;
    pv_auto(disk) struct disk *disk = calloc(1, sizeof(*disk));
    if (!disk)
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", path);
    if (o->files_max > DISK_BACKING_MAX)
        return pv_error_set(err, EINVAL, "open disk '%s': at most %u files may be below", path,
                            DISK_BACKING_MAX);
    int rc = disk_image_open(path, o->format, o->read_only, o, NULL, &disk->image, err);
    if (rc < 0)
        return rc;
    disk->image->bytes -= disk->image->bytes % DISK_SECTOR_BYTES;
    if (disk->image->bytes == 0)
        return pv_error_set(err, EINVAL,
                            "open disk '%s': it is smaller than a sector: grow it, "
                            "for example by truncate -s 10G",
                            path);
    if (!o->no_io_uring)
        make_ring(disk);
    *ret_disk = pv_take_ptr(disk);
    return 0;
}

void disk_close(struct disk *disk)
{
    if (!disk)
        return;
    if (disk->ring)
        disk_uring_drain(disk->ring);
    pv_pool_stop(disk->pool, 0);
    disk_uring_free(disk->ring);
    disk_image_close(disk->image);
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

const char *disk_get_format(const struct disk *disk)
{
    return disk->image->format->name;
}

struct disk_repair disk_get_repair(const struct disk *disk)
{
    return disk->image->repair;
}

const char *disk_get_engine(const struct disk *disk)
{
    return disk->ring ? "io_uring" : "threads";
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

int disk_resize(struct disk *disk, uint64_t bytes, struct pv_error *err)
{
    struct disk_image *image = disk->image;
    if (bytes % DISK_SECTOR_BYTES != 0 || bytes > INT64_MAX - DISK_SECTOR_BYTES)
        return pv_error_set(err, EINVAL,
                            "resize disk '%s': %llu bytes: give a multiple of %u bytes",
                            image->path, (unsigned long long)bytes, DISK_SECTOR_BYTES);
    if (bytes != 0 && bytes < image->bytes)
        return pv_error_set(err, EINVAL,
                            "resize disk '%s': it has %llu bytes and cannot shrink while in use: "
                            "give a larger size",
                            image->path, (unsigned long long)image->bytes);
    if (bytes != 0 && image->read_only)
        return pv_error_set(err, EROFS, "resize disk '%s': it is attached read-only", image->path);
    if (disk->ring) /* a format waits for transfers, and those of the ring end on this thread */
        disk_uring_drain(disk->ring);
    return image->format->resize(image, bytes, err);
}

/* -- doing -- */

static void run_request(struct disk *disk, struct disk_request *r)
{
    struct disk_image *image = disk->image;
    const struct disk_format *format = image->format;
    switch (r->op) {
    case DISK_READ:
        r->result = format->read(image, r->iov, r->num_iov, r->offset, r->bytes);
        break;
    case DISK_WRITE:
        r->result = format->write(image, r->iov, r->num_iov, r->offset, r->bytes);
        break;
    case DISK_FLUSH:
        r->result = image->read_only ? 0 : format->flush(image);
        break;
    case DISK_DISCARD:
        r->result = format->discard(image, r->offset, r->bytes);
        break;
    case DISK_WRITE_ZEROES:
    case DISK_UNMAP_ZEROES:
        r->result = format->zero(image, r->offset, r->bytes, r->op == DISK_UNMAP_ZEROES);
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

static void complete(struct disk *disk, struct disk_request *r)
{
    disk->in_flight--;
    count(disk, r);
    r->done(r);
}

static void run_work(void *data, struct pv_pool_work *work)
{
    run_request(data, PV_CONTAINER_OF(work, struct disk_request, work));
}

static void on_completed(void *data, struct pv_pool_work *work)
{
    complete(data, PV_CONTAINER_OF(work, struct disk_request, work));
}

static void on_ring_completed(void *data, struct disk_request *r, int result)
{
    struct disk *disk = data;
    if (r->ticket != DISK_NO_TICKET)
        disk->image->format->release(disk->image, r->ticket);
    bool whole = r->op == DISK_FLUSH ? result == 0 : result >= 0 && (uint64_t)result == r->bytes;
    /* A failed sync is told: a second one would find the pages clean. The rest is done again, by a
     * thread: it knows how to go on after a part, and says what is really wrong. */
    if (!whole && (r->op != DISK_FLUSH || result == -EINTR || result == -EAGAIN)) {
        pv_pool_submit(disk->pool, &r->work);
        return;
    }
    r->result = PV_MIN(result, 0);
    complete(disk, r);
}

int disk_start(struct disk *disk, struct pv_loop *loop, struct pv_error *err)
{
    /* A disk that does one thing at a time has one, and a slow flush does not keep a read from the
     * medium. */
    const struct pv_pool_options options = {.name = "a disk",
                                            .threads = THREADS_MAX,
                                            .run = run_work,
                                            .completed = on_completed,
                                            .data = disk};
    int rc = disk->ring ? disk_uring_start(disk->ring, loop, on_ring_completed, disk, err) : 0;
    return rc < 0 ? rc : pv_pool_start(&options, loop, &disk->pool, err);
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

/* Transfers what lies in one piece, if the page cache can. */
static bool transfer_now(struct disk *disk, const struct disk_extent *e, const struct iovec *iov,
                         unsigned num, bool is_read)
{
    if (!e->file) {
        disk_iov_zero(iov, num);
        return true;
    }
    ssize_t n = is_read ? preadv2(e->file->fd, iov, (int)num, (off_t)e->offset, RWF_NOWAIT)
                        : pwritev2(e->file->fd, iov, (int)num, (off_t)e->offset, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP)
        *(is_read ? &disk->no_nowait_read : &disk->no_nowait_write) = true;
    return n == (ssize_t)e->bytes;
}

/* The same for a part of the request. Apart, for its large array is seldom needed. */
static bool transfer_part_now(struct disk *disk, const struct disk_extent *e,
                              const struct disk_request *r, uint64_t done)
{
    struct iovec piece[IOV_MAX];
    unsigned num = pv_iov_slice(r->iov, r->num_iov, done, e->bytes, piece, IOV_MAX, NULL);
    return transfer_now(disk, e, piece, num, r->op == DISK_READ);
}

/* Whether the request was done at once: it needed nothing but what is in memory. */
static bool try_now(struct disk *disk, const struct disk_request *r)
{
    bool is_read = r->op == DISK_READ;
    struct disk_image *image = disk->image;
    if ((!is_read && r->op != DISK_WRITE) || r->bytes > INLINE_BYTES_MAX ||
        (is_read ? disk->no_nowait_read : disk->no_nowait_write))
        return false;
    for (uint64_t done = 0; done < r->bytes;) {
        struct disk_extent e;
        if (image->format->map(image, !is_read, r->offset + done, r->bytes - done, &e) < 0)
            return false;
        bool ok = e.bytes == r->bytes ? transfer_now(disk, &e, r->iov, r->num_iov, is_read)
                                      : transfer_part_now(disk, &e, r, done);
        if (e.file)
            image->format->release(image, e.ticket);
        if (!ok)
            return false;
        done += e.bytes;
    }
    return true;
}

/* Whether the ring took the request. */
static bool try_ring(struct disk *disk, struct disk_request *r)
{
    struct disk_image *image = disk->image;
    struct disk_extent e = {.file = image};
    r->ticket = DISK_NO_TICKET;
    if (!disk->ring)
        return false;
    if (r->op == DISK_FLUSH)
        return !image->read_only && image->format->flush_is_sync(image) &&
               disk_uring_submit(disk->ring, r, (unsigned)image->ring_index, 0);
    if (r->op != DISK_READ && r->op != DISK_WRITE)
        return false;
    if (image->format->map(image, r->op == DISK_WRITE, r->offset, r->bytes, &e) < 0 || !e.file)
        return false;
    if (e.bytes == r->bytes) {
        r->ticket = e.ticket;
        if (disk_uring_submit(disk->ring, r, (unsigned)e.file->ring_index, e.offset))
            return true;
    }
    image->format->release(image, e.ticket);
    return false;
}

int disk_submit(struct disk *disk, struct disk_request *r)
{
    r->result = check(disk, r);
    bool nothing = r->op != DISK_FLUSH && r->bytes == 0;
    if (r->result < 0 || nothing || try_now(disk, r)) {
        count(disk, r);
        return 1;
    }
    if (!disk->pool) {
        run_request(disk, r);
        count(disk, r);
        return 1;
    }
    if (disk->in_flight == DISK_REQUESTS_MAX)
        return -EAGAIN;
    disk->in_flight++;
    disk->counters[COUNTER_HANDED_OVER]++;
    if (!try_ring(disk, r))
        pv_pool_submit(disk->pool, &r->work);
    return 0;
}
