/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_virtio_queue.c: a split queue over rings and memory that are the input.
 *
 * Input: byte 0: log2 of the queue's size, bit 7 event index, bit 6 indirect; bytes 1-2: base; the
 * rest is guest memory from its start. Every slice that pop gives out must lie in guest memory.
 */
#include "memory/map.h"
#include "virtio/queue.h"

#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_BYTES 65536u
#define SIZE_MAX_LOG2 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct memory *memory;

static void must(bool what)
{
    if (!what)
        abort();
}

/* Writes into the chain as a device does: the rings may be hit by it. */
static uint64_t check_iovecs(const struct iovec *iov, unsigned num, bool writable)
{
    const uint8_t *base = memory_at(memory, 0, MEMORY_BYTES);
    uint64_t sum = 0;
    for (unsigned i = 0; i < num; i++) {
        uint8_t *at = iov[i].iov_base;
        must(iov[i].iov_len > 0 && at >= base && iov[i].iov_len <= MEMORY_BYTES &&
             at + iov[i].iov_len <= base + MEMORY_BYTES);
        if (writable)
            at[iov[i].iov_len - 1] ^= at[0];
        sum += iov[i].iov_len;
    }
    return sum;
}

static void serve(struct virtio_queue *q)
{
    for (unsigned i = 0; i < 600; i++) {
        struct virtio_chain chain;
        int rc = virtio_queue_pop(q, &chain);
        if (rc <= 0) {
            must(rc == 0 || virtio_queue_pop(q, &chain) == rc); /* broken for good */
            return;
        }
        must(chain.num_readable + chain.num_writable <= virtio_queue_get_size_max(q));
        must(check_iovecs(chain.readable, chain.num_readable, false) == chain.readable_bytes);
        must(check_iovecs(chain.writable, chain.num_writable, true) == chain.writable_bytes);
        uint8_t part[64];
        virtio_chain_read(&chain, i, part, sizeof(part));
        if (i % 5 == 4)
            virtio_queue_unpop(q, &chain);
        else if (i % 3)
            virtio_queue_push(q, chain.head, (uint32_t)virtio_chain_write(&chain, i, part, 32));
        virtio_queue_should_signal(q);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    if (!memory)
        must(memory_new(MEMORY_BYTES, &memory, NULL) == 0);
    uint8_t *bytes = memory_at(memory, 0, MEMORY_BYTES);
    size_t len = size - 3 < MEMORY_BYTES ? size - 3 : MEMORY_BYTES;
    memcpy(bytes, data + 3, len);
    memset(bytes + len, 0, MEMORY_BYTES - len);

    struct memory_map map;
    memory_map_init(&map, memory);
    must(memory_map_add(&map, (gpa_t){0}, MEMORY_BYTES / 2, 0) == 0);
    must(memory_map_add(&map, (gpa_t){MEMORY_BYTES}, MEMORY_BYTES / 2, MEMORY_BYTES / 2) == 0);

    struct virtio_queue *q = virtio_queue_new(1u << SIZE_MAX_LOG2);
    must(q);
    uint32_t num = 1u << (data[0] & 0xf) % (SIZE_MAX_LOG2 + 1);
    must(virtio_queue_set_size(q, num) == 0);
    must(virtio_queue_set_base(q, (uint16_t)(data[1] | data[2] << 8)) == 0);
    uint64_t features = (data[0] & 0x80 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0) |
                        (data[0] & 0x40 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0);
    must(virtio_queue_set_features(q, features) == 0);
    uint64_t avail = 16u * num, used = (avail + 6 + 2u * num + 15) & ~15ull;
    must(virtio_queue_set_rings(q, (gpa_t){0}, (gpa_t){avail}, (gpa_t){used}) == 0);
    must(virtio_queue_enable(q, &map) == 0);
    serve(q);
    virtio_queue_free(q);
    return 0;
}
