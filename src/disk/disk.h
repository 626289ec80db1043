/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.h: a disk of sectors: an image file or a block device of the host.
 *
 * Runs on: the owner's loop thread. disk_start adds one worker thread per disk, which does what
 *          could block; callers see it only as requests that complete later.
 * Trust:   the image's bytes belong to the guest. Requests must lie inside of the disk: callers
 *          check, disk_submit checks again.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include "base/counter.h"
#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DISK_SECTOR_BYTES 512u
/* Requests that a disk holds at most before disk_submit says -EAGAIN. */
#define DISK_REQUESTS_MAX 64u

struct disk;

enum disk_op {
    DISK_READ,
    DISK_WRITE,
    DISK_FLUSH,        /* all completed writes are on stable storage when it completes */
    DISK_DISCARD,      /* the range's content is no longer needed; it may read as anything */
    DISK_WRITE_ZEROES, /* the range reads as zeroes; space stays allocated where possible */
    DISK_UNMAP_ZEROES, /* the range reads as zeroes; space is given back where possible */
};

/* One request. The caller owns it and everything it points to until it has completed. */
struct disk_request {
    enum disk_op op;
    uint64_t offset;                            /* bytes; unused for DISK_FLUSH */
    uint64_t bytes;                             /* for reads and writes the sum of the iovecs */
    const struct iovec *iov;                    /* reads and writes */
    unsigned num_iov;                           /* at most IOV_MAX */
    int result;                                 /* 0 or -errno, set when completed */
    void (*done)(struct disk_request *request); /* called on the loop thread, see disk_submit */
    struct disk_request *next;                  /* the disk's own while it holds the request */
};

/* Opens the file or block device `path`, whose format is raw. A writable disk is locked for this
 * process alone, a read-only one is shared with other readers. Returns 0 or -errno; err names the
 * path, the cause and a way out: -EINVAL when it is neither a regular file nor a block device or
 * is smaller than a sector, -EBUSY when another machine has it. The caller owns *ret_disk. */
int disk_open(const char *path, bool read_only, struct disk **ret_disk, struct pv_error *err);
/* Waits for the requests in flight and calls their done, ends the thread, closes. What the requests
 * point to must live until then. Accepts NULL. */
void disk_close(struct disk *disk);
PV_DEFINE_AUTO(disk, struct disk *, disk_close)

/* Starts the worker thread and watches its completions in `loop` (borrowed, must outlive the
 * disk). To be called once, after the stages of the jail that need a single thread. Until then
 * disk_submit does everything itself and may block. */
int disk_start(struct disk *disk, struct pv_loop *loop, struct pv_error *err);

/* Size in bytes, a multiple of DISK_SECTOR_BYTES: a shorter tail of the file is hidden. */
uint64_t disk_get_size(const struct disk *disk);
bool disk_is_read_only(const struct disk *disk);
/* Whether DISK_DISCARD and DISK_UNMAP_ZEROES give space back on this host. */
bool disk_can_discard(const struct disk *disk);

/* Starts a request. Returns
 *   1        completed at once: result is set, done is not called;
 *   0        accepted: done will be called from the loop;
 *   -EAGAIN  full: try again after any request has completed.
 * A range outside of the disk, a write to a read-only disk and too many iovecs complete at once
 * with -EINVAL, -EROFS, -EINVAL. Short reads and writes are continued; ENOSPC and EIO of the host
 * arrive in result. A write that was acknowledged is not lost by a later failure. */
int disk_submit(struct disk *disk, struct disk_request *request);
/* How many accepted requests have not completed. */
unsigned disk_get_in_flight(const struct disk *disk);

/* reads, writes, flushes, bytes, handed_over (to the worker), errors ... `name` labels the group
 * and is borrowed by *ret_group; the values stay valid as long as the disk. */
void disk_get_counters(const struct disk *disk, const char *name,
                       struct pv_counter_group *ret_group);

/* The system calls of this folder at run time, with reasons, for the jail. A NULL name ends it. */
struct disk_syscall {
    const char *name;
    const char *reason;
};
extern const struct disk_syscall disk_syscalls[];

#endif
