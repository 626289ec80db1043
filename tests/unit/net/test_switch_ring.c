/* SPDX-License-Identifier: Apache-2.0
 *
 * test_switch_ring.c: memory that two monitors share: two honest ends, then one that lies.
 */
#include "net/switch_ring.h"

#include "support/unit.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct fixture {
    struct switch_ring *maker, *other;
    int fd;
    /* The memory as a liar sees it. What the maker sends is ways[0]. */
    struct switch_ring_way *ways;
    uint8_t *records;
    struct switch_ring_frame f;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_int_equal(switch_ring_make(&f->maker, &f->fd), 0);
    assert_int_equal(switch_ring_open(f->fd, &f->other), 0);
    void *memory = mmap(NULL, SWITCH_RING_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    assert_true(memory != MAP_FAILED);
    f->ways = memory;
    f->records = (uint8_t *)memory + SWITCH_RING_WORDS;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    switch_ring_free(f->maker);
    switch_ring_free(f->other);
    munmap(f->ways, SWITCH_RING_FILE_BYTES);
    close(f->fd);
    free(f);
    return 0;
}

static int send_bytes(struct switch_ring *ring, const void *bytes, size_t len)
{
    struct iovec iov = {(void *)bytes, len};
    struct net_frame frame = {
        .hdr = {.hdr_len = (uint16_t)len}, .iov = &iov, .num_iov = 1, .bytes = len};
    return switch_ring_send(ring, &frame);
}

static size_t gather(const struct net_frame *frame, uint8_t *to)
{
    size_t n = 0;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(to + n, frame->iov[i].iov_base, frame->iov[i].iov_len);
        n += frame->iov[i].iov_len;
    }
    return n;
}

static void fill(uint8_t *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + seed);
}

/* Sends and takes one frame. */
static void pass(struct fixture *f, struct switch_ring *from, struct switch_ring *to, size_t len,
                 unsigned seed)
{
    static uint8_t there[NET_FRAME_MAX], here[NET_FRAME_MAX];
    fill(there, len, seed);
    assert_true(send_bytes(from, there, len) >= 0);
    assert_int_equal(switch_ring_peek(to, true, &f->f), 1);
    assert_int_equal(f->f.frame.bytes, len);
    assert_int_equal(f->f.frame.hdr.hdr_len, (uint16_t)len);
    assert_int_equal(f->f.iov[0].iov_len, PV_MIN(len, (size_t)NET_PACKET_HEAD_MAX));
    assert_ptr_equal(f->f.iov[0].iov_base, f->f.head);
    assert_int_equal(gather(&f->f.frame, here), len);
    assert_memory_equal(here, there, len);
    switch_ring_release(to);
}

/* Around the end of the ring many times, in both directions. */
static void test_frames_of_all_sizes(void **state)
{
    static const size_t sizes[] = {1,    47,   48,    49,    319,   320,           321, 368,
                                   1514, 4096, 65000, 65534, 65535, NET_FRAME_MAX, 60};
    struct fixture *f = *state;
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < PV_ARRAY_SIZE(sizes); i++) {
            pass(f, f->maker, f->other, sizes[i], round + i);
            pass(f, f->other, f->maker, sizes[i], round * i);
        }
    assert_int_equal(switch_ring_peek(f->maker, true, &f->f), 0);
    assert_int_equal(switch_ring_peek(f->other, true, &f->f), 0);
}

static void test_pieces(void **state)
{
    static uint8_t bytes[5000], here[5000];
    struct fixture *f = *state;
    struct iovec iov[50];
    fill(bytes, sizeof(bytes), 3);
    for (unsigned i = 0; i < 50; i++)
        iov[i] = (struct iovec){bytes + i * 100, 100};
    struct net_frame frame = {.iov = iov, .num_iov = 50, .bytes = sizeof(bytes)};
    assert_int_equal(switch_ring_send(f->maker, &frame), 1);
    assert_int_equal(switch_ring_peek(f->other, true, &f->f), 1);
    assert_int_equal(gather(&f->f.frame, here), sizeof(here));
    assert_memory_equal(here, bytes, sizeof(here));
}

/* Who is awake is not woken; a peek that does not ask leaves it at that. */
static void test_bells(void **state)
{
    uint8_t frame[100] = {0};
    struct fixture *f = *state;
    assert_int_equal(send_bytes(f->maker, frame, 100), 1);
    assert_int_equal(send_bytes(f->maker, frame, 100), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(switch_ring_peek(f->other, true, &f->f), 1);
        assert_false(switch_ring_release(f->other));
    }
    assert_int_equal(switch_ring_peek(f->other, false, &f->f), 0);
    assert_int_equal(send_bytes(f->maker, frame, 100), 0);
    assert_int_equal(switch_ring_peek(f->other, true, &f->f), 1);
    switch_ring_release(f->other);
    assert_int_equal(switch_ring_peek(f->other, true, &f->f), 0);
    assert_int_equal(send_bytes(f->maker, frame, 100), 1);
}

static void test_full(void **state)
{
    static uint8_t frame[60000];
    struct fixture *f = *state;
    unsigned sent = 0;
    int rc;
    assert_true(switch_ring_has_room(f->maker));
    while ((rc = send_bytes(f->maker, frame, sizeof(frame))) >= 0)
        sent++;
    assert_int_equal(rc, -EAGAIN);
    assert_true(sent > SWITCH_RING_BYTES / 70000);
    assert_false(switch_ring_has_room(f->maker));
    assert_int_equal(send_bytes(f->maker, frame, sizeof(frame)), -EAGAIN);
    unsigned bells = 0, taken = 0;
    while (switch_ring_peek(f->other, false, &f->f) == 1) {
        bells += switch_ring_release(f->other);
        taken++;
        if (bells && taken == sent / 2 + 1) /* there is room from then on */
            assert_true(switch_ring_has_room(f->maker));
    }
    assert_int_equal(taken, sent);
    assert_int_equal(bells, 1);
    assert_true(send_bytes(f->maker, frame, sizeof(frame)) >= 0);
}

/* The bell of one that did not see yet how much there is: another one follows. */
static void test_a_bell_too_early(void **state)
{
    static uint8_t frame[60000];
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        send_bytes(f->maker, frame, sizeof(frame));
    assert_int_equal(switch_ring_peek(f->other, false, &f->f), 1);
    while (send_bytes(f->maker, frame, sizeof(frame)) >= 0)
        ;
    assert_true(switch_ring_release(f->other)); /* two are left, as it knows */
    assert_false(switch_ring_has_room(f->maker));
    unsigned bells = 0;
    while (!bells && switch_ring_peek(f->other, false, &f->f) == 1)
        bells += switch_ring_release(f->other);
    assert_int_equal(bells, 1);
    while (!switch_ring_has_room(f->maker)) {
        assert_int_equal(switch_ring_peek(f->other, false, &f->f), 1);
        bells += switch_ring_release(f->other);
    }
    assert_true(bells >= 2);
}

static void test_pages_go_back(void **state)
{
    static uint8_t frame[60000];
    struct stat st;
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        send_bytes(f->maker, frame, sizeof(frame));
    assert_int_equal(fstat(f->fd, &st), 0);
    assert_true(st.st_blocks * 512 >= 300000);
    assert_false(switch_ring_give_back(f->maker)); /* they were not taken */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(switch_ring_peek(f->other, false, &f->f), 1);
        switch_ring_release(f->other);
    }
    assert_true(switch_ring_give_back(f->maker));
    assert_true(switch_ring_give_back(f->other)); /* it sent nothing */
    assert_int_equal(fstat(f->fd, &st), 0);
    assert_true(st.st_blocks * 512 <= 2 * 4096);
    pass(f, f->maker, f->other, 50000, 1);
}

/* --- liars ------------------------------------------------------------------------------------*/

/* What comes along is not always a ring that stays. */
static void test_what_is_no_ring(void **state)
{
    static const struct {
        unsigned flags;
        off_t size;
        int seals;
    } bad[] = {
        {MFD_ALLOW_SEALING, SWITCH_RING_FILE_BYTES, 0},
        {MFD_ALLOW_SEALING, SWITCH_RING_FILE_BYTES, F_SEAL_GROW | F_SEAL_SEAL},
        {MFD_ALLOW_SEALING, SWITCH_RING_FILE_BYTES, F_SEAL_SHRINK | F_SEAL_SEAL},
        {MFD_ALLOW_SEALING, SWITCH_RING_FILE_BYTES, F_SEAL_SHRINK | F_SEAL_GROW},
        {MFD_ALLOW_SEALING, SWITCH_RING_FILE_BYTES, SEALS | F_SEAL_WRITE},
        {MFD_ALLOW_SEALING, SWITCH_RING_FILE_BYTES - 4096, SEALS},
        {MFD_ALLOW_SEALING, SWITCH_RING_FILE_BYTES + 4096, SEALS},
        {MFD_ALLOW_SEALING, 0, SEALS},
        {0, SWITCH_RING_FILE_BYTES, 0},
    };
    struct switch_ring *ring = NULL;
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        pv_auto_fd int fd = memfd_create("bad", bad[i].flags | MFD_CLOEXEC);
        assert_int_equal(ftruncate(fd, bad[i].size), 0);
        if (bad[i].seals)
            assert_int_equal(fcntl(fd, F_ADD_SEALS, bad[i].seals), 0);
        assert_true(switch_ring_open(fd, &ring) < 0);
        assert_null(ring);
    }
    pv_auto_fd int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(switch_ring_open(null_fd, &ring), -EINVAL);
    assert_int_equal(switch_ring_open(-1, &ring), -EINVAL);
    /* Huge pages may be missing when one is touched. */
    pv_auto_fd int huge = memfd_create("huge", MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_HUGETLB);
    if (huge >= 0 && ftruncate(huge, 2 << 20) == 0 && fcntl(huge, F_ADD_SEALS, SEALS) == 0)
        assert_int_equal(switch_ring_open(huge, &ring), -EINVAL);
    /* Ours is sealed: nobody can take it away. */
    struct fixture *f = *state;
    assert_int_equal(ftruncate(f->fd, 0), -1);
    assert_int_equal(fcntl(f->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
}

/* Of whoever receives: what it says it has taken. */
static void test_taken_is_a_lie(void **state)
{
    static const uint32_t lies[] = {1, 63, 64, 128, 0x80000000u, 12345};
    static uint8_t frame[60000];
    struct fixture *f = *state;
    while (send_bytes(f->maker, frame, sizeof(frame)) >= 0)
        ;
    uint32_t sent = f->ways[0].sent;
    for (size_t i = 0; i < PV_ARRAY_SIZE(lies); i++) {
        f->ways[0].taken = sent + lies[i];
        assert_int_equal(send_bytes(f->maker, frame, sizeof(frame)), -EBADMSG);
        assert_false(switch_ring_has_room(f->maker));
    }
    f->ways[0].taken = sent - SWITCH_RING_BYTES - SWITCH_RING_ALIGN;
    assert_int_equal(send_bytes(f->maker, frame, sizeof(frame)), -EBADMSG);
    f->ways[0].taken = sent; /* "all", which it may say */
    assert_true(send_bytes(f->maker, frame, sizeof(frame)) >= 0);
    f->ways[0].sent = 77; /* ours is not what stands there */
    assert_true(send_bytes(f->maker, frame, sizeof(frame)) >= 0);
    assert_int_equal(f->ways[0].sent, sent + 2 * 60032);
}

/* Of whoever sends: where the records end. */
static void test_sent_is_a_lie(void **state)
{
    static const uint32_t lies[] = {1, 32, 63, SWITCH_RING_BYTES + 64, 0x80000000u, (uint32_t)-64};
    struct fixture *f = *state;
    for (size_t i = 0; i < PV_ARRAY_SIZE(lies); i++) {
        struct switch_ring *ring;
        assert_int_equal(switch_ring_open(f->fd, &ring), 0);
        f->ways[0].sent = lies[i];
        assert_int_equal(switch_ring_peek(ring, true, &f->f), -EBADMSG);
        assert_int_equal(switch_ring_peek(ring, false, &f->f), -EBADMSG);
        switch_ring_free(ring);
    }
}

static int peek_record(struct fixture *f, uint32_t bytes, uint32_t sent)
{
    struct switch_ring *ring;
    struct switch_ring_record record = {.bytes = bytes};
    assert_int_equal(switch_ring_open(f->fd, &ring), 0);
    memcpy(f->records, &record, sizeof(record));
    f->ways[0].sent = sent;
    int rc = switch_ring_peek(ring, true, &f->f);
    if (rc == 1)
        switch_ring_release(ring);
    switch_ring_free(ring);
    return rc;
}

static void test_lengths_are_lies(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(peek_record(f, 48, 64), 1);
    assert_int_equal(peek_record(f, 49, 64), -EBADMSG);
    assert_int_equal(peek_record(f, 49, 128), 1);
    assert_int_equal(peek_record(f, 0, 128), -EBADMSG);
    assert_int_equal(peek_record(f, NET_FRAME_MAX, SWITCH_RING_BYTES), 1);
    assert_int_equal(peek_record(f, NET_FRAME_MAX + 1, SWITCH_RING_BYTES), -EBADMSG);
    assert_int_equal(peek_record(f, UINT32_MAX, SWITCH_RING_BYTES), -EBADMSG);
    assert_int_equal(peek_record(f, UINT32_MAX - 15, SWITCH_RING_BYTES), -EBADMSG);
    assert_int_equal(peek_record(f, 0x80000000u, SWITCH_RING_BYTES), -EBADMSG);
}

/* What is looked at does not change afterwards. */
static void test_the_head_is_a_copy(void **state)
{
    uint8_t frame[1000], here[1000];
    struct fixture *f = *state;
    fill(frame, sizeof(frame), 1);
    send_bytes(f->maker, frame, sizeof(frame));
    assert_int_equal(switch_ring_peek(f->other, true, &f->f), 1);
    memset(f->records, 0xee, 2000);
    assert_int_equal(gather(&f->f.frame, here), 1000);
    assert_memory_equal(here, frame, NET_PACKET_HEAD_MAX);
    assert_int_equal(here[NET_PACKET_HEAD_MAX], 0xee);
    /* Nor does what is released. */
    switch_ring_release(f->other);
    assert_int_equal(f->ways[0].taken, 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_frames_of_all_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bells, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bell_too_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages_go_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_ring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_taken_is_a_lie, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sent_is_a_lie, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lengths_are_lies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_head_is_a_copy, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
