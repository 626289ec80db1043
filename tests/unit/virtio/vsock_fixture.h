/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock_fixture.h: a guest that speaks vsock packet by packet.
 *
 * Each test ends with as many open descriptors as it began with: tear_down fails otherwise.
 */
#ifndef TESTS_VIRTIO_VSOCK_FIXTURE_H
#define TESTS_VIRTIO_VSOCK_FIXTURE_H

#include "support/fake_driver.h"
#include "support/unit.h"
#include "virtio/device/vsock.h"

#include "base/fd.h"

#include <linux/virtio_vsock.h>

#define RX 0
#define TX 1
#define SIZE 64
#define CID 7
#define PORT 1024 /* of the host, with a listener */
#define MAX_CONNECTIONS 8
#define TIMEOUT_MS 300u
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

/* A running device with buffers for packets, ... */
int set_up_direct(void **state);
int set_up_vhost_user(void **state);
/* ... or without any. */
int set_up_no_rx(void **state);
int tear_down(void **state);
/* Gives the device `count` buffers for packets. */
void post_rx(struct fixture *f, unsigned count);

/* Callbacks for virtio_vsock_listen and virtio_vsock_connect: they fill the fixture. */
void on_accepted(void *data, int fd, uint32_t guest_port);
void on_connected(void *data, int rc);

/* Sends a packet to the device and waits until it was taken. */
struct virtio_vsock_hdr header(uint16_t op, uint32_t guest_port, uint32_t host_port);
void send_header(struct fixture *f, const struct virtio_vsock_hdr *h, const void *data,
                 uint32_t len);
void send_op(struct fixture *f, uint16_t op, uint32_t guest_port, uint32_t host_port);
void send_data(struct fixture *f, uint32_t guest_port, uint32_t host_port, const void *data,
               uint32_t len);
void send_shutdown(struct fixture *f, uint32_t guest_port, uint32_t host_port, uint32_t flags);

/* Takes the next packet from the device and gives the buffer back: false when there is none. */
bool get_packet(struct fixture *f, struct packet *p);
struct packet expect(struct fixture *f, uint16_t op);
void expect_nothing(struct fixture *f);

/* A connection from guest_port to the listener: f->accepted. */
void open_from_guest(struct fixture *f, uint32_t guest_port);
void assert_reads(int fd, const char *text);
void assert_eof(int fd);

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

#endif
