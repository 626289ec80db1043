/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vhost_user.c: the vhost-user back end serves a correct guest and survives every other one,
 * without losing a descriptor.
 */
#include "support/fake_driver.h"
#include "support/unit.h"
#include "virtio/device/console.h"
#include "virtio/transport/vhost_user.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

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

static void on_output(void *data, const void *bytes, size_t len)
{
    struct fixture *f = data;
    size_t n = PV_MIN(len, sizeof(f->output) - 1 - f->output_len);
    memcpy(f->output + f->output_len, bytes, n);
    f->output_len += n;
}

static struct virtio_device *new_console(struct fixture *f)
{
    struct virtio_device *dev;
    struct virtio_console_options o = {.output = on_output, .data = f, .cols = 80, .rows = 24};
    assert_int_equal(virtio_console_new(&o, f->d->loop, &dev, NULL), 0);
    return dev;
}

static struct fixture *set_up_transport(enum fake_transport transport)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->fds_before = fake_count_fds();
    f->d = fake_driver_new(transport);
    return f;
}

/* A driver that has connected and said nothing. */
static int set_up_connected(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER);
    fake_driver_connect(f->d, new_console(f));
    *state = f;
    return 0;
}

/* ... that has negotiated: REPLY_ACK works. */
static int set_up_negotiated(void **state)
{
    set_up_connected(state);
    fake_driver_negotiate(((struct fixture *)*state)->d, 0);
    return 0;
}

static int set_up_running(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER);
    fake_driver_start(f->d, new_console(f), 0, SIZE);
    *state = f;
    return 0;
}

static int set_up_inband(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER_INBAND);
    fake_driver_start(f->d, new_console(f), 0, SIZE);
    *state = f;
    return 0;
}

/* Each test ends with as many descriptors as it began with. */
static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    unsigned left = fake_count_fds() - f->fds_before;
    free(f);
    if (left)
        print_error("%u descriptors leaked\n", left);
    return left ? -1 : 0;
}

static uint64_t counter(struct fixture *f, const char *label)
{
    struct pv_counter_group g;
    virtio_vhost_user_get_counters(f->d->conn, "conn", &g);
    for (size_t i = 0; i < g.count; i++)
        if (strcmp(g.labels[i], label) == 0)
            return g.values[i];
    fail_msg("no counter %s", label);
    return 0;
}

static void add_text(struct fixture *f, const char *text)
{
    gpa_t gpa = fake_driver_bytes(f->d, text, strlen(text));
    struct fake_desc desc = {gpa, (uint32_t)strlen(text), 0, 0};
    fake_ring_add(&f->d->rings[TX], &desc, 1);
}

static void assert_prints(struct fixture *f, const char *text)
{
    struct fake_used used;
    f->output_len = 0;
    add_text(f, text);
    fake_driver_kick(f->d, TX);
    assert_int_equal(f->output_len, strlen(text));
    assert_memory_equal(f->output, text, strlen(text));
    assert_true(fake_driver_get_used(f->d, TX, &used));
}

/* The connection has ended because of what the guest did, and the owner knows why. */
static void assert_broken(struct fixture *f, const char *reason)
{
    for (int i = 0; i < 100 && !f->d->broken; i++)
        fake_driver_turn(f->d);
    assert_true(f->d->broken);
    assert_false(f->d->closed);
    assert_false(virtio_vhost_user_is_open(f->d->conn));
    assert_false(virtio_device_is_active(f->d->dev));
    assert_int_equal(counter(f, "broken"), 1);
    if (reason)
        assert_string_equal(f->d->reason, reason);
}

static void assert_alive(struct fixture *f)
{
    assert_true(virtio_vhost_user_is_open(f->d->conn));
    fake_driver_get_u64(f->d, VHOST_USER_GET_FEATURES);
}

/* -- a correct guest -- */

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

static void test_a_driver_can_start_again_on_the_same_socket(void **state)
{
    struct fixture *f = *state;
    assert_prints(f, "one");
    fake_driver_reset(f->d);
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

static void test_a_new_table_may_come_while_rings_run(void **state)
{
    struct fixture *f = *state;
    fake_driver_set_table(f->d);
    assert_prints(f, "still here");
}

/* -- framing -- */

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

static void test_wrong_flags_break(void **state)
{
    const uint32_t bad[] = {
        0,          2,         3, VHOST_USER_VERSION | VHOST_USER_REPLY, VHOST_USER_VERSION | 0x10,
        0xffffffff, 0x80000001};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        set_up_connected(state);
        struct fixture *f = *state;
        fake_driver_send(f->d, VHOST_USER_GET_FEATURES, bad[i], NULL, 0, NULL, 0);
        assert_broken(f, "a message has wrong flags");
        assert_int_equal(tear_down(state), 0);
    }
}

static void test_a_size_beyond_any_message_breaks_at_once(void **state)
{
    const uint32_t bad[] = {sizeof(union vhost_user_payload) + 1, 0x7fffffff, UINT32_MAX - 11,
                            UINT32_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        set_up_connected(state);
        struct fixture *f = *state;
        struct vhost_user_header h = {VHOST_USER_SET_CONFIG, VHOST_USER_VERSION, bad[i]};
        assert_int_equal(send(f->d->sock, &h, sizeof(h), 0), sizeof(h));
        assert_broken(f, "a message is too long");
        assert_int_equal(tear_down(state), 0);
    }
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

/* -- the table -- */

struct shape {
    uint32_t request, size, fds;
    bool ranged; /* neighbouring sizes may be right too */
};

static const struct shape shapes[] = {
    {VHOST_USER_GET_FEATURES, 0, 0, false},
    {VHOST_USER_SET_FEATURES, 8, 0, false},
    {VHOST_USER_SET_OWNER, 0, 0, false},
    {VHOST_USER_SET_MEM_TABLE, 40, 1, true},
    {VHOST_USER_SET_VRING_NUM, 8, 0, false},
    {VHOST_USER_SET_VRING_ADDR, 40, 0, false},
    {VHOST_USER_SET_VRING_BASE, 8, 0, false},
    {VHOST_USER_GET_VRING_BASE, 8, 0, false},
    {VHOST_USER_SET_VRING_KICK, 8, 1, false},
    {VHOST_USER_SET_VRING_CALL, 8, 1, false},
    {VHOST_USER_SET_VRING_ERR, 8, 1, false},
    {VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0, false},
    {VHOST_USER_SET_PROTOCOL_FEATURES, 8, 0, false},
    {VHOST_USER_GET_QUEUE_NUM, 0, 0, false},
    {VHOST_USER_SET_VRING_ENABLE, 8, 0, false},
    {VHOST_USER_SET_BACKEND_REQ_FD, 0, 1, false},
    {VHOST_USER_GET_CONFIG, 16, 0, true},
    {VHOST_USER_SET_CONFIG, 16, 0, true},
    {VHOST_USER_RESET_DEVICE, 0, 0, false},
    {VHOST_USER_SET_STATUS, 8, 0, false},
    {VHOST_USER_GET_STATUS, 0, 0, false},
};

/* Sends one message of that shape to a fresh connection, filled with `fill`, with num_fds of the
 * guest's memory descriptor. */
static struct fixture *send_shape(void **state, uint32_t request, uint32_t size, unsigned num_fds,
                                  uint8_t fill)
{
    set_up_negotiated(state);
    struct fixture *f = *state;
    uint8_t payload[1024];
    int fds[16];
    memset(payload, fill, sizeof(payload));
    for (unsigned i = 0; i < num_fds; i++)
        fds[i] = memory_get_fd(f->d->memory);
    fake_driver_send(f->d, request, VHOST_USER_VERSION, payload, size, fds, num_fds);
    return f;
}

static void test_wrong_sizes_break(void **state)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(shapes); i++) {
        const struct shape *s = &shapes[i];
        const uint32_t bad[] = {s->size + 1, s->size - 1, 0, s->size + 8, 268, 7};
        for (size_t j = 0; j < PV_ARRAY_SIZE(bad); j++) {
            if (bad[j] > 268 || bad[j] == s->size || (s->ranged && bad[j] >= 13 && bad[j] != 39))
                continue;
            struct fixture *f = send_shape(state, s->request, bad[j], s->fds, 0);
            assert_broken(f, "a message has a wrong size");
            assert_int_equal(tear_down(state), 0);
        }
    }
}

static void test_wrong_numbers_of_descriptors_break(void **state)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(shapes); i++) {
        const struct shape *s = &shapes[i];
        bool is_table = s->request == VHOST_USER_SET_MEM_TABLE;
        const unsigned bad[] = {is_table ? 0 : s->fds + 1, 9, 10, 16};
        for (size_t j = 0; j < PV_ARRAY_SIZE(bad); j++) {
            struct fixture *f = send_shape(state, s->request, s->size, bad[j], 0);
            assert_broken(f, "a message has a wrong number of descriptors");
            assert_int_equal(tear_down(state), 0);
        }
    }
}

static void test_queues_that_are_not_there_break(void **state)
{
    static const uint32_t requests[] = {VHOST_USER_SET_VRING_NUM,  VHOST_USER_SET_VRING_ADDR,
                                        VHOST_USER_SET_VRING_BASE, VHOST_USER_GET_VRING_BASE,
                                        VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
                                        VHOST_USER_SET_VRING_ERR,  VHOST_USER_SET_VRING_ENABLE};
    for (size_t i = 0; i < PV_ARRAY_SIZE(requests); i++) {
        uint32_t r = requests[i];
        bool has_fd = r >= VHOST_USER_SET_VRING_KICK && r <= VHOST_USER_SET_VRING_ERR;
        const uint64_t bad[] = {2, 3, 8, 64, 255, has_fd ? 255 : 256, has_fd ? 2 : UINT32_MAX};
        for (size_t j = 0; j < PV_ARRAY_SIZE(bad); j++) {
            set_up_negotiated(state);
            struct fixture *f = *state;
            uint64_t payload[5] = {bad[j]};
            int fd = memory_get_fd(f->d->memory);
            fake_driver_send(f->d, r, ACK, payload, r == VHOST_USER_SET_VRING_ADDR ? 40 : 8, &fd,
                             has_fd);
            assert_broken(f, "a message names a queue that is not there");
            assert_int_equal(tear_down(state), 0);
        }
    }
}

static void test_unknown_messages_are_refused(void **state)
{
    struct fixture *f = *state;
    const uint32_t unknown[] = {
        0,          4,         VHOST_USER_VRING_KICK /* not negotiated */, 6, 7, 19, 22, 26, 41, 64,
        0x7fffffff, UINT32_MAX};
    uint8_t payload[64] = {0};
    int fds[] = {f->d->sock, memory_get_fd(f->d->memory)};
    for (size_t i = 0; i < PV_ARRAY_SIZE(unknown); i++)
        assert_int_equal(fake_driver_ask(f->d, unknown[i], payload, (uint32_t)i * 5, fds, i % 3),
                         1);
    assert_int_equal(counter(f, "refused"), PV_ARRAY_SIZE(unknown));
    assert_alive(f);
    fake_driver_send(f->d, 99, VHOST_USER_VERSION, NULL, 0, fds, 2);
    assert_broken(f, "a message is unknown");
}

static void test_messages_of_features_not_negotiated_are_unknown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        fake_driver_ask_u64(f->d, VHOST_USER_SET_PROTOCOL_FEATURES, PROTOCOL_REPLY_ACK), 0);
    const uint32_t needing[] = {VHOST_USER_GET_QUEUE_NUM, VHOST_USER_SET_BACKEND_REQ_FD,
                                VHOST_USER_GET_CONFIG,    VHOST_USER_SET_CONFIG,
                                VHOST_USER_RESET_DEVICE,  VHOST_USER_VRING_KICK,
                                VHOST_USER_SET_STATUS,    VHOST_USER_GET_STATUS};
    for (size_t i = 0; i < PV_ARRAY_SIZE(needing); i++)
        assert_int_equal(fake_driver_ask(f->d, needing[i], NULL, 0, NULL, 0), 1);
    assert_alive(f);
}

static void test_without_reply_ack_a_refusal_breaks(void **state)
{
    struct fixture *f = *state;
    uint64_t none = 0;
    fake_driver_send(f->d, VHOST_USER_SET_FEATURES, ACK, &none, 8, NULL, 0);
    assert_broken(f, "a message has a value that cannot be used");
}

/* -- values -- */

static void test_features_that_were_not_offered_are_refused(void **state)
{
    struct fixture *f = *state;
    struct fake_driver *d = f->d;
    assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_PROTOCOL_FEATURES,
                                         PROTOCOL_REPLY_ACK | 1u << VHOST_USER_PROTOCOL_F_STATUS),
                     0);
    assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_PROTOCOL_FEATURES, UINT64_MAX), 1);
    assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_PROTOCOL_FEATURES,
                                         1u << VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS),
                     1);
    uint64_t good = fake_driver_get_u64(d, VHOST_USER_GET_FEATURES);
    const uint64_t bad[] = {0, UINT64_MAX, good | 1ull << VIRTIO_F_RING_PACKED,
                            good & ~(1ull << VIRTIO_F_VERSION_1),
                            good & ~(1ull << VHOST_USER_F_PROTOCOL_FEATURES)};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_FEATURES, bad[i]), 1);

    /* The driver sees it in the status, too, and cannot go on. */
    assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_STATUS, 3), 0);
    assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_STATUS, 11), 0);
    assert_int_equal(fake_driver_get_u64(d, VHOST_USER_GET_STATUS), 3);
    assert_int_equal(fake_driver_ask_u64(d, VHOST_USER_SET_STATUS, 15), 1);
    assert_false(virtio_device_is_active(d->dev));
}

static void test_status_only_grows(void **state)
{
    struct fixture *f = *state;
    const uint64_t bad[] = {1, 3, 7, 0x40 | 15, 0x10 | 15, 0x100 | 15, UINT64_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(fake_driver_ask_u64(f->d, VHOST_USER_SET_STATUS, bad[i]), 1);
    assert_int_equal(fake_driver_get_u64(f->d, VHOST_USER_GET_STATUS), 11);
    assert_int_equal(fake_driver_ask_u64(f->d, VHOST_USER_SET_STATUS, 0x80 | 11), 0);
    assert_int_equal(fake_driver_ask_u64(f->d, VHOST_USER_SET_STATUS, 0), 0);
    assert_int_equal(fake_driver_get_u64(f->d, VHOST_USER_GET_STATUS), 0);
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
    /* Before there is anything. */
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, TX, 1), 1);
    assert_int_equal(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, TX, SIZE), 0);
    assert_int_equal(enable_at(d, ok, ok + 128, ok + 256), 1);
    fake_driver_set_table(d);
    assert_int_equal(enable_at(d, ok, ok + 128, ok + 256), 1); /* no kick descriptor yet */
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

/* -- memory table -- */

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
    } cases[] = {{0, 40, 1, 1},          {2, 40, 1, 1},          {2, 72, 1, 1},
                 {1, 40, 2, 1},          {1, 72, 2, 1},          {9, 72, 2, 1},
                 {UINT32_MAX, 40, 1, 1}, {0x08000001, 40, 1, 1}, {2, 72, 2, 0}};
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

/* -- descriptors -- */

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

/* -- breaking -- */

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

#define CONNECTED(name) cmocka_unit_test_setup_teardown(name, set_up_connected, tear_down)
#define NEGOTIATED(name) cmocka_unit_test_setup_teardown(name, set_up_negotiated, tear_down)
#define RUNNING(name) cmocka_unit_test_setup_teardown(name, set_up_running, tear_down)
#define INBAND(name) cmocka_unit_test_setup_teardown(name, set_up_inband, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUNNING(test_a_guest_is_served),
        INBAND(test_a_guest_is_served),
        CONNECTED(test_what_came_before_driver_ok_is_served),
        RUNNING(test_config_changes_are_told),
        INBAND(test_config_changes_are_told),
        RUNNING(test_a_driver_can_start_again_on_the_same_socket),
        RUNNING(test_a_ring_can_pause),
        INBAND(test_a_ring_can_pause),
        RUNNING(test_a_ring_tells_where_it_stopped),
        CONNECTED(test_without_status_the_first_ring_starts_the_device),
        RUNNING(test_a_new_table_may_come_while_rings_run),
        CONNECTED(test_a_message_may_come_byte_by_byte),
        CONNECTED(test_many_messages_may_come_at_once),
        cmocka_unit_test(test_wrong_flags_break),
        cmocka_unit_test(test_a_size_beyond_any_message_breaks_at_once),
        RUNNING(test_a_guest_that_ends_closes),
        RUNNING(test_an_end_within_a_message_breaks),
        CONNECTED(test_a_guest_that_never_reads_replies_breaks),
        cmocka_unit_test(test_wrong_sizes_break),
        cmocka_unit_test(test_wrong_numbers_of_descriptors_break),
        cmocka_unit_test(test_queues_that_are_not_there_break),
        NEGOTIATED(test_unknown_messages_are_refused),
        CONNECTED(test_messages_of_features_not_negotiated_are_unknown),
        CONNECTED(test_without_reply_ack_a_refusal_breaks),
        CONNECTED(test_features_that_were_not_offered_are_refused),
        NEGOTIATED(test_status_only_grows),
        NEGOTIATED(test_ring_values_are_checked),
        RUNNING(test_a_running_ring_cannot_be_changed),
        NEGOTIATED(test_rings_outside_of_memory_are_refused),
        NEGOTIATED(test_foreign_memory_is_refused),
        NEGOTIATED(test_tables_are_checked),
        NEGOTIATED(test_the_number_of_regions_must_agree),
        RUNNING(test_a_table_that_leaves_a_running_ring_breaks),
        NEGOTIATED(test_kicks_come_by_eventfd_only),
        NEGOTIATED(test_calls_go_to_stream_sockets_only),
        cmocka_unit_test_teardown(test_a_trusted_front_end_may_give_eventfds, tear_down),
        RUNNING(test_a_kick_descriptor_cannot_make_us_wait),
        RUNNING(test_a_guest_that_ignores_calls_costs_nothing),
        RUNNING(test_a_guest_that_closes_its_request_socket_is_served),
        RUNNING(test_config_changes_wait_for_room),
        INBAND(test_config_changes_wait_for_room),
        RUNNING(test_a_descriptor_loop_breaks_the_connection),
        INBAND(test_a_descriptor_loop_breaks_the_connection),
        cmocka_unit_test_teardown(test_the_owner_may_free_all_when_told, tear_down),
        CONNECTED(test_only_stream_sockets_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
