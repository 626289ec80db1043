/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vsock_connection.c: one stream between guest and host: credit and ends.
 */
#include "vsock_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

static void test_guest_connects_and_both_talk(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5000);
    assert_true(fcntl(f->accepted, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(f->accepted, F_GETFD) & FD_CLOEXEC);
    send_data(f, 5000, PORT, "to the host", 11);
    assert_reads(f->accepted, "to the host");

    assert_int_equal(send(f->accepted, "to the guest", 12, 0), 12);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(p.h.len, 12);
    assert_memory_equal(p.data, "to the guest", 12);
    assert_int_equal(p.h.fwd_cnt, 11);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 1);
    assert_int_equal(fake_driver_counter(f->d, "to_host_bytes"), 11);
    assert_int_equal(fake_driver_counter(f->d, "to_guest_bytes"), 12);
}

static void test_a_second_request_for_a_connection_ends_it(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 5, PORT);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_eof(f->accepted);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
    open_from_guest(f, 5);
}

static void test_the_host_closes(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    assert_int_equal(send(f->accepted, "last words", 10, 0), 10);
    close(f->accepted);
    f->accepted = -1;
    unsigned flags = 0;
    bool data = false;
    struct packet p;
    while (flags != 3 && get_packet(f, &p)) {
        if (p.h.op == VIRTIO_VSOCK_OP_RW) {
            assert_memory_equal(p.data, "last words", 10);
            assert_false(flags & VIRTIO_VSOCK_SHUTDOWN_SEND);
            data = true;
        } else {
            assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_SHUTDOWN);
            flags = p.h.flags;
        }
    }
    assert_true(data);
    assert_int_equal(flags, 3);
    send_data(f, 5, PORT, "into the void", 13); /* crossed our shutdown: no offence */
    assert_int_equal(virtio_vsock_get_connections(f->dev), 1);
    send_op(f, VIRTIO_VSOCK_OP_RST, 5, PORT);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
    expect_nothing(f);
}

/* Its socket fails when it is read: a reset instead of an end. */
static void test_the_host_closes_without_having_read(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    send_data(f, 5, PORT, "for nobody", 10);
    close(f->accepted);
    f->accepted = -1;
    assert_int_equal(expect(f, VIRTIO_VSOCK_OP_SHUTDOWN).h.flags, 3);
    send_op(f, VIRTIO_VSOCK_OP_RST, 5, PORT);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
    assert_int_equal(fake_driver_counter(f->d, "to_guest_bytes"), 0);
}

static void test_the_host_closes_half(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    assert_int_equal(send(f->accepted, "bye", 3, 0), 3);
    assert_int_equal(shutdown(f->accepted, SHUT_WR), 0);
    expect(f, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(expect(f, VIRTIO_VSOCK_OP_SHUTDOWN).h.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    send_data(f, 5, PORT, "still talking", 13);
    assert_reads(f->accepted, "still talking");
    send_shutdown(f, 5, PORT, 3);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_eof(f->accepted);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
}

static void test_the_guest_closes_half(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    send_data(f, 5, PORT, "all", 3);
    send_shutdown(f, 5, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND);
    assert_reads(f->accepted, "all");
    assert_eof(f->accepted);
    assert_int_equal(send(f->accepted, "reply", 5, MSG_NOSIGNAL), 5);
    assert_memory_equal(expect(f, VIRTIO_VSOCK_OP_RW).data, "reply", 5);
    send_data(f, 5, PORT, "more", 4); /* after its own end: a lie */
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 1);
}

static void test_the_guest_stops_reading(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    send_shutdown(f, 5, PORT, VIRTIO_VSOCK_SHUTDOWN_RCV);
    assert_int_equal(send(f->accepted, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    send_data(f, 5, PORT, "but talks", 9);
    assert_reads(f->accepted, "but talks");
}

static void test_the_guest_closes_behind_data_that_waits(void **state)
{
    struct fixture *f = *state;
    static uint8_t chunk[32768];
    open_from_guest(f, 5);
    size_t sent = 0;
    for (int i = 0; i < 8; i++) { /* more than the socket takes */
        memset(chunk, i, sizeof(chunk));
        send_data(f, 5, PORT, chunk, sizeof(chunk));
        sent += sizeof(chunk);
    }
    send_shutdown(f, 5, PORT, 3);
    send_op(f, VIRTIO_VSOCK_OP_RST, 5, PORT); /* it could not wait */
    size_t got = 0;
    uint8_t buf[4096];
    for (int idle = 0; idle < 20;) {
        ssize_t n = recv(f->accepted, buf, sizeof(buf), MSG_DONTWAIT);
        if (n == 0)
            break;
        if (n < 0) {
            fake_driver_turn(f->d);
            idle++;
            continue;
        }
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(buf[i], (got + (size_t)i) / sizeof(chunk));
        got += (size_t)n;
    }
    assert_int_equal(got, sent);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
}

static void test_the_last_bytes_survive_a_reset(void **state)
{
    struct fixture *f = *state;
    static uint8_t chunk[65536];
    open_from_guest(f, 5);
    for (int i = 0; i < 4; i++)
        send_data(f, 5, PORT, chunk, sizeof(chunk));
    fake_driver_reset(f->d);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 1); /* lingers */
    size_t got = 0;
    ssize_t n = 1;
    while (n != 0) {
        n = recv(f->accepted, chunk, sizeof(chunk), MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        if (n < 0)
            fake_driver_turn(f->d);
    }
    assert_int_equal(got, 4 * sizeof(chunk));
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
}

static void test_we_keep_to_the_guests_credit(void **state)
{
    struct fixture *f = *state;
    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_REQUEST, 5, PORT);
    h.buf_alloc = 10;
    send_header(f, &h, NULL, 0);
    expect(f, VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(send(f->accepted, "0123456789abcdefghij", 20, 0), 20);
    assert_int_equal(expect(f, VIRTIO_VSOCK_OP_RW).h.len, 10);
    expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    expect_nothing(f); /* asked once */

    h = header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, PORT);
    h.buf_alloc = 10;
    h.fwd_cnt = 4;
    send_header(f, &h, NULL, 0);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(p.h.len, 4);
    assert_memory_equal(p.data, "abcd", 4);
    expect(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);

    /* Counts that make no sense only stop its own stream. */
    const uint32_t lies[] = {15, 0x80000000, UINT32_MAX, 3};
    for (size_t i = 0; i < PV_ARRAY_SIZE(lies); i++) {
        h.fwd_cnt = lies[i];
        send_header(f, &h, NULL, 0);
        expect_nothing(f);
    }
    h.fwd_cnt = 14;
    send_header(f, &h, NULL, 0);
    assert_memory_equal(expect(f, VIRTIO_VSOCK_OP_RW).data, "efghij", 6);
}

static void test_a_credit_request_is_answered(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    send_data(f, 5, PORT, "12345", 5);
    send_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5, PORT);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    assert_int_equal(p.h.fwd_cnt, 5);
    assert_int_equal(p.h.buf_alloc, VIRTIO_VSOCK_BUFFER_BYTES);
}

static void test_a_guest_beyond_its_credit_loses_the_connection(void **state)
{
    struct fixture *f = *state;
    static uint8_t chunk[65536];
    open_from_guest(f, 5);
    struct packet p;
    unsigned chunks = 0;
    while (!get_packet(f, &p) && chunks < 100) { /* nobody reads at the host */
        send_data(f, 5, PORT, chunk, sizeof(chunk));
        chunks++;
        while (get_packet(f, &p) && p.h.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
            ;
        if (fake_driver_counter(f->d, "bad_requests"))
            break;
    }
    assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_RST);
    assert_true(chunks * sizeof(chunk) > VIRTIO_VSOCK_BUFFER_BYTES);
    assert_true(chunks < 20);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
}

/* What an honest guest does: sends only what the credit allows, here against a slow reader. */
static void test_a_long_stream_arrives_whole(void **state)
{
    struct fixture *f = *state;
    enum { TOTAL = 3 << 20 };
    static uint8_t chunk[65536], buf[50000];
    uint32_t sent = 0, forwarded = 0, got = 0;
    open_from_guest(f, 5);
    unsigned idle = 0;
    while (got < TOTAL && idle < 1000) {
        uint32_t room = VIRTIO_VSOCK_BUFFER_BYTES - (sent - forwarded);
        uint32_t len = PV_MIN(room, (uint32_t)sizeof(chunk));
        len = PV_MIN(len, TOTAL - sent);
        for (uint32_t i = 0; i < len; i++)
            chunk[i] = (uint8_t)((sent + i) * 2654435761u >> 24);
        if (len)
            send_data(f, 5, PORT, chunk, len);
        sent += len;
        ssize_t n = recv(f->accepted, buf, sizeof(buf), MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(buf[i], (uint8_t)((got + (uint32_t)i) * 2654435761u >> 24));
        got += n > 0 ? (uint32_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        struct packet p;
        if (room <= sizeof(chunk) || n <= 0)
            while (get_packet(f, &p)) {
                assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
                forwarded = p.h.fwd_cnt;
            }
    }
    assert_int_equal(got, TOTAL);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 0);
}

static void test_a_long_stream_to_the_guest_arrives_whole(void **state)
{
    struct fixture *f = *state;
    enum { TOTAL = 2 << 20 };
    static uint8_t chunk[40000];
    open_from_guest(f, 5);
    uint32_t sent = 0, got = 0;
    while (got < TOTAL) {
        size_t len = PV_MIN(sizeof(chunk), (size_t)(TOTAL - sent));
        for (size_t i = 0; i < len; i++)
            chunk[i] = (uint8_t)((sent + i) * 2654435761u >> 24);
        ssize_t n = len ? send(f->accepted, chunk, len, MSG_DONTWAIT) : 0;
        sent += n > 0 ? (uint32_t)n : 0;
        struct packet p;
        assert_true(get_packet(f, &p));
        if (p.h.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
            continue;
        assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_RW);
        for (uint32_t i = 0; i < p.h.len; i++)
            assert_int_equal(p.data[i], (uint8_t)((got + i) * 2654435761u >> 24));
        got += p.h.len;
        if (got % (1u << 19) < p.h.len) {
            struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, PORT);
            h.fwd_cnt = got;
            send_header(f, &h, NULL, 0);
        }
    }
    assert_int_equal(got, TOTAL);
}

static void test_unknown_operations_end_the_connection(void **state)
{
    struct fixture *f = *state;
    const uint16_t ops[] = {0, VIRTIO_VSOCK_OP_RESPONSE, 8, 255, UINT16_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(ops); i++) {
        open_from_guest(f, 5);
        send_op(f, ops[i], 5, PORT);
        expect(f, VIRTIO_VSOCK_OP_RST);
        assert_eof(f->accepted);
    }
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_guest_connects_and_both_talk),
        BOTH(test_a_second_request_for_a_connection_ends_it),
        BOTH(test_the_host_closes),
        BOTH(test_the_host_closes_without_having_read),
        BOTH(test_the_host_closes_half),
        BOTH(test_the_guest_closes_half),
        BOTH(test_the_guest_stops_reading),
        BOTH(test_the_guest_closes_behind_data_that_waits),
        BOTH(test_the_last_bytes_survive_a_reset),
        BOTH(test_we_keep_to_the_guests_credit),
        BOTH(test_a_credit_request_is_answered),
        BOTH(test_a_guest_beyond_its_credit_loses_the_connection),
        BOTH(test_a_long_stream_arrives_whole),
        BOTH(test_a_long_stream_to_the_guest_arrives_whole),
        BOTH(test_unknown_operations_end_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
