/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vhost_user_message.c: each message of vhost-user with every wrong size, number of
 * descriptors, queue and value.
 */
#include "vhost_user_fixture.h"

#include "base/fd.h"

#include <linux/virtio_config.h>
#include <stdio.h>
#include <sys/socket.h>

struct shape {
    uint32_t request, size, fds;
    bool ranged; /* neighbouring sizes may be right too */
};

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
                            good & ~(1ull << VIRTIO_F_VERSION_1)};
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

static int64_t send_config(struct fixture *f, uint32_t request, uint32_t offset, uint32_t size,
                           uint32_t flags, uint32_t bytes)
{
    struct vhost_user_config c = {.offset = offset, .size = size, .flags = flags};
    return fake_driver_ask(f->d, request, &c, VHOST_USER_CONFIG_HEADER_BYTES + bytes, NULL, 0);
}

static void test_config_ranges_are_checked(void **state)
{
    const struct {
        uint32_t offset, size, flags, bytes;
    } bad[] = {{0, 1, 0, 4},   {0, 5, 0, 4},          {0, 4, 1, 4},
               {0, 0, 0, 4},   {253, 4, 0, 4},        {UINT32_MAX, 4, 0, 4},
               {256, 1, 0, 1}, {0, UINT32_MAX, 0, 4}, {1, 256, 0, 256}};
    struct fixture *f = *state;
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
        assert_int_equal(send_config(f, VHOST_USER_SET_CONFIG, bad[i].offset, bad[i].size,
                                     bad[i].flags, bad[i].bytes),
                         1);
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) { /* a question that has no answer */
        void *other;
        set_up_negotiated(&other);
        assert_int_equal(send_config(other, VHOST_USER_GET_CONFIG, bad[i].offset, bad[i].size,
                                     bad[i].flags, bad[i].bytes),
                         -1);
        assert_broken(other, "a message has a value that cannot be used");
        assert_int_equal(tear_down(&other), 0);
    }
    uint8_t config[VIRTIO_DEVICE_CONFIG_MAX];
    fake_driver_read_config(f->d, 0, config, sizeof(config));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_flags_break),
        cmocka_unit_test(test_a_size_beyond_any_message_breaks_at_once),
        cmocka_unit_test(test_wrong_sizes_break),
        cmocka_unit_test(test_wrong_numbers_of_descriptors_break),
        cmocka_unit_test(test_queues_that_are_not_there_break),
        NEGOTIATED(test_unknown_messages_are_refused),
        CONNECTED(test_messages_of_features_not_negotiated_are_unknown),
        CONNECTED(test_without_reply_ack_a_refusal_breaks),
        CONNECTED(test_features_that_were_not_offered_are_refused),
        NEGOTIATED(test_status_only_grows),
        NEGOTIATED(test_config_ranges_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
