/* SPDX-License-Identifier: Apache-2.0
 *
 * blk_internal.h: the block device, as its two files share it.
 *
 *   blk.c          config space, queues, rates, completions
 *   blk_request.c  what the guest's chains mean
 */
#ifndef VIRTIO_DEVICE_BLK_INTERNAL_H
#define VIRTIO_DEVICE_BLK_INTERNAL_H

#include "virtio/device/blk.h"
#include "virtio/device_internal.h"

#include "base/rate.h"

#include <linux/virtio_blk.h>
#include <sys/queue.h>

#define BLK_QUEUE_SIZE_MAX 256u
#define BLK_SEG_MAX (BLK_QUEUE_SIZE_MAX - 2u) /* header and status take one each */
#define BLK_SEGMENT_BYTES_MAX (256u * 1024u)
#define BLK_REQUEST_BYTES_MAX ((uint64_t)BLK_SEG_MAX * BLK_SEGMENT_BYTES_MAX)
#define BLK_DISCARD_SECTORS_MAX (1u << 21)      /* 1 GiB */
#define BLK_WRITE_ZEROES_SECTORS_MAX (1u << 18) /* 128 MiB: the host may have to write them */

enum blk_counter {
    BLK_COUNTER_READS = VIRTIO_COUNTER_OWN,
    BLK_COUNTER_WRITES,
    BLK_COUNTER_FLUSHES,
    BLK_COUNTER_DISCARDS, /* write-zeroes too */
    BLK_COUNTER_READ_BYTES,
    BLK_COUNTER_WRITTEN_BYTES,
    BLK_COUNTER_IO_ERRORS,
    BLK_COUNTER_THROTTLED,    /* how often a queue had to wait for a rate */
    BLK_COUNTER_THROTTLED_NS, /* how long altogether */
};

struct blk;

struct blk_request {
    struct disk_request disk;
    LIST_ENTRY(blk_request) link; /* blk.busy or blk.free */
    STAILQ_ENTRY(blk_request) flush_link;
    struct blk *blk; /* NULL: orphan */
    uint16_t queue, head;
    bool write_through; /* a write that is to be flushed before it is answered */
    uint64_t bytes;     /* of data that a read writes into guest memory */
    uint8_t *status;    /* in guest memory */
    struct iovec iov[BLK_QUEUE_SIZE_MAX];
};

struct blk {
    struct virtio_device base;
    struct disk *disk; /* borrowed */
    struct virtio_blk_options options;
    bool read_only;
    bool write_back; /* the guest's choice (VIRTIO_BLK_F_CONFIG_WCE) */
    char serial[VIRTIO_BLK_SERIAL_MAX + 1];
    LIST_HEAD(, blk_request) busy, free;
    STAILQ_HEAD(, blk_request) to_flush; /* written; the disk was too full to take the flush */
    unsigned num_busy;
    uint32_t stalled; /* queues that go on at the next completion: the disk is full of requests */

    struct pv_rate bytes, operations;
    uint32_t throttled; /* queues that go on when the rate lets them */
    uint64_t throttled_since;
    struct pv_loop_source *refill; /* timer */
};

/* blk_request.c */

enum blk_parsed {
    BLK_PARSED_DISK, /* goes to the disk */
    BLK_PARSED_DONE, /* answered without the disk */
    BLK_PARSED_IOERR,
    BLK_PARSED_UNSUPP,
};

/* Reads a chain that has room for a status into r->disk and r->iov. *ret_written: data bytes of an
 * answer without the disk. */
enum blk_parsed virtio_blk_parse(struct blk *b, const struct virtio_chain *chain,
                                 struct blk_request *r, uint64_t *ret_written);
/* Where the status byte of a chain goes: the last byte of its writable part, which is not empty. */
uint8_t *virtio_blk_status_of(const struct virtio_chain *chain);

#endif
