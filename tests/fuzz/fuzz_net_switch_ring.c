/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_net_switch_ring.c: memory that is shared with a hostile monitor. The input is what the two
 * do in turn: it writes words and records, we send and take frames.
 */
#include "net/switch_ring.h"

#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
    struct switch_ring *ring; /* ours */
    uint8_t *memory;          /* as the other sees it */
    const uint8_t *records;   /* where we see what the other sends */
    struct switch_ring_frame frame;
};

/* In the order in which they stand in the memory, of both directions. */
static uint32_t *word(struct play *p, unsigned which)
{
    struct switch_ring_way *way = (struct switch_ring_way *)p->memory + (which >> 2 & 1);
    uint32_t *words[] = {&way->sent, &way->sender_waits, &way->taken, &way->receiver_waits};
    return words[which & 3];
}

/* The other sends two honest frames, the second of which shows where it sends them. */
static void learn(struct play *p, struct switch_ring *other)
{
    static uint8_t bytes[1000];
    struct iovec iov = {bytes, sizeof(bytes)};
    struct net_frame frame = {.iov = &iov, .num_iov = 1, .bytes = sizeof(bytes)};
    if (switch_ring_send(other, &frame) != 1 || switch_ring_peek(p->ring, true, &p->frame) != 1)
        abort();
    p->records = (uint8_t *)p->frame.iov[1].iov_base - NET_PACKET_HEAD_MAX -
                 sizeof(struct switch_ring_record);
    switch_ring_release(p->ring);
}

/* All of it lies in the ring. */
static void check(const struct play *p)
{
    size_t sum = p->frame.frame.iov[0].iov_len;
    volatile uint8_t seen;
    assert(p->frame.frame.num_iov <= 3 && p->frame.frame.bytes <= NET_FRAME_MAX);
    assert(sum == PV_MIN(p->frame.frame.bytes, (size_t)NET_PACKET_HEAD_MAX));
    for (unsigned i = 1; i < p->frame.frame.num_iov; i++) {
        const struct iovec *v = &p->frame.frame.iov[i];
        size_t at = (size_t)((const uint8_t *)v->iov_base - p->records);
        assert(at <= SWITCH_RING_BYTES && v->iov_len <= SWITCH_RING_BYTES - at);
        for (size_t k = 0; k < v->iov_len; k += 1000)
            seen = ((const uint8_t *)v->iov_base)[k];
        sum += v->iov_len;
    }
    (void)seen;
    assert(sum == p->frame.frame.bytes);
}

/* One step of five bytes: what, and a number. False: a lie was found, the ring is given up. */
static bool step(struct play *p, uint8_t what, uint32_t number)
{
    static uint8_t bytes[NET_FRAME_MAX];
    struct switch_ring_record record = {.bytes = number};
    struct iovec iov[2] = {{bytes, number % (NET_FRAME_MAX / 2) + 1}, {bytes, number >> 17}};
    struct net_frame frame = {.iov = iov, .num_iov = 2, .bytes = iov[0].iov_len + iov[1].iov_len};
    int rc;
    switch (what & 3) {
    case 0:
        *word(p, what >> 2) = number;
        return true;
    case 1: /* a record at one of the first places */
        memcpy(p->memory + SWITCH_RING_WORDS + SWITCH_RING_ALIGN * (what >> 2), &record,
               sizeof(record));
        return true;
    case 2:
        rc = switch_ring_send(p->ring, &frame);
        assert(rc == 0 || rc == 1 || rc == -EAGAIN || rc == -EBADMSG);
        switch_ring_has_room(p->ring);
        return rc != -EBADMSG;
    default:
        rc = switch_ring_peek(p->ring, what & 4, &p->frame);
        if (rc == 1) {
            check(p);
            if (what & 8)
                switch_ring_release(p->ring);
        }
        if (what & 16)
            switch_ring_give_back(p->ring);
        assert(rc == 0 || rc == 1 || rc == -EBADMSG);
        return rc >= 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play p = {0};
    struct switch_ring *other;
    int fd;
    if (switch_ring_make(&other, &fd) < 0)
        return 0;
    p.memory = mmap(NULL, SWITCH_RING_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p.memory == MAP_FAILED || switch_ring_open(fd, &p.ring) < 0)
        abort();
    learn(&p, other);
    for (bool goes_on = true; goes_on && size >= 5; data += 5, size -= 5) {
        uint32_t number;
        memcpy(&number, data + 1, sizeof(number));
        goes_on = step(&p, data[0], number);
    }
    munmap(p.memory, SWITCH_RING_FILE_BYTES);
    switch_ring_free(p.ring);
    switch_ring_free(other);
    close(fd);
    return 0;
}
