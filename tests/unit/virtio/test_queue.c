/* SPDX-License-Identifier: Apache-2.0
 *
 * test_queue.c: the split queue takes what the spec allows and refuses every lie.
 */
#include "support/fake_driver.h"
#include "support/unit.h"
#include "virtio/queue.h"

#include <errno.h>

#define SIZE 8u
#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT
#define BOTH_FEATURES (1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define LOW_END (FAKE_LOW_START + FAKE_REGION_BYTES)

struct fixture {
    struct fake_driver *driver; /* for its memory only */
    struct virtio_queue *q;
    struct fake_ring ring;
};

static void enable(struct fixture *f, uint16_t size, uint64_t features)
{
    gpa_t at = fake_driver_alloc(f->driver, 64 + 30u * size);
    fake_ring_init(&f->ring, &f->driver->map, size, at.addr);
    virtio_queue_reset(f->q);
    assert_int_equal(virtio_queue_set_features(f->q, features), 0);
    assert_int_equal(virtio_queue_set_size(f->q, size), 0);
    assert_int_equal(virtio_queue_set_rings(f->q, f->ring.desc, f->ring.avail, f->ring.used), 0);
    assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->driver = fake_driver_new(FAKE_DIRECT);
    f->q = virtio_queue_new(256);
    enable(f, SIZE, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    virtio_queue_free(f->q);
    fake_driver_free(f->driver);
    free(f);
    return 0;
}

static int pop(struct fixture *f)
{
    struct virtio_chain chain;
    return virtio_queue_pop(f->q, &chain);
}

/* The queue refuses the chain, and everything after it. */
static void assert_broken(struct fixture *f, int rc)
{
    assert_int_equal(pop(f), rc);
    struct fake_desc good = {fake_driver_alloc(f->driver, 4), 4, 0, 0};
    fake_ring_add(&f->ring, &good, 1);
    assert_int_equal(pop(f), rc);
}

/* -- set-up -- */

static void test_sizes(void **state)
{
    struct fixture *f = *state;
    virtio_queue_disable(f->q);
    const uint32_t good[] = {1, 2, 128, 256}, bad[] = {0, 3, 255, 257, 512, 65536, UINT32_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(good); i++)
        assert_int_equal(virtio_queue_set_size(f->q, good[i]), 0);
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(virtio_queue_set_size(f->q, bad[i]), -EINVAL);

    struct virtio_queue *largest = virtio_queue_new(VIRTIO_QUEUE_SIZE_MAX);
    assert_int_equal(virtio_queue_set_size(largest, VIRTIO_QUEUE_SIZE_MAX), 0);
    assert_int_equal(virtio_queue_set_size(largest, VIRTIO_QUEUE_SIZE_MAX + 1), -EINVAL);
    virtio_queue_free(largest);
}

static void test_nothing_changes_while_enabled(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(virtio_queue_set_size(f->q, 4), -EBUSY);
    assert_int_equal(virtio_queue_set_base(f->q, 1), -EBUSY);
    assert_int_equal(virtio_queue_set_features(f->q, 0), -EBUSY);
    assert_int_equal(virtio_queue_set_rings(f->q, f->ring.desc, f->ring.avail, f->ring.used),
                     -EBUSY);
}

static void test_enabling_needs_size_and_rings(void **state)
{
    struct fixture *f = *state;
    virtio_queue_reset(f->q);
    assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), -EINVAL);
    assert_int_equal(virtio_queue_set_size(f->q, SIZE), 0);
    assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), -EINVAL);
    assert_int_equal(pop(f), 0);
    assert_int_equal(virtio_queue_set_rings(f->q, f->ring.desc, f->ring.avail, f->ring.used), 0);
    assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), 0);
}

static void test_ring_addresses_are_checked(void **state)
{
    struct fixture *f = *state;
    virtio_queue_disable(f->q);
    const struct {
        uint64_t desc, avail, used;
        int set, enable;
    } cases[] = {
        {FAKE_LOW_START + 8, FAKE_LOW_START, FAKE_LOW_START, -EINVAL, 0},
        {FAKE_LOW_START, FAKE_LOW_START + 1, FAKE_LOW_START, -EINVAL, 0},
        {FAKE_LOW_START, FAKE_LOW_START, FAKE_LOW_START + 2, -EINVAL, 0},
        {0, FAKE_LOW_START, FAKE_LOW_START, 0, -EFAULT},
        {FAKE_LOW_START, 0, FAKE_LOW_START, 0, -EFAULT},
        {FAKE_LOW_START, FAKE_LOW_START, 0, 0, -EFAULT},
        {LOW_END - 16 * SIZE + 16, FAKE_LOW_START, FAKE_LOW_START, 0, -EFAULT},
        {FAKE_LOW_START, LOW_END - 2 * SIZE - 4, FAKE_LOW_START, 0, -EFAULT},
        {FAKE_LOW_START, FAKE_LOW_START, LOW_END - 8 * SIZE - 4, 0, -EFAULT},
        {UINT64_MAX - 15, FAKE_LOW_START, FAKE_LOW_START, 0, -EFAULT},
        {FAKE_LOW_START, UINT64_MAX - 1, FAKE_LOW_START, 0, -EFAULT},
        {FAKE_LOW_START, FAKE_LOW_START, UINT64_MAX - 3, 0, -EFAULT},
        {LOW_END - 16 * SIZE, LOW_END - 2 * SIZE - 6, LOW_END - 8 * SIZE - 8, 0, 0},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        int rc = virtio_queue_set_rings(f->q, (gpa_t){cases[i].desc}, (gpa_t){cases[i].avail},
                                        (gpa_t){cases[i].used});
        assert_int_equal(rc, cases[i].set);
        if (rc == 0)
            assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), cases[i].enable);
    }
}

/* A region may put a 16-aligned guest address at an odd one of ours. */
static void test_rings_that_are_odd_in_our_memory_are_refused(void **state)
{
    struct fixture *f = *state;
    struct memory_map odd;
    memory_map_init(&odd, f->driver->memory);
    assert_int_equal(memory_map_add(&odd, (gpa_t){0}, 65536, 1), 0);
    virtio_queue_disable(f->q);
    assert_int_equal(virtio_queue_set_rings(f->q, (gpa_t){0}, (gpa_t){1024}, (gpa_t){2048}), 0);
    assert_int_equal(virtio_queue_enable(f->q, &odd), -EFAULT);

    const struct {
        uint64_t offset;
        int rc;
    } cases[] = {{2, -EFAULT}, {4, -EFAULT}, {8, -EFAULT}, {16, 0}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        memory_map_init(&odd, f->driver->memory);
        assert_int_equal(memory_map_add(&odd, (gpa_t){0}, 65536, cases[i].offset), 0);
        assert_int_equal(virtio_queue_enable(f->q, &odd), cases[i].rc);
    }
}

/* -- chains -- */

static void test_a_chain_is_cut_into_readable_and_writable(void **state)
{
    struct fixture *f = *state;
    gpa_t a = fake_driver_bytes(f->driver, "hello ", 6),
          b = fake_driver_bytes(f->driver, "ring", 4);
    gpa_t c = fake_driver_alloc(f->driver, 3), e = fake_driver_alloc(f->driver, 5);
    const struct fake_desc descs[] = {
        {a, 6, 0, 0}, {b, 4, 0, 0}, {a, 0, 0, 0}, {c, 3, W, 0}, {e, 5, W, 0}};
    uint16_t head = fake_ring_add(&f->ring, descs, 5);

    struct virtio_chain chain;
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    assert_int_equal(chain.head, head);
    assert_int_equal(chain.num_readable, 2); /* the empty one is left out */
    assert_int_equal(chain.num_writable, 2);
    assert_int_equal(chain.readable_bytes, 10);
    assert_int_equal(chain.writable_bytes, 8);

    char text[16] = "";
    assert_int_equal(virtio_chain_read(&chain, 3, text, sizeof(text)), 7);
    assert_memory_equal(text, "lo ring", 7);
    assert_int_equal(virtio_chain_read(&chain, 10, text, 1), 0);
    assert_int_equal(virtio_chain_read(&chain, UINT64_MAX, text, 1), 0);
    assert_int_equal(virtio_chain_write(&chain, 1, "1234567890", 10), 7);
    assert_memory_equal(fake_driver_at(f->driver, c, 3),
                        "\0"
                        "12",
                        3);
    assert_memory_equal(fake_driver_at(f->driver, e, 5), "34567", 5);

    struct fake_used used;
    assert_false(fake_ring_get_used(&f->ring, &used));
    virtio_queue_push(f->q, chain.head, 7);
    assert_true(fake_ring_get_used(&f->ring, &used));
    assert_int_equal(used.id, head);
    assert_int_equal(used.len, 7);
    assert_int_equal(pop(f), 0);
}

static void test_a_chain_may_be_as_long_as_the_queue(void **state)
{
    struct fixture *f = *state;
    struct fake_desc descs[SIZE];
    for (unsigned i = 0; i < SIZE; i++)
        descs[i] = (struct fake_desc){fake_driver_alloc(f->driver, 1), 1, 0, 0};
    fake_ring_add(&f->ring, descs, SIZE);
    struct virtio_chain chain;
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    assert_int_equal(chain.num_readable, SIZE);
}

static void test_a_loop_is_refused(void **state)
{
    struct fixture *f = *state;
    gpa_t a = fake_driver_alloc(f->driver, 1);
    fake_ring_add(&f->ring, (struct fake_desc[]){{a, 1, 0, 0}, {a, 1, N, 0}}, 2);
    assert_broken(f, -ELOOP);
}

static void test_a_loop_of_empty_buffers_is_refused(void **state)
{
    struct fixture *f = *state;
    fake_ring_add(&f->ring, (struct fake_desc[]){{{0}, 0, N, 0}}, 1);
    assert_broken(f, -ELOOP);
}

static void test_a_next_beyond_the_queue_is_refused(void **state)
{
    struct fixture *f = *state;
    gpa_t a = fake_driver_alloc(f->driver, 1);
    fake_ring_add(&f->ring, (struct fake_desc[]){{a, 1, N, SIZE}}, 1);
    assert_broken(f, -EINVAL);
}

static void test_a_head_beyond_the_queue_is_refused(void **state)
{
    struct fixture *f = *state;
    const uint16_t bad[] = {SIZE, 256, VIRTIO_QUEUE_SIZE_MAX, UINT16_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        enable(f, SIZE, 0);
        fake_ring_publish(&f->ring, bad[i]);
        assert_broken(f, -EINVAL);
    }
    enable(f, SIZE, 0);
    fake_ring_publish(&f->ring, SIZE - 1);
    assert_int_equal(pop(f), 1);
}

static void test_readable_after_writable_is_refused(void **state)
{
    struct fixture *f = *state;
    gpa_t a = fake_driver_alloc(f->driver, 8);
    fake_ring_add(&f->ring, (struct fake_desc[]){{a, 4, W, 0}, {a, 4, 0, 0}}, 2);
    assert_broken(f, -EINVAL);
}

static void test_buffers_outside_of_memory_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct {
        uint64_t addr;
        uint32_t len;
        int rc;
    } cases[] = {
        {0, 1, -EFAULT},
        {FAKE_LOW_START - 1, 1, -EFAULT},
        {FAKE_LOW_START - 1, 2, -EFAULT},
        {LOW_END, 1, -EFAULT},
        {LOW_END - 1, 2, -EFAULT},
        {FAKE_LOW_START, FAKE_REGION_BYTES + 1, -EFAULT},
        {FAKE_LOW_START, UINT32_MAX, -EFAULT},
        {UINT64_MAX, 1, -EFAULT},
        {UINT64_MAX, UINT32_MAX, -EFAULT},
        {UINT64_MAX - 7, 16, -EFAULT},
        {LOW_END - 1, 1, 1},
        {FAKE_LOW_START, FAKE_REGION_BYTES, 1},
        {FAKE_HIGH_START, FAKE_REGION_BYTES, 1},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        enable(f, SIZE, 0);
        struct fake_desc d = {{cases[i].addr}, cases[i].len, i % 2 ? W : 0, 0};
        fake_ring_add(&f->ring, &d, 1);
        assert_int_equal(pop(f), cases[i].rc);
    }
}

/* -- indirect tables -- */

static gpa_t table(struct fixture *f, const struct vring_desc *descs, unsigned n)
{
    return fake_driver_bytes(f->driver, descs, n * sizeof(*descs));
}

static void test_an_indirect_table_is_followed(void **state)
{
    struct fixture *f = *state;
    uint64_t a = fake_driver_alloc(f->driver, 64).addr;
    /* At an address that is not even aligned: the spec does not ask for it. */
    const struct vring_desc descs[] = {{a, 4, N, 2}, {a + 32, 2, W, 0}, {a + 8, 4, N, 1}};
    gpa_t t = {fake_driver_alloc(f->driver, 64).addr + 1};
    memcpy(fake_driver_at(f->driver, t, sizeof(descs)), descs, sizeof(descs));
    const struct fake_desc chain_descs[] = {{{a + 48}, 1, 0, 0}, {t, sizeof(descs), I, 0}};
    fake_ring_add(&f->ring, chain_descs, 2);

    struct virtio_chain chain;
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    assert_int_equal(chain.num_readable, 3);
    assert_int_equal(chain.num_writable, 1);
    assert_int_equal(chain.readable_bytes, 9);
    assert_int_equal(chain.writable_bytes, 2);
    assert_ptr_equal(chain.writable[0].iov_base, fake_driver_at(f->driver, (gpa_t){a + 32}, 2));
}

static void test_bad_indirect_tables_are_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t a = fake_driver_alloc(f->driver, 64).addr;
    gpa_t good = table(f, (struct vring_desc[]){{a, 4, 0, 0}, {a, 4, 0, 0}}, 2);
    gpa_t nested = table(f, (struct vring_desc[]){{good.addr, 16, I, 0}}, 1);
    gpa_t loop = table(f, (struct vring_desc[]){{a, 1, N, 1}, {a, 1, N, 0}}, 2);
    gpa_t far = table(f, (struct vring_desc[]){{a, 1, N, 2}, {a, 1, 0, 0}}, 2);
    gpa_t outside = table(f, (struct vring_desc[]){{0, 1, 0, 0}}, 1);
    gpa_t back = table(f, (struct vring_desc[]){{a, 1, N | W, 1}, {a, 1, 0, 0}}, 2);
    const struct {
        struct fake_desc desc;
        int rc;
    } cases[] = {
        {{nested, 16, I, 0}, -EINVAL},
        {{loop, 32, I, 0}, -ELOOP},
        {{far, 32, I, 0}, -EINVAL},
        {{outside, 16, I, 0}, -EFAULT},
        {{back, 32, I, 0}, -EINVAL},
        {{good, 0, I, 0}, -EINVAL},
        {{good, 1, I, 0}, -EINVAL},
        {{good, 15, I, 0}, -EINVAL},
        {{good, 17, I, 0}, -EINVAL},
        {{good, 257 * 16, I, 0}, -EINVAL},
        {{good, UINT32_MAX, I, 0}, -EINVAL},
        {{good, 16, I | N, 1}, -EINVAL},
        {{{0}, 16, I, 0}, -EFAULT},
        {{{LOW_END - 8}, 16, I, 0}, -EFAULT},
        {{{UINT64_MAX - 15}, 32, I, 0}, -EFAULT},
        {{good, 16, I, 0}, 1},
        {{good, 32, I | W, 0}, 1}, /* W means nothing here */
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        enable(f, SIZE, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
        fake_ring_add(&f->ring, &cases[i].desc, 1);
        assert_int_equal(pop(f), cases[i].rc);
    }
    enable(f, SIZE, 0);
    fake_ring_add(&f->ring, (struct fake_desc[]){{good, 16, I, 0}}, 1);
    assert_broken(f, -EINVAL); /* not negotiated */
}

static void test_direct_and_indirect_together_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct vring_desc descs[256];
    uint64_t a = fake_driver_alloc(f->driver, 4).addr;
    for (unsigned i = 0; i < 256; i++)
        descs[i] = (struct vring_desc){a, 1, i < 255 ? N : 0, (uint16_t)(i + 1)};
    gpa_t t = table(f, descs, 256);
    fake_ring_add(&f->ring, (struct fake_desc[]){{t, sizeof(descs), I, 0}}, 1);
    struct virtio_chain chain;
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    assert_int_equal(chain.num_readable, 256);
    virtio_queue_push(f->q, chain.head, 0);

    fake_ring_add(&f->ring, (struct fake_desc[]){{{a}, 1, 0, 0}, {t, sizeof(descs), I, 0}}, 2);
    assert_broken(f, -ELOOP);
}

/* -- indices -- */

static void test_an_available_index_may_run_ahead_by_the_size(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    for (unsigned i = 0; i < SIZE; i++)
        fake_ring_add(&f->ring, &d, 1);
    for (unsigned i = 0; i < SIZE; i++)
        assert_int_equal(pop(f), 1);
    assert_int_equal(pop(f), 0);
}

static void test_an_available_index_that_runs_away_is_refused(void **state)
{
    struct fixture *f = *state;
    const uint16_t bad[] = {SIZE + 1, 0x8000, UINT16_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        enable(f, SIZE, 0);
        fake_ring_avail(&f->ring)->idx = bad[i];
        assert_int_equal(pop(f), -EOVERFLOW);
        fake_ring_avail(&f->ring)->idx = 0;
        assert_int_equal(pop(f), -EOVERFLOW); /* it stays broken */
    }
}

static void test_a_chain_that_is_held_cannot_come_again(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    uint16_t head = fake_ring_add(&f->ring, &d, 1);
    assert_int_equal(pop(f), 1);
    fake_ring_publish(&f->ring, head);
    assert_broken(f, -EEXIST);

    enable(f, SIZE, 0);
    head = fake_ring_add(&f->ring, &d, 1);
    for (int i = 0; i < 3; i++) { /* given back each time, it may */
        assert_int_equal(pop(f), 1);
        virtio_queue_push(f->q, head, 0);
        fake_ring_publish(&f->ring, head);
    }
}

static void test_indices_wrap_at_65536(void **state)
{
    struct fixture *f = *state;
    virtio_queue_disable(f->q);
    assert_int_equal(virtio_queue_set_base(f->q, 65534), 0);
    fake_ring_avail(&f->ring)->idx = f->ring.next_avail = 65534;
    fake_ring_used(&f->ring)->idx = f->ring.next_used = 65534;
    assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), 0);
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    for (unsigned i = 0; i < 4; i++) {
        uint16_t head = fake_ring_add(&f->ring, &d, 1);
        struct virtio_chain chain;
        struct fake_used used;
        assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
        assert_int_equal(chain.head, head);
        virtio_queue_push(f->q, chain.head, i);
        assert_true(fake_ring_get_used(&f->ring, &used));
        assert_int_equal(used.len, i);
        assert_true(virtio_queue_should_signal(f->q));
    }
    assert_int_equal(virtio_queue_get_base(f->q), 2);
    assert_int_equal(fake_ring_used(&f->ring)->idx, 2);
}

static void test_unpop_gives_the_same_chain_again(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    fake_ring_add(&f->ring, &d, 1);
    uint16_t head = fake_ring_add(&f->ring, &d, 1);
    struct virtio_chain chain;
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    virtio_queue_unpop(f->q, &chain);
    assert_true(virtio_queue_has_available(f->q));
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    assert_int_equal(chain.head, head);
    assert_false(virtio_queue_has_available(f->q));
    assert_int_equal(pop(f), 0);
}

static void test_a_disabled_queue_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    struct virtio_chain chain;
    fake_ring_add(&f->ring, &d, 1);
    fake_ring_add(&f->ring, &d, 1);
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    virtio_queue_disable(f->q);
    virtio_queue_push(f->q, chain.head, 1);
    assert_int_equal(fake_ring_used(&f->ring)->idx, 0);
    assert_false(virtio_queue_should_signal(f->q));
    assert_int_equal(pop(f), 0);

    /* Enabled again it goes on with the next one, and ignores what it gave up. */
    assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), 0);
    virtio_queue_push(f->q, chain.head, 1);
    assert_int_equal(fake_ring_used(&f->ring)->idx, 0);
    assert_int_equal(virtio_queue_pop(f->q, &chain), 1);
    assert_int_equal(chain.head, 1);
}

/* Set up anew it looks at its new ring, not at what it knew of the old one. */
static void test_a_queue_starts_over(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    for (int i = 0; i < 3; i++) {
        fake_ring_add(&f->ring, &d, 1);
        assert_int_equal(pop(f), 1);
    }
    virtio_queue_disable(f->q);
    fake_ring_init(&f->ring, &f->driver->map, SIZE, f->ring.desc.addr);
    assert_int_equal(virtio_queue_set_base(f->q, 0), 0);
    assert_int_equal(virtio_queue_enable(f->q, &f->driver->map), 0);
    assert_int_equal(pop(f), 0);
    fake_ring_add(&f->ring, &d, 1);
    assert_int_equal(pop(f), 1);
}

/* -- notifications -- */

static void test_signals_follow_the_guests_flag(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    assert_false(virtio_queue_should_signal(f->q)); /* nothing was pushed */
    uint16_t head = fake_ring_add(&f->ring, &d, 1);
    assert_int_equal(pop(f), 1);
    virtio_queue_push(f->q, head, 0);
    assert_true(virtio_queue_should_signal(f->q));
    assert_false(virtio_queue_should_signal(f->q));

    fake_ring_avail(&f->ring)->flags = VRING_AVAIL_F_NO_INTERRUPT;
    head = fake_ring_add(&f->ring, &d, 1);
    assert_int_equal(pop(f), 1);
    virtio_queue_push(f->q, head, 0);
    assert_false(virtio_queue_should_signal(f->q));
}

static void test_the_event_index_says_when_to_signal(void **state)
{
    struct fixture *f = *state;
    enable(f, SIZE, BOTH_FEATURES);
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    fake_ring_avail(&f->ring)->flags = VRING_AVAIL_F_NO_INTERRUPT; /* ignored with event index */
    fake_ring_avail(&f->ring)->ring[SIZE] = 2; /* signal when the third one is used */
    for (unsigned i = 0; i < 4; i++) {
        uint16_t head = fake_ring_add(&f->ring, &d, 1);
        assert_int_equal(pop(f), 1);
        virtio_queue_push(f->q, head, 0);
        assert_int_equal(virtio_queue_should_signal(f->q), i == 2);
    }
}

static void test_the_event_index_asks_for_a_kick_only_when_empty(void **state)
{
    struct fixture *f = *state;
    enable(f, SIZE, BOTH_FEATURES);
    struct fake_desc d = {fake_driver_alloc(f->driver, 1), 1, 0, 0};
    const uint16_t *avail_event = (const uint16_t *)&fake_ring_used(&f->ring)->ring[SIZE];
    fake_ring_add(&f->ring, &d, 1);
    fake_ring_add(&f->ring, &d, 1);
    assert_int_equal(pop(f), 1);
    assert_int_equal(pop(f), 1);
    assert_int_equal(*avail_event, 0);
    assert_int_equal(pop(f), 0);
    assert_int_equal(*avail_event, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_sizes),
        T(test_nothing_changes_while_enabled),
        T(test_enabling_needs_size_and_rings),
        T(test_ring_addresses_are_checked),
        T(test_rings_that_are_odd_in_our_memory_are_refused),
        T(test_a_chain_is_cut_into_readable_and_writable),
        T(test_a_chain_may_be_as_long_as_the_queue),
        T(test_a_loop_is_refused),
        T(test_a_loop_of_empty_buffers_is_refused),
        T(test_a_next_beyond_the_queue_is_refused),
        T(test_a_head_beyond_the_queue_is_refused),
        T(test_readable_after_writable_is_refused),
        T(test_buffers_outside_of_memory_are_refused),
        T(test_an_indirect_table_is_followed),
        T(test_bad_indirect_tables_are_refused),
        T(test_direct_and_indirect_together_are_bounded),
        T(test_an_available_index_may_run_ahead_by_the_size),
        T(test_an_available_index_that_runs_away_is_refused),
        T(test_a_chain_that_is_held_cannot_come_again),
        T(test_indices_wrap_at_65536),
        T(test_unpop_gives_the_same_chain_again),
        T(test_a_disabled_queue_is_left_alone),
        T(test_a_queue_starts_over),
        T(test_signals_follow_the_guests_flag),
        T(test_the_event_index_says_when_to_signal),
        T(test_the_event_index_asks_for_a_kick_only_when_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
