/* SPDX-License-Identifier: Apache-2.0
 *
 * blk.c: virtio block device over a disk.
 *
 * Runs on: the loop thread of the machine; the disk's worker transfers into guest memory.
 * Spec:    virtio 1.2, 5.2.
 * Trust:   request headers, ranges and buffers are guest input. A request that makes no sense ends
 *          with a status byte wherever there is room for one.
 *
 * Theory of operation: a chain is a header of 16 bytes, data, and one status byte at the very end
 * of the writable part; how they are cut into buffers means nothing. A request keeps its own copy
 * of the data's iovecs while the disk works on it. Requests complete in any order. After a reset
 * the ones in flight are orphans: their completion touches nothing of the guest's any more.
 */
#include "virtio/device/blk.h"

#include "virtio/device_internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/queue.h>

#define QUEUE 0
#define QUEUE_SIZE_MAX 256u
#define SEG_MAX (QUEUE_SIZE_MAX - 2u) /* header and status take one each */
#define SEGMENT_BYTES_MAX (256u * 1024u)
#define REQUEST_BYTES_MAX ((uint64_t)SEG_MAX * SEGMENT_BYTES_MAX)
#define DISCARD_SECTORS_MAX (1u << 21)      /* 1 GiB */
#define WRITE_ZEROES_SECTORS_MAX (1u << 18) /* 128 MiB: the host may have to write them */
#define REQUESTS_PER_TURN 64u
#define BYTES_PER_TURN (2u * 1024u * 1024u)
#define HEADER_BYTES sizeof(struct virtio_blk_outhdr)

enum { COUNTER_READS = VIRTIO_COUNTER_OWN, COUNTER_WRITES, COUNTER_FLUSHES, COUNTER_IO_ERRORS };
static const char *const counter_labels[] = {"reads", "writes", "flushes", "io_errors"};

struct blk;

struct request {
    struct disk_request disk;
    LIST_ENTRY(request) link; /* blk.busy or blk.free */
    struct blk *blk;          /* NULL: orphan */
    uint16_t head;
    uint8_t *status; /* in guest memory */
    struct iovec iov[QUEUE_SIZE_MAX];
};

struct blk {
    struct virtio_device base;
    struct disk *disk; /* borrowed */
    bool read_only;
    char serial[VIRTIO_BLK_ID_BYTES + 1];
    LIST_HEAD(, request) busy, free;
    unsigned num_busy;
    bool stalled; /* the disk is full of requests: goes on at the next completion */
};

static struct blk *blk_of(struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct blk, base);
}

/* -- features and config space -- */

static uint64_t features(const struct virtio_device *dev)
{
    const struct blk *b = PV_CONTAINER_OF(dev, const struct blk, base);
    uint64_t bits = 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX |
                    1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_TOPOLOGY |
                    1ull << VIRTIO_BLK_F_FLUSH;
    if (b->read_only)
        return bits | 1ull << VIRTIO_BLK_F_RO;
    if (disk_can_discard(b->disk))
        bits |= 1ull << VIRTIO_BLK_F_DISCARD;
    return bits | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    const struct blk *b = PV_CONTAINER_OF(dev, const struct blk, base);
    struct virtio_blk_config config = {
        .capacity = htole64(disk_get_size(b->disk) / DISK_SECTOR_BYTES),
        .size_max = htole32(SEGMENT_BYTES_MAX),
        .seg_max = htole32(SEG_MAX),
        .blk_size = htole32(DISK_SECTOR_BYTES),
        .physical_block_exp = 3, /* 4 KiB: the page cache's and most media's unit */
        .min_io_size = htole16(8),
        .max_discard_sectors = htole32(DISCARD_SECTORS_MAX),
        .max_discard_seg = htole32(1),
        .discard_sector_alignment = htole32(8),
        .max_write_zeroes_sectors = htole32(WRITE_ZEROES_SECTORS_MAX),
        .max_write_zeroes_seg = htole32(1),
        .write_zeroes_may_unmap = disk_can_discard(b->disk),
    };
    memcpy(buf, (const uint8_t *)&config + offset, len);
}

/* -- requests -- */

static struct request *get_request(struct blk *b)
{
    struct request *r = LIST_FIRST(&b->free);
    if (r)
        LIST_REMOVE(r, link);
    else
        r = malloc(sizeof(*r));
    if (r) {
        r->blk = b;
        LIST_INSERT_HEAD(&b->busy, r, link);
        b->num_busy++;
    }
    return r;
}

static void put_request(struct request *r)
{
    struct blk *b = r->blk;
    LIST_REMOVE(r, link);
    LIST_INSERT_HEAD(&b->free, r, link);
    b->num_busy--;
}

/* Where the status byte goes: the last byte of the writable part. */
static uint8_t *status_of(const struct virtio_chain *chain)
{
    if (chain->num_writable == 0)
        return NULL;
    const struct iovec *last = &chain->writable[chain->num_writable - 1];
    return (uint8_t *)last->iov_base + last->iov_len - 1;
}

/* Copies the iovecs of `bytes` bytes from `offset` on: how many. They fit: a chain has at most
 * QUEUE_SIZE_MAX. */
static unsigned slice(const struct iovec *iov, unsigned num, uint64_t offset, uint64_t bytes,
                      struct iovec *out)
{
    unsigned used = 0;
    for (unsigned i = 0; i < num && bytes > 0; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t n = (size_t)PV_MIN((uint64_t)iov[i].iov_len - offset, bytes);
        out[used++] = (struct iovec){(uint8_t *)iov[i].iov_base + offset, n};
        bytes -= n;
        offset = 0;
    }
    return used;
}

/* Ends a chain with its status. written: bytes of data in front of the status byte. */
static void finish(struct blk *b, uint16_t head, uint8_t *status, uint8_t value, uint64_t written)
{
    *(volatile uint8_t *)status = value;
    uint32_t len = value == VIRTIO_BLK_S_OK ? (uint32_t)written + 1 : 1;
    virtio_queue_push(b->base.queues[QUEUE], head, len);
}

static uint8_t status_value(struct blk *b, int result)
{
    if (result == 0)
        return VIRTIO_BLK_S_OK;
    b->base.counters[COUNTER_IO_ERRORS]++;
    return VIRTIO_BLK_S_IOERR;
}

static void finish_request(struct request *r)
{
    struct blk *b = r->blk;
    finish(b, r->head, r->status, status_value(b, r->disk.result),
           r->disk.op == DISK_READ ? r->disk.bytes : 0);
    put_request(r);
}

static void on_done(struct disk_request *disk)
{
    struct request *r = PV_CONTAINER_OF(disk, struct request, disk);
    struct blk *b = r->blk;
    if (!b) {
        free(r);
        return;
    }
    finish_request(r);
    virtio_device_signal(&b->base, QUEUE);
    if (b->stalled) {
        b->stalled = false;
        virtio_device_again(&b->base, QUEUE);
    }
    if (b->base.draining && b->num_busy == 0)
        virtio_device_drained(&b->base);
}

/* -- parsing -- */

#define PARSE_OK 0     /* goes to the disk */
#define PARSE_DONE 1   /* answered without the disk */
#define PARSE_IOERR -1 /* malformed */
#define PARSE_UNSUPP -2

struct parsed {
    const struct virtio_chain *chain;
    uint32_t type;
    uint64_t sector;
    uint64_t out_bytes, in_bytes; /* of data, without header and status */
    struct disk_request *disk;
    struct iovec *iov;
    uint64_t written;
};

static bool in_range(const struct blk *b, uint64_t sector, uint64_t sectors)
{
    uint64_t capacity = disk_get_size(b->disk) / DISK_SECTOR_BYTES;
    return sector <= capacity && sectors <= capacity - sector;
}

static int parse_transfer(struct blk *b, struct parsed *p)
{
    bool is_read = p->type == VIRTIO_BLK_T_IN;
    uint64_t bytes = is_read ? p->in_bytes : p->out_bytes;
    uint64_t other = is_read ? p->out_bytes : p->in_bytes;
    if (other != 0 || bytes % DISK_SECTOR_BYTES != 0 || bytes > REQUEST_BYTES_MAX ||
        !in_range(b, p->sector, bytes / DISK_SECTOR_BYTES) || (!is_read && b->read_only))
        return PARSE_IOERR;

    const struct virtio_chain *c = p->chain;
    p->disk->op = is_read ? DISK_READ : DISK_WRITE;
    p->disk->offset = p->sector * DISK_SECTOR_BYTES;
    p->disk->bytes = bytes;
    p->disk->iov = p->iov;
    p->disk->num_iov = is_read ? slice(c->writable, c->num_writable, 0, bytes, p->iov)
                               : slice(c->readable, c->num_readable, HEADER_BYTES, bytes, p->iov);
    b->base.counters[is_read ? COUNTER_READS : COUNTER_WRITES]++;
    return PARSE_OK;
}

static int parse_flush(struct blk *b, struct parsed *p)
{
    p->disk->op = DISK_FLUSH;
    b->base.counters[COUNTER_FLUSHES]++;
    return PARSE_OK;
}

static int parse_get_id(struct blk *b, struct parsed *p)
{
    size_t len = (size_t)PV_MIN(p->in_bytes, (uint64_t)VIRTIO_BLK_ID_BYTES);
    if (len == 0)
        return PARSE_IOERR;
    p->written = virtio_chain_write(p->chain, 0, b->serial, len);
    return PARSE_DONE;
}

/* Spec 5.2.6.1: unknown flags, and unmap for discard, are unsupported. */
static int parse_range(struct blk *b, struct parsed *p)
{
    bool discard = p->type == VIRTIO_BLK_T_DISCARD;
    unsigned feature = discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
    if (!virtio_device_has_feature(&b->base, feature))
        return PARSE_UNSUPP;
    struct virtio_blk_discard_write_zeroes range;
    if (p->out_bytes != sizeof(range) || b->read_only)
        return PARSE_IOERR;
    virtio_chain_read(p->chain, HEADER_BYTES, &range, sizeof(range));

    uint32_t flags = le32toh(range.flags);
    uint32_t sectors = le32toh(range.num_sectors);
    uint64_t sector = le64toh(range.sector);
    if (flags & ~(discard ? 0u : (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
        return PARSE_UNSUPP;
    if (sectors > (discard ? DISCARD_SECTORS_MAX : WRITE_ZEROES_SECTORS_MAX) ||
        !in_range(b, sector, sectors))
        return PARSE_IOERR;
    p->disk->op = discard ? DISK_DISCARD : flags ? DISK_UNMAP_ZEROES : DISK_WRITE_ZEROES;
    p->disk->offset = sector * DISK_SECTOR_BYTES;
    p->disk->bytes = (uint64_t)sectors * DISK_SECTOR_BYTES;
    return PARSE_OK;
}

static int parse(struct blk *b, struct parsed *p)
{
    struct virtio_blk_outhdr h;
    if (virtio_chain_read(p->chain, 0, &h, sizeof(h)) < sizeof(h))
        return PARSE_IOERR;
    p->type = le32toh(h.type);
    p->sector = le64toh(h.sector);
    p->out_bytes = p->chain->readable_bytes - sizeof(h);
    p->in_bytes = p->chain->writable_bytes - 1;
    switch (p->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        return parse_transfer(b, p);
    case VIRTIO_BLK_T_FLUSH:
        return parse_flush(b, p);
    case VIRTIO_BLK_T_GET_ID:
        return parse_get_id(b, p);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return parse_range(b, p);
    default:
        return PARSE_UNSUPP;
    }
}

/* -- the queue -- */

/* Ends a request that never reaches the disk. */
static void finish_early(struct blk *b, const struct virtio_chain *chain, int parsed,
                         uint64_t written)
{
    uint8_t value = parsed == PARSE_DONE    ? VIRTIO_BLK_S_OK
                    : parsed == PARSE_IOERR ? VIRTIO_BLK_S_IOERR
                                            : VIRTIO_BLK_S_UNSUPP;
    if (parsed < 0)
        b->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
    finish(b, chain->head, status_of(chain), value, written);
}

/* Serves one chain. Returns 0, or -EAGAIN when it must be taken again later. */
static int serve(struct blk *b, const struct virtio_chain *chain)
{
    if (chain->writable_bytes == 0) { /* nowhere to put a status */
        b->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        virtio_queue_push(b->base.queues[QUEUE], chain->head, 0);
        return 0;
    }
    struct request *r = get_request(b);
    if (!r) {
        finish_early(b, chain, PARSE_IOERR, 0);
        return 0;
    }
    r->head = chain->head;
    r->status = status_of(chain);
    r->disk = (struct disk_request){.done = on_done};
    struct parsed p = {.chain = chain, .disk = &r->disk, .iov = r->iov};
    int rc = parse(b, &p);
    if (rc != PARSE_OK) {
        finish_early(b, chain, rc, p.written);
        put_request(r);
        return 0;
    }
    rc = disk_submit(b->disk, &r->disk);
    if (rc == 1)
        finish_request(r);
    else if (rc < 0)
        put_request(r);
    return rc < 0 ? rc : 0;
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct blk *b = blk_of(dev);
    uint64_t bytes = 0;
    int rc = 1;
    for (unsigned i = 0; i < REQUESTS_PER_TURN && bytes < BYTES_PER_TURN; i++) {
        struct virtio_chain chain;
        rc = virtio_device_pop(dev, QUEUE, &chain);
        if (rc <= 0)
            break;
        if (serve(b, &chain) < 0) {
            virtio_queue_unpop(dev->queues[QUEUE], &chain);
            b->stalled = true;
            rc = 0;
            break;
        }
        bytes += chain.readable_bytes + chain.writable_bytes;
    }
    virtio_device_signal(dev, QUEUE);
    return rc;
}

static int drain(struct virtio_device *dev)
{
    return blk_of(dev)->num_busy > 0 ? -EINPROGRESS : 0;
}

static void reset(struct virtio_device *dev)
{
    struct blk *b = blk_of(dev);
    while (!LIST_EMPTY(&b->busy)) {
        struct request *r = LIST_FIRST(&b->busy);
        LIST_REMOVE(r, link);
        r->blk = NULL;
    }
    b->num_busy = 0;
    b->stalled = false;
}

static void free_blk(struct virtio_device *dev)
{
    struct blk *b = blk_of(dev);
    while (!LIST_EMPTY(&b->free)) {
        struct request *r = LIST_FIRST(&b->free);
        LIST_REMOVE(r, link);
        free(r);
    }
    virtio_device_done(dev);
    free(b);
}

static const struct virtio_syscall syscalls[] = {
    {"timerfd_settime", "blk: many requests go on in a later turn"},
    {NULL, NULL}, /* the others are the disk's: disk_syscalls */
};

const struct virtio_device_class virtio_blk_class = {
    .name = "blk",
    .virtio_id = VIRTIO_ID_BLOCK,
    .num_queues = 1,
    .queue_size_max = QUEUE_SIZE_MAX,
    .config_bytes = offsetof(struct virtio_blk_config, max_secure_erase_sectors),
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .process_queue = process_queue,
    .drain = drain,
    .reset = reset,
    .free = free_blk,
};

int virtio_blk_new(const struct virtio_blk_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err)
{
    size_t serial_len = options->serial ? strlen(options->serial) : 0;
    if (serial_len > VIRTIO_BLK_SERIAL_MAX)
        return pv_error_set(err, EINVAL, "create device blk: serial '%s': give at most %d bytes",
                            options->serial, VIRTIO_BLK_SERIAL_MAX);
    struct blk *b = calloc(1, sizeof(*b));
    if (!b)
        return pv_error_set(err, ENOMEM, "create device blk: out of memory");
    b->disk = options->disk;
    b->read_only = options->read_only || disk_is_read_only(options->disk);
    if (serial_len)
        memcpy(b->serial, options->serial, serial_len);
    LIST_INIT(&b->busy);
    LIST_INIT(&b->free);
    int rc = virtio_device_init(&b->base, &virtio_blk_class, loop, err);
    if (rc < 0) {
        free_blk(&b->base);
        return rc;
    }
    *ret_dev = &b->base;
    return 0;
}
