/* SPDX-License-Identifier: Apache-2.0
 *
 * test_memory.c: a guest that stops half way, in either direction: the update tells what it came
 * to, and that is what the machine has from then on.
 */
#include "monitor/internal.h"
#include "virtio/device/balloon.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <errno.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define PAGE VIRTIO_BALLOON_PAGE
#define BOOT (256 * MIB)
#define HELD 512u /* pages */

struct fixture {
    struct fake_driver *d;
    struct monitor m;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct jail_cgroup_host none = {.mountinfo = "/dev/null", .self_cgroup = "/dev/null"};
    const struct jail_cgroup_limits limits = {0};
    f->d = fake_driver_new(FAKE_DIRECT);
    f->m.loop = f->d->loop;
    f->m.spec.cpus = 1;
    f->m.spec.cpu_milli = 1000;
    f->m.spec.memory_bytes = f->m.spec.memory_max_bytes = f->m.resize.boot = BOOT;
    struct virtio_balloon_options o = {
        .memory = f->d->memory, .on_change = monitor_memory_moved, .data = &f->m};
    assert_int_equal(virtio_balloon_new(&o, f->d->loop, &f->m.balloon, NULL), 0);
    fake_driver_start(f->d, f->m.balloon, 0, 256);
    assert_int_equal(
        jail_cgroup_create(&none, "box", &limits, &f->m.cgroup, &f->m.limit_walls, NULL), 0);
    f->m.update.waits = 2; /* one more than there is: its end is ours to see */
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    jail_cgroup_close(f->m.cgroup);
    free(f);
    return 0;
}

/* The guest puts so many pages, from `first` on, into the balloon (queue 0) or takes them back. */
static void move(struct fixture *f, uint16_t queue, uint32_t first, uint32_t count)
{
    uint32_t *numbers = calloc(count, sizeof(*numbers));
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)(FAKE_HIGH_START / PAGE) + first + i;
    uint32_t len = count * (uint32_t)sizeof(*numbers);
    struct fake_desc desc = {fake_driver_bytes(f->d, numbers, len), len, 0, 0};
    fake_ring_add(&f->d->rings[queue], &desc, 1);
    fake_driver_kick(f->d, queue);
    fake_driver_wait_used(f->d, queue);
    free(numbers);
}

static void wait_for_end(struct fixture *f)
{
    while (f->m.update.waits == 2) {
        fake_driver_turn(f->d);
        usleep(1000);
    }
}

static void change(struct fixture *f, uint64_t bytes)
{
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(monitor_memory_change(&f->m, bytes, &err), 1);
}

static void test_all_the_way(void **state)
{
    struct fixture *f = *state;
    change(f, BOOT - HELD * PAGE);
    assert_int_equal(virtio_balloon_get_target(f->m.balloon), HELD);
    move(f, 0, 0, HELD);
    wait_for_end(f);
    assert_int_equal(f->m.update.rc, 0);
    assert_int_equal(monitor_memory_given(&f->m), BOOT - HELD * PAGE);
}

static void test_a_shrink_that_stops(void **state)
{
    struct fixture *f = *state;
    change(f, 128 * MIB);
    assert_int_equal(virtio_balloon_get_target(f->m.balloon), 128 * MIB / PAGE);
    move(f, 0, 0, HELD);
    assert_int_equal(monitor_memory_given(&f->m), BOOT - HELD * PAGE);
    wait_for_end(f);
    assert_int_equal(f->m.update.rc, -EBUSY);
    assert_non_null(strstr(f->m.update.err.text, "--memory 128 MiB: the machine stopped at"));
    /* It is not kept at its last page: what it gave so far is less than that takes. */
    assert_int_equal(virtio_balloon_get_target(f->m.balloon), 0);
    assert_int_equal(f->m.spec.memory_bytes, BOOT);
    move(f, 1, 0, HELD);
    assert_int_equal(monitor_memory_given(&f->m), BOOT);
}

static void test_a_growth_that_stops(void **state)
{
    struct fixture *f = *state;
    change(f, BOOT - HELD * PAGE);
    move(f, 0, 0, HELD);
    wait_for_end(f);
    f->m.update.waits = 2;

    change(f, BOOT);
    move(f, 1, 0, HELD / 2);
    wait_for_end(f);
    assert_int_equal(f->m.update.rc, -EBUSY);
    assert_non_null(strstr(f->m.update.err.text, "stopped at 255 MiB"));
    assert_int_equal(virtio_balloon_get_target(f->m.balloon), HELD / 2);
    assert_int_equal(f->m.spec.memory_bytes, 255 * MIB);
}

static void test_a_guest_that_does_nothing(void **state)
{
    struct fixture *f = *state;
    change(f, 128 * MIB);
    wait_for_end(f);
    assert_int_equal(f->m.update.rc, -EBUSY);
    assert_non_null(strstr(f->m.update.err.text, "stopped at 256 MiB"));
    assert_int_equal(virtio_balloon_get_target(f->m.balloon), 0);
    /* It comes back to life: what it does late is no change that is under way. */
    move(f, 0, 0, HELD);
    assert_int_equal(virtio_balloon_get_target(f->m.balloon), 0);
    assert_int_equal(f->m.update.waits, 1);
}

#define WITH_GUEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_GUEST(test_all_the_way),
        WITH_GUEST(test_a_shrink_that_stops),
        WITH_GUEST(test_a_growth_that_stops),
        WITH_GUEST(test_a_guest_that_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
