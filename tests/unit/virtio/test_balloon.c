/* SPDX-License-Identifier: Apache-2.0
 *
 * test_balloon.c: pages that go into the balloon go back to the host, once, and only the guest's.
 */
#include "virtio/device/balloon.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <sys/mman.h>

#define SIZE 256
#define PAGE VIRTIO_BALLOON_PAGE

enum { INFLATE, DEFLATE, STATS, REPORT };

struct fixture {
    struct fake_driver *d;
    struct virtio_device *dev;
    unsigned changes, told;
    struct virtio_balloon_stats stats; /* as told the last time */
    uint64_t used;                     /* bytes of the host once everything is touched */
};

static void on_change(void *data)
{
    ((struct fixture *)data)->changes++;
}

static void on_stats(void *data, const struct virtio_balloon_stats *stats)
{
    struct fixture *f = data;
    f->stats = *stats;
    f->told++;
}

static uint64_t in_use(struct fixture *f)
{
    uint64_t bytes = 0;
    assert_int_equal(memory_get_in_use(f->d->memory, &bytes), 0);
    return bytes;
}

static int set_up(void **state, enum fake_transport transport)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->d = fake_driver_new(transport);
    struct virtio_balloon_options o = {
        .memory = f->d->memory, .on_change = on_change, .on_stats = on_stats, .data = f};
    assert_int_equal(virtio_balloon_new(&o, f->d->loop, &f->dev, NULL), 0);
    fake_driver_start(f->d, f->dev, 0, SIZE);
    memset(fake_driver_at(f->d, (gpa_t){FAKE_HIGH_START}, FAKE_REGION_BYTES), 0xaa,
           FAKE_REGION_BYTES);
    f->used = in_use(f);
    *state = f;
    return 0;
}

static int set_up_direct(void **state)
{
    return set_up(state, FAKE_DIRECT);
}

static int set_up_vhost_user(void **state)
{
    return set_up(state, FAKE_VHOST_USER);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    free(f);
    return 0;
}

static uint64_t counter(struct fixture *f, const char *name)
{
    struct pv_counter_group group;
    virtio_device_get_counters(f->dev, "balloon0", &group);
    for (size_t i = 0; i < group.count; i++)
        if (strcmp(group.labels[i], name) == 0)
            return group.values[i];
    fail_msg("no counter %s", name);
    return 0;
}

/* Tells page numbers, `len` bytes of them. */
static void tell(struct fixture *f, uint16_t queue, const uint32_t *numbers, uint32_t len)
{
    gpa_t gpa = fake_driver_bytes(f->d, numbers, len);
    struct fake_desc desc = {gpa, len, 0, 0};
    uint64_t before = in_use(f);
    fake_ring_add(&f->d->rings[queue], &desc, 1);
    f->used += in_use(f) - before; /* the numbers themselves take a page now and then */
    fake_driver_kick(f->d, queue);
    assert_int_equal(fake_driver_wait_used(f->d, queue).len, 0);
}

static uint32_t page_at(uint32_t index)
{
    return FAKE_HIGH_START / PAGE + index;
}

static void test_pages_go_and_come_back(void **state)
{
    struct fixture *f = *state;
    const uint32_t pages[] = {page_at(9), page_at(3), page_at(1), page_at(2), page_at(700)};
    tell(f, INFLATE, pages, sizeof(pages));
    assert_int_equal(virtio_balloon_get_pages(f->dev), 5);
    assert_int_equal(in_use(f), f->used - 5 * PAGE);
    assert_int_equal(f->changes, 1);
    for (size_t i = 0; i < 5; i++) /* a hole reads as zeroes, its neighbours are whole */
        assert_int_equal(*(uint8_t *)fake_driver_at(f->d, (gpa_t){pages[i] * (uint64_t)PAGE}, 1),
                         0);
    assert_int_equal(*(uint8_t *)fake_driver_at(f->d, (gpa_t){page_at(4) * (uint64_t)PAGE}, 1),
                     0xaa);
    tell(f, DEFLATE, pages, 2 * sizeof(pages[0]));
    assert_int_equal(virtio_balloon_get_pages(f->dev), 3);
    assert_int_equal(counter(f, "pages_inflated"), 5);
    assert_int_equal(counter(f, "pages_deflated"), 2);
    assert_int_equal(counter(f, "bad_requests"), 0);
}

static void test_a_page_counts_once(void **state)
{
    struct fixture *f = *state;
    const uint32_t pages[] = {page_at(5), page_at(5), page_at(6), page_at(5)};
    tell(f, INFLATE, pages, sizeof(pages));
    tell(f, INFLATE, pages, sizeof(pages));
    assert_int_equal(virtio_balloon_get_pages(f->dev), 2);
    tell(f, DEFLATE, (const uint32_t[]){page_at(8)}, 4);
    assert_int_equal(virtio_balloon_get_pages(f->dev), 2);
    tell(f, DEFLATE, pages, sizeof(pages));
    tell(f, DEFLATE, pages, sizeof(pages));
    assert_int_equal(virtio_balloon_get_pages(f->dev), 0);
}

static void test_pages_of_others_are_left_alone(void **state)
{
    struct fixture *f = *state;
    const uint32_t bad[] = {0, FAKE_LOW_START / PAGE - 1,
                            (FAKE_LOW_START + FAKE_REGION_BYTES) / PAGE,
                            (FAKE_HIGH_START + FAKE_REGION_BYTES) / PAGE, UINT32_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        tell(f, INFLATE, &bad[i], 4);
        assert_int_equal(counter(f, "bad_requests"), i + 1);
    }
    assert_int_equal(virtio_balloon_get_pages(f->dev), 0);
    assert_int_equal(in_use(f), f->used);
    assert_int_equal(counter(f, "discards_failed"), 0);
}

static void test_strange_requests(void **state)
{
    struct fixture *f = *state;
    uint32_t pages[4200];
    for (uint32_t i = 0; i < PV_ARRAY_SIZE(pages); i++)
        pages[i] = page_at(i % 1000);
    tell(f, INFLATE, pages, 7); /* one number and a half */
    assert_int_equal(virtio_balloon_get_pages(f->dev), 1);
    assert_int_equal(counter(f, "bad_requests"), 1);
    tell(f, INFLATE, pages, sizeof(pages)); /* more than is taken at once */
    assert_int_equal(virtio_balloon_get_pages(f->dev), 1000);
    assert_int_equal(counter(f, "bad_requests"), 2);
    struct fake_desc writable = {fake_driver_alloc(f->d, 64), 64, VRING_DESC_F_WRITE, 0};
    fake_ring_add(&f->d->rings[INFLATE], &writable, 1);
    fake_driver_kick(f->d, INFLATE);
    assert_int_equal(fake_driver_wait_used(f->d, INFLATE).len, 0);
    assert_int_equal(virtio_balloon_get_pages(f->dev), 1000);
}

static void test_free_pages_are_reported(void **state)
{
    struct fixture *f = *state;
    struct fake_desc free_pages[] = {
        {{FAKE_HIGH_START + 16 * PAGE}, 32 * PAGE, VRING_DESC_F_WRITE, 0},
        {{FAKE_HIGH_START + 100 * PAGE}, PAGE, VRING_DESC_F_WRITE, 0},
        {{FAKE_HIGH_START + 200 * PAGE + 1}, 2 * PAGE, VRING_DESC_F_WRITE, 0}, /* one whole page */
    };
    fake_ring_add(&f->d->rings[REPORT], free_pages, PV_ARRAY_SIZE(free_pages));
    uint64_t before = in_use(f);
    fake_driver_kick(f->d, REPORT);
    assert_int_equal(fake_driver_wait_used(f->d, REPORT).len, 0);
    assert_int_equal(in_use(f), before - 34 * PAGE);
    assert_int_equal(virtio_balloon_get_pages(f->dev), 0);
    assert_int_equal(virtio_balloon_get_reported(f->dev), 35 * PAGE);
    assert_int_equal(*(uint8_t *)fake_driver_at(f->d, (gpa_t){FAKE_HIGH_START + 200 * PAGE}, 1),
                     0xaa);
    assert_int_equal(*(uint8_t *)fake_driver_at(f->d, (gpa_t){FAKE_HIGH_START + 202 * PAGE}, 1),
                     0xaa);
}

static void test_target(void **state)
{
    struct fixture *f = *state;
    uint32_t value;
    virtio_balloon_set_target(f->dev, 77);
    virtio_balloon_set_target(f->dev, 77);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, 1);
    fake_driver_read_config(f->d, 0, &value, 4);
    assert_int_equal(value, 77);
    value = 12345;
    assert_int_equal(fake_driver_write_config(f->d, 4, &value, 4), 0);
    value = 0;
    fake_driver_read_config(f->d, 4, &value, 4);
    assert_int_equal(value, 12345);
    assert_int_equal(virtio_balloon_get_pages(f->dev), 0); /* we count ourselves */
    assert_true(fake_driver_write_config(f->d, 0, &value, 4) < 0);
    assert_true(fake_driver_write_config(f->d, 4, &value, 2) < 0);
}

/* As a driver without statistics does: its queue for free pages moves up. */
static void test_free_pages_of_a_driver_without_statistics(void **state)
{
    struct fixture *f = *state;
    struct virtio_balloon_options o = {.memory = f->d->memory};
    struct fake_driver *d = fake_driver_new(FAKE_DIRECT);
    struct virtio_device *dev;
    o.memory = d->memory;
    assert_int_equal(virtio_balloon_new(&o, d->loop, &dev, NULL), 0);
    fake_driver_start(d, dev, 1ull << VIRTIO_BALLOON_F_STATS_VQ, SIZE);
    struct fake_desc desc = {{FAKE_HIGH_START}, 4 * PAGE, VRING_DESC_F_WRITE, 0};
    fake_ring_add(&d->rings[STATS], &desc, 1);
    fake_driver_kick(d, STATS);
    fake_driver_wait_used(d, STATS);
    assert_int_equal(virtio_balloon_get_reported(dev), 4 * PAGE);
    assert_int_equal(virtio_balloon_ask_stats(dev), -EAGAIN);
    fake_driver_free(d);
}

static void put_stats(struct fixture *f, const struct virtio_balloon_stat *stats, uint32_t len)
{
    struct fake_desc desc = {fake_driver_bytes(f->d, stats, len), len, 0, 0};
    fake_ring_add(&f->d->rings[STATS], &desc, 1);
    fake_driver_kick(f->d, STATS);
    fake_driver_turn(f->d);
}

static void test_statistics(void **state)
{
    struct fixture *f = *state;
    struct fake_used used;
    const struct virtio_balloon_stat first[] = {{VIRTIO_BALLOON_S_MEMFREE, 1}};
    const struct virtio_balloon_stat next[] = {{VIRTIO_BALLOON_S_MEMFREE, 11},
                                               {VIRTIO_BALLOON_S_MEMTOT, 22},
                                               {VIRTIO_BALLOON_S_MAJFLT, 33},
                                               {VIRTIO_BALLOON_S_AVAIL, 44},
                                               {999, 55}};
    assert_int_equal(virtio_balloon_ask_stats(f->dev), -EAGAIN);
    put_stats(f, first, sizeof(first)); /* not asked for: it stays with the device */
    assert_false(fake_driver_get_used(f->d, STATS, &used));
    assert_int_equal(f->told, 0);
    assert_int_equal(virtio_balloon_ask_stats(f->dev), 0);
    assert_int_equal(virtio_balloon_ask_stats(f->dev), 0);
    assert_int_equal(fake_driver_wait_used(f->d, STATS).len, 0);
    assert_false(fake_driver_get_used(f->d, STATS, &used));
    put_stats(f, next, sizeof(next));
    assert_int_equal(f->told, 1);
    assert_int_equal(f->stats.free, 11);
    assert_int_equal(f->stats.total, 22);
    assert_int_equal(f->stats.available, 44);
    assert_true(f->stats.cached == VIRTIO_BALLOON_UNKNOWN);
    assert_int_equal(counter(f, "bad_requests"), 0);
}

static void test_strange_statistics(void **state)
{
    struct fixture *f = *state;
    struct virtio_balloon_stat many[40] = {0};
    put_stats(f, many, 0);
    put_stats(f, many, 7);
    put_stats(f, many, sizeof(many));
    /* Only the last is kept. */
    fake_driver_wait_used(f->d, STATS);
    fake_driver_wait_used(f->d, STATS);
    assert_int_equal(counter(f, "bad_requests"), 2);
    assert_int_equal(virtio_balloon_ask_stats(f->dev), 0);
    fake_driver_wait_used(f->d, STATS);
    fake_driver_reset(f->d);
    assert_int_equal(virtio_balloon_ask_stats(f->dev), -EAGAIN);
    assert_int_equal(f->told, 0);
}

static void test_what_is_used_again_is_taken_again(void **state)
{
    struct fixture *f = *state;
    const uint32_t pages[] = {page_at(3), page_at(4), page_at(9)};
    tell(f, INFLATE, pages, sizeof(pages));
    memset(fake_driver_at(f->d, (gpa_t){pages[0] * (uint64_t)PAGE}, 3 * PAGE), 0xbb, 3 * PAGE);
    assert_int_equal(in_use(f), f->used - PAGE);
    virtio_balloon_discard(f->dev);
    assert_int_equal(in_use(f), f->used - 3 * PAGE);
    assert_int_equal(*(uint8_t *)fake_driver_at(f->d, (gpa_t){page_at(5) * (uint64_t)PAGE}, 1),
                     0xbb);
}

static void test_reset_empties_it(void **state)
{
    struct fixture *f = *state;
    tell(f, INFLATE, (const uint32_t[]){page_at(1)}, 4);
    fake_driver_reset(f->d);
    assert_int_equal(virtio_balloon_get_pages(f->dev), 0);
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_pages_go_and_come_back),
        BOTH(test_a_page_counts_once),
        BOTH(test_pages_of_others_are_left_alone),
        BOTH(test_strange_requests),
        BOTH(test_free_pages_are_reported),
        BOTH(test_target),
        cmocka_unit_test_setup_teardown(test_free_pages_of_a_driver_without_statistics,
                                        set_up_direct, tear_down),
        BOTH(test_statistics),
        BOTH(test_strange_statistics),
        BOTH(test_what_is_used_again_is_taken_again),
        BOTH(test_reset_empties_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
