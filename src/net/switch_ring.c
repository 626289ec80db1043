/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_ring.c: memory that the monitors of two machines share.
 *
 * Theory of operation: one direction is a ring of bytes with two indices that only grow. Who sends
 * copies a record behind `sent`, then moves it; who receives reads up to `sent`, then moves
 * `taken`. Each end keeps its own index for itself, too: the one in the memory is only what the
 * other is told.
 *
 * Sleeping: an end sets its word, then looks once more at the other's index. The other moves its
 * index, then looks at the word. A full barrier between the two on both sides keeps them from
 * missing each other. Whoever rings takes the word back, so one sleep costs one bell.
 *
 * No SIGBUS: the seals say that the file keeps its size, only files of a memfd can have them, and
 * those of huge pages, which can run out when one is touched, are told apart by their file system.
 */
#include "net/switch_ring.h"

#include "base/error.h"
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define MASK (SWITCH_RING_BYTES - 1)
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

_Static_assert((SWITCH_RING_BYTES & MASK) == 0 && SWITCH_RING_BYTES > 2 * NET_FRAME_MAX,
               "whole frames, and more than one of them");
_Static_assert(2 * sizeof(struct switch_ring_way) <= SWITCH_RING_WORDS, "a page of words");

struct switch_ring {
    uint8_t *memory;
    struct switch_ring_way *out, *in;
    uint8_t *out_records, *in_records;
    uint32_t out_sent, out_taken; /* ours, and the other's as last seen */
    uint32_t in_taken, in_sent;
    uint32_t peeked; /* bytes of the record that the last peek showed */
    bool touched;    /* something was sent since the pages were given back */
};

static uint32_t record_bytes(uint32_t frame_bytes)
{
    uint32_t bytes = (uint32_t)sizeof(struct switch_ring_record) + frame_bytes;
    return (bytes + SWITCH_RING_ALIGN - 1) & ~(SWITCH_RING_ALIGN - 1);
}

/* --- the memory -------------------------------------------------------------------------------*/

/* first: we made it, and send in its first direction. */
static int map(int fd, bool first, struct switch_ring **ret_ring)
{
    struct switch_ring *ring = calloc(1, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    void *memory = mmap(NULL, SWITCH_RING_FILE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (memory == MAP_FAILED) {
        int code = errno;
        free(ring);
        return -code;
    }
    madvise(memory, SWITCH_RING_FILE_BYTES, MADV_DONTDUMP); /* it holds what guests say */
    ring->memory = memory;
    struct switch_ring_way *ways = memory;
    ring->out = &ways[first ? 0 : 1];
    ring->in = &ways[first ? 1 : 0];
    uint8_t *records = ring->memory + SWITCH_RING_WORDS;
    ring->out_records = records + (first ? 0 : SWITCH_RING_BYTES);
    ring->in_records = records + (first ? SWITCH_RING_BYTES : 0);
    *ret_ring = ring;
    return 0;
}

int switch_ring_make(struct switch_ring **ret_ring, int *ret_fd)
{
    pv_auto_fd int fd =
        memfd_create("switch-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* an older kernel */
        fd = memfd_create("switch-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, SWITCH_RING_FILE_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return -errno;
    int rc = map(fd, true, ret_ring);
    if (rc == 0) {
        /* Nobody is awake yet. */
        (*ret_ring)->out->receiver_waits = (*ret_ring)->in->receiver_waits = 1;
        *ret_fd = pv_take_fd(&fd);
    }
    return rc;
}

int switch_ring_open(int fd, struct switch_ring **ret_ring)
{
    struct stat st;
    struct statfs fs;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 ||
        st.st_size != SWITCH_RING_FILE_BYTES || fs.f_type != TMPFS_MAGIC)
        return -EINVAL;
    return map(fd, false, ret_ring);
}

void switch_ring_free(struct switch_ring *ring)
{
    if (!ring)
        return;
    munmap(ring->memory, SWITCH_RING_FILE_BYTES);
    free(ring);
}

/* --- sending ----------------------------------------------------------------------------------*/

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Whether the other end sleeps; it is thought awake then. */
static bool take_wish(uint32_t *word)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our index is out before we look */
    return __atomic_load_n(word, __ATOMIC_RELAXED) &&
           __atomic_exchange_n(word, 0, __ATOMIC_RELAXED);
}

static void wish(uint32_t *word)
{
    __atomic_store_n(word, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* it is out before we look again */
}

/* What the other end has taken. False: it cannot be. */
static bool look_taken(struct switch_ring *ring)
{
    uint32_t taken = load(&ring->out->taken);
    if (ring->out_sent - taken > SWITCH_RING_BYTES || taken % SWITCH_RING_ALIGN)
        return false;
    ring->out_taken = taken;
    return true;
}

static uint32_t room(const struct switch_ring *ring)
{
    return SWITCH_RING_BYTES - (ring->out_sent - ring->out_taken);
}

static int wait_room(struct switch_ring *ring, uint32_t bytes)
{
    if (room(ring) >= bytes)
        return 0;
    if (!look_taken(ring))
        return -EBADMSG;
    if (room(ring) >= bytes)
        return 0;
    wish(&ring->out->sender_waits);
    if (!look_taken(ring))
        return -EBADMSG;
    if (room(ring) < bytes)
        return -EAGAIN;
    __atomic_store_n(&ring->out->sender_waits, 0, __ATOMIC_RELAXED);
    return 0;
}

static void copy_in(struct switch_ring *ring, uint32_t at, const uint8_t *from, size_t len)
{
    size_t first = PV_MIN(len, (size_t)(SWITCH_RING_BYTES - (at & MASK)));
    memcpy(ring->out_records + (at & MASK), from, first);
    memcpy(ring->out_records, from + first, len - first);
}

int switch_ring_send(struct switch_ring *ring, const struct net_frame *frame)
{
    assert(frame->bytes <= NET_FRAME_MAX);
    uint32_t need = record_bytes((uint32_t)frame->bytes), at = ring->out_sent;
    int rc = wait_room(ring, need);
    if (rc < 0)
        return rc;
    struct switch_ring_record record = {.bytes = (uint32_t)frame->bytes, .hdr = frame->hdr};
    copy_in(ring, at, (const uint8_t *)&record, sizeof(record));
    at += (uint32_t)sizeof(record);
    for (unsigned i = 0; i < frame->num_iov; i++) {
        copy_in(ring, at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += (uint32_t)frame->iov[i].iov_len;
    }
    ring->out_sent += need;
    ring->touched = true;
    __atomic_store_n(&ring->out->sent, ring->out_sent, __ATOMIC_RELEASE);
    return take_wish(&ring->out->receiver_waits);
}

bool switch_ring_has_room(struct switch_ring *ring)
{
    if (look_taken(ring) && room(ring) >= SWITCH_RING_BYTES / 2)
        return true;
    wish(&ring->out->sender_waits); /* a bell may have come of an older count of what was sent */
    return look_taken(ring) && room(ring) >= SWITCH_RING_BYTES / 2;
}

/* Only who sends writes there, and who receives looks only at what was sent: nothing now. */
bool switch_ring_give_back(struct switch_ring *ring)
{
    if (ring->touched && load(&ring->out->taken) == ring->out_sent)
        ring->touched = madvise(ring->out_records, SWITCH_RING_BYTES, MADV_REMOVE) < 0;
    return !ring->touched;
}

/* --- receiving --------------------------------------------------------------------------------*/

/* What there is to be taken. False: it cannot be. */
static bool look_sent(struct switch_ring *ring)
{
    uint32_t sent = load(&ring->in->sent);
    if (sent - ring->in_taken > SWITCH_RING_BYTES || sent % SWITCH_RING_ALIGN)
        return false;
    ring->in_sent = sent;
    return true;
}

static int wait_record(struct switch_ring *ring, bool ask)
{
    if (ring->in_sent != ring->in_taken)
        return 1;
    if (!look_sent(ring))
        return -EBADMSG;
    if (ring->in_sent != ring->in_taken || !ask)
        return ring->in_sent != ring->in_taken;
    wish(&ring->in->receiver_waits);
    if (!look_sent(ring))
        return -EBADMSG;
    if (ring->in_sent == ring->in_taken)
        return 0;
    __atomic_store_n(&ring->in->receiver_waits, 0, __ATOMIC_RELAXED);
    return 1;
}

/* One load of each word: the copy is what is checked and used. */
static struct switch_ring_record fetch_record(const struct switch_ring *ring)
{
    union {
        struct switch_ring_record record;
        uint32_t words[sizeof(struct switch_ring_record) / sizeof(uint32_t)];
    } copy;
    const volatile uint32_t *from = (const void *)(ring->in_records + (ring->in_taken & MASK));
    for (size_t i = 0; i < PV_ARRAY_SIZE(copy.words); i++)
        copy.words[i] = from[i];
    return copy.record;
}

/* Adds the bytes at `at` of the ring to the frame: one piece, or two around its end. */
static void add_pieces(const struct switch_ring *ring, uint32_t at, uint32_t len,
                       struct switch_ring_frame *f)
{
    uint32_t first = PV_MIN(len, SWITCH_RING_BYTES - (at & MASK));
    unsigned n = 1;
    if (first)
        f->iov[n++] = (struct iovec){ring->in_records + (at & MASK), first};
    if (len > first)
        f->iov[n++] = (struct iovec){ring->in_records, len - first};
    f->frame.num_iov = n;
}

static void copy_out(const struct switch_ring *ring, uint32_t at, uint8_t *to, uint32_t len)
{
    uint32_t first = PV_MIN(len, SWITCH_RING_BYTES - (at & MASK));
    memcpy(to, ring->in_records + (at & MASK), first);
    memcpy(to + first, ring->in_records, len - first);
    __asm__ volatile("" ::: "memory"); /* it is the copy that is looked at from here on */
}

int switch_ring_peek(struct switch_ring *ring, bool ask, struct switch_ring_frame *f)
{
    int rc = wait_record(ring, ask);
    if (rc <= 0)
        return rc;
    struct switch_ring_record record = fetch_record(ring);
    if (record.bytes == 0 || record.bytes > NET_FRAME_MAX ||
        record_bytes(record.bytes) > ring->in_sent - ring->in_taken)
        return -EBADMSG;
    ring->peeked = record_bytes(record.bytes);
    uint32_t at = ring->in_taken + (uint32_t)sizeof(record);
    uint32_t head = PV_MIN(record.bytes, NET_PACKET_HEAD_MAX);
    copy_out(ring, at, f->head, head);
    f->iov[0] = (struct iovec){f->head, head};
    add_pieces(ring, at + head, record.bytes - head, f);
    f->frame.hdr = record.hdr;
    f->frame.iov = f->iov;
    f->frame.bytes = record.bytes;
    return 1;
}

bool switch_ring_release(struct switch_ring *ring)
{
    ring->in_taken += ring->peeked;
    ring->peeked = 0;
    __atomic_store_n(&ring->in->taken, ring->in_taken, __ATOMIC_RELEASE);
    /* Half a ring is worth a bell. */
    return ring->in_sent - ring->in_taken <= SWITCH_RING_BYTES / 2 &&
           take_wish(&ring->in->sender_waits);
}
