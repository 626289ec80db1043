/* SPDX-License-Identifier: Apache-2.0
 *
 * blk.c: virtio block device over a disk.
 *
 * Runs on: the loop thread of the machine; the disk transfers into guest memory.
 * Spec:    virtio 1.2, 5.2.
 * Trust:   request headers, ranges and buffers are guest input. A request that makes no sense ends
 *          with a status byte wherever there is room for one.
 *
 * Theory of operation: a chain is a header of 16 bytes, data, and one status byte at the very end
 * of the writable part; how they are cut into buffers means nothing. A request keeps its own copy
 * of the data's iovecs while the disk works on it. Requests complete in any order. After a reset
 * the ones in flight are orphans: their completion touches nothing of the guest's any more.
 *
 * A queue waits when the disk is full of requests (it goes on at a completion) and when the device
 * has used up its rate (it goes on at a timer). What waits stays in the ring. The queues of a
 * device share its disk, its rate and the loop.
 *
 * A guest that switched the write cache off, or that knows no flush, gets each write flushed before
 * it is answered.
 */
#include "virtio/device/blk.h"

#include "virtio/device/blk_internal.h"

#include "base/clock.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#define REQUESTS_PER_TURN 64u
#define BYTES_PER_TURN (2u * 1024u * 1024u)

static const char *const counter_labels[] = {
    "reads",         "writes",    "flushes",   "discards",     "read_bytes",
    "written_bytes", "io_errors", "throttled", "throttled_ns",
};
_Static_assert(VIRTIO_COUNTER_OWN + PV_ARRAY_SIZE(counter_labels) == BLK_COUNTER_THROTTLED_NS + 1,
               "a label for each");

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
    if (virtio_device_get_num_queues(dev) > 1)
        bits |= 1ull << VIRTIO_BLK_F_MQ;
    if (b->read_only)
        return bits | 1ull << VIRTIO_BLK_F_RO;
    if (disk_can_discard(b->disk))
        bits |= 1ull << VIRTIO_BLK_F_DISCARD;
    return bits | 1ull << VIRTIO_BLK_F_WRITE_ZEROES | 1ull << VIRTIO_BLK_F_CONFIG_WCE;
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    const struct blk *b = PV_CONTAINER_OF(dev, const struct blk, base);
    struct virtio_blk_config config = {
        .capacity = htole64(disk_get_size(b->disk) / DISK_SECTOR_BYTES),
        .size_max = htole32(BLK_SEGMENT_BYTES_MAX),
        .seg_max = htole32(BLK_SEG_MAX),
        .blk_size = htole32(DISK_SECTOR_BYTES),
        .physical_block_exp = 3, /* 4 KiB: the page cache's and most media's unit */
        .min_io_size = htole16(8),
        .wce = b->write_back,
        .num_queues = htole16(virtio_device_get_num_queues(dev)),
        .max_discard_sectors = htole32(BLK_DISCARD_SECTORS_MAX),
        .max_discard_seg = htole32(1),
        .discard_sector_alignment = htole32(8),
        .max_write_zeroes_sectors = htole32(BLK_WRITE_ZEROES_SECTORS_MAX),
        .max_write_zeroes_seg = htole32(1),
        .write_zeroes_may_unmap = disk_can_discard(b->disk),
    };
    memcpy(buf, (const uint8_t *)&config + offset, len);
}

/* The write cache's switch is all that a guest can write. */
static int write_config(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len)
{
    struct blk *b = blk_of(dev);
    uint8_t value = *(const uint8_t *)buf;
    if (offset != offsetof(struct virtio_blk_config, wce) || len != 1 ||
        !virtio_device_has_feature(dev, VIRTIO_BLK_F_CONFIG_WCE))
        return -EPERM;
    if (value > 1)
        return -EINVAL;
    b->write_back = value;
    return 0;
}

void virtio_blk_resized(struct virtio_device *dev)
{
    if (dev->guest)
        dev->guest->signal_config(dev->guest->transport);
}

/* -- requests -- */

static struct blk_request *get_request(struct blk *b)
{
    struct blk_request *r = LIST_FIRST(&b->free);
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

static void put_request(struct blk_request *r)
{
    struct blk *b = r->blk;
    LIST_REMOVE(r, link);
    LIST_INSERT_HEAD(&b->free, r, link);
    b->num_busy--;
}

/* Ends a chain with its status. written: bytes of data in front of the status byte. */
static void finish(struct blk *b, uint16_t queue, uint16_t head, uint8_t *status, uint8_t value,
                   uint64_t written)
{
    *(volatile uint8_t *)status = value;
    uint32_t len = value == VIRTIO_BLK_S_OK ? (uint32_t)written + 1 : 1;
    virtio_queue_push(b->base.queues[queue], head, len);
}

static uint8_t status_value(struct blk *b, const struct blk_request *r)
{
    if (r->disk.result == 0)
        return VIRTIO_BLK_S_OK;
    b->base.counters[BLK_COUNTER_IO_ERRORS]++;
    if (b->options.on_error)
        b->options.on_error(b->options.data, r->disk.op, r->disk.offset, r->disk.result);
    return VIRTIO_BLK_S_IOERR;
}

static void finish_request(struct blk_request *r)
{
    struct blk *b = r->blk;
    finish(b, r->queue, r->head, r->status, status_value(b, r), r->bytes);
    put_request(r);
}

static void on_done(struct disk_request *disk);

/* The disk has done its part. Returns whether the request is finished; else it goes on with a
 * flush, now or when the disk has room. */
static bool complete(struct blk_request *r)
{
    struct blk *b = r->blk;
    if (r->disk.result < 0 || !r->write_through) {
        finish_request(r);
        return true;
    }
    r->disk = (struct disk_request){.op = DISK_FLUSH, .done = on_done};
    int rc = disk_submit(b->disk, &r->disk);
    if (rc == -EAGAIN) {
        STAILQ_INSERT_TAIL(&b->to_flush, r, flush_link);
        return false;
    }
    r->write_through = false;
    if (rc == 1)
        finish_request(r);
    return rc == 1;
}

/* The disk has room again: for writes that are to be flushed, and for queues. */
static void go_on(struct blk *b)
{
    while (!STAILQ_EMPTY(&b->to_flush)) {
        struct blk_request *r = STAILQ_FIRST(&b->to_flush);
        STAILQ_REMOVE_HEAD(&b->to_flush, flush_link);
        r->disk.result = 0;
        uint16_t queue = r->queue;
        if (complete(r))
            virtio_device_signal(&b->base, queue);
        else if (r->write_through)
            break; /* full still: it is in the list again */
    }
    for (uint16_t i = 0; b->stalled; i++) {
        if (b->stalled >> i & 1)
            virtio_device_again(&b->base, i);
        b->stalled &= ~(1u << i);
    }
}

static void on_done(struct disk_request *disk)
{
    struct blk_request *r = PV_CONTAINER_OF(disk, struct blk_request, disk);
    struct blk *b = r->blk;
    if (!b) {
        free(r);
        return;
    }
    uint16_t queue = r->queue;
    if (complete(r))
        virtio_device_signal(&b->base, queue);
    go_on(b);
    if (b->base.draining && b->num_busy == 0)
        virtio_device_drained(&b->base);
}

/* -- rates -- */

static void wait_for_rate(struct blk *b, uint16_t queue, uint64_t ns, uint64_t now)
{
    b->base.counters[BLK_COUNTER_THROTTLED]++;
    if (!b->throttled)
        b->throttled_since = now;
    b->throttled |= 1u << queue;
    pv_loop_arm(b->refill, ns);
}

static void stop_waiting(struct blk *b)
{
    if (b->throttled)
        b->base.counters[BLK_COUNTER_THROTTLED_NS] += pv_time_monotonic_ns() - b->throttled_since;
    b->throttled = 0;
}

static void on_refill(void *data)
{
    struct blk *b = data;
    uint32_t queues = b->throttled;
    stop_waiting(b);
    for (uint16_t i = 0; queues; i++, queues >>= 1)
        if (queues & 1)
            virtio_device_again(&b->base, i);
}

/* Takes what the request costs: true, or the queue waits. */
static bool take_rate(struct blk *b, const struct blk_request *r)
{
    if (!pv_rate_is_limited(&b->bytes) && !pv_rate_is_limited(&b->operations))
        return true;
    enum disk_op op = r->disk.op;
    bool moves = op == DISK_READ || op == DISK_WRITE || op == DISK_WRITE_ZEROES;
    uint64_t bytes = moves ? r->disk.bytes : 0;
    uint64_t now = pv_time_monotonic_ns();
    uint64_t wait =
        PV_MAX(pv_rate_wait(&b->bytes, bytes, now), pv_rate_wait(&b->operations, 1, now));
    if (wait > 0) {
        wait_for_rate(b, r->queue, wait, now);
        return false;
    }
    pv_rate_take(&b->bytes, bytes, now);
    pv_rate_take(&b->operations, 1, now);
    return true;
}

void virtio_blk_set_rate(struct virtio_device *dev, const struct pv_rate_limit *bytes,
                         const struct pv_rate_limit *operations)
{
    struct blk *b = blk_of(dev);
    uint64_t now = pv_time_monotonic_ns();
    pv_rate_change(&b->bytes, bytes->per_second, bytes->burst, now);
    pv_rate_change(&b->operations, operations->per_second, operations->burst, now);
    if (b->throttled) /* they ask again */
        pv_loop_arm(b->refill, 1);
}

/* -- the queues -- */

/* Ends a request that never reaches the disk. */
static void finish_early(struct blk *b, uint16_t queue, const struct virtio_chain *chain,
                         enum blk_parsed parsed, uint64_t written)
{
    uint8_t value = parsed == BLK_PARSED_DONE    ? VIRTIO_BLK_S_OK
                    : parsed == BLK_PARSED_IOERR ? VIRTIO_BLK_S_IOERR
                                                 : VIRTIO_BLK_S_UNSUPP;
    if (parsed != BLK_PARSED_DONE)
        b->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
    finish(b, queue, chain->head, virtio_blk_status_of(chain), value, written);
}

static void count(struct blk *b, enum disk_op op, uint64_t bytes)
{
    uint64_t *c = b->base.counters;
    switch (op) {
    case DISK_READ:
        c[BLK_COUNTER_READS]++;
        c[BLK_COUNTER_READ_BYTES] += bytes;
        break;
    case DISK_WRITE:
        c[BLK_COUNTER_WRITES]++;
        c[BLK_COUNTER_WRITTEN_BYTES] += bytes;
        break;
    case DISK_FLUSH:
        c[BLK_COUNTER_FLUSHES]++;
        break;
    default:
        c[BLK_COUNTER_DISCARDS]++;
    }
}

/* Gives a request to the disk: 0, or -EAGAIN when its queue has to wait. */
static int submit(struct blk *b, struct blk_request *r)
{
    if (!take_rate(b, r))
        return -EAGAIN;
    enum disk_op op = r->disk.op;
    uint64_t bytes = r->disk.bytes;
    int rc = disk_submit(b->disk, &r->disk);
    if (rc < 0) {
        b->stalled |= 1u << r->queue;
        return rc;
    }
    count(b, op, bytes);
    if (rc == 1)
        complete(r);
    return 0;
}

/* Serves one chain. Returns 0, or -EAGAIN when it must be taken again later. */
static int serve(struct blk *b, uint16_t queue, const struct virtio_chain *chain)
{
    if (chain->writable_bytes == 0) { /* nowhere to put a status */
        b->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        virtio_queue_push(b->base.queues[queue], chain->head, 0);
        return 0;
    }
    struct blk_request *r = get_request(b);
    if (!r) {
        finish_early(b, queue, chain, BLK_PARSED_IOERR, 0);
        return 0;
    }
    r->queue = queue;
    r->head = chain->head;
    r->status = virtio_blk_status_of(chain);
    r->write_through = false;
    r->bytes = 0;
    r->disk = (struct disk_request){.done = on_done};
    uint64_t written = 0;
    enum blk_parsed parsed = virtio_blk_parse(b, chain, r, &written);
    if (parsed != BLK_PARSED_DISK) {
        finish_early(b, queue, chain, parsed, written);
        put_request(r);
        return 0;
    }
    int rc = submit(b, r);
    if (rc < 0)
        put_request(r);
    return rc;
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct blk *b = blk_of(dev);
    uint64_t bytes = 0;
    int rc = 1;
    for (unsigned i = 0; i < REQUESTS_PER_TURN && bytes < BYTES_PER_TURN; i++) {
        struct virtio_chain chain;
        rc = virtio_device_pop(dev, queue, &chain);
        if (rc <= 0)
            break;
        if (serve(b, queue, &chain) < 0) {
            virtio_queue_unpop(dev->queues[queue], &chain);
            rc = 0;
            break;
        }
        bytes += chain.readable_bytes + chain.writable_bytes;
    }
    virtio_device_signal(dev, queue);
    return rc;
}

static int drain(struct virtio_device *dev)
{
    return blk_of(dev)->num_busy > 0 ? -EINPROGRESS : 0;
}

static void reset(struct virtio_device *dev)
{
    struct blk *b = blk_of(dev);
    while (!STAILQ_EMPTY(&b->to_flush)) { /* the disk does not have these */
        struct blk_request *r = STAILQ_FIRST(&b->to_flush);
        STAILQ_REMOVE_HEAD(&b->to_flush, flush_link);
        put_request(r);
    }
    while (!LIST_EMPTY(&b->busy)) {
        struct blk_request *r = LIST_FIRST(&b->busy);
        LIST_REMOVE(r, link);
        r->blk = NULL;
    }
    b->num_busy = 0;
    b->stalled = 0;
    b->write_back = true;
    stop_waiting(b);
    if (b->refill)
        pv_loop_arm(b->refill, 0);
}

static void free_blk(struct virtio_device *dev)
{
    struct blk *b = blk_of(dev);
    while (!LIST_EMPTY(&b->free)) {
        struct blk_request *r = LIST_FIRST(&b->free);
        LIST_REMOVE(r, link);
        free(r);
    }
    pv_loop_remove(b->refill);
    virtio_device_done(dev);
    free(b);
}

static const struct virtio_syscall syscalls[] = {
    {"timerfd_settime", "blk: many requests, or too many, go on in a later turn"},
    {"clock_gettime", "blk: measure the rate, where the vDSO cannot"},
    {NULL, NULL}, /* the others are the disk's: disk_syscalls */
};

const struct virtio_device_class virtio_blk_class = {
    .name = "blk",
    .virtio_id = VIRTIO_ID_BLOCK,
    .num_queues = VIRTIO_BLK_QUEUES_MAX,
    .queue_size_max = BLK_QUEUE_SIZE_MAX,
    .config_bytes = offsetof(struct virtio_blk_config, max_secure_erase_sectors),
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .write_config = write_config,
    .process_queue = process_queue,
    .drain = drain,
    .reset = reset,
    .free = free_blk,
};

static void init(struct blk *b, const struct virtio_blk_options *options)
{
    b->options = *options;
    b->disk = options->disk;
    b->read_only = options->read_only || disk_is_read_only(options->disk);
    b->write_back = true;
    b->base.num_queues = (uint16_t)PV_MAX(options->num_queues, 1u);
    if (options->serial)
        memcpy(b->serial, options->serial, strlen(options->serial));
    LIST_INIT(&b->busy);
    LIST_INIT(&b->free);
    STAILQ_INIT(&b->to_flush);
    uint64_t now = pv_time_monotonic_ns();
    pv_rate_init(&b->bytes, options->bytes.per_second, options->bytes.burst, now);
    pv_rate_init(&b->operations, options->operations.per_second, options->operations.burst, now);
}

int virtio_blk_new(const struct virtio_blk_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err)
{
    if (options->serial && strlen(options->serial) > VIRTIO_BLK_SERIAL_MAX)
        return pv_error_set(err, EINVAL, "create device blk: serial '%s': give at most %d bytes",
                            options->serial, VIRTIO_BLK_SERIAL_MAX);
    if (options->num_queues > VIRTIO_BLK_QUEUES_MAX)
        return pv_error_set(err, EINVAL, "create device blk: %u queues: at most %u are possible",
                            options->num_queues, VIRTIO_BLK_QUEUES_MAX);
    struct blk *b = calloc(1, sizeof(*b));
    if (!b)
        return pv_error_set(err, ENOMEM, "create device blk: out of memory");
    init(b, options);
    int rc = virtio_device_init(&b->base, &virtio_blk_class, loop, err);
    if (rc == 0 && !(b->refill = pv_loop_add_timer(loop, on_refill, b)))
        rc = pv_error_set(err, errno, "create device blk: timer: %s", strerror(errno));
    if (rc < 0) {
        free_blk(&b->base);
        return rc;
    }
    *ret_dev = &b->base;
    return 0;
}
