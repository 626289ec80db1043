/* SPDX-License-Identifier: Apache-2.0
 *
 * balloon.c: virtio traditional memory balloon with statistics and free page reporting.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.5.
 * Trust:   page numbers are guest input: each must lie in the guest's memory, and a page counts
 *          once, however often it is told. A guest may lie about what it does without: then it
 *          loses the page's content, nothing else. It may also use a page of the balloon again
 *          without a word: what a guest takes is counted by the host (memory_get_in_use), and
 *          limited by the machine's control group.
 *
 * Theory of operation: a page that is told becomes a hole in the memory file, wherever it is
 * mapped. A hole is a system call, so the numbers of one request are sorted and neighbours become
 * one hole. A free page that is reported becomes a hole too but is not counted: the guest takes it
 * back by touching it.
 *
 * Statistics go the other way round: the driver leaves a buffer of them with us, and has it back
 * when we want new ones. What is in it is the guest's word, for the guest alone to suffer from.
 *
 * The balloon is not deflated when the guest runs out of memory (VIRTIO_BALLOON_F_DEFLATE_ON_OOM is
 * not offered): the size that the owner gave is a limit, and a driver that may deflate leaves
 * the kernel's own total as it was, so that programs would plan with memory that is not there.
 */
#include "virtio/device/balloon.h"

#include "virtio/device_internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

/* A queue that is not used is left out, and the next moves up: role_of. */
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORT, QUEUES };

#define REQUESTS_PER_TURN 16u
#define PAGES_PER_REQUEST 4096u /* Linux tells 256 at once, ours 2048 */
#define PAGES_AT_ONCE 1024u
#define STATS_MAX 32u
#define NO_CHAIN UINT32_MAX
#define CONFIG_BYTES 8u /* num_pages, actual */

enum {
    COUNTER_INFLATED = VIRTIO_COUNTER_OWN,
    COUNTER_DEFLATED,
    COUNTER_REPORTED_BYTES,
    COUNTER_FAILED
};
static const char *const counter_labels[] = {"pages_inflated", "pages_deflated", "bytes_reported",
                                             "discards_failed"};

struct balloon {
    struct virtio_device base;
    struct virtio_balloon_options options;
    uint64_t *inside; /* a bit for each page of the memory file */
    uint32_t pages;   /* how many bits are set */
    uint32_t target, actual;
    uint32_t stats_chain; /* the driver's buffer; NO_CHAIN: it has it */
    bool stats_asked;
};

static struct balloon *balloon_of(const struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct balloon, base);
}

static uint64_t features(const struct virtio_device *dev)
{
    return 1ull << VIRTIO_BALLOON_F_REPORTING | 1ull << VIRTIO_BALLOON_F_STATS_VQ;
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    const struct balloon *b = balloon_of(dev);
    const uint32_t config[2] = {htole32(b->target), htole32(b->actual)};
    memcpy(buf, (const uint8_t *)config + offset, len);
}

/* `actual` is the guest's; we keep it so that it reads what it wrote, and believe our own count. */
static int write_config(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len)
{
    struct balloon *b = balloon_of(dev);
    uint32_t actual;
    if (offset != 4 || len != 4)
        return -EPERM;
    memcpy(&actual, buf, sizeof(actual));
    b->actual = le32toh(actual);
    return 0;
}

static void discard(struct balloon *b, uint64_t offset, uint64_t len)
{
    if (memory_discard(b->options.memory, offset, len) < 0)
        b->base.counters[COUNTER_FAILED]++;
}

/* Where bytes of a checked slice are in the memory file. */
static uint64_t offset_of(const struct balloon *b, const void *bytes)
{
    const uint8_t *start = memory_at(b->options.memory, 0, 0);
    return (uint64_t)((const uint8_t *)bytes - start);
}

static bool is_inside(const struct balloon *b, uint64_t page)
{
    return b->inside[page / 64] >> page % 64 & 1;
}

/* Puts a page into the balloon or takes it out: false when it was there, or was not. */
static bool put(struct balloon *b, uint64_t offset, bool in)
{
    uint64_t page = offset / VIRTIO_BALLOON_PAGE;
    uint64_t bit = 1ull << page % 64, *word = &b->inside[page / 64];
    if (!!(*word & bit) == in)
        return false;
    *word ^= bit;
    b->pages += in ? 1 : -1;
    b->base.counters[in ? COUNTER_INFLATED : COUNTER_DEFLATED]++;
    return true;
}

/* By Shell's method: the C library's asks the system how much memory there is, which the jail
 * forbids. */
static void sort(uint64_t *list, size_t count)
{
    for (size_t gap = count / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (size_t i = gap; i < count; i++) {
            uint64_t value = list[i];
            size_t at = i;
            for (; at >= gap && list[at - gap] > value; at -= gap)
                list[at] = list[at - gap];
            list[at] = value;
        }
}

static void discard_all(struct balloon *b, uint64_t *offsets, size_t count)
{
    sort(offsets, count);
    for (size_t i = 0, next; i < count; i = next) {
        uint64_t end = offsets[i] + VIRTIO_BALLOON_PAGE;
        for (next = i + 1; next < count && offsets[next] == end; next++)
            end += VIRTIO_BALLOON_PAGE;
        discard(b, offsets[i], end - offsets[i]);
    }
}

/* A part of a request. False when a page is not the guest's. */
static bool move_pages(struct balloon *b, const uint32_t *numbers, size_t count, bool in)
{
    uint64_t offsets[PAGES_AT_ONCE];
    size_t moved = 0;
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        gpa_t gpa = {(uint64_t)le32toh(numbers[i]) * VIRTIO_BALLOON_PAGE};
        const void *page = memory_map_at(b->base.guest->memory, gpa, VIRTIO_BALLOON_PAGE);
        uint64_t offset = page ? offset_of(b, page) : 1;
        if (offset % VIRTIO_BALLOON_PAGE) /* a region need not begin at a page of the file */
            good = false;
        else if (put(b, offset, in))
            offsets[moved++] = offset;
    }
    if (in)
        discard_all(b, offsets, moved);
    return good;
}

static void serve_pages(struct balloon *b, const struct virtio_chain *chain, bool in)
{
    uint32_t numbers[PAGES_AT_ONCE];
    uint64_t offset = 0, bytes = PV_MIN(chain->readable_bytes, PAGES_PER_REQUEST * 4ull);
    bool good = bytes == chain->readable_bytes && bytes % 4 == 0;
    while (offset < bytes) {
        size_t n = virtio_chain_read(chain, offset, numbers,
                                     (size_t)PV_MIN(bytes - offset, sizeof(numbers)));
        good &= move_pages(b, numbers, n / 4, in);
        offset += n;
    }
    if (!good)
        b->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
}

static void serve_report(struct balloon *b, const struct virtio_chain *chain)
{
    for (unsigned i = 0; i < chain->num_writable; i++) {
        const struct iovec *v = &chain->writable[i];
        discard(b, offset_of(b, v->iov_base), v->iov_len);
        b->base.counters[COUNTER_REPORTED_BYTES] += v->iov_len;
    }
    if (chain->num_readable)
        b->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
}

static void take_stat(struct virtio_balloon_stats *stats, const struct virtio_balloon_stat *stat)
{
    uint64_t value = le64toh(stat->val);
    switch (le16toh(stat->tag)) {
    case VIRTIO_BALLOON_S_MEMTOT:
        stats->total = value;
        break;
    case VIRTIO_BALLOON_S_MEMFREE:
        stats->free = value;
        break;
    case VIRTIO_BALLOON_S_AVAIL:
        stats->available = value;
        break;
    case VIRTIO_BALLOON_S_CACHES:
        stats->cached = value;
        break;
    }
}

/* Keeps the buffer, and gives back one that we have already. */
static void serve_stats(struct balloon *b, const struct virtio_chain *chain)
{
    struct virtio_balloon_stat stat;
    struct virtio_balloon_stats stats = {VIRTIO_BALLOON_UNKNOWN, VIRTIO_BALLOON_UNKNOWN,
                                         VIRTIO_BALLOON_UNKNOWN, VIRTIO_BALLOON_UNKNOWN};
    uint64_t bytes = PV_MIN(chain->readable_bytes, (uint64_t)STATS_MAX * sizeof(stat));
    for (uint64_t at = 0; at + sizeof(stat) <= bytes; at += sizeof(stat))
        if (virtio_chain_read(chain, at, &stat, sizeof(stat)) == sizeof(stat))
            take_stat(&stats, &stat);
    if (bytes != chain->readable_bytes || bytes % sizeof(stat))
        b->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
    if (b->stats_chain != NO_CHAIN)
        virtio_queue_push(b->base.queues[QUEUE_STATS], (uint16_t)b->stats_chain, 0);
    b->stats_chain = chain->head;
    if (!b->stats_asked)
        return;
    b->stats_asked = false;
    if (b->options.on_stats)
        b->options.on_stats(b->options.data, &stats);
}

static unsigned role_of(const struct balloon *b, uint16_t queue)
{
    bool has_stats = virtio_device_has_feature(&b->base, VIRTIO_BALLOON_F_STATS_VQ);
    return queue >= QUEUE_STATS && !has_stats ? queue + 1u : queue;
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct balloon *b = balloon_of(dev);
    uint32_t before = b->pages;
    unsigned role = role_of(b, queue);
    int rc = 1;
    for (unsigned i = 0; i < REQUESTS_PER_TURN; i++) {
        struct virtio_chain chain;
        rc = virtio_device_pop(dev, queue, &chain);
        if (rc <= 0)
            break;
        if (role == QUEUE_STATS) {
            serve_stats(b, &chain);
            continue;
        }
        if (role >= QUEUE_REPORT)
            serve_report(b, &chain);
        else
            serve_pages(b, &chain, role == QUEUE_INFLATE);
        virtio_queue_push(dev->queues[queue], chain.head, 0);
    }
    virtio_device_signal(dev, queue);
    if (b->pages != before && b->options.on_change)
        b->options.on_change(b->options.data);
    return rc;
}

static uint64_t words(const struct balloon *b)
{
    return memory_get_max(b->options.memory) / VIRTIO_BALLOON_PAGE / 64 + 1;
}

/* The guest has all its memory again, and begins anew. */
static void reset(struct virtio_device *dev)
{
    struct balloon *b = balloon_of(dev);
    b->actual = 0;
    b->stats_chain = NO_CHAIN;
    b->stats_asked = false;
    if (b->pages)
        memset(b->inside, 0, words(b) * sizeof(*b->inside));
    b->pages = 0;
}

static void free_balloon(struct virtio_device *dev)
{
    struct balloon *b = balloon_of(dev);
    virtio_device_done(dev);
    free(b->inside);
    free(b);
}

static const struct virtio_syscall syscalls[] = {
    {"fallocate", "balloon: pages that the guest does without become holes"},
    {NULL, NULL},
};

const struct virtio_device_class virtio_balloon_class = {
    .name = "balloon",
    .virtio_id = VIRTIO_ID_BALLOON,
    .num_queues = QUEUES,
    .queue_size_max = 256,
    .config_bytes = CONFIG_BYTES,
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .write_config = write_config,
    .process_queue = process_queue,
    .reset = reset,
    .free = free_balloon,
};

int virtio_balloon_new(const struct virtio_balloon_options *options, struct pv_loop *loop,
                       struct virtio_device **ret_dev, struct pv_error *err)
{
    struct balloon *b = calloc(1, sizeof(*b));
    if (!b)
        return pv_error_set(err, ENOMEM, "create device balloon: out of memory");
    b->options = *options;
    b->stats_chain = NO_CHAIN;
    b->inside = calloc(words(b), sizeof(*b->inside)); /* touched as far as it is used */
    int rc = b->inside ? virtio_device_init(&b->base, &virtio_balloon_class, loop, err)
                       : pv_error_set(err, ENOMEM, "create device balloon: out of memory");
    if (rc < 0) {
        free_balloon(&b->base);
        return rc;
    }
    *ret_dev = &b->base;
    return 0;
}

void virtio_balloon_set_target(struct virtio_device *dev, uint32_t pages)
{
    struct balloon *b = balloon_of(dev);
    if (b->target == pages)
        return;
    b->target = pages;
    if (dev->guest)
        dev->guest->signal_config(dev->guest->transport);
}

uint32_t virtio_balloon_get_target(const struct virtio_device *dev)
{
    return balloon_of(dev)->target;
}

uint32_t virtio_balloon_get_pages(const struct virtio_device *dev)
{
    return balloon_of(dev)->pages;
}

uint64_t virtio_balloon_get_reported(const struct virtio_device *dev)
{
    return dev->counters[COUNTER_REPORTED_BYTES];
}

int virtio_balloon_ask_stats(struct virtio_device *dev)
{
    struct balloon *b = balloon_of(dev);
    if (b->stats_asked)
        return 0;
    if (b->stats_chain == NO_CHAIN)
        return -EAGAIN;
    b->stats_asked = true;
    virtio_queue_push(dev->queues[QUEUE_STATS], (uint16_t)b->stats_chain, 0);
    b->stats_chain = NO_CHAIN;
    virtio_device_signal(dev, QUEUE_STATS);
    return 0;
}

void virtio_balloon_discard(struct virtio_device *dev)
{
    struct balloon *b = balloon_of(dev);
    uint64_t pages = memory_get_size(b->options.memory) / VIRTIO_BALLOON_PAGE;
    for (uint64_t i = 0, end; b->pages && i < pages; i = end) {
        bool in = is_inside(b, i);
        for (end = i + 1; end < pages && is_inside(b, end) == in; end++)
            ;
        if (in)
            discard(b, i * VIRTIO_BALLOON_PAGE, (end - i) * VIRTIO_BALLOON_PAGE);
    }
}
