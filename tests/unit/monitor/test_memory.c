/* SPDX-License-Identifier: Apache-2.0
 *
 * test_memory.c: how the size of a machine changes. A growth that stops half way tells what it came
 * to, and that is what the machine has from then on; a shrink goes in steps that leave something
 * free, and one that cannot be gives everything back.
 */
#include "monitor/internal.h"
#include "virtio/device/balloon.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define PAGE VIRTIO_BALLOON_PAGE
#define BOOT (256 * MIB)
#define HELD 512u /* pages */

struct fixture {
    struct fake_driver *d;
    struct monitor m;
};

static void on_stats(void *data, const struct virtio_balloon_stats *stats)
{
    monitor_memory_kernel_told(data, stats);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct jail_cgroup_host none = {.mountinfo = "/dev/null", .self_cgroup = "/dev/null"};
    const struct jail_cgroup_limits limits = {0};
    f->d = fake_driver_new(FAKE_DIRECT);
    f->m.loop = f->d->loop;
    f->m.memory = f->d->memory;
    f->m.spec.cpus = 1;
    f->m.spec.cpu_milli = 1000;
    f->m.spec.memory_bytes = f->m.spec.memory_max_bytes = f->m.resize.boot = BOOT;
    struct virtio_balloon_options o = {.memory = f->d->memory,
                                       .on_change = monitor_memory_moved,
                                       .on_stats = on_stats,
                                       .data = &f->m};
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
    /* It does not even take back what it gave; it may whenever it likes. */
    assert_non_null(strstr(f->m.update.err.text, "it keeps 256 MiB"));
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

/* The guest's kernel tells its numbers, whether asked or not. */
static void tell(struct fixture *f, uint64_t available)
{
    const struct virtio_balloon_stat stats[] = {{VIRTIO_BALLOON_S_MEMFREE, 0},
                                                {VIRTIO_BALLOON_S_AVAIL, available}};
    struct fake_desc desc = {fake_driver_bytes(f->d, stats, sizeof(stats)), sizeof(stats), 0, 0};
    fake_ring_add(&f->d->rings[2], &desc, 1);
    fake_driver_kick(f->d, 2);
    fake_driver_turn(f->d);
}

/* The guest is asked, and answers. */
static void answer(struct fixture *f, uint64_t available)
{
    fake_driver_wait_used(f->d, 2);
    tell(f, available);
}

static uint64_t balloon_target(struct fixture *f)
{
    return virtio_balloon_get_target(f->m.balloon) * (uint64_t)PAGE;
}

/* An eighth of what it will have stays free. */
static void test_a_shrink_waits_for_the_answer(void **state)
{
    struct fixture *f = *state;
    uint64_t target = BOOT - HELD * PAGE;
    tell(f, 0);
    change(f, target);
    assert_int_equal(balloon_target(f), 0);
    answer(f, HELD * PAGE + target / 8);
    assert_int_equal(balloon_target(f), HELD * PAGE);
    move(f, 0, 0, HELD);
    wait_for_end(f);
    assert_int_equal(f->m.update.rc, 0);
    assert_int_equal(monitor_memory_given(&f->m), target);
}

static void test_a_step_is_what_is_free(void **state)
{
    struct fixture *f = *state;
    uint64_t target = BOOT - 12 * MIB, spare = target / 8;
    tell(f, 0);
    change(f, target);
    f->m.resize.fits = true;
    answer(f, 5 * MIB + spare);
    assert_int_equal(balloon_target(f), 4 * MIB);
    move(f, 0, 0, 4 * MIB / PAGE);
    answer(f, 100 * MIB);
    assert_int_equal(balloon_target(f), 12 * MIB);
}

static void test_more_than_can_be_spared_is_refused(void **state)
{
    struct fixture *f = *state;
    tell(f, 0);
    change(f, 128 * MIB);
    /* Free pages that it reports just now would change it. */
    while (f->m.update.waits == 2) {
        answer(f, 100 * MIB);
        assert_int_equal(balloon_target(f), 0);
    }
    assert_int_equal(f->m.update.rc, -EBUSY);
    assert_non_null(strstr(f->m.update.err.text, "uses 156 MiB of its 256 MiB: 188 MiB is"));
    assert_int_equal(f->m.spec.memory_bytes, BOOT);
}

static void test_what_can_never_be_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    tell(f, 0);
    change(f, 64 * MIB);
    answer(f, 60 * MIB);
    assert_int_equal(f->m.update.waits, 1);
    assert_int_equal(f->m.update.rc, -EBUSY);
    assert_non_null(strstr(f->m.update.err.text, "uses 196 MiB of its 256 MiB: 236 MiB is"));
}

static void test_a_guest_that_needs_more_meanwhile_gets_everything_back(void **state)
{
    struct fixture *f = *state;
    uint64_t target = BOOT - 12 * MIB, spare = target / 8;
    tell(f, 0);
    change(f, target);
    f->m.resize.fits = true;
    answer(f, 4 * MIB + spare);
    move(f, 0, 0, 4 * MIB / PAGE);
    while (balloon_target(f))
        answer(f, 3 * MIB + spare);
    assert_int_equal(f->m.update.waits, 2);
    move(f, 1, 0, 4 * MIB / PAGE);
    wait_for_end(f);
    assert_int_equal(f->m.update.rc, -EBUSY);
    assert_non_null(strstr(f->m.update.err.text, "of its 256 MiB"));
    assert_int_equal(monitor_memory_given(&f->m), BOOT);
}

/* It is looked at as long as it could use more than it has. */
static void test_a_machine_that_takes_back_what_it_gave_is_ended(void **state)
{
    struct fixture *f = *state;
    const uint64_t size = 64 * MIB;
    assert_int_equal(memory_new(size, &f->m.memory, NULL), 0);
    f->m.guest_gone = true;
    f->m.resize.held = 4 * MIB;
    memset(memory_at(f->m.memory, 0, size), 1, 20 * MIB); /* within the margin */
    monitor_memory_watch(&f->m);
    usleep(1100000);
    fake_driver_turn(f->d);
    assert_false(f->m.watch.noted);
    memset(memory_at(f->m.memory, 0, size), 1, size);
    while (!f->m.failure[0])
        fake_driver_turn(f->d);
    assert_non_null(strstr(f->m.failure, "uses 60 MiB more than its 4 MiB"));
    memory_free(f->m.memory);
}

#define WITH_GUEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_GUEST(test_all_the_way),
        WITH_GUEST(test_a_shrink_that_stops),
        WITH_GUEST(test_a_growth_that_stops),
        WITH_GUEST(test_a_guest_that_does_nothing),
        WITH_GUEST(test_a_shrink_waits_for_the_answer),
        WITH_GUEST(test_a_step_is_what_is_free),
        WITH_GUEST(test_more_than_can_be_spared_is_refused),
        WITH_GUEST(test_what_can_never_be_is_refused_at_once),
        WITH_GUEST(test_a_guest_that_needs_more_meanwhile_gets_everything_back),
        WITH_GUEST(test_a_machine_that_takes_back_what_it_gave_is_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
