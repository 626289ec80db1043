/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user_fixture.h: a console behind a vhost-user connection, and what tests ask of it.
 *
 * Each test ends with as many open descriptors as it began with: tear_down fails otherwise.
 */
#ifndef TESTS_VIRTIO_VHOST_USER_FIXTURE_H
#define TESTS_VIRTIO_VHOST_USER_FIXTURE_H

#include "support/fake_driver.h"
#include "support/unit.h"
#include "virtio/device/console.h"
#include "virtio/transport/vhost_user.h"

#define RX 0
#define TX 1
#define SIZE 8
#define ACK (VHOST_USER_VERSION | VHOST_USER_NEED_REPLY)
#define PROTOCOL_REPLY_ACK (1u << VHOST_USER_PROTOCOL_F_REPLY_ACK)

struct fixture {
    struct fake_driver *d;
    char output[256];
    size_t output_len;
    unsigned fds_before;
};

struct virtio_device *new_console(struct fixture *f);
/* A driver without a device. */
struct fixture *set_up_transport(enum fake_transport transport);
/* A driver that has connected and said nothing, ... */
int set_up_connected(void **state);
/* ... that has negotiated: REPLY_ACK works, ... */
int set_up_negotiated(void **state);
/* ... whose device is active, ... */
int set_up_running(void **state);
/* ... with notifications as messages. */
int set_up_inband(void **state);
int tear_down(void **state);

/* The value of a counter of the connection. */
uint64_t counter(struct fixture *f, const char *label);
/* Makes text available on the transmit queue. */
void add_text(struct fixture *f, const char *text);
/* The device serves: it prints text and gives the buffer back. */
void assert_prints(struct fixture *f, const char *text);
/* The connection has ended because of what the guest did, and the owner knows why. */
void assert_broken(struct fixture *f, const char *reason);
/* The connection answers. */
void assert_alive(struct fixture *f);

#define CONNECTED(name) cmocka_unit_test_setup_teardown(name, set_up_connected, tear_down)
#define NEGOTIATED(name) cmocka_unit_test_setup_teardown(name, set_up_negotiated, tear_down)
#define RUNNING(name) cmocka_unit_test_setup_teardown(name, set_up_running, tear_down)
#define INBAND(name) cmocka_unit_test_setup_teardown(name, set_up_inband, tear_down)

#endif
