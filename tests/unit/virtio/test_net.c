/* SPDX-License-Identifier: Apache-2.0
 *
 * test_net.c: the network card over a link that this test plays.
 */
#include "virtio/device/net.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#define SIZE 64
#define HDR 12u
#define RX 0
#define TX 1
#define ALL (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_USO)
#define BIT(n) (1ull << (n))

struct fixture {
    struct net_link link;
    struct fake_driver *d;
    struct virtio_device *dev;
    unsigned sent, resumed;
    bool busy; /* the link has no room */
    struct virtio_net_hdr hdr;
    uint8_t frame[NET_FRAME_MAX];
    size_t bytes;
};

static int link_send(struct net_link *link, const struct net_frame *frame)
{
    struct fixture *f = PV_CONTAINER_OF(link, struct fixture, link);
    if (f->busy)
        return -EAGAIN;
    f->sent++;
    f->hdr = frame->hdr;
    f->bytes = 0;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(f->frame + f->bytes, frame->iov[i].iov_base, frame->iov[i].iov_len);
        f->bytes += frame->iov[i].iov_len;
    }
    assert_int_equal(f->bytes, frame->bytes);
    return 0;
}

static void link_resume(struct net_link *link)
{
    PV_CONTAINER_OF(link, struct fixture, link)->resumed++;
}

static const struct net_link_class link_class = {
    .name = "test", .send = link_send, .resume = link_resume};

static struct fixture *start(enum fake_transport transport, uint64_t refuse)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->link = (struct net_link){
        .class = &link_class, .send_offloads = ALL, .receive_offloads = ALL, .mtu = 9000};
    f->d = fake_driver_new(transport);
    struct virtio_net_options o = {.link = &f->link, .mac = {2, 0, 0, 0, 0, 7}};
    assert_int_equal(virtio_net_new(&o, f->d->loop, &f->dev, NULL), 0);
    fake_driver_start(f->d, f->dev, refuse, SIZE);
    return f;
}

static int set_up_direct(void **state)
{
    *state = start(FAKE_DIRECT, 0);
    return 0;
}

static int set_up_vhost_user(void **state)
{
    *state = start(FAKE_VHOST_USER, 0);
    return 0;
}

/* A guest that knows nothing but plain frames in single buffers. */
static int set_up_simple(void **state)
{
    *state = start(FAKE_DIRECT, ~BIT(VIRTIO_F_VERSION_1));
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    free(f);
    return 0;
}

/* -- from the guest -- */

/* Header and frame into the ring, cut at `cut`. */
static void add(struct fixture *f, const struct virtio_net_hdr_v1 *h, const void *frame, size_t len,
                size_t cut)
{
    gpa_t at = fake_driver_alloc(f->d, HDR + len);
    uint8_t *bytes = fake_driver_at(f->d, at, HDR + len);
    memcpy(bytes, h, HDR);
    memcpy(bytes + HDR, frame, len);
    struct fake_desc d[2] = {{at, (uint32_t)cut, 0, 0},
                             {{at.addr + cut}, (uint32_t)(HDR + len - cut), 0, 0}};
    fake_ring_add(&f->d->rings[TX], d, cut < HDR + len ? 2 : 1);
}

static void transmit(struct fixture *f, const struct virtio_net_hdr_v1 *h, const void *frame,
                     size_t len, size_t cut)
{
    add(f, h, frame, len, cut);
    fake_driver_kick(f->d, TX);
}

static void fill(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 13 + i / 256);
}

static void test_frames_arrive_however_they_are_cut(void **state)
{
    struct fixture *f = *state;
    const struct virtio_net_hdr_v1 h = {0};
    uint8_t frame[1500];
    fill(frame, sizeof(frame));
    const size_t cuts[] = {1, 11, 12, 13, 100, HDR + 1499, HDR + 1500};
    for (size_t i = 0; i < PV_ARRAY_SIZE(cuts); i++) {
        transmit(f, &h, frame, sizeof(frame), cuts[i]);
        assert_int_equal(fake_driver_wait_used(f->d, TX).len, 0);
        assert_int_equal(f->sent, i + 1);
        assert_int_equal(f->bytes, sizeof(frame));
        assert_memory_equal(f->frame, frame, sizeof(frame));
    }
    assert_int_equal(fake_driver_counter(f->d, "tx_frames"), PV_ARRAY_SIZE(cuts));
    assert_int_equal(fake_driver_counter(f->d, "tx_bytes"), 1500 * PV_ARRAY_SIZE(cuts));
}

static void test_offload_headers_reach_the_link(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[5000] = {0};
    struct virtio_net_hdr_v1 h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                  .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                  .hdr_len = 54,
                                  .gso_size = 1448,
                                  .csum_start = 34,
                                  .csum_offset = 16};
    transmit(f, &h, frame, sizeof(frame), HDR);
    fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->sent, 1);
    assert_int_equal(f->hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(f->hdr.gso_size, 1448);
    assert_int_equal(f->hdr.csum_start, 34);
}

static void test_lies_cost_only_the_frame(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[NET_FRAME_MAX + 1] = {0};
    const struct {
        struct virtio_net_hdr_v1 h;
        size_t len;
    } lies[] = {
        {{0}, 0},
        {{0}, ETH_HLEN - 1},
        {{0}, NET_FRAME_MAX + 1},
        {{.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff}, 100},
        {{.flags = 1, .csum_start = 90, .csum_offset = 9}, 100},
        {{.flags = 1, .gso_type = 1, .gso_size = 0, .csum_start = 34, .csum_offset = 16}, 100},
        {{.gso_type = 1, .gso_size = 10, .csum_start = 34, .csum_offset = 16}, 100},
        {{.flags = 1, .gso_type = 3, .gso_size = 9, .csum_start = 34, .csum_offset = 6}, 100},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(lies); i++) {
        transmit(f, &lies[i].h, frame, lies[i].len, HDR + lies[i].len);
        fake_driver_wait_used(f->d, TX);
    }
    struct fake_desc d = {fake_driver_alloc(f->d, 11), 11, 0, 0}; /* not even a header */
    fake_ring_add(&f->d->rings[TX], &d, 1);
    fake_driver_kick(f->d, TX);
    fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->sent, 0);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), PV_ARRAY_SIZE(lies) + 1);
    assert_false(f->d->broken);
    transmit(f, &(struct virtio_net_hdr_v1){0}, frame, 60, 72);
    fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->sent, 1);
}

static void test_a_busy_link_leaves_frames_in_the_ring(void **state)
{
    struct fixture *f = *state;
    const struct virtio_net_hdr_v1 h = {0};
    struct fake_used used;
    uint8_t frame[60] = {0};
    f->busy = true;
    for (unsigned i = 0; i < 3; i++)
        transmit(f, &h, frame, sizeof(frame), 72);
    fake_driver_turn(f->d);
    assert_false(fake_driver_get_used(f->d, TX, &used));
    f->busy = false;
    f->link.upper.sendable(f->link.upper.data);
    for (unsigned i = 0; i < 3; i++)
        fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->sent, 3);
    assert_int_equal(fake_driver_counter(f->d, "chains"), 3);
}

/* Sends a frame; the loop does not turn. */
static void transmit_at_once(struct fixture *f, const void *frame, size_t len)
{
    const struct virtio_net_hdr_v1 h = {0};
    add(f, &h, frame, len, HDR);
    virtio_device_kick(f->dev, TX);
}

/* At once when the guest may wait for room, else a little later. */
static void test_when_the_guest_is_told_of_what_it_sent(void **state)
{
    struct fixture *f = *state;
    static uint8_t frame[60000];
    struct fake_used used;
    for (unsigned told = 0; told < 3; told++)
        for (unsigned i = 0; i < 3; i++) { /* much */
            assert_int_equal(fake_driver_counter(f->d, "signals"), told);
            transmit_at_once(f, frame, sizeof(frame));
            assert_true(fake_driver_get_used(f->d, TX, &used));
        }
    for (unsigned i = 0; i < 64; i++) { /* many */
        assert_int_equal(fake_driver_counter(f->d, "signals"), 3);
        transmit_at_once(f, frame, 60);
    }
    assert_int_equal(fake_driver_counter(f->d, "signals"), 4);
    while (fake_driver_get_used(f->d, TX, &used))
        ;
    transmit_at_once(f, frame, 60);
    assert_int_equal(fake_driver_counter(f->d, "signals"), 4);
    fake_driver_turn(f->d); /* for longer than the card waits */
    assert_int_equal(fake_driver_counter(f->d, "signals"), 5);
}

static void test_what_was_not_negotiated_is_refused(void **state)
{
    struct fixture *f = *state; /* simple */
    uint8_t frame[200] = {0};
    struct virtio_net_hdr_v1 h = {.flags = 1, .csum_start = 34, .csum_offset = 16};
    transmit(f, &h, frame, sizeof(frame), HDR);
    fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->sent, 0);
}

/* -- to the guest -- */

static gpa_t offer(struct fixture *f, uint32_t len)
{
    struct fake_desc d = {fake_driver_alloc(f->d, len), len, VRING_DESC_F_WRITE, 0};
    fake_ring_add(&f->d->rings[RX], &d, 1);
    return d.addr;
}

static int give(struct fixture *f, struct virtio_net_hdr hdr, const void *bytes, size_t len)
{
    /* In two pieces, as a stage hands them on. */
    struct iovec iov[2] = {{(void *)(uintptr_t)bytes, len / 3},
                           {(uint8_t *)(uintptr_t)bytes + len / 3, len - len / 3}};
    struct net_frame frame = {.hdr = hdr, .iov = iov, .num_iov = 2, .bytes = len};
    return f->link.upper.receive(f->link.upper.data, &frame);
}

static void test_a_frame_fills_as_many_buffers_as_it_needs(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[3000];
    gpa_t at[4];
    fill(frame, sizeof(frame));
    for (unsigned i = 0; i < 4; i++)
        at[i] = offer(f, 1024);
    fake_driver_kick(f->d, RX);
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, sizeof(frame)), 0);
    size_t seen = 0;
    for (unsigned i = 0; i < 3; i++) {
        uint32_t len = fake_driver_wait_used(f->d, RX).len, skip = i ? 0 : HDR;
        uint8_t *bytes = fake_driver_at(f->d, at[i], 1024);
        assert_memory_equal(bytes + skip, frame + seen, len - skip);
        seen += len - skip;
    }
    assert_int_equal(seen, sizeof(frame));
    struct virtio_net_hdr_v1 *h = fake_driver_at(f->d, at[0], HDR);
    assert_int_equal(h->num_buffers, 3);
    assert_int_equal(h->flags, 0);
    assert_int_equal(fake_driver_counter(f->d, "rx_frames"), 1);
    assert_int_equal(fake_driver_counter(f->d, "rx_bytes"), 3000);
}

static void test_a_header_that_is_cut_into_bytes(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d[14];
    uint8_t frame[100];
    fill(frame, sizeof(frame));
    for (unsigned i = 0; i < 13; i++)
        d[i] = (struct fake_desc){fake_driver_alloc(f->d, 1), 1, VRING_DESC_F_WRITE, 0};
    d[13] = (struct fake_desc){fake_driver_alloc(f->d, 200), 200, VRING_DESC_F_WRITE, 0};
    fake_ring_add(&f->d->rings[RX], d, 14);
    fake_driver_kick(f->d, RX);
    assert_int_equal(give(f, (struct virtio_net_hdr){.flags = 2}, frame, sizeof(frame)), 0);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, HDR + 100);
    assert_int_equal(*(uint8_t *)fake_driver_at(f->d, d[0].addr, 1), 2);
    assert_int_equal(*(uint8_t *)fake_driver_at(f->d, d[10].addr, 1), 1); /* num_buffers */
    assert_int_equal(*(uint8_t *)fake_driver_at(f->d, d[11].addr, 1), 0);
    assert_memory_equal(fake_driver_at(f->d, d[13].addr, 99), frame + 1, 99);
}

static void test_without_buffers_the_link_waits_and_goes_on(void **state)
{
    struct fixture *f = *state;
    struct fake_used used;
    uint8_t frame[2000];
    fill(frame, sizeof(frame));
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, sizeof(frame)), -EAGAIN);
    offer(f, 1024); /* not enough yet */
    fake_driver_kick(f->d, RX);
    fake_driver_turn(f->d);
    assert_int_equal(f->resumed, 1);
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, sizeof(frame)), -EAGAIN);
    assert_false(fake_driver_get_used(f->d, RX, &used));
    offer(f, 1024);
    fake_driver_kick(f->d, RX);
    fake_driver_turn(f->d);
    assert_int_equal(f->resumed, 2);
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, sizeof(frame)), 0);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, 1024);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, HDR + 2000 - 1024);
    assert_int_equal(fake_driver_counter(f->d, "rx_waits"), 2);
}

static void test_a_reset_lets_the_link_go_on(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[60] = {0};
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, sizeof(frame)), -EAGAIN);
    fake_driver_reset(f->d);
    assert_int_equal(f->resumed, 1);
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, sizeof(frame)), 0); /* dropped */
    assert_int_equal(fake_driver_counter(f->d, "rx_dropped"), 1);
}

static void test_buffers_without_room_break_the_card(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[60] = {0};
    offer(f, HDR);
    fake_driver_kick(f->d, RX);
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, sizeof(frame)), 0);
    fake_driver_turn(f->d);
    assert_true(f->d->broken || virtio_device_needs_reset(f->dev));
}

static void test_a_simple_guest_gets_one_buffer_per_frame(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[1000];
    fill(frame, sizeof(frame));
    offer(f, 512);
    offer(f, 2048);
    fake_driver_kick(f->d, RX);
    assert_int_equal(give(f, (struct virtio_net_hdr){0}, frame, 1000), 0); /* cannot fit */
    assert_int_equal(give(f, (struct virtio_net_hdr){.flags = 2}, frame, 500), 0);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, HDR + 500);
    assert_int_equal(fake_driver_counter(f->d, "rx_dropped"), 1);
}

static void test_a_simple_guest_gets_segments_with_checksums(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[54 + 2500] = {0};
    gpa_t at[3];
    frame[12] = ETH_P_IP >> 8;
    frame[14] = 0x45;
    frame[23] = 6;
    frame[46] = 5 << 4;
    struct virtio_net_hdr hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                 .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                 .gso_size = 1000,
                                 .csum_start = 34,
                                 .csum_offset = 16};
    for (unsigned i = 0; i < 3; i++)
        at[i] = offer(f, 1600);
    fake_driver_kick(f->d, RX);
    assert_int_equal(give(f, hdr, frame, sizeof(frame)), 0);
    const uint32_t lens[] = {HDR + 1054, HDR + 1054, HDR + 554};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fake_driver_wait_used(f->d, RX).len, lens[i]);
        uint8_t *bytes = fake_driver_at(f->d, at[i], 1600);
        struct virtio_net_hdr_v1 *h = (void *)bytes;
        assert_int_equal(h->gso_type + h->flags, 0);
        assert_true(bytes[HDR + 50] || bytes[HDR + 51]); /* a checksum is there */
    }
    offer(f, 1600); /* room for the first segment only: the rest is for TCP to send again */
    fake_driver_kick(f->d, RX);
    assert_int_equal(give(f, hdr, frame, sizeof(frame)), 0);
    fake_driver_wait_used(f->d, RX);
    assert_int_equal(fake_driver_counter(f->d, "rx_dropped"), 1);
}

/* -- configuration -- */

static void test_config_and_features(void **state)
{
    struct fixture *f = *state;
    struct virtio_net_config config;
    fake_driver_read_config(f->d, 0, &config, 12);
    assert_memory_equal(config.mac, "\x02\x00\x00\x00\x00\x07", 6);
    assert_int_equal(config.mtu, 9000);
    assert_true(fake_driver_write_config(f->d, 0, &config, 6) < 0);
}

static void test_only_what_the_link_can_is_offered(void **state)
{
    struct fixture *f = *state;
    uint64_t gso = BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
                   BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(54) | BIT(56);
    assert_int_equal(virtio_device_get_features(f->dev) & gso, gso);
    f->link.send_offloads = NET_OFFLOAD_CSUM;
    f->link.receive_offloads = 0;
    assert_int_equal(virtio_device_get_features(f->dev) & gso, 0);
    assert_true(virtio_device_get_features(f->dev) & BIT(VIRTIO_NET_F_CSUM));
}

static void test_addresses_of_groups_are_refused(void **state)
{
    struct fixture *f = *state;
    struct virtio_device *dev;
    struct virtio_net_options o = {.link = &f->link, .mac = {1}};
    assert_int_equal(virtio_net_new(&o, f->d->loop, &dev, NULL), -EINVAL);
    o.mac[0] = 2;
    f->link.mtu = NET_MTU_MAX + 1;
    assert_int_equal(virtio_net_new(&o, f->d->loop, &dev, NULL), -EINVAL);
}

#define DIRECT(name) cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down)
#define SIMPLE(name) cmocka_unit_test_setup_teardown(name, set_up_simple, tear_down)
#define BOTH(name) DIRECT(name), cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_frames_arrive_however_they_are_cut),
        BOTH(test_offload_headers_reach_the_link),
        BOTH(test_lies_cost_only_the_frame),
        BOTH(test_a_busy_link_leaves_frames_in_the_ring),
        BOTH(test_when_the_guest_is_told_of_what_it_sent),
        SIMPLE(test_what_was_not_negotiated_is_refused),
        BOTH(test_a_frame_fills_as_many_buffers_as_it_needs),
        DIRECT(test_a_header_that_is_cut_into_bytes),
        BOTH(test_without_buffers_the_link_waits_and_goes_on),
        BOTH(test_a_reset_lets_the_link_go_on),
        DIRECT(test_buffers_without_room_break_the_card),
        SIMPLE(test_a_simple_guest_gets_one_buffer_per_frame),
        SIMPLE(test_a_simple_guest_gets_segments_with_checksums),
        BOTH(test_config_and_features),
        DIRECT(test_only_what_the_link_can_is_offered),
        DIRECT(test_addresses_of_groups_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
