/* SPDX-License-Identifier: Apache-2.0
 *
 * test_vsock.c: packets of the vsock device: names, bounds, and lies about both.
 */
#include "vsock_fixture.h"

#include <errno.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_what_nobody_knows_is_reset),
        BOTH(test_connections_are_bounded),
        BOTH(test_malformed_packets_are_dropped),
        cmocka_unit_test_setup_teardown(test_buffers_that_hold_no_packet_break_the_device,
                                        set_up_no_rx, tear_down),
        cmocka_unit_test_setup_teardown(test_resets_wait_for_buffers, set_up_no_rx, tear_down),
        cmocka_unit_test(test_options_are_checked),
        BOTH(test_the_guest_reads_its_cid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
