/* SPDX-License-Identifier: Apache-2.0
 *
 * mem.c: virtio memory device.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.15.
 * Trust:   requests are guest input. A guest can plug no more than was requested of it, and only
 *          inside of the region; a block is plugged or not, so nothing counts twice.
 *
 * Theory of operation: the owner says how much should be plugged; the driver looks for blocks and
 * asks for each range. The memory file grows as far as the highest block that was ever plugged, so
 * a guest that never asked has nothing there to touch: an access ends in SIGBUS, which is why
 * unplugged memory is offered as inaccessible. Unplugged blocks become holes. What was plugged once
 * can be touched again without a word, as with the balloon.
 */
#include "virtio/device/mem.h"

#include "virtio/device_internal.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>
#include <string.h>

#ifndef VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE
#define VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE 1
#endif

#define QUEUE 0
#define REQUESTS_PER_TURN 16u

enum { COUNTER_PLUGGED = VIRTIO_COUNTER_OWN, COUNTER_UNPLUGGED, COUNTER_REFUSED, COUNTER_FAILED };
static const char *const counter_labels[] = {"blocks_plugged", "blocks_unplugged", "refused",
                                             "discards_failed"};

struct mem {
    struct virtio_device base;
    struct virtio_mem_options options;
    bool *blocks; /* plugged? */
    uint64_t requested, plugged;
};

static struct mem *mem_of(const struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct mem, base);
}

static uint64_t features(const struct virtio_device *dev)
{
    return 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE;
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    const struct mem *m = mem_of(dev);
    const struct virtio_mem_config config = {
        .block_size = htole64(VIRTIO_MEM_BLOCK),
        .addr = htole64(m->options.start),
        .region_size = htole64(m->options.size),
        .usable_region_size = htole64(m->options.size),
        .plugged_size = htole64(m->plugged),
        .requested_size = htole64(m->requested),
    };
    memcpy(buf, (const uint8_t *)&config + offset, len);
}

/* The blocks of a request; false when they are not all in the region. */
static bool find_blocks(const struct mem *m, uint64_t addr, uint64_t count, size_t *ret_first)
{
    if (addr < m->options.start || (addr - m->options.start) % VIRTIO_MEM_BLOCK || count == 0)
        return false;
    uint64_t first = (addr - m->options.start) / VIRTIO_MEM_BLOCK;
    uint64_t total = m->options.size / VIRTIO_MEM_BLOCK;
    if (first >= total || count > total - first)
        return false;
    *ret_first = (size_t)first;
    return true;
}

static size_t count_plugged(const struct mem *m, size_t first, size_t count)
{
    size_t n = 0;
    for (size_t i = first; i < first + count; i++)
        n += m->blocks[i];
    return n;
}

static uint64_t address_of(const struct mem *m, size_t block)
{
    return m->options.start + block * VIRTIO_MEM_BLOCK;
}

static uint16_t plug(struct mem *m, size_t first, size_t count)
{
    if (count_plugged(m, first, count))
        return VIRTIO_MEM_RESP_ERROR;
    uint64_t bytes = count * VIRTIO_MEM_BLOCK;
    if (m->plugged > m->requested || bytes > m->requested - m->plugged) {
        m->base.counters[COUNTER_REFUSED]++;
        return VIRTIO_MEM_RESP_NACK;
    }
    if (memory_grow(m->options.memory, address_of(m, first + count), NULL) < 0) {
        m->base.counters[COUNTER_FAILED]++;
        return VIRTIO_MEM_RESP_BUSY;
    }
    memset(m->blocks + first, true, count);
    m->plugged += bytes;
    m->base.counters[COUNTER_PLUGGED] += count;
    return VIRTIO_MEM_RESP_ACK;
}

static void discard(struct mem *m, size_t first, size_t count)
{
    if (memory_discard(m->options.memory, address_of(m, first), count * VIRTIO_MEM_BLOCK) < 0)
        m->base.counters[COUNTER_FAILED]++;
}

static uint16_t unplug(struct mem *m, size_t first, size_t count)
{
    if (count_plugged(m, first, count) != count)
        return VIRTIO_MEM_RESP_ERROR;
    discard(m, first, count);
    memset(m->blocks + first, false, count);
    m->plugged -= count * VIRTIO_MEM_BLOCK;
    m->base.counters[COUNTER_UNPLUGGED] += count;
    return VIRTIO_MEM_RESP_ACK;
}

static uint16_t unplug_all(struct mem *m)
{
    size_t total = (size_t)(m->options.size / VIRTIO_MEM_BLOCK);
    for (size_t i = 0, next; i < total && m->plugged; i = next) {
        for (next = i; next < total && m->blocks[next]; next++)
            ;
        if (next > i)
            unplug(m, i, next - i);
        else
            next++;
    }
    return VIRTIO_MEM_RESP_ACK;
}

static uint16_t tell_state(const struct mem *m, size_t first, size_t count, uint16_t *ret_state)
{
    size_t n = count_plugged(m, first, count);
    *ret_state = n == count ? VIRTIO_MEM_STATE_PLUGGED
                 : n        ? VIRTIO_MEM_STATE_MIXED
                            : VIRTIO_MEM_STATE_UNPLUGGED;
    return VIRTIO_MEM_RESP_ACK;
}

/* The three that name blocks have their address and number at the same place. */
static uint16_t serve(struct mem *m, const struct virtio_mem_req *request, uint16_t *ret_state)
{
    uint16_t type = le16toh(request->type);
    uint64_t count = le16toh(request->u.plug.nb_blocks);
    size_t first = 0;
    if (type == VIRTIO_MEM_REQ_UNPLUG_ALL)
        return unplug_all(m);
    if (!find_blocks(m, le64toh(request->u.plug.addr), count, &first))
        return VIRTIO_MEM_RESP_ERROR;
    switch (type) {
    case VIRTIO_MEM_REQ_PLUG:
        return plug(m, first, (size_t)count);
    case VIRTIO_MEM_REQ_UNPLUG:
        return unplug(m, first, (size_t)count);
    case VIRTIO_MEM_REQ_STATE:
        return tell_state(m, first, (size_t)count, ret_state);
    default:
        return VIRTIO_MEM_RESP_ERROR;
    }
}

/* The number of bytes written. */
static uint32_t answer(struct mem *m, const struct virtio_chain *chain)
{
    struct virtio_mem_req request = {0};
    struct virtio_mem_resp response = {0};
    uint16_t type = VIRTIO_MEM_RESP_ERROR, state = 0;
    bool whole = virtio_chain_read(chain, 0, &request, sizeof(request)) == sizeof(request) &&
                 chain->writable_bytes >= sizeof(response);
    if (whole)
        type = serve(m, &request, &state);
    if (!whole || type == VIRTIO_MEM_RESP_ERROR)
        m->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
    response.type = htole16(type);
    response.u.state.state = htole16(state);
    return (uint32_t)virtio_chain_write(chain, 0, &response, sizeof(response));
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct mem *m = mem_of(dev);
    uint64_t before = m->plugged;
    int rc = 1;
    for (unsigned i = 0; i < REQUESTS_PER_TURN; i++) {
        struct virtio_chain chain;
        rc = virtio_device_pop(dev, QUEUE, &chain);
        if (rc <= 0)
            break;
        virtio_queue_push(dev->queues[QUEUE], chain.head, answer(m, &chain));
    }
    virtio_device_signal(dev, QUEUE);
    if (m->plugged != before && m->options.on_change)
        m->options.on_change(m->options.data);
    return rc;
}

/* Spec 5.15.5.1: a reset of the device changes nothing about what is plugged. */
static void reset(struct virtio_device *dev)
{
}

static void free_mem(struct virtio_device *dev)
{
    struct mem *m = mem_of(dev);
    virtio_device_done(dev);
    free(m->blocks);
    free(m);
}

static const struct virtio_syscall syscalls[] = {
    {"fallocate", "mem: blocks that are unplugged become holes"},
    {"ftruncate", "mem: the memory file grows with the blocks that are plugged"},
    {NULL, NULL},
};

const struct virtio_device_class virtio_mem_class = {
    .name = "mem",
    .virtio_id = VIRTIO_ID_MEM,
    .num_queues = 1,
    .queue_size_max = 256,
    .config_bytes = sizeof(struct virtio_mem_config),
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .process_queue = process_queue,
    .reset = reset,
    .free = free_mem,
};

int virtio_mem_new(const struct virtio_mem_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err)
{
    assert(options->start % VIRTIO_MEM_ALIGNMENT == 0 && options->size > 0 &&
           options->size % VIRTIO_MEM_ALIGNMENT == 0);
    assert(memory_at_reserved(options->memory, options->start, options->size));
    struct mem *m = calloc(1, sizeof(*m));
    if (!m)
        return pv_error_set(err, ENOMEM, "create device mem: out of memory");
    m->options = *options;
    m->blocks = calloc((size_t)(options->size / VIRTIO_MEM_BLOCK), sizeof(*m->blocks));
    int rc = m->blocks ? virtio_device_init(&m->base, &virtio_mem_class, loop, err)
                       : pv_error_set(err, ENOMEM, "create device mem: out of memory");
    if (rc < 0) {
        free_mem(&m->base);
        return rc;
    }
    *ret_dev = &m->base;
    return 0;
}

void virtio_mem_set_requested(struct virtio_device *dev, uint64_t bytes)
{
    struct mem *m = mem_of(dev);
    assert(bytes <= m->options.size && bytes % VIRTIO_MEM_BLOCK == 0);
    if (m->requested == bytes)
        return;
    m->requested = bytes;
    if (dev->guest)
        dev->guest->signal_config(dev->guest->transport);
}

uint64_t virtio_mem_get_requested(const struct virtio_device *dev)
{
    return mem_of(dev)->requested;
}

uint64_t virtio_mem_get_plugged(const struct virtio_device *dev)
{
    return mem_of(dev)->plugged;
}

void virtio_mem_discard(struct virtio_device *dev)
{
    struct mem *m = mem_of(dev);
    uint64_t size = memory_get_size(m->options.memory);
    for (size_t i = 0; address_of(m, i + 1) <= size; i++)
        if (!m->blocks[i])
            discard(m, i, 1);
}
