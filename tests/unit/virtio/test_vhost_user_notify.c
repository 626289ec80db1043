/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vhost_user_notify.c: calls and configuration changes reach a guest that listens, and cost
 * nothing with one that does not.
 */
#include "vhost_user_fixture.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void test_config_changes_are_told(void **state)
{
    struct fixture *f = *state;
    uint16_t size[2];
    fake_driver_read_config(f->d, 0, size, sizeof(size));
    assert_int_equal(size[0], 80);
    assert_int_equal(virtio_console_resize(f->d->dev, 132, 50), 0);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, 1);
    fake_driver_read_config(f->d, 2, size, 2);
    assert_int_equal(size[0], 50);
}

static int64_t send_ring_fd(struct fake_driver *d, uint32_t request, uint64_t value, int fd)
{
    return fake_driver_ask(d, request, &value, sizeof(value), &fd, fd >= 0);
}

static void test_calls_go_to_stream_sockets_only(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    int pipes[2], datagrams[2], event = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams), 0);
    const int bad[] = {pipes[1], datagrams[0], event, memory_get_fd(d->memory)};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_CALL, TX, bad[i]), 1);
        assert_int_equal(fake_driver_ask(d, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &bad[i], 1), 1);
    }
    assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_CALL, TX | 1u << 8, -1), 0);
    assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_ERR, TX, event), 0);
    assert_int_equal(send_ring_fd(d, VHOST_USER_SET_VRING_ERR, TX, -1), 1);
    for (int i = 0; i < 2; i++) {
        close(pipes[i]);
        close(datagrams[i]);
    }
    close(event);
}

static void test_a_trusted_front_end_may_give_eventfds(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER);
    *state = f;
    f->d->trust_call_fds = true;
    fake_driver_start(f->d, new_console(f), 0, SIZE);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(send_ring_fd(f->d, VHOST_USER_SET_VRING_CALL, TX, event), 0);
    assert_prints(f, "text");
    uint64_t count = 0;
    assert_int_equal(read(event, &count, sizeof(count)), sizeof(count));
    assert_int_equal(count, 1);
    close(event);
}

static void test_a_guest_that_ignores_calls_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct fake_used used;
    int full = f->d->call_socks[TX];
    f->d->call_socks[TX] = -1; /* from here on nobody reads it */
    for (int i = 0; i < 2000; i++) {
        f->output_len = 0;
        add_text(f, "x");
        f->d->next_alloc -= 16;
        uint64_t one = 1;
        assert_int_equal(write(f->d->kick_fds[TX], &one, sizeof(one)), sizeof(one));
        while (!fake_driver_get_used(f->d, TX, &used))
            fake_driver_turn(f->d);
        if (counter(f, "calls_pending") > 3)
            break;
    }
    assert_true(counter(f, "calls_pending") > 3);
    close(full); /* nor does a reader that has gone */
    assert_prints(f, "alone");
    assert_prints(f, "alone again");
}

static void test_a_guest_that_closes_its_request_socket_is_served(void **state)
{
    struct fixture *f = *state;
    close(f->d->request_sock);
    f->d->request_sock = -1;
    for (uint16_t i = 1; i < 4; i++) {
        assert_int_equal(virtio_console_resize(f->d->dev, i, i), 0);
        fake_driver_turn(f->d);
    }
    assert_prints(f, "fine");
}

static void test_config_changes_wait_for_room(void **state)
{
    struct fixture *f = *state;
    int sock = f->d->request_sock;
    f->d->request_sock = -1;
    for (uint16_t i = 1; i < 2000; i++) /* more than fit into the socket */
        assert_int_equal(virtio_console_resize(f->d->dev, i, i), 0);
    f->d->request_sock = sock;
    unsigned before = 0;
    do { /* the last one comes when there is room */
        before = f->d->config_signals;
        fake_driver_turn(f->d);
    } while (f->d->config_signals != before);
    assert_true(before > 10 && before < 1999);
    assert_int_equal(virtio_console_resize(f->d->dev, 7, 7), 0);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUNNING(test_config_changes_are_told),
        INBAND(test_config_changes_are_told),
        NEGOTIATED(test_calls_go_to_stream_sockets_only),
        cmocka_unit_test_teardown(test_a_trusted_front_end_may_give_eventfds, tear_down),
        RUNNING(test_a_guest_that_ignores_calls_costs_nothing),
        RUNNING(test_a_guest_that_closes_its_request_socket_is_served),
        RUNNING(test_config_changes_wait_for_room),
        INBAND(test_config_changes_wait_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
