/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock_fixture.c: a guest that speaks vsock packet by packet.
 */
#include "vsock_fixture.h"

#include <errno.h>
#include <sys/socket.h>

void on_accepted(void *data, int fd, uint32_t guest_port)
{
    struct fixture *f = data;
    if (f->accepted >= 0)
        close(f->accepted);
    f->accepted = fd;
    f->accepted_port = guest_port;
    f->num_accepted++;
}

void on_connected(void *data, int rc)
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

void post_rx(struct fixture *f, unsigned count)
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
                                     .timeout_ms = TIMEOUT_MS,
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

int set_up_direct(void **state)
{
    return set_up(state, FAKE_DIRECT, SIZE);
}

int set_up_vhost_user(void **state)
{
    return set_up(state, FAKE_VHOST_USER, SIZE);
}

int set_up_no_rx(void **state)
{
    return set_up(state, FAKE_VHOST_USER, 0);
}

int tear_down(void **state)
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

void send_header(struct fixture *f, const struct virtio_vsock_hdr *h, const void *data,
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

struct virtio_vsock_hdr header(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    return (struct virtio_vsock_hdr){.src_cid = CID,
                                     .dst_cid = 2,
                                     .src_port = guest_port,
                                     .dst_port = host_port,
                                     .type = VIRTIO_VSOCK_TYPE_STREAM,
                                     .op = op,
                                     .buf_alloc = 1u << 20};
}

void send_op(struct fixture *f, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    struct virtio_vsock_hdr h = header(op, guest_port, host_port);
    send_header(f, &h, NULL, 0);
}

void send_data(struct fixture *f, uint32_t guest_port, uint32_t host_port, const void *data,
               uint32_t len)
{
    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_RW, guest_port, host_port);
    h.len = len;
    send_header(f, &h, data, len);
}

void send_shutdown(struct fixture *f, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
    struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_SHUTDOWN, guest_port, host_port);
    h.flags = flags;
    send_header(f, &h, NULL, 0);
}

/* Takes the next packet from the device and gives the buffer back: false when there is none. */
bool get_packet(struct fixture *f, struct packet *p)
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

struct packet expect(struct fixture *f, uint16_t op)
{
    struct packet p;
    assert_true(get_packet(f, &p));
    assert_int_equal(p.h.op, op);
    return p;
}

void expect_nothing(struct fixture *f)
{
    struct packet p;
    assert_false(get_packet(f, &p));
}

/* A connection from guest_port to the listener. */
void open_from_guest(struct fixture *f, uint32_t guest_port)
{
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, guest_port, PORT);
    struct packet p = expect(f, VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(p.h.src_port, PORT);
    assert_int_equal(p.h.dst_port, guest_port);
    assert_int_equal(p.h.buf_alloc, VIRTIO_VSOCK_BUFFER_BYTES);
    assert_int_equal(f->accepted_port, guest_port);
}

void assert_reads(int fd, const char *text)
{
    char buf[64];
    assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), strlen(text));
    assert_memory_equal(buf, text, strlen(text));
}

void assert_eof(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}
