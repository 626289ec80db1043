/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_virtio_memory.c: what a guest may tell the balloon and the memory device.
 *
 * Input: records of a byte that says what to do and its operand. 0-1: a request on the balloon's
 * queue of that number, with the 32 bytes that follow; 2: the same on the queue of free pages; 3: a
 * request of 24 bytes to the memory device; 4: the amount requested of it; 5: statistics of 32
 * bytes, after which they are asked for; 6: what was given is taken again. Afterwards the books
 * must be right.
 */
#include "support/fake_driver.h"
#include "virtio/device/balloon.h"
#include "virtio/device/mem.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE 16
#define REGION (2 * VIRTIO_MEM_ALIGNMENT)
#define STEPS_MAX 64
#define STATS 2
#define REPORT 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool what)
{
    if (!what)
        abort();
}

struct input {
    const uint8_t *data;
    size_t size;
};

/* The next bytes; zeroes behind the end. */
static void take(struct input *in, void *buf, size_t len)
{
    size_t n = len < in->size ? len : in->size;
    memset(buf, 0, len);
    memcpy(buf, in->data, n);
    in->data += n;
    in->size -= n;
}

static void tell_balloon(struct fake_driver *d, uint16_t queue, struct input *in)
{
    uint32_t words[8];
    take(in, words, sizeof(words));
    struct fake_desc desc = {fake_driver_bytes(d, words, sizeof(words)), sizeof(words), 0, 0};
    if (queue == REPORT) { /* free pages, of any place and length that lie in memory */
        desc.addr.addr = FAKE_HIGH_START + words[0] % FAKE_REGION_BYTES;
        desc.len = 1 + words[1] % (uint32_t)(FAKE_HIGH_START + FAKE_REGION_BYTES - desc.addr.addr);
        desc.flags = VRING_DESC_F_WRITE;
    }
    fake_ring_add(&d->rings[queue], &desc, 1);
    virtio_device_kick(d->dev, queue);
    /* It may have put its own rings into the balloon, and broken them. */
    must(virtio_balloon_get_pages(d->dev) <= FAKE_MEMORY_BYTES / VIRTIO_BALLOON_PAGE);
}

static void ask_mem(struct fake_driver *d, struct memory *memory, struct input *in)
{
    uint8_t request[24];
    take(in, request, sizeof(request));
    /* Near the region, or nothing but errors would come out. */
    if (request[1] == 0 && request[15] == 0)
        request[11] = (uint8_t)(8 + request[11] % 24);
    struct fake_desc chain[] = {
        {fake_driver_bytes(d, request, sizeof(request)), sizeof(request), 0, 0},
        {fake_driver_alloc(d, 16), 16, VRING_DESC_F_WRITE, 0}};
    uint64_t before = virtio_mem_get_plugged(d->dev);
    fake_ring_add(&d->rings[0], chain, 2);
    virtio_device_kick(d->dev, 0);
    uint64_t plugged = virtio_mem_get_plugged(d->dev);
    must(!virtio_device_needs_reset(d->dev));
    must(plugged <= before || plugged <= virtio_mem_get_requested(d->dev));
    must(plugged % VIRTIO_MEM_BLOCK == 0 && plugged <= REGION);
    must(memory_get_size(memory) <= memory_get_max(memory));
}

static void start_balloon(struct fake_driver *d)
{
    struct virtio_balloon_options options = {.memory = d->memory};
    struct virtio_device *dev;
    must(virtio_balloon_new(&options, d->loop, &dev, NULL) == 0);
    fake_driver_start(d, dev, 0, QUEUE_SIZE);
}

static void start_mem(struct fake_driver *d, struct memory *memory)
{
    struct virtio_mem_options options = {
        .memory = memory, .start = VIRTIO_MEM_ALIGNMENT, .size = REGION};
    struct virtio_device *dev;
    must(virtio_mem_new(&options, d->loop, &dev, NULL) == 0);
    fake_driver_start(d, dev, 0, QUEUE_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct memory *memory = NULL;
    struct fake_driver *balloon = fake_driver_new(FAKE_DIRECT), *mem = fake_driver_new(FAKE_DIRECT);
    must(memory_new_growing(VIRTIO_MEM_ALIGNMENT / 2, VIRTIO_MEM_ALIGNMENT + REGION, &memory,
                            NULL) == 0);
    start_balloon(balloon);
    start_mem(mem, memory);
    for (unsigned i = 0; i < STEPS_MAX && in.size > 0; i++) {
        uint8_t what, amount;
        take(&in, &what, 1);
        switch (what % 7) {
        case 2:
            tell_balloon(balloon, REPORT, &in);
            break;
        case 5:
            tell_balloon(balloon, STATS, &in);
            virtio_balloon_ask_stats(balloon->dev);
            break;
        case 6:
            virtio_balloon_discard(balloon->dev);
            virtio_mem_discard(mem->dev);
            break;
        case 3:
            ask_mem(mem, memory, &in);
            break;
        case 4:
            take(&in, &amount, 1);
            virtio_mem_set_requested(mem->dev,
                                     amount % (REGION / VIRTIO_MEM_BLOCK + 1) * VIRTIO_MEM_BLOCK);
            break;
        default:
            tell_balloon(balloon, what % 7, &in);
        }
    }
    fake_driver_free(balloon);
    fake_driver_free(mem);
    memory_free(memory);
    return 0;
}
