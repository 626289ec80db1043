/* SPDX-License-Identifier: Apache-2.0
 *
 * disk_internal.h: what a format provides, and the worker thread.
 */
#ifndef DISK_DISK_INTERNAL_H
#define DISK_DISK_INTERNAL_H

#include "disk/disk.h"

#include <pthread.h>
#include <sys/types.h>

struct disk_image;

/* A format. Calls may come from the loop thread (with nowait) and from the worker at once. Data is
 * transferred as by preadv2 and pwritev2: bytes or -errno, fewer than asked for being no error. */
struct disk_format {
    const char *name;
    /* nowait: -EAGAIN rather than wait for the medium, -EOPNOTSUPP when that is not known. */
    ssize_t (*read)(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                    uint64_t offset, bool nowait);
    ssize_t (*write)(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                     uint64_t offset, bool nowait);
    int (*flush)(struct disk_image *image);
    int (*discard)(struct disk_image *image, uint64_t offset, uint64_t bytes);
    int (*zero)(struct disk_image *image, uint64_t offset, uint64_t bytes, bool unmap);
    void (*close)(struct disk_image *image);
};

/* An open image; a format embeds it. */
struct disk_image {
    const struct disk_format *format;
    uint64_t bytes; /* a multiple of DISK_SECTOR_BYTES */
    bool read_only, can_discard;
};

/* raw.c: the file's bytes are the disk's. */
int disk_raw_open(const char *path, bool read_only, struct disk_image **ret_image,
                  struct pv_error *err);

/* worker.c */

struct disk_worker;

/* Starts a thread that calls run() for each request, in order, and then, on the thread of `loop`,
 * completed(). Both get `data`. */
int disk_worker_start(struct pv_loop *loop, void (*run)(void *data, struct disk_request *request),
                      void (*completed)(void *data, struct disk_request *request), void *data,
                      struct disk_worker **ret_worker, struct pv_error *err);
/* Hands a request over. */
void disk_worker_submit(struct disk_worker *worker, struct disk_request *request);
/* Waits until all requests have run, calls completed() for each, ends the thread. Accepts NULL. */
void disk_worker_stop(struct disk_worker *worker);

#endif
