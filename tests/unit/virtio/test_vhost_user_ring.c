/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vhost_user_ring.c: memory tables, ring addresses and kick descriptors of a guest that lies.
 */
#include "vhost_user_fixture.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void test_a_ring_can_pause(void **state)
{
    struct fixture *f = *state;
    assert_prints(f, "one");
    assert_int_equal(fake_driver_ask_state(f->d, VHOST_USER_SET_VRING_ENABLE, TX, 0), 0);
    add_text(f, "two");
    f->output_len = 0;
    fake_driver_kick(f->d, TX);
    assert_int_equal(f->output_len, 0);
    assert_int_equal(fake_driver_ask_state(f->d, VHOST_USER_SET_VRING_ENABLE, TX, 1), 0);
    assert_int_equal(f->output_len, 3); /* it is looked at when it starts */
}

static void test_a_ring_tells_where_it_stopped(void **state)
{
    struct fixture *f = *state;
    assert_prints(f, "one");
    struct vhost_user_vring_state s = {.index = TX};
    fake_driver_send(f->d, VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION, &s, sizeof(s), NULL, 0);
    assert_int_equal(fake_driver_receive(f->d, VHOST_USER_GET_VRING_BASE, &s, sizeof(s)),
                     sizeof(s));
    assert_int_equal(s.index, TX);
    assert_int_equal(s.num, 1);
}

static void test_a_new_table_may_come_while_rings_run(void **state)
{
    struct fixture *f = *state;
    fake_driver_set_table(f->d);
    assert_prints(f, "still here");
}

static void test_ring_values_are_checked(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    const uint32_t bad_sizes[] = {0, 3, 255, 257, 512, 65536, UINT32_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad_sizes); i++)
        assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, 1, bad_sizes[i]), 1);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, 1, 256), 0);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_BASE, 1, 65536), 1);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_BASE, 1, 65535), 0);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, 1, 2), 1);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, 1, UINT32_MAX), 1);
    struct vhost_user_vring_addr addr = {.index = 1, .flags = 1};
    assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_ADDR, &addr, 40, NULL, 0), 1);
    assert_alive(f);
}

static void test_a_running_ring_cannot_be_changed(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_vring_addr addr = {.index = TX};
    assert_int_equal(fake_driver_ask_state(f->d, VHOST_USER_SET_VRING_NUM, TX, 4), 1);
    assert_int_equal(fake_driver_ask_state(f->d, VHOST_USER_SET_VRING_BASE, TX, 4), 1);
    assert_int_equal(fake_driver_ask(f->d, VHOST_USER_SET_VRING_ADDR, &addr, 40, NULL, 0), 1);
    assert_prints(f, "as before");
}

static int64_t enable_at(struct fake_driver *d, uint64_t desc, uint64_t avail, uint64_t used)
{
    struct vhost_user_vring_addr a = {.index = TX, .desc = desc, .avail = avail, .used = used};
    assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
    return fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, TX, 1);
}

static void test_rings_outside_of_memory_are_refused(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    const uint64_t ok = FAKE_LOW_START + FAKE_USER_SHIFT, end = ok + FAKE_REGION_BYTES;
    uint64_t kick = TX;
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, TX, SIZE), 0);
    /* Enabled, with an address, before there is memory: the kick descriptor is one too much. */
    assert_int_equal(enable_at(d, ok, ok + 128, ok + 256), 0);
    assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_KICK, &kick, 8, &fd, 1), 1);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, TX, 0), 0);
    fake_driver_set_table(d);
    assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_KICK, &kick, 8, &fd, 1), 0);
    close(fd);

    const uint64_t bad[] = {
        0, ok - 16, end, end - 16, FAKE_LOW_START, UINT64_MAX - 15, FAKE_HIGH_START, UINT64_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        assert_int_equal(enable_at(d, bad[i], ok, ok), 1);
        assert_int_equal(enable_at(d, ok, bad[i], ok), 1);
        assert_int_equal(enable_at(d, ok, ok, bad[i]), 1);
    }
    assert_int_equal(enable_at(d, ok, ok + 128, ok + 256), 0);
}

/* The order of QEMU: enabled while there is nothing. */
static void test_a_ring_may_be_enabled_first(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    const uint64_t at = FAKE_LOW_START + FAKE_USER_SHIFT;
    struct virtio_queue *q = virtio_device_get_queue(d->dev, TX);
    uint64_t kick = TX;
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, TX, 1), 0);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, TX, SIZE), 0);
    fake_driver_set_table(d);
    struct vhost_user_vring_addr a = {
        .index = TX, .desc = at, .avail = at + 1024, .used = at + 2048};
    for (int round = 0; round < 2; round++) { /* and again, once it was stopped */
        assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
        assert_false(virtio_queue_is_enabled(q));
        assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_KICK, &kick, 8, &fd, 1), 0);
        assert_true(virtio_queue_is_enabled(q));
        struct vhost_user_vring_state s = {.index = TX};
        fake_driver_send(d, VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION, &s, sizeof(s), NULL, 0);
        assert_int_equal(fake_driver_receive(d, VHOST_USER_GET_VRING_BASE, &s, sizeof(s)), 8);
        assert_false(virtio_queue_is_enabled(q));
        /* Enabled still, and nothing to run with. */
        assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, TX, 1), 0);
        assert_false(virtio_queue_is_enabled(q));
    }
    close(fd);
}

/* QEMU's rng does not acknowledge protocol features, and so never enables. */
static void test_rings_of_a_simple_front_end_need_no_enabling(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    uint64_t features = virtio_device_get_features(d->dev), kick = TX;
    const uint64_t at = FAKE_LOW_START + FAKE_USER_SHIFT;
    struct vhost_user_vring_addr a = {
        .index = TX, .desc = at, .avail = at + 1024, .used = at + 2048};
    int fd = eventfd(0, EFD_CLOEXEC);
    fake_driver_set_table(d);
    assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_FEATURES, features), 0);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, TX, SIZE), 0);
    assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
    assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_KICK, &kick, 8, &fd, 1), 0);
    assert_true(virtio_queue_is_enabled(virtio_device_get_queue(d->dev, TX)));
    close(fd);
}

static int64_t send_table(struct fake_driver *d, const struct vhost_user_region *regions,
                          uint32_t num, int fd)
{
    struct vhost_user_mem_table t = {.num = num};
    int fds[VHOST_USER_REGIONS_MAX];
    for (uint32_t i = 0; i < num; i++) {
        t.regions[i] = regions[i];
        fds[i] = fd;
    }
    return fake_driver_ask(d, VHOST_USER_SET_MEM_TABLE, &t, 8 + 32 * num, fds, num);
}

static void test_foreign_memory_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_region r = {0, 65536, 0, 0};
    struct memory *other = NULL;
    assert_int_equal(memory_new(FAKE_MEMORY_BYTES, &other, NULL), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    const int foreign[] = {memory_get_fd(other), null, zero, f->d->sock, 0};
    for (size_t i = 0; i < PV_ARRAY_SIZE(foreign); i++)
        assert_int_equal(send_table(f->d, &r, 1, foreign[i]), 1);
    assert_int_equal(send_table(f->d, &r, 1, memory_get_fd(f->d->memory)), 0);
    memory_free(other);
    close(null);
    close(zero);
}

static void test_tables_are_checked(void **state)
{
    struct fixture *f = *state;
    int fd = memory_get_fd(f->d->memory);
    const uint64_t all = FAKE_MEMORY_BYTES;
    const struct vhost_user_region bad[] = {
        {0, 0, 0, 0},
        {0, all + 1, 0, 0},
        {0, all, 0, 1},
        {0, 4096, 0, all},
        {0, 4096, 0, UINT64_MAX},
        {0, 4096, 0, UINT64_MAX - 4095},
        {UINT64_MAX, 4096, 0, 0},
        {UINT64_MAX - 4094, 4096, 0, 0},
        {0, 4096, UINT64_MAX - 4094, 0},
        {0, UINT64_MAX, 0, 0},
        {1, UINT64_MAX, 1, 1},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(send_table(f->d, &bad[i], 1, fd), 1);

    const struct vhost_user_region overlap[][2] = {
        {{0, 8192, 0, 0}, {4096, 4096, 65536, 8192}}, /* guest addresses */
        {{0, 8192, 0, 0}, {65536, 4096, 4096, 8192}}, /* user addresses */
        {{4096, 4096, 4096, 0}, {0, 4097, 65536, 0}},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(overlap); i++)
        assert_int_equal(send_table(f->d, overlap[i], 2, fd), 1);

    struct vhost_user_region many[VHOST_USER_REGIONS_MAX];
    for (uint64_t i = 0; i < VHOST_USER_REGIONS_MAX; i++)
        many[i] = (struct vhost_user_region){i * 4096, 4096, i * 4096, i * 4096};
    assert_int_equal(send_table(f->d, many, VHOST_USER_REGIONS_MAX, fd), 0);
}

static void test_the_number_of_regions_must_agree(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_mem_table t = {.regions = {{0, 4096, 0, 0}, {4096, 4096, 4096, 0}}};
    int fds[] = {memory_get_fd(f->d->memory), memory_get_fd(f->d->memory)};
    const struct {
        uint32_t num, size;
        unsigned fds;
        int64_t ack;
    } cases[] = {{0, 40, 1, 1}, {2, 40, 1, 1}, {2, 72, 1, 1},          {1, 40, 2, 1},
                 {1, 72, 2, 1}, {9, 72, 2, 1}, {UINT32_MAX, 40, 1, 1}, {0x08000001, 40, 1, 1},
                 {2, 40, 2, 1}, {1, 72, 1, 1}, {2, 72, 2, 0}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        t.num = cases[i].num;
        assert_int_equal(
            fake_driver_ask(f->d, VHOST_USER_SET_MEM_TABLE, &t, cases[i].size, fds, cases[i].fds),
            cases[i].ack);
    }
}

static void test_a_table_that_leaves_a_running_ring_breaks(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_region r = {0, 4096, 0, 0};
    struct vhost_user_mem_table t = {.num = 1, .regions = {r}};
    int fd = memory_get_fd(f->d->memory);
    fake_driver_send(f->d, VHOST_USER_SET_MEM_TABLE, ACK, &t, 40, &fd, 1);
    assert_broken(f, "a new memory table leaves an active ring outside");
}

static int64_t send_ring_fd(struct fake_driver *d, uint32_t request, uint64_t value, int fd)
{
    return fake_driver_ask(d, request, &value, sizeof(value), &fd, fd >= 0);
}

static void test_kicks_come_by_eventfd_only(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    int pipes[2], epoll = epoll_create1(EPOLL_CLOEXEC),
                  null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    const int bad[] = {pipes[0], pipes[1], epoll, null, d->sock, memory_get_fd(d->memory)};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_KICK, TX, bad[i]), 1);
    assert_int_equal(*(uint64_t *)memory_at(d->memory, 0, 8), 0);

    const uint64_t values[] = {TX | 1u << 8, TX | 1u << 9, TX | 1ull << 63, TX | 3u << 8};
    int event = eventfd(0, EFD_CLOEXEC);
    for (size_t i = 0; i < PV_ARRAY_SIZE(values); i++)
        assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_KICK, values[i], event), 1);
    assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_KICK, TX, -1), 1); /* no flag, no fd */
    assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_KICK, TX | 1u << 8, -1), 1); /* poll */
    for (int i = 0; i < 3; i++) /* replaced each time */
        assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_KICK, TX, event), 0);
    close(pipes[0]);
    close(pipes[1]);
    close(epoll);
    close(null);
    close(event);
}

/* The guest may fill the eventfd's counter, and it may make the descriptor blocking again. */
static void test_a_kick_descriptor_cannot_make_us_wait(void **state)
{
    struct fixture *f = *state;
    uint64_t most = UINT64_MAX - 1;
    assert_int_equal(write(f->d->kick_fds[TX], &most, sizeof(most)), sizeof(most));
    assert_int_equal(pv_fd_set_nonblocking(f->d->kick_fds[TX], false), 0);
    fake_driver_turn(f->d);
    int fd = f->d->kick_fds[TX];
    assert_int_equal(send_ring_fd(f->d, VHOST_USER_SET_VRING_KICK, TX, fd), 0);
    /* An edge of the same descriptor is still a kick. */
    uint64_t count;
    assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
    assert_prints(f, "kicked");
}

/* A user address leads into its own region or nowhere. */
static void test_user_addresses_are_translated_by_region(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    const struct vhost_user_region regions[] = {{0x10000, 4096, 0, 0},
                                                {0x100000, 65536, 1ull << 40, 65536}};
    uint64_t kick = TX, user = 1ull << 40;
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(send_table(d, regions, 2, memory_get_fd(d->memory)), 0);
    assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_VRING_KICK, &kick, 8, &fd, 1), 0);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, TX, SIZE), 0);
    close(fd);
    /* Never told: not the same as 0, which would be an address here. */
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, TX, 1), 0);
    assert_false(virtio_queue_is_enabled(virtio_device_get_queue(d->dev, TX)));
    const uint64_t bad[] = {4096, 0x10000, 0x100000 - 0x10000, user + 65536};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(enable_at(d, bad[i], user, user), 1);
    assert_int_equal(enable_at(d, user, 0, user + 4096), 0);
    const struct vring_used *used = memory_at(d->memory, 65536 + 4096, sizeof(*used));
    struct vring_avail *avail = memory_at(d->memory, 0, sizeof(*avail));
    avail->idx = SIZE + 1; /* read from there: it runs away */
    assert_int_equal(used->flags, 0);
    fake_driver_send(d, VHOST_USER_SET_STATUS, VHOST_USER_VERSION, &(uint64_t){15}, 8, NULL, 0);
    assert_broken(f, "an available index ran away");
}

static void test_a_kick_is_one_event(void **state)
{
    struct fixture *f = *state;
    uint64_t before = counter(f, "kicks"), one = 1;
    assert_int_equal(write(f->d->kick_fds[TX], &one, sizeof(one)), sizeof(one));
    for (int i = 0; i < 5; i++)
        fake_driver_turn(f->d);
    assert_int_equal(counter(f, "kicks"), before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUNNING(test_a_ring_can_pause),
        INBAND(test_a_ring_can_pause),
        RUNNING(test_a_ring_tells_where_it_stopped),
        RUNNING(test_a_new_table_may_come_while_rings_run),
        NEGOTIATED(test_ring_values_are_checked),
        RUNNING(test_a_running_ring_cannot_be_changed),
        NEGOTIATED(test_rings_outside_of_memory_are_refused),
        NEGOTIATED(test_a_ring_may_be_enabled_first),
        NEGOTIATED(test_rings_of_a_simple_front_end_need_no_enabling),
        NEGOTIATED(test_foreign_memory_is_refused),
        NEGOTIATED(test_tables_are_checked),
        NEGOTIATED(test_the_number_of_regions_must_agree),
        RUNNING(test_a_table_that_leaves_a_running_ring_breaks),
        NEGOTIATED(test_kicks_come_by_eventfd_only),
        RUNNING(test_a_kick_descriptor_cannot_make_us_wait),
        NEGOTIATED(test_user_addresses_are_translated_by_region),
        RUNNING(test_a_kick_is_one_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
