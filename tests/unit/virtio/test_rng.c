/* SPDX-License-Identifier: Apache-2.0
 *
 * test_rng.c: the entropy device gives at least a byte, at most its share.
 */
#include "virtio/device/rng.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include "base/clock.h"

#define SIZE 16

struct fixture {
    struct fake_driver *d;
    struct virtio_device *dev;
};

static int set_up(void **state, enum fake_transport transport, uint64_t rate)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->d = fake_driver_new(transport);
    struct virtio_rng_options o = {.bytes_per_second = rate};
    assert_int_equal(virtio_rng_new(&o, f->d->loop, &f->dev, NULL), 0);
    fake_driver_start(f->d, f->dev, 0, SIZE);
    *state = f;
    return 0;
}

static int set_up_direct(void **state)
{
    return set_up(state, FAKE_DIRECT, 0);
}

static int set_up_vhost_user(void **state)
{
    return set_up(state, FAKE_VHOST_USER, 0);
}

static int set_up_slow(void **state)
{
    return set_up(state, FAKE_VHOST_USER, 100000);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    free(f);
    return 0;
}

static gpa_t ask(struct fixture *f, uint32_t len)
{
    struct fake_desc d = {fake_driver_alloc(f->d, len), len, VRING_DESC_F_WRITE, 0};
    fake_ring_add(&f->d->rings[0], &d, 1);
    return d.addr;
}

static void test_sizes_from_one_to_beyond_the_most(void **state)
{
    struct fixture *f = *state;
    const uint32_t sizes[] = {1,
                              8,
                              64,
                              VIRTIO_RNG_REQUEST_MAX - 1,
                              VIRTIO_RNG_REQUEST_MAX,
                              VIRTIO_RNG_REQUEST_MAX + 1,
                              1u << 20};
    for (size_t i = 0; i < PV_ARRAY_SIZE(sizes); i++) {
        gpa_t gpa = ask(f, sizes[i]);
        fake_driver_kick(f->d, 0);
        uint32_t len = fake_driver_wait_used(f->d, 0).len;
        assert_int_equal(len, PV_MIN(sizes[i], VIRTIO_RNG_REQUEST_MAX));
        const uint8_t *bytes = fake_driver_at(f->d, gpa, sizes[i]);
        for (uint32_t j = len; j < sizes[i]; j++)
            assert_int_equal(bytes[j], 0); /* nothing behind what was told */
        unsigned ones = 0;
        for (uint32_t j = 0; j < len; j++)
            ones += (unsigned)__builtin_popcount(bytes[j]);
        if (len >= 64)
            assert_true(ones > len * 3 && ones < len * 5);
    }
    assert_int_equal(fake_driver_counter(f->d, "throttled"), 0);
}

static void test_requests_without_room_are_given_back(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d[] = {{fake_driver_alloc(f->d, 8), 8, 0, 0}, {{0}, 0, VRING_DESC_F_WRITE, 0}};
    fake_ring_add(&f->d->rings[0], &d[0], 1);
    fake_ring_add(&f->d->rings[0], &d[1], 1);
    fake_driver_kick(f->d, 0);
    assert_int_equal(fake_driver_wait_used(f->d, 0).len, 0);
    assert_int_equal(fake_driver_wait_used(f->d, 0).len, 0);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 2);
}

/* 100 kB/s with 10 kB saved: 30 kB more take 0.2 s, and nobody is given nothing. */
static void test_the_rate_is_bounded(void **state)
{
    struct fixture *f = *state;
    uint64_t start = pv_time_monotonic_ns(), given = 0;
    for (int i = 0; i < 10; i++)
        ask(f, VIRTIO_RNG_REQUEST_MAX);
    fake_driver_kick(f->d, 0);
    for (int i = 0; i < 10; i++) {
        uint32_t len = fake_driver_wait_used(f->d, 0).len;
        assert_true(len > 0);
        given += len;
    }
    double seconds = (double)(pv_time_monotonic_ns() - start) / 1e9;
    assert_true(fake_driver_counter(f->d, "throttled") > 0);
    assert_true((double)given <= 10000 + 100000 * seconds + 4096);
    assert_int_equal(fake_driver_counter(f->d, "bytes"), given);
}

static void test_a_reset_forgets_who_waits(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 8; i++)
        ask(f, VIRTIO_RNG_REQUEST_MAX);
    fake_driver_kick(f->d, 0);
    assert_true(fake_driver_counter(f->d, "throttled") > 0);
    fake_driver_reset(f->d);
    fake_driver_start(f->d, f->dev, 0, SIZE);
    struct fake_used used;
    for (int i = 0; i < 60; i++)
        fake_driver_turn(f->d);
    assert_false(fake_driver_get_used(f->d, 0, &used));
    ask(f, 1);
    fake_driver_kick(f->d, 0);
    assert_int_equal(fake_driver_wait_used(f->d, 0).len, 1);
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_sizes_from_one_to_beyond_the_most),
        BOTH(test_requests_without_room_are_given_back),
        cmocka_unit_test_setup_teardown(test_the_rate_is_bounded, set_up_slow, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reset_forgets_who_waits, set_up_slow, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
