/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vsock.c: streams between guest and host: names, credit, ends, bounds.
 */
#include "virtio/device/vsock.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define RX 0
#define TX 1
#define SIZE 64
#define CID 7
#define PORT 1024 /* of the host, with a listener */
#define MAX_CONNECTIONS 8
#define HEADER sizeof(struct virtio_vsock_hdr)
#define PACKET 4096u /* room for data in each of the guest's buffers */

struct packet {
    struct virtio_vsock_hdr h;
    uint8_t data[PACKET];
};

struct fixture {
    struct fake_driver *d;
    struct virtio_device *dev;
    gpa_t rx[SIZE]; /* by head */
    gpa_t tx;       /* one packet to the device */
    int accepted;   /* fd of the last accepted connection, owned */
    uint32_t accepted_port;
    unsigned num_accepted;
    int connected_rc, num_connected;
    int host_end; /* given out by connect_host */
    uint32_t host_port;
    unsigned fds_before;
};

static void on_accepted(void *data, int fd, uint32_t guest_port)
{
    struct fixture *f = data;
    if (f->accepted >= 0)
        close(f->accepted);
    f->accepted = fd;
    f->accepted_port = guest_port;
    f->num_accepted++;
}

static void on_connected(void *data, int rc)
{
    struct fixture *f = data;
    f->connected_rc = rc;
    f->num_connected++;
}

static int connect_host(void *data, uint32_t host_port)
{
    struct fixture *f = data;
    f->host_port = host_port;
    if (f->host_end < 0)
        return -ECONNREFUSED;
    return pv_take_fd(&f->host_end);
}

static void post_rx(struct fixture *f, unsigned count)
{
    struct fake_ring *r = &f->d->rings[RX];
    for (unsigned i = 0; i < count; i++) {
        struct fake_desc d = {{0}, HEADER + PACKET, VRING_DESC_F_WRITE, 0};
        d.addr = f->rx[r->next_desc];
        fake_ring_add(r, &d, 1);
    }
    fake_driver_kick(f->d, RX);
}

static int set_up(void **state, enum fake_transport transport, unsigned rx)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->fds_before = fake_count_fds();
    f->d = fake_driver_new(transport);
    f->accepted = f->host_end = -1;
    struct virtio_vsock_options o = {.guest_cid = CID,
                                     .max_connections = MAX_CONNECTIONS,
                                     .connect_host = connect_host,
                                     .data = f};
    assert_int_equal(virtio_vsock_new(&o, f->d->loop, &f->dev, NULL), 0);
    assert_int_equal(virtio_vsock_listen(f->dev, PORT, on_accepted, f), 0);
    fake_driver_start(f->d, f->dev, 0, SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        f->rx[i] = fake_driver_alloc(f->d, HEADER + PACKET);
    f->tx = fake_driver_alloc(f->d, HEADER + 65536);
    post_rx(f, rx);
    *state = f;
    return 0;
}

static int set_up_direct(void **state)
{
    return set_up(state, FAKE_DIRECT, SIZE);
}

static int set_up_vhost_user(void **state)
{
    return set_up(state, FAKE_VHOST_USER, SIZE);
}

static int set_up_no_rx(void **state)
{
    return set_up(state, FAKE_VHOST_USER, 0);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->accepted >= 0)
        close(f->accepted);
    if (f->host_end >= 0)
        close(f->host_end);
    fake_driver_free(f->d);
    int left = (int)(fake_count_fds() - f->fds_before);
    free(f);
    return left ? -1 : 0;
}

/* -- packets -- */

static void send_header(struct fixture *f, const struct virtio_vsock_hdr *h, const void *data,
                        uint32_t len)
{
    uint8_t *at = fake_driver_at(f->d, f->tx, HEADER + len);
    memcpy(at, h, HEADER);
    if (len)
        memcpy(at + HEADER, data, len);
    struct fake_desc d[] = {{f->tx, HEADER, 0, 0}, {{f->tx.addr + HEADER}, len, 0, 0}};
    fake_ring_add(&f->d->rings[TX], d, len ? 2 : 1);
    fake_driver_kick(f->d, TX);
    fake_driver_wait_used(f->d, TX);
}

static struct virtio_vsock_hdr header(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    return (struct virtio_vsock_hdr){.src_cid = CID,
                                     .dst_cid = 2,
                                     .src_port = guest_port,
                                     .dst_port = host_port,
                                     .type = VIRTIO_VSOCK_TYPE_STREAM,
                                     .op = op,
                                     .buf_alloc = 1u << 20};
}

static void send_op(struct fixture *f, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    struct virtio_vsock_hdr h = header(op, guest_port, host_port);
    send_header(f, &h, NULL, 0);
}

static void send_data(struct fixture *f, uint32_t guest_port, uint32_t host_port, const void *data,
                      uint32_t len)
{
    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_RW, guest_port, host_port);
    h.len = len;
    send_header(f, &h, data, len);
}

static void send_shutdown(struct fixture *f, uint32_t guest_port, uint32_t host_port,
                          uint32_t flags)
{
    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_SHUTDOWN, guest_port, host_port);
    h.flags = flags;
    send_header(f, &h, NULL, 0);
}

/* Takes the next packet from the device and gives the buffer back: false when there is none. */
static bool get_packet(struct fixture *f, struct packet *p)
{
    struct fake_used used;
    for (int i = 0; i < 3; i++) {
        if (fake_driver_get_used(f->d, RX, &used)) {
            const struct vring_desc *d = fake_ring_desc(&f->d->rings[RX], (uint16_t)used.id);
            assert_true(used.len >= HEADER && used.len <= HEADER + PACKET);
            memcpy(p, fake_driver_at(f->d, (gpa_t){d->addr}, used.len), used.len);
            assert_int_equal(p->h.src_cid, 2);
            assert_int_equal(p->h.dst_cid, CID);
            assert_int_equal(p->h.len, used.len - HEADER);
            fake_ring_publish(&f->d->rings[RX], (uint16_t)used.id);
            fake_driver_kick(f->d, RX);
            return true;
        }
        fake_driver_turn(f->d);
    }
    return false;
}

static struct packet expect(struct fixture *f, uint16_t op)
{
    struct packet p;
    assert_true(get_packet(f, &p));
    assert_int_equal(p.h.op, op);
    return p;
}

static void expect_nothing(struct fixture *f)
{
    struct packet p;
    assert_false(get_packet(f, &p));
}

/* A connection from guest_port to the listener. */
static void open_from_guest(struct fixture *f, uint32_t guest_port)
{
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, guest_port, PORT);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(p.h.src_port, PORT);
    assert_int_equal(p.h.dst_port, guest_port);
    assert_int_equal(p.h.buf_alloc, VIRTIO_VSOCK_BUFFER_BYTES);
    assert_int_equal(f->accepted_port, guest_port);
}

static void assert_reads(int fd, const char *text)
{
    char buf[64];
    assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), strlen(text));
    assert_memory_equal(buf, text, strlen(text));
}

static void assert_eof(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

/* -- the guest connects -- */

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

static void test_what_nobody_knows_is_reset(void **state)
{
    struct fixture *f = *state;
    const uint16_t ops[] = {VIRTIO_VSOCK_OP_RESPONSE,
                            VIRTIO_VSOCK_OP_SHUTDOWN,
                            VIRTIO_VSOCK_OP_RW,
                            VIRTIO_VSOCK_OP_CREDIT_UPDATE,
                            VIRTIO_VSOCK_OP_CREDIT_REQUEST,
                            0,
                            99};
    for (size_t i = 0; i < PV_ARRAY_SIZE(ops); i++) {
        send_op(f, ops[i], 9, PORT);
        struct packet p = expect(f, VIRTIO_VSOCK_OP_RST);
        assert_int_equal(p.h.src_port, PORT);
        assert_int_equal(p.h.dst_port, 9);
    }
    send_op(f, VIRTIO_VSOCK_OP_RST, 9, PORT); /* or resets would never end */
    expect_nothing(f);

    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_REQUEST, 9, PORT);
    h.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    send_header(f, &h, NULL, 0);
    assert_int_equal(expect(f, VIRTIO_VSOCK_OP_RST).h.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
    h = header(VIRTIO_VSOCK_OP_REQUEST, 9, PORT);
    h.dst_cid = 3;
    send_header(f, &h, NULL, 0);
    expect(f, VIRTIO_VSOCK_OP_RST);
    h.dst_cid = 2;
    h.src_cid = CID + 1;
    send_header(f, &h, NULL, 0);
    expect_nothing(f);
    assert_int_equal(f->num_accepted, 0);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);
}

static void test_connections_are_bounded(void **state)
{
    struct fixture *f = *state;
    int kept[MAX_CONNECTIONS];
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++) {
        open_from_guest(f, 100 + i);
        kept[i] = pv_take_fd(&f->accepted);
    }
    assert_int_equal(virtio_vsock_get_connections(f->dev), MAX_CONNECTIONS);
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 99, PORT);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->num_accepted, MAX_CONNECTIONS);
    send_op(f, VIRTIO_VSOCK_OP_RST, 100, PORT);
    open_from_guest(f, 99);
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
        close(kept[i]);
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

/* -- the host connects -- */

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

/* -- ends -- */

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

/* -- credit -- */

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

/* -- lies -- */

static void test_malformed_packets_are_dropped(void **state)
{
    struct fixture *f = *state;
    open_from_guest(f, 5);
    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_RW, 5, PORT);
    const uint32_t lens[] = {1, 5, UINT32_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(lens); i++) {
        h.len = lens[i];
        send_header(f, &h, "four", i == 1 ? 4 : 0);
    }
    const uint32_t shorts[] = {0, 1, HEADER - 1};
    for (size_t i = 0; i < PV_ARRAY_SIZE(shorts); i++) {
        struct fake_desc d = {f->tx, shorts[i], 0, 0};
        fake_ring_add(&f->d->rings[TX], &d, 1);
        fake_driver_kick(f->d, TX);
        assert_int_equal(fake_driver_wait_used(f->d, TX).len, 0);
    }
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 6);
    send_data(f, 5, PORT, "fine", 4); /* the connection was not hit */
    assert_reads(f->accepted, "fine");

    h.len = 2; /* fewer than there are: only these count */
    send_header(f, &h, "four", 4);
    assert_reads(f->accepted, "fo");
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

static void test_buffers_that_hold_no_packet_break_the_device(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {f->rx[0], HEADER, VRING_DESC_F_WRITE, 0};
    fake_ring_add(&f->d->rings[RX], &d, 1);
    send_op(f, VIRTIO_VSOCK_OP_RW, 1, 1);
    fake_driver_turn(f->d);
    assert_true(f->d->broken);
    assert_false(virtio_vhost_user_is_open(f->d->conn));
}

static void test_resets_wait_for_buffers(void **state)
{
    struct fixture *f = *state;
    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_RW, 1, 1);
    memcpy(fake_driver_at(f->d, f->tx, HEADER), &h, HEADER);
    struct fake_desc d = {f->tx, HEADER, 0, 0};
    unsigned resets = 0, sent = 0, taken = 0;
    struct fake_used used;
    while (sent < 300) { /* no buffer for an answer: the device takes only so many */
        if (sent - taken == SIZE)
            break;
        fake_ring_add(&f->d->rings[TX], &d, 1);
        sent++;
        if (sent % 16 == 0)
            fake_driver_kick(f->d, TX);
        while (fake_driver_get_used(f->d, TX, &used))
            taken++;
    }
    assert_int_equal(taken, 64);
    assert_int_equal(sent, 64 + SIZE);
    post_rx(f, SIZE);
    struct packet p;
    while (get_packet(f, &p)) {
        assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_RST);
        resets++;
    }
    assert_int_equal(resets, sent);
}

/* -- listeners and the serving socket -- */

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
    expect_nothing(f);
    assert_int_equal(virtio_vsock_get_connections(f->dev), 0);

    int fd = dial(f, &addr, "CONNECT 5\n"); /* refused by the guest */
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

static void test_options_are_checked(void **state)
{
    struct pv_loop *loop = pv_loop_new();
    const struct virtio_vsock_options bad[] = {
        {.guest_cid = 0},
        {.guest_cid = 2},
        {.guest_cid = UINT32_MAX},
        {.guest_cid = 1ull << 32},
        {.guest_cid = 3, .max_connections = VIRTIO_VSOCK_CONNECTIONS_MAX + 1},
    };
    struct virtio_device *dev = NULL;
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(virtio_vsock_new(&bad[i], loop, &dev, NULL), -EINVAL);
    assert_null(dev);
    pv_loop_free(loop);
}

static void test_the_guest_reads_its_cid(void **state)
{
    struct fixture *f = *state;
    uint64_t cid = 0;
    fake_driver_read_config(f->d, 0, &cid, sizeof(cid));
    assert_int_equal(cid, CID);
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_guest_connects_and_both_talk),
        BOTH(test_ports_without_listener_go_to_the_owner),
        BOTH(test_what_nobody_knows_is_reset),
        BOTH(test_connections_are_bounded),
        BOTH(test_a_second_request_for_a_connection_ends_it),
        BOTH(test_host_connects),
        BOTH(test_the_guest_may_refuse),
        BOTH(test_data_before_the_answer_ends_it),
        BOTH(test_connecting_needs_a_guest),
        BOTH(test_the_host_closes),
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
        BOTH(test_malformed_packets_are_dropped),
        BOTH(test_unknown_operations_end_the_connection),
        cmocka_unit_test_setup_teardown(test_buffers_that_hold_no_packet_break_the_device,
                                        set_up_no_rx, tear_down),
        cmocka_unit_test_setup_teardown(test_resets_wait_for_buffers, set_up_no_rx, tear_down),
        BOTH(test_listeners),
        BOTH(test_clients_say_connect),
        BOTH(test_clients_that_say_something_else_are_closed),
        BOTH(test_silent_clients_are_bounded),
        cmocka_unit_test(test_options_are_checked),
        BOTH(test_the_guest_reads_its_cid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
