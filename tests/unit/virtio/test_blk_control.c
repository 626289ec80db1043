/* SPDX-License-Identifier: Apache-2.0
 *
 * test_blk_control.c: what a guest and its owner set: queues, the write cache, rates, a new
 * size.
 */
#include "blk_fixture.h"

#include "base/clock.h"

static int set_up_queues(void **state)
{
    struct virtio_blk_options o = {.num_queues = 3};
    return set_up_with(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, o, 0);
}

static void test_each_queue_is_served(void **state)
{
    struct fixture *f = *state;
    uint16_t queues = 0;
    assert_true(virtio_device_get_features(f->dev) & 1ull << VIRTIO_BLK_F_MQ);
    fake_driver_read_config(f->d, offsetof(struct virtio_blk_config, num_queues), &queues, 2);
    assert_int_equal(queues, 3);
    for (uint16_t q = 0; q < 3; q++) {
        uint32_t len = q == 1 ? LARGE : 512; /* at once, and later */
        set_header(f, VIRTIO_BLK_T_IN, q);
        struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, len, W, 0}, {f->status, 1, W, 0}};
        fake_ring_add(&f->d->rings[q], d, 3);
        fake_driver_kick(f->d, q);
        assert_int_equal(fake_driver_wait_used(f->d, q).len, len + 1);
        assert_int_equal(*bytes_at(f, f->status), VIRTIO_BLK_S_OK);
    }
    assert_int_equal(fake_driver_counter(f->d, "reads"), 3);
}

static void test_one_queue_offers_no_more(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(virtio_device_get_num_queues(f->dev), 1);
    assert_false(virtio_device_get_features(f->dev) & 1ull << VIRTIO_BLK_F_MQ);
}

static uint8_t get_cache(struct fixture *f)
{
    uint8_t value = 0xff;
    fake_driver_read_config(f->d, offsetof(struct virtio_blk_config, wce), &value, 1);
    return value;
}

static int set_cache(struct fixture *f, uint8_t value)
{
    return fake_driver_write_config(f->d, offsetof(struct virtio_blk_config, wce), &value, 1);
}

static uint64_t disk_flushes(struct fixture *f)
{
    struct pv_counter_group g;
    disk_get_counters(f->disk, "", &g);
    for (size_t i = 0; i < g.count; i++)
        if (strcmp(g.labels[i], "flushes") == 0)
            return g.values[i];
    return UINT64_MAX;
}

static void test_without_the_cache_each_write_is_flushed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get_cache(f), 1);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 0);
    assert_int_equal(set_cache(f, 0), 0);
    assert_int_equal(get_cache(f), 0);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 1);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, LARGE), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 2);
    assert_int_equal(on_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 3);
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(disk_flushes(f), 3);
    assert_int_equal(set_cache(f, 1), 0);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 3);
    assert_int_equal(fake_driver_counter(f->d, "flushes"), 0); /* the guest asked for none */
}

static void test_nothing_else_can_be_written(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[8] = {0};
    assert_true(set_cache(f, 2) != 0);
    assert_true(fake_driver_write_config(f->d, 0, bytes, 8) != 0);
    assert_true(fake_driver_write_config(f->d, 31, bytes, 2) != 0);
    assert_true(fake_driver_write_config(f->d, 32, bytes, 2) != 0);
    assert_int_equal(get_cache(f), 1);
}

/* Many at once, so that flushes find the disk full. */
static void test_many_writes_without_the_cache(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 84 };
    assert_int_equal(set_cache(f, 0), 0);
    set_header(f, VIRTIO_BLK_T_OUT, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        struct fake_desc d[] = {
            {f->header, 16, 0, 0}, {f->data, LARGE, 0, 0}, {f->status, 1, W, 0}};
        fake_ring_add(&f->d->rings[0], d, 3);
    }
    fake_driver_kick(f->d, 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(fake_driver_wait_used(f->d, 0).len, 1);
    assert_int_equal(disk_flushes(f), COUNT);
}

static int set_up_no_flush(void **state)
{
    struct virtio_blk_options o = {0};
    return set_up_with(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, o,
                       1ull << VIRTIO_BLK_F_FLUSH);
}

static void test_a_guest_that_knows_no_flush_has_no_cache(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 1);
}

static int set_up_rate(void **state)
{
    struct virtio_blk_options o = {.bytes = {.per_second = 512 * 10, .burst = 512},
                                   .operations = {.per_second = 1000000}};
    return set_up_with(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, o, 0);
}

static void test_what_is_over_the_rate_waits(void **state)
{
    struct fixture *f = *state;
    uint64_t begin = pv_time_monotonic_ns();
    for (int i = 0; i < 4; i++)
        assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_true(pv_time_monotonic_ns() - begin >= 300 * 1000000);
    assert_true(fake_driver_counter(f->d, "throttled") > 0);
    assert_true(fake_driver_counter(f->d, "throttled_ns") > 0);
    assert_int_equal(fake_driver_counter(f->d, "writes"), 4);
    assert_int_equal(fake_driver_counter(f->d, "written_bytes"), 4 * 512);

    /* larger than the burst: it passes, and the next one pays for it, unless the limit goes */
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, LARGE), VIRTIO_BLK_S_OK);
    const struct pv_rate_limit none = {0};
    set_header(f, VIRTIO_BLK_T_IN, 0);
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, 512, W, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    fake_driver_kick(f->d, 0);
    fake_driver_turn(f->d);
    struct fake_used used;
    assert_false(fake_driver_get_used(f->d, 0, &used)); /* for most of a minute */
    virtio_blk_set_rate(f->dev, &none, &none);
    assert_int_equal(fake_driver_wait_used(f->d, 0).len, 513);
}

static void test_operations_are_limited_too(void **state)
{
    struct fixture *f = *state;
    const struct pv_rate_limit none = {0}, few = {.per_second = 100, .burst = 1};
    virtio_blk_set_rate(f->dev, &none, &few);
    uint64_t begin = pv_time_monotonic_ns();
    for (int i = 0; i < 3; i++)
        assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    assert_true(pv_time_monotonic_ns() - begin >= 20 * 1000000);
}

static void test_a_reset_ends_the_waiting(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, LARGE), VIRTIO_BLK_S_OK);
    set_header(f, VIRTIO_BLK_T_IN, 0);
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, 512, W, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    fake_driver_kick(f->d, 0);
    fake_driver_turn(f->d);
    fake_driver_reset(f->d);
    assert_false(virtio_device_is_active(f->dev));
}

static void test_a_disk_that_grew_tells_the_guest(void **state)
{
    struct fixture *f = *state;
    uint64_t sectors = 0;
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(disk_resize(f->disk, BYTES + 4096, NULL), 0);
    virtio_blk_resized(f->dev);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, 1);
    fake_driver_read_config(f->d, 0, &sectors, 8);
    assert_int_equal(sectors, SECTORS + 8);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS + 7, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS + 8, 512), VIRTIO_BLK_S_IOERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_queue_is_served, set_up_queues, tear_down),
        BOTH(test_one_queue_offers_no_more),
        BOTH(test_without_the_cache_each_write_is_flushed),
        BOTH(test_nothing_else_can_be_written),
        BOTH(test_many_writes_without_the_cache),
        cmocka_unit_test_setup_teardown(test_a_guest_that_knows_no_flush_has_no_cache,
                                        set_up_no_flush, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_over_the_rate_waits, set_up_rate, tear_down),
        BOTH(test_operations_are_limited_too),
        cmocka_unit_test_setup_teardown(test_a_reset_ends_the_waiting, set_up_rate, tear_down),
        BOTH(test_a_disk_that_grew_tells_the_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
