/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vhost_user.c: the vhost-user back end serves a correct guest, and outlives one that breaks
 * the stream.
 */
#include "vhost_user_fixture.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void test_a_guest_is_served(void **state)
{
    struct fixture *f = *state;
    assert_prints(f, "hello");
    assert_int_equal(f->d->signals[TX], 1);
    assert_prints(f, "again");
    assert_int_equal(f->d->signals[TX], 2);
    assert_int_equal(counter(f, "kicks") > 1, 1);
    assert_int_equal(counter(f, "refused"), 0);
}

static void test_what_came_before_driver_ok_is_served(void **state)
{
    struct fixture *f = *state;
    fake_driver_negotiate(f->d, 0);
    fake_driver_set_table(f->d);
    fake_driver_set_up_queue(f->d, TX, SIZE);
    add_text(f, "early");
    fake_driver_kick(f->d, TX);
    assert_int_equal(f->output_len, 0);
    assert_int_equal(fake_driver_ask_u64(f->d, VHOST_USER_SET_STATUS, 15), 0);
    assert_int_equal(f->output_len, 5);
    assert_int_equal(fake_driver_get_u64(f->d, VHOST_USER_GET_STATUS), 15);
}

static void test_a_driver_can_start_again_on_the_same_socket(void **state)
{
    struct fixture *f = *state;
    assert_prints(f, "one");
    unsigned fds = fake_count_fds();
    fake_driver_reset(f->d);
    assert_int_equal(fake_count_fds(), fds - 3); /* its request socket, and our kick descriptors */
    assert_false(virtio_device_is_active(f->d->dev));
    uint64_t calls[8]; /* the end of this file would say that the device is gone */
    while (recv(f->d->call_socks[TX], calls, sizeof(calls), MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(recv(f->d->call_socks[TX], calls, sizeof(calls), MSG_DONTWAIT), -1);
    add_text(f, "after the reset");
    f->output_len = 0;
    fake_driver_kick(f->d, TX); /* nobody watches the old descriptor */
    assert_int_equal(f->output_len, 0);
    for (unsigned i = 2; i-- > 0;)
        assert_int_equal(fake_driver_ask_state(f->d, VHOST_USER_SET_VRING_ENABLE, i, 0), 0);
    fake_driver_get_u64(f->d, VHOST_USER_GET_FEATURES);

    fake_driver_start(f->d, f->d->dev, 0, SIZE);
    assert_prints(f, "two");
    assert_int_equal(fake_driver_counter(f->d, "resets"), 1);
}

static void test_without_status_the_first_ring_starts_the_device(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    d->protocol_features = PROTOCOL_REPLY_ACK;
    for (int round = 0; round < 2; round++) { /* the second one shows itself by SET_FEATURES */
        assert_int_equal(
            fake_driver_ask_u64(d, VHOST_USER_SET_PROTOCOL_FEATURES, d->protocol_features), 0);
        uint64_t features = fake_driver_get_u64(d, VHOST_USER_GET_FEATURES);
        assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_FEATURES, features), 0);
        assert_false(virtio_device_is_active(d->dev));
        fake_driver_set_table(d);
        fake_driver_set_up_queue(d, TX, SIZE);
        assert_true(virtio_device_is_active(d->dev));
        assert_prints(f, "ready");
        /* While a ring runs, the features stand. */
        assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_FEATURES, features), 1);
        assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, TX, 0), 0);
    }
}

static void test_a_message_may_come_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_header h = {VHOST_USER_SET_PROTOCOL_FEATURES, ACK, 8};
    uint64_t value = PROTOCOL_REPLY_ACK, ack = 1;
    uint8_t bytes[sizeof(h) + sizeof(value)];
    memcpy(bytes, &h, sizeof(h));
    memcpy(bytes + sizeof(h), &value, sizeof(value));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(counter(f, "messages"), 0);
        assert_int_equal(send(f->d->sock, bytes + i, 1, 0), 1);
        fake_driver_turn(f->d);
    }
    assert_int_equal(fake_driver_receive(f->d, h.request, &ack, sizeof(ack)), sizeof(ack));
    assert_int_equal(ack, 0);
}

static void test_many_messages_may_come_at_once(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        fake_driver_send(f->d, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, NULL, 0);
    uint64_t features;
    for (int i = 0; i < 10; i++)
        assert_int_equal(fake_driver_receive(f->d, VHOST_USER_GET_FEATURES, &features, 8), 8);
}

static void test_a_guest_that_ends_closes(void **state)
{
    struct fixture *f = *state;
    close(f->d->sock);
    f->d->sock = -1;
    for (int i = 0; i < 100 && !f->d->closed; i++)
        fake_driver_turn(f->d);
    assert_true(f->d->closed);
    assert_false(f->d->broken);
    assert_false(virtio_device_is_active(f->d->dev));
}

static void test_an_end_within_a_message_breaks(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_header h = {VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8};
    assert_int_equal(pv_fd_send(f->d->sock, &h, sizeof(h), &f->d->sock, 1), sizeof(h));
    fake_driver_turn(f->d);
    assert_true(virtio_vhost_user_is_open(f->d->conn));
    assert_int_equal(shutdown(f->d->sock, SHUT_WR), 0);
    assert_broken(f, "the connection ended within a message");
}

static void test_a_guest_that_never_reads_replies_breaks(void **state)
{
    struct fixture *f = *state;
    struct vhost_user_header h = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
    for (int i = 0; i < 100000 && !f->d->broken; i++) {
        if (send(f->d->sock, &h, sizeof(h), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            fake_driver_turn(f->d);
    }
    assert_broken(f, "the guest does not read its replies");
}

static void test_a_descriptor_loop_breaks_the_connection(void **state)
{
    struct fixture *f = *state;
    gpa_t a = fake_driver_alloc(f->d, 1);
    struct fake_desc loop[] = {{a, 1, 0, 0}, {a, 1, VRING_DESC_F_NEXT, 0}};
    fake_ring_add(&f->d->rings[TX], loop, 2);
    fake_driver_kick(f->d, TX);
    assert_broken(f, "a descriptor chain is longer than its queue");
    assert_int_equal(fake_driver_counter(f->d, "ring_errors"), 1);
    assert_int_equal(recv(f->d->sock, loop, 1, MSG_DONTWAIT), 0); /* the guest sees the end */
}

static void free_connection(void *data, const char *reason)
{
    struct fixture *f = data;
    virtio_vhost_user_free(f->d->conn);
    virtio_device_free(f->d->dev);
    f->d->conn = NULL;
    f->d->dev = NULL;
    f->d->broken = true;
}

static void test_the_owner_may_free_all_when_told(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER);
    *state = f;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    f->d->dev = new_console(f);
    f->d->sock = ends[0];
    struct virtio_vhost_user_options o = {.loop = f->d->loop,
                                          .memory = f->d->memory,
                                          .device = f->d->dev,
                                          .on_broken = free_connection,
                                          .data = f};
    assert_int_equal(virtio_vhost_user_new(&o, ends[1], &f->d->conn, NULL), 0);
    fake_driver_send(f->d, VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
    for (int i = 0; i < 100 && !f->d->broken; i++)
        fake_driver_turn(f->d);
    assert_null(f->d->conn);
}

static void test_only_stream_sockets_are_served(void **state)
{
    struct fixture *f = *state;
    struct virtio_vhost_user *conn = NULL;
    struct virtio_vhost_user_options o = {
        .loop = f->d->loop, .memory = f->d->memory, .device = f->d->dev};
    struct pv_error err = PV_ERROR_INIT;
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(virtio_vhost_user_new(&o, fd, &conn, &err), -ENOTSOCK);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken all the same */
    assert_int_equal(virtio_vhost_user_new(&o, -1, &conn, &err), -ENOTSOCK);
    assert_null(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUNNING(test_a_guest_is_served),
        INBAND(test_a_guest_is_served),
        CONNECTED(test_what_came_before_driver_ok_is_served),
        RUNNING(test_a_driver_can_start_again_on_the_same_socket),
        CONNECTED(test_without_status_the_first_ring_starts_the_device),
        CONNECTED(test_a_message_may_come_byte_by_byte),
        CONNECTED(test_many_messages_may_come_at_once),
        RUNNING(test_a_guest_that_ends_closes),
        RUNNING(test_an_end_within_a_message_breaks),
        CONNECTED(test_a_guest_that_never_reads_replies_breaks),
        RUNNING(test_a_descriptor_loop_breaks_the_connection),
        INBAND(test_a_descriptor_loop_breaks_the_connection),
        cmocka_unit_test_teardown(test_the_owner_may_free_all_when_told, tear_down),
        CONNECTED(test_only_stream_sockets_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
