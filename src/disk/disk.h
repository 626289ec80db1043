/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.h: a disk of sectors: an image file or a block device of the host.
 *
 * Runs on: the owner's loop thread. What could block runs elsewhere, in the host's io_uring or in
 *          a few worker threads per disk; callers see that only as requests that complete later.
 * Trust:   the image's bytes belong to the guest. Requests must lie inside of the disk: callers
 *          check, disk_submit checks again. A raw disk may hold anything, also what looks like an
 *          image of another format: so whoever knows the format says it, and nothing is guessed
 *          for him.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include "base/counter.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DISK_SECTOR_BYTES 512u
/* Requests that a disk holds at most before disk_submit says -EAGAIN. */
#define DISK_REQUESTS_MAX 128u
/* Files below an image, one standing on the other, that are followed at most. */
#define DISK_BACKING_MAX 16u

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
    struct pv_pool_work work;                   /* these two are the disk's own while it holds */
    uint32_t ticket;                            /* the request */
};

struct disk_options {
    /* "raw" or "qcow2". NULL: "qcow2" when the file begins like one, else "raw". That is right for
     * a file that the user just named, and wrong for one that a guest wrote to as raw: it could
     * have become a qcow2 image that names any file of the host as its backing file. */
    const char *format;
    bool read_only;
    bool no_backing;    /* refuse an image that stands on another file */
    unsigned files_max; /* files below the image at most; 0: DISK_BACKING_MAX */
    bool no_io_uring;   /* worker threads only */
};

/* Opens the file or block device `path`, and the files that it stands on. A writable disk is locked
 * for this process alone; a read-only one, and files below, are shared with other readers. What
 * stands below must have its format written down in the image above; if not, it is refused unless
 * it cannot be taken for anything but raw. Relative names are relative to the image's own folder.
 * Returns 0 or -errno; err names the path, the cause and a way out: -EINVAL when it is neither a
 * regular file nor a block device or is smaller than a sector, -EBUSY when another machine has it,
 * -ENOTSUP for a feature of qcow2 that is not known, -ELOOP when it stands on itself or on too many
 * files, -EUCLEAN when the image is damaged. A writable qcow2 image that was not closed cleanly is
 * repaired, which reads all of its tables; one of version 2 does not say how it was closed, so all
 * of its tables are read each time. A read-only one, and what stands below, is taken as it is. The
 * caller owns *ret_disk. options may be NULL. */
int disk_open(const char *path, const struct disk_options *options, struct disk **ret_disk,
              struct pv_error *err);
/* Waits for the requests in flight and calls their done, ends the threads, writes what the format
 * still keeps in memory, closes. What the requests point to must live until then. Accepts NULL. */
void disk_close(struct disk *disk);
PV_DEFINE_AUTO(disk, struct disk *, disk_close)

/* Starts what works beside the loop and watches its completions in `loop` (borrowed, must outlive
 * the disk). To be called once, after the stages of the jail that need a single thread. Until then
 * disk_submit does everything itself and may block. */
int disk_start(struct disk *disk, struct pv_loop *loop, struct pv_error *err);

/* Size in bytes, a multiple of DISK_SECTOR_BYTES: a shorter tail of the file is hidden. */
uint64_t disk_get_size(const struct disk *disk);
bool disk_is_read_only(const struct disk *disk);
const char *disk_get_format(const struct disk *disk); /* "raw", "qcow2" */
/* What opening set right. */
struct disk_repair {
    bool done;         /* the image was not closed cleanly */
    uint64_t clusters; /* whose counts were wrong */
    uint64_t ns;       /* how long it took */
};
struct disk_repair disk_get_repair(const struct disk *disk);
/* "io_uring" or "threads": what does requests that could block. */
const char *disk_get_engine(const struct disk *disk);
/* Makes the disk larger; what is new reads as zeroes. bytes: a multiple of DISK_SECTOR_BYTES, or 0:
 * the size that the file has by now, when somebody else changed it (a raw file or a block device).
 * May block for as long as a flush, and may call the done of requests in flight. The owner compares
 * disk_get_size before and after, and tells the guest. -EINVAL when it would shrink, -EROFS,
 * -ENOSPC, ...; the size is unchanged then. */
int disk_resize(struct disk *disk, uint64_t bytes, struct pv_error *err);
/* Whether DISK_DISCARD and DISK_UNMAP_ZEROES give space back on this host. */
bool disk_can_discard(const struct disk *disk);

/* Starts a request. Returns
 *   1        completed at once: result is set, done is not called;
 *   0        accepted: done will be called from the loop;
 *   -EAGAIN  full: try again after any request has completed.
 * A range outside of the disk, a write to a read-only disk and too many iovecs complete at once
 * with -EINVAL, -EROFS, -EINVAL. Short reads and writes are continued; ENOSPC and EIO of the host
 * arrive in result. A write that was acknowledged is not lost by a later failure, unless the host
 * itself fails to write it out: the next flush then fails. Requests are done in any order; a flush
 * covers the writes that had completed when it was submitted. */
int disk_submit(struct disk *disk, struct disk_request *request);
/* How many accepted requests have not completed. */
unsigned disk_get_in_flight(const struct disk *disk);

/* reads, writes, flushes, bytes, handed_over (to io_uring or a thread), errors ... `name` labels
 * the group and is borrowed by *ret_group; the values stay valid as long as the disk. */
void disk_get_counters(const struct disk *disk, const char *name,
                       struct pv_counter_group *ret_group);

/* The system calls of this folder at run time, with reasons, for the jail. A NULL name ends it. */
struct disk_syscall {
    const char *name;
    const char *reason;
};
extern const struct disk_syscall disk_syscalls[];

#endif
