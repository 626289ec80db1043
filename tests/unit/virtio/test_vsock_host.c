/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vsock_host.c: the host's side of vsock: listeners, connecting, the serving socket.
 */
#include "vsock_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

static void test_ports_without_listener_go_to_the_owner(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    f->host_end = ends[0];
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 1, 77);
    expect(f, VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(f->host_port, 77);
    send_data(f, 1, 77, "hi", 2);
    assert_reads(ends[1], "hi");
    close(ends[1]);
    while (expect(f, VIRTIO_VSOCK_OP_SHUTDOWN).h.flags != 3)
        ;

    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 2, 78); /* the owner refuses */
    struct packet p = expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(p.h.src_port, 78);
    assert_int_equal(p.h.dst_port, 2);
    assert_int_equal(fake_driver_counter(f->d, "refused"), 1);
}

static uint32_t open_from_host(struct fixture *f, uint32_t guest_port, int *ret_fd)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(virtio_vsock_connect(f->dev, guest_port, ends[0], on_connected, f), 0);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(p.h.dst_port, guest_port);
    assert_int_equal(p.h.type, VIRTIO_VSOCK_TYPE_STREAM);
    assert_int_equal(f->num_connected, 0);
    *ret_fd = ends[1];
    return p.h.src_port;
}

static void test_host_connects(void **state)
{
    struct fixture *f = *state;
    int fd;
    uint32_t port = open_from_host(f, 52, &fd);
    assert_int_equal(send(fd, "early", 5, 0), 5);
    expect_nothing(f); /* data waits for the answer */
    send_op(f, VIRTIO_VSOCK_OP_RESPONSE, 52, port);
    assert_int_equal(f->num_connected, 1);
    assert_int_equal(f->connected_rc, 0);
    assert_memory_equal(expect(f, VIRTIO_VSOCK_OP_RW).data, "early", 5);
    send_data(f, 52, port, "answer", 6);
    assert_reads(fd, "answer");
    close(fd);
}

static void test_the_guest_may_refuse(void **state)
{
    struct fixture *f = *state;
    int fd;
    uint32_t port = open_from_host(f, 52, &fd);
    send_op(f, VIRTIO_VSOCK_OP_RST, 52, port);
    assert_int_equal(f->num_connected, 1);
    assert_int_equal(f->connected_rc, -ECONNREFUSED);
    assert_eof(fd);
    expect_nothing(f);
    close(fd);
}

static void test_data_before_the_answer_ends_it(void **state)
{
    struct fixture *f = *state;
    int fd;
    uint32_t port = open_from_host(f, 52, &fd);
    send_data(f, 52, port, "x", 1);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->connected_rc, -ECONNREFUSED);
    assert_eof(fd);
    close(fd);
}

static void test_connecting_needs_a_guest(void **state)
{
    struct fixture *f = *state;
    int fd;
    open_from_host(f, 52, &fd);
    fake_driver_reset(f->d);
    assert_int_equal(f->num_connected, 1);
    assert_int_equal(f->connected_rc, -ECONNRESET);
    assert_eof(fd);
    close(fd);

    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(virtio_vsock_connect(f->dev, 1, ends[0], on_connected, f), -ENOTCONN);
    assert_eof(ends[1]);
    assert_int_equal(f->num_connected, 1);
    close(ends[1]);
}

static void test_listeners(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(virtio_vsock_listen(f->dev, PORT, on_accepted, f), -EADDRINUSE);
    for (uint32_t i = 1; i < VIRTIO_VSOCK_LISTENERS_MAX; i++)
        assert_int_equal(virtio_vsock_listen(f->dev, i, on_accepted, f), 0);
    assert_int_equal(virtio_vsock_listen(f->dev, 9999, on_accepted, f), -ENOSPC);
    virtio_vsock_unlisten(f->dev, PORT);
    virtio_vsock_unlisten(f->dev, PORT);
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 1, PORT);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(virtio_vsock_listen(f->dev, 9999, on_accepted, f), 0);
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 1, 9999);
    expect(f, VIRTIO_VSOCK_OP_RESPONSE);
}

static int dial(struct fixture *f, const struct sockaddr_un *addr, const char *line)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
    fake_driver_turn(f->d);
    if (line)
        assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
    fake_driver_turn(f->d);
    return fd;
}

static void serve(struct fixture *f, struct sockaddr_un *addr)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(addr->sun_path + 1, sizeof(addr->sun_path) - 1, "pv-test-vsock-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(virtio_vsock_serve(f->dev, fd), 0);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(virtio_vsock_serve(f->dev, fd), -EBUSY);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_clients_say_connect(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr;
    serve(f, &addr);
    int fd = dial(f, &addr, "CONN");
    expect_nothing(f);
    assert_int_equal(send(fd, "ECT 4294967295\nbytes behind", 27, 0), 27);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(p.h.dst_port, UINT32_MAX);
    send_op(f, VIRTIO_VSOCK_OP_RESPONSE, UINT32_MAX, p.h.src_port);
    char ok[32];
    snprintf(ok, sizeof(ok), "OK %u\n", p.h.src_port);
    assert_reads(fd, ok);
    assert_memory_equal(expect(f, VIRTIO_VSOCK_OP_RW).data, "bytes behind", 12);
    close(fd);
}

static void test_clients_that_say_something_else_are_closed(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr;
    serve(f, &addr);
    const char *const lines[] = {"\n",
                                 "CONNECT\n",
                                 "CONNECT \n",
                                 "CONNECT 4294967296\n",
                                 "CONNECT -1\n",
                                 "connect 1\n",
                                 "CONNECT 1 2\n",
                                 "CONNECT 0x10\n",
                                 "CONNECT 1\r\n",
                                 "GET / HTTP/1.1\r\n",
                                 "CONNECT 00000000000000000000000000000000001\n"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(lines); i++) {
        int fd = dial(f, &addr, lines[i]);
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT); /* reset, when bytes were left unread */
        assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
        close(fd);
    }
    int fd = dial(f, &addr, NULL);
    assert_int_equal(send(fd, "CONNECT 1\0002\n", 12, 0), 12);
    fake_driver_turn(f->d);
    assert_eof(fd);
    close(fd);
    expect_nothing(f);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);

    fd = dial(f, &addr, "CONNECT 5\n"); /* refused by the guest */
    struct packet p = expect(f, VIRTIO_VSOCK_OP_REQUEST);
    send_op(f, VIRTIO_VSOCK_OP_RST, 5, p.h.src_port);
    assert_eof(fd);
    close(fd);
}

static void test_silent_clients_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr;
    int fds[MAX_CONNECTIONS + 1];
    serve(f, &addr);
    for (int i = 0; i <= MAX_CONNECTIONS; i++)
        fds[i] = dial(f, &addr, NULL);
    assert_int_equal(virtio_vsock_get_connections(f->dev), MAX_CONNECTIONS);
    assert_eof(fds[MAX_CONNECTIONS]);
    close(fds[0]);
    fake_driver_turn(f->d);
    assert_int_equal(virtio_vsock_get_connections(f->dev), MAX_CONNECTIONS - 1);
    fake_driver_reset(f->d); /* and with the guest they go */
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
    for (int i = 1; i <= MAX_CONNECTIONS; i++)
        close(fds[i]);
}

static void turn_for(struct fixture *f, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++)
        fake_driver_turn(f->d);
}

static void test_who_does_not_answer_in_time_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr;
    serve(f, &addr);
    int client = dial(f, &addr, "CONNE"), fd;
    uint32_t port = open_from_host(f, 52, &fd);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 2);
    assert_int_equal(f->num_connected, 0);
    turn_for(f, TIMEOUT_MS + 50);
    assert_int_equal(f->num_connected, 1);
    assert_int_equal(f->connected_rc, -ETIMEDOUT);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_RST); /* in case it answers later */
    assert_int_equal(p.h.src_port, port);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
    assert_eof(fd);
    char byte;
    assert_true(recv(client, &byte, 1, MSG_DONTWAIT) <= 0);
    close(fd);
    close(client);
}

static void test_a_close_that_is_not_answered_ends_in_time(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    close(pv_take_fd(&f->accepted));
    while (expect(f, VIRTIO_VSOCK_OP_SHUTDOWN).h.flags != 3)
        ;
    turn_for(f, TIMEOUT_MS + 50);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);

    open_from_guest(f, 5); /* those that are in use have no limit */
    int fd;
    uint32_t port = open_from_host(f, 52, &fd);
    send_op(f, VIRTIO_VSOCK_OP_RESPONSE, 52, port);
    turn_for(f, TIMEOUT_MS + 50);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 2);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_ports_without_listener_go_to_the_owner),
        BOTH(test_host_connects),
        BOTH(test_the_guest_may_refuse),
        BOTH(test_data_before_the_answer_ends_it),
        BOTH(test_connecting_needs_a_guest),
        BOTH(test_listeners),
        BOTH(test_clients_say_connect),
        BOTH(test_clients_that_say_something_else_are_closed),
        BOTH(test_silent_clients_are_bounded),
        BOTH(test_who_does_not_answer_in_time_is_dropped),
        BOTH(test_a_close_that_is_not_answered_ends_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
