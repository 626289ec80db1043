/* SPDX-License-Identifier: Apache-2.0
 *
 * disk_internal.h: what a format provides, files and transfers, and what works beside the loop.
 */
#ifndef DISK_DISK_INTERNAL_H
#define DISK_DISK_INTERNAL_H

#include "disk/disk.h"

#include <pthread.h>
#include <sys/types.h>

struct disk_image;
struct disk_chain;

#define DISK_NO_TICKET UINT32_MAX

/* Where a piece of an image's content is. */
struct disk_extent {
    const struct disk_image *file; /* its bytes are in this one's file; NULL: it is all zeroes */
    uint64_t offset;               /* in that file */
    uint64_t bytes;
    uint32_t ticket; /* for release */
};

/* A format. Any thread may make any of these calls at any time, but for open, resize and close.
 * They return 0 or -errno and may block, unless they say otherwise. Ranges lie inside of the image
 * (reads: inside of what the caller may ask for, see disk_image_read). */
struct disk_format {
    const char *name;
    int (*read)(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                uint64_t offset, uint64_t bytes);
    int (*write)(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                 uint64_t offset, uint64_t bytes);
    int (*flush)(struct disk_image *image);
    int (*discard)(struct disk_image *image, uint64_t offset, uint64_t bytes);
    int (*zero)(struct disk_image *image, uint64_t offset, uint64_t bytes, bool unmap);
    int (*resize)(struct disk_image *image, uint64_t bytes, struct pv_error *err);

    /* Says, without blocking, where the content from offset on is: *ret_extent has 1..bytes bytes.
     * With `write`, where it can be written in place. -EAGAIN: that cannot be said now. What was
     * said holds until release, which takes the extent's ticket and does not block either. */
    int (*map)(struct disk_image *image, bool write, uint64_t offset, uint64_t bytes,
               struct disk_extent *ret_extent);
    void (*release)(struct disk_image *image, uint32_t ticket);
    /* Whether a flush is no more than an fdatasync of the file. Does not block. */
    bool (*flush_is_sync)(struct disk_image *image);

    /* Writes what is still in memory, as far as possible, and frees. Accepts half-open images. */
    void (*close)(struct disk_image *image);
};

/* An open image; a format embeds it. */
struct disk_image {
    const struct disk_format *format;
    uint64_t bytes; /* a multiple of DISK_SECTOR_BYTES, but for an image that others stand on */
    bool read_only, can_discard;
    int fd;         /* of its file */
    int ring_index; /* of fd, among the files of the ring */
    char *path;     /* owned */
    struct disk_repair repair;
    struct disk_image *below; /* the image that this one stands on, owned, or NULL */
};

/* raw.c, qcow2.c: open an image. Take fd, also on failure. */
int disk_raw_open(int fd, const char *path, bool read_only, const struct disk_chain *chain,
                  struct disk_image **ret_image, struct pv_error *err);

int disk_qcow2_open(int fd, const char *path, bool read_only, const struct disk_chain *chain,
                    struct disk_image **ret_image, struct pv_error *err);

/* file.c: the files of the host. */

/* Opens `path` and locks it. The caller owns *ret_fd. */
int disk_file_open(const char *path, bool read_only, int *ret_fd, struct pv_error *err);
/* Unlocks, whoever else holds the open file, and closes. Nothing may be under way. */
void disk_file_close(int fd);
/* The size in bytes of a regular file or block device, or -errno. Uses no ioctl: see the jail. */
int64_t disk_file_size(int fd);
/* fallocate through EINTR, without changing the file's size. 0 or -errno. */
int disk_file_allocate(int fd, int mode, uint64_t offset, uint64_t bytes);
/* Whether holes can be punched. */
bool disk_file_can_punch(int fd);
/* Writes zeroes by the cheapest means; with `unmap`, gives the space back where possible. */
int disk_file_zero(int fd, uint64_t offset, uint64_t bytes, bool unmap);
int disk_file_sync(int fd);

/* transfer.c: whole transfers. */

/* Reads or writes all of it, however many calls that takes; 0 or -errno, -EIO at the end of the
 * file. num_iov is at most IOV_MAX. */
int disk_transfer(int fd, bool write, const struct iovec *iov, unsigned num_iov, uint64_t offset,
                  uint64_t bytes);
int disk_read_bytes(int fd, void *buf, size_t len, uint64_t offset);
int disk_write_bytes(int fd, const void *buf, size_t len, uint64_t offset);
void disk_iov_zero(const struct iovec *iov, unsigned num);

/* uring.c: the host's io_uring. Home of liburing. */

struct disk_uring;

/* Makes a ring that can do nothing but read, write and sync the num files, which it knows by their
 * index. -errno when the host has none for us; that is no error to tell. */
int disk_uring_new(const int *fds, unsigned num, struct disk_uring **ret_ring);
/* Watches completions: completed() gets the result, bytes or -errno, on the thread of `loop`. */
int disk_uring_start(struct disk_uring *ring, struct pv_loop *loop,
                     void (*completed)(void *data, struct disk_request *request, int result),
                     void *data, struct pv_error *err);
/* Starts a DISK_READ or DISK_WRITE of the request's iovecs at `offset` of a file, or a DISK_FLUSH.
 * False when the ring is full. */
bool disk_uring_submit(struct disk_uring *ring, struct disk_request *request, unsigned file,
                       uint64_t offset);
/* Waits for all that was submitted, calling completed(). */
void disk_uring_drain(struct disk_uring *ring);
void disk_uring_free(struct disk_uring *ring); /* accepts NULL; nothing may be under way */

/* open.c: formats, and images that stand on others. */

struct disk_chain { /* the files that stand on the one that is being opened */
    const struct disk_options *options;
    const struct disk_chain *above;
    dev_t dev;
    ino_t ino;
    unsigned depth; /* how many */
};

/* The format of an image that is named without one: raw, if it cannot be anything else. */
#define DISK_FORMAT_NOT_SAID ""

/* Opens an image of a given format or, NULL, of whatever it is. above: NULL at the top. */
int disk_image_open(const char *path, const char *format, bool read_only,
                    const struct disk_options *options, const struct disk_chain *above,
                    struct disk_image **ret_image, struct pv_error *err);
void disk_image_close(struct disk_image *image); /* and what it stands on; accepts NULL */

#endif
