/* SPDX-License-Identifier: Apache-2.0
 *
 * queue.c: split virtqueue, device side.
 *
 * Runs on: the device's loop thread only.   Spec: virtio 1.2, 2.7.
 * Trust:   everything read from the rings is guest input; fetch once, check, then use.
 *
 * Theory of operation: enabling resolves the three rings to pointers into our own mapping of guest
 * memory; from then on only indices and descriptors are guest input. `next_avail` is the entry
 * that pop takes next, `next_used` the one that push writes next. A bit per head remembers which
 * chains the device holds: so the guest cannot make us hold more than the queue's size of them,
 * nor the same one twice.
 *
 * The guest's rings may change under our eyes. Ring fields are therefore read through volatile
 * (one load each, no second look), descriptors are copied before they are checked.
 */
#include "virtio/queue.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define DESC_BYTES 16u

/* A descriptor where the guest put it: indirect tables need not be aligned. */
struct __attribute__((packed)) raw_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};
_Static_assert(sizeof(struct raw_desc) == DESC_BYTES, "virtio 1.2, 2.7.5");

struct virtio_queue {
    uint16_t size_max, size; /* size 0: not set */
    bool rings_set, enabled;
    bool event_idx, indirect;
    int broken; /* -errno of the error that stopped the queue, or 0 */

    gpa_t desc_gpa, avail_gpa, used_gpa;
    const volatile struct raw_desc *desc;     /* size entries */
    const volatile struct vring_avail *avail; /* flags, idx, ring[size], used_event */
    volatile struct vring_used *used;         /* flags, idx, ring[size], avail_event */
    const struct memory_map *map;

    uint16_t next_avail;
    uint16_t seen_avail; /* the guest's index as last read: entries before it are ready */
    uint16_t next_used;
    uint16_t signalled; /* next_used when should_signal was last asked */

    unsigned in_flight;
    uint64_t held[VIRTIO_QUEUE_SIZE_MAX / 64]; /* by head */
    struct iovec *iov;                         /* size_max, lent by pop */
};

static bool is_power_of_two(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

struct virtio_queue *virtio_queue_new(uint16_t size_max)
{
    assert(is_power_of_two(size_max) && size_max <= VIRTIO_QUEUE_SIZE_MAX);
    struct virtio_queue *q = calloc(1, sizeof(*q));
    if (q)
        q->size_max = size_max;
    return q;
}

void virtio_queue_free(struct virtio_queue *q)
{
    if (!q)
        return;
    free(q->iov);
    free(q);
}

uint16_t virtio_queue_get_size_max(const struct virtio_queue *q)
{
    return q->size_max;
}

int virtio_queue_set_size(struct virtio_queue *q, uint32_t size)
{
    if (q->enabled)
        return -EBUSY;
    if (!is_power_of_two(size) || size > q->size_max)
        return -EINVAL;
    q->size = (uint16_t)size;
    return 0;
}

int virtio_queue_set_rings(struct virtio_queue *q, gpa_t desc, gpa_t avail, gpa_t used)
{
    if (q->enabled)
        return -EBUSY;
    if (desc.addr % VRING_DESC_ALIGN_SIZE || avail.addr % VRING_AVAIL_ALIGN_SIZE ||
        used.addr % VRING_USED_ALIGN_SIZE)
        return -EINVAL;
    q->desc_gpa = desc;
    q->avail_gpa = avail;
    q->used_gpa = used;
    q->rings_set = true;
    return 0;
}

int virtio_queue_set_base(struct virtio_queue *q, uint16_t base)
{
    if (q->enabled)
        return -EBUSY;
    q->next_avail = base;
    return 0;
}

uint16_t virtio_queue_get_base(const struct virtio_queue *q)
{
    return q->next_avail;
}

int virtio_queue_set_features(struct virtio_queue *q, uint64_t features)
{
    if (q->enabled)
        return -EBUSY;
    q->event_idx = features & (1ull << VIRTIO_RING_F_EVENT_IDX);
    q->indirect = features & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
    return 0;
}

static bool is_aligned(const volatile void *p, size_t alignment)
{
    return (uintptr_t)p % alignment == 0;
}

/* Finds the rings in guest memory. A region may shift a guest address against ours, so the
 * alignment of our pointers is checked too. The event fields behind the rings are always counted
 * in: drivers leave room for them whether negotiated or not. */
static int resolve(struct virtio_queue *q, const struct memory_map *map)
{
    void *desc = memory_map_at(map, q->desc_gpa, (uint64_t)q->size * DESC_BYTES);
    void *avail = memory_map_at(map, q->avail_gpa, 6u + 2u * (uint64_t)q->size);
    void *used = memory_map_at(map, q->used_gpa, 6u + 8u * (uint64_t)q->size);
    if (!desc || !avail || !used)
        return -EFAULT;
    if (!is_aligned(desc, VRING_DESC_ALIGN_SIZE) || !is_aligned(avail, VRING_AVAIL_ALIGN_SIZE) ||
        !is_aligned(used, VRING_USED_ALIGN_SIZE))
        return -EFAULT;
    q->desc = desc;
    q->avail = avail;
    q->used = used;
    q->map = map;
    return 0;
}

static void forget_chains(struct virtio_queue *q)
{
    q->in_flight = 0;
    memset(q->held, 0, sizeof(q->held));
}

int virtio_queue_enable(struct virtio_queue *q, const struct memory_map *map)
{
    if (!q->size || !q->rings_set)
        return -EINVAL;
    if (!q->iov && !(q->iov = calloc(q->size_max, sizeof(*q->iov))))
        return -ENOMEM;
    int rc = resolve(q, map);
    if (rc < 0 || q->enabled)
        return rc;

    /* Any value will do: it only says where in the ring the guest looks for the next element. */
    q->next_used = le16toh(q->used->idx);
    q->signalled = q->next_used;
    q->seen_avail = q->next_avail;
    q->broken = 0;
    forget_chains(q);
    q->used->flags = 0; /* kicks wanted */
    q->enabled = true;
    return 0;
}

void virtio_queue_disable(struct virtio_queue *q)
{
    q->enabled = false;
    forget_chains(q);
}

void virtio_queue_reset(struct virtio_queue *q)
{
    uint16_t size_max = q->size_max;
    struct iovec *iov = q->iov;
    *q = (struct virtio_queue){.size_max = size_max, .iov = iov};
}

bool virtio_queue_is_enabled(const struct virtio_queue *q)
{
    return q->enabled;
}

static bool is_held(const struct virtio_queue *q, uint16_t head)
{
    return q->held[head / 64] >> head % 64 & 1;
}

static void hold(struct virtio_queue *q, uint16_t head, bool on)
{
    uint64_t bit = 1ull << head % 64;
    q->held[head / 64] = on ? q->held[head / 64] | bit : q->held[head / 64] & ~bit;
    q->in_flight = on ? q->in_flight + 1 : q->in_flight - 1;
}

/* Reads the guest's index. Acquire: what the guest wrote before it published the index (ring
 * entries, descriptors, buffers) is read after it. */
static int look(struct virtio_queue *q)
{
    uint16_t idx = le16toh(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE));
    if ((uint16_t)(idx - q->next_avail) > q->size)
        return -EOVERFLOW;
    q->seen_avail = idx;
    return 0;
}

static volatile uint16_t *avail_event(struct virtio_queue *q)
{
    return (volatile uint16_t *)&q->used->ring[q->size];
}

static uint16_t used_event(const struct virtio_queue *q)
{
    return le16toh(q->avail->ring[q->size]);
}

/* Whether an entry is ready. When none is, the guest is asked for a kick, and looked at again. */
static int find_available(struct virtio_queue *q)
{
    if (q->next_avail != q->seen_avail)
        return 1;
    int rc = look(q);
    if (rc < 0 || q->next_avail != q->seen_avail)
        return rc < 0 ? rc : 1;
    if (q->event_idx) {
        *avail_event(q) = htole16(q->next_avail);
        /* The guest publishes an entry, then reads our event index; we write the event index,
         * then read the guest's index. The full barrier keeps both from missing the other. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        rc = look(q);
    }
    if (rc < 0)
        return rc;
    return q->next_avail != q->seen_avail;
}

/* A chain while it is walked. */
struct walk {
    struct virtio_chain *chain;
    unsigned num;  /* iovecs used */
    bool writable; /* a writable buffer was seen: no readable one may follow */
};

static int add_buffer(struct virtio_queue *q, struct walk *w, const struct raw_desc *d)
{
    bool writable = d->flags & VRING_DESC_F_WRITE;
    if (w->writable && !writable)
        return -EINVAL;
    w->writable = writable;
    if (d->len == 0)
        return 0;
    if (w->num == q->size_max)
        return -ELOOP;
    void *base = memory_map_at(q->map, (gpa_t){d->addr}, d->len);
    if (!base)
        return -EFAULT;

    q->iov[w->num++] = (struct iovec){.iov_base = base, .iov_len = d->len};
    *(writable ? &w->chain->num_writable : &w->chain->num_readable) += 1;
    *(writable ? &w->chain->writable_bytes : &w->chain->readable_bytes) += d->len;
    return 0;
}

/* One load per field; the copy is what is checked and used. */
static struct raw_desc fetch(const volatile struct raw_desc *d)
{
    return (struct raw_desc){
        .addr = le64toh(d->addr),
        .len = le32toh(d->len),
        .flags = le16toh(d->flags),
        .next = le16toh(d->next),
    };
}

static int walk_indirect(struct virtio_queue *q, struct walk *w, const struct raw_desc *d)
{
    /* Spec 2.7.5.3.1: one table per chain, no successor, a whole number of descriptors. */
    if (!q->indirect || d->flags & VRING_DESC_F_NEXT || d->len == 0 || d->len % DESC_BYTES ||
        d->len / DESC_BYTES > q->size_max)
        return -EINVAL;
    const volatile struct raw_desc *table = memory_map_at(q->map, (gpa_t){d->addr}, d->len);
    if (!table)
        return -EFAULT;

    unsigned num = d->len / DESC_BYTES;
    uint16_t i = 0;
    for (unsigned taken = 0; taken < num; taken++) {
        struct raw_desc entry = fetch(&table[i]);
        if (entry.flags & VRING_DESC_F_INDIRECT)
            return -EINVAL;
        int rc = add_buffer(q, w, &entry);
        if (rc < 0 || !(entry.flags & VRING_DESC_F_NEXT))
            return rc;
        if (entry.next >= num)
            return -EINVAL;
        i = entry.next;
    }
    return -ELOOP; /* each entry was visited, and still there is a next one */
}

static int walk_chain(struct virtio_queue *q, struct walk *w, uint16_t head)
{
    uint16_t i = head;
    for (unsigned taken = 0; taken < q->size; taken++) {
        struct raw_desc d = fetch(&q->desc[i]);
        if (d.flags & VRING_DESC_F_INDIRECT)
            return walk_indirect(q, w, &d);
        int rc = add_buffer(q, w, &d);
        if (rc < 0 || !(d.flags & VRING_DESC_F_NEXT))
            return rc;
        if (d.next >= q->size)
            return -EINVAL;
        i = d.next;
    }
    return -ELOOP;
}

static int take(struct virtio_queue *q, struct virtio_chain *chain)
{
    uint16_t head = le16toh(q->avail->ring[q->next_avail & (q->size - 1)]);
    if (head >= q->size)
        return -EINVAL;
    if (is_held(q, head))
        return -EEXIST;

    *chain = (struct virtio_chain){.head = head};
    struct walk w = {.chain = chain};
    int rc = walk_chain(q, &w, head);
    if (rc < 0)
        return rc;
    chain->readable = q->iov;
    chain->writable = q->iov + chain->num_readable;
    hold(q, head, true);
    q->next_avail++;
    return 1;
}

int virtio_queue_pop(struct virtio_queue *q, struct virtio_chain *ret_chain)
{
    if (!q->enabled)
        return 0;
    if (q->broken)
        return q->broken;
    int rc = find_available(q);
    if (rc == 0)
        return 0;

    struct virtio_chain chain;
    if (rc > 0)
        rc = take(q, &chain);
    if (rc < 0)
        return q->broken = rc;
    *ret_chain = chain;
    return 1;
}

void virtio_queue_unpop(struct virtio_queue *q, const struct virtio_chain *chain)
{
    if (!q->enabled || !is_held(q, chain->head))
        return;
    hold(q, chain->head, false);
    q->next_avail--;
}

void virtio_queue_push(struct virtio_queue *q, uint16_t head, uint32_t len)
{
    assert(head < VIRTIO_QUEUE_SIZE_MAX); /* it came from pop */
    if (!q->enabled || !is_held(q, head))
        return;
    hold(q, head, false);

    volatile struct vring_used_elem *e = &q->used->ring[q->next_used & (q->size - 1)];
    e->id = htole32(head);
    e->len = htole32(len);
    q->next_used++;
    /* Release: element and buffers are written before the index that publishes them. */
    __atomic_store_n(&q->used->idx, htole16(q->next_used), __ATOMIC_RELEASE);
}

bool virtio_queue_should_signal(struct virtio_queue *q)
{
    bool wants = virtio_queue_wants_signal(q);
    if (q->enabled)
        q->signalled = q->next_used;
    return wants;
}

bool virtio_queue_wants_signal(const struct virtio_queue *q)
{
    if (!q->enabled || q->signalled == q->next_used)
        return false;
    /* The guest asks for a signal, then looks at the used index; we write the used index, then
     * look whether we are asked. The full barrier keeps both from missing the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (q->event_idx)
        return vring_need_event(used_event(q), q->next_used, q->signalled);
    return !(le16toh(q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

bool virtio_queue_has_available(const struct virtio_queue *q)
{
    if (!q->enabled)
        return false;
    uint16_t idx = le16toh(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE));
    return q->broken || idx != q->next_avail;
}

/* Copies between buf and the bytes of iov from offset on. */
static size_t copy(const struct iovec *iov, unsigned num, uint64_t offset, void *buf, size_t len,
                   bool to_guest)
{
    size_t done = 0;
    for (unsigned i = 0; i < num && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        uint8_t *guest = (uint8_t *)iov[i].iov_base + offset;
        size_t n = iov[i].iov_len - (size_t)offset;
        if (n > len - done)
            n = len - done;
        if (to_guest)
            memcpy(guest, (uint8_t *)buf + done, n);
        else
            memcpy((uint8_t *)buf + done, guest, n);
        done += n;
        offset = 0;
    }
    return done;
}

size_t virtio_chain_read(const struct virtio_chain *chain, uint64_t offset, void *buf, size_t len)
{
    return copy(chain->readable, chain->num_readable, offset, buf, len, false);
}

size_t virtio_chain_write(const struct virtio_chain *chain, uint64_t offset, const void *buf,
                          size_t len)
{
    return copy(chain->writable, chain->num_writable, offset, (void *)(uintptr_t)buf, len, true);
}
