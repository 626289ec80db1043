/* SPDX-License-Identifier: Apache-2.0
 *
 * test_console.c: the console prints, types and bounds both, over every transport.
 */
#include "virtio/device/console.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <errno.h>
#include <linux/virtio_console.h>

#define RX 0
#define TX 1
#define SIZE 16
#define CHAINS_PER_TURN 256u /* of console.c */

struct fixture {
    struct fake_driver *d;
    struct virtio_device *dev;
    uint8_t *output;
    size_t output_len, largest;
    unsigned rooms;
    size_t endless; /* see refill */
};

static void refill(struct fixture *f);

static void on_output(void *data, const void *bytes, size_t len)
{
    struct fixture *f = data;
    f->output = realloc(f->output, f->output_len + len);
    memcpy(f->output + f->output_len, bytes, len);
    f->output_len += len;
    f->largest = PV_MAX(f->largest, len);
    refill(f);
}

static void on_room(void *data)
{
    ((struct fixture *)data)->rooms++;
}

static int set_up(void **state, enum fake_transport transport)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->d = fake_driver_new(transport);
    struct virtio_console_options o = {
        .output = on_output, .input_room = on_room, .data = f, .cols = 80, .rows = 25};
    assert_int_equal(virtio_console_new(&o, f->d->loop, &f->dev, NULL), 0);
    *state = f;
    return 0;
}

static int set_up_direct(void **state)
{
    set_up(state, FAKE_DIRECT);
    struct fixture *f = *state;
    fake_driver_start(f->d, f->dev, 0, SIZE);
    return 0;
}

static int set_up_vhost_user(void **state)
{
    set_up(state, FAKE_VHOST_USER);
    struct fixture *f = *state;
    fake_driver_start(f->d, f->dev, 0, SIZE);
    return 0;
}

static int set_up_no_event_idx(void **state)
{
    set_up(state, FAKE_VHOST_USER_INBAND);
    struct fixture *f = *state;
    fake_driver_start(f->d, f->dev, 1ull << VIRTIO_RING_F_EVENT_IDX, SIZE);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    free(f->output);
    free(f);
    return 0;
}

static void add_rx(struct fixture *f, uint32_t len)
{
    struct fake_desc d = {fake_driver_alloc(f->d, len), len, VRING_DESC_F_WRITE, 0};
    fake_ring_add(&f->d->rings[RX], &d, 1);
}

static void test_output_in_parts_arrives_in_order(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d[] = {{fake_driver_bytes(f->d, "one ", 4), 4, 0, 0},
                            {fake_driver_bytes(f->d, "two", 3), 3, 0, 0}};
    fake_ring_add(&f->d->rings[TX], d, 2);
    fake_ring_add(&f->d->rings[TX], d, 1);
    fake_driver_kick(f->d, TX);
    assert_int_equal(f->output_len, 11);
    assert_memory_equal(f->output, "one twoone ", 11);
    assert_int_equal(fake_driver_wait_used(f->d, TX).len, 0);
    assert_int_equal(fake_driver_wait_used(f->d, TX).id, 2);
    assert_true(f->d->signals[TX] >= 1);
    assert_int_equal(fake_driver_counter(f->d, "output_bytes"), 11);
    assert_int_equal(fake_driver_counter(f->d, "chains"), 2);
}

static void test_one_huge_buffer_is_printed_in_turns(void **state)
{
    struct fixture *f = *state;
    uint32_t len = 1u << 20;
    gpa_t gpa = fake_driver_alloc(f->d, len);
    uint8_t *bytes = fake_driver_at(f->d, gpa, len);
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    struct fake_desc d = {gpa, len, 0, 0};
    fake_ring_add(&f->d->rings[TX], &d, 1);
    virtio_device_kick(f->dev, TX);
    assert_true(f->output_len < len / 4); /* one turn does not take it all */
    fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->output_len, len);
    assert_memory_equal(f->output, bytes, len);
    assert_true(f->largest <= 4096);
}

/* Whatever the size of the ones before: the share of a turn stays the same. */
static void test_a_turn_is_bounded_over_all_buffers(void **state)
{
    struct fixture *f = *state;
    uint32_t len = 1u << 20;
    struct fake_desc small = {fake_driver_alloc(f->d, 100), 100, 0, 0};
    struct fake_desc large = {fake_driver_alloc(f->d, len), len, 0, 0};
    fake_ring_add(&f->d->rings[TX], &small, 1);
    fake_ring_add(&f->d->rings[TX], &large, 1);
    virtio_device_kick(f->dev, TX);
    assert_true(f->output_len > 100 && f->output_len < len / 4);
    fake_driver_wait_used(f->d, TX);
    fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->output_len, len + 100);
}

/* A guest that gives a buffer for each one that was printed, until `endless` of them are gone. */
static void refill(struct fixture *f)
{
    struct fake_desc d = {{FAKE_LOW_START}, 1, 0, 0};
    if (f->endless && f->output_len < f->endless)
        fake_ring_add(&f->d->rings[TX], &d, 1);
}

static void test_a_guest_that_refills_its_queue_does_not_keep_the_loop(void **state)
{
    struct fixture *f = *state;
    f->endless = 1000;
    refill(f);
    virtio_device_kick(f->dev, TX);
    assert_int_equal(f->output_len, CHAINS_PER_TURN);
    for (size_t i = 0; i < f->endless; i++)
        fake_driver_wait_used(f->d, TX);
    assert_int_equal(f->output_len, f->endless);
}

static void test_writable_and_empty_output_is_harmless(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d[] = {{fake_driver_alloc(f->d, 8), 8, VRING_DESC_F_WRITE, 0}, {{0}, 0, 0, 0}};
    fake_ring_add(&f->d->rings[TX], &d[0], 1);
    fake_ring_add(&f->d->rings[TX], &d[1], 1);
    fake_driver_kick(f->d, TX);
    assert_int_equal(fake_driver_wait_used(f->d, TX).len, 0);
    assert_int_equal(fake_driver_wait_used(f->d, TX).len, 0);
    assert_int_equal(f->output_len, 0);
}

static void test_input_fills_the_guests_buffers(void **state)
{
    struct fixture *f = *state;
    add_rx(f, 4);
    fake_driver_kick(f->d, RX);
    assert_int_equal(virtio_console_input(f->dev, "typed text", 10), 10);
    fake_driver_turn(f->d);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, 4);
    const struct vring_desc *first = fake_ring_desc(&f->d->rings[RX], 0);
    assert_memory_equal(fake_driver_at(f->d, (gpa_t){first->addr}, 4), "type", 4);
    assert_int_equal(f->d->signals[RX], 1);

    add_rx(f, 100); /* the rest waited */
    fake_driver_kick(f->d, RX);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, 6);
    assert_int_equal(fake_driver_counter(f->d, "input_bytes"), 10);
}

static void test_input_buffers_that_are_not_writable_are_given_back(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d = {fake_driver_alloc(f->d, 8), 8, 0, 0};
    fake_ring_add(&f->d->rings[RX], &d, 1);
    add_rx(f, 8);
    assert_int_equal(virtio_console_input(f->dev, "x", 1), 1);
    fake_driver_turn(f->d);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, 0);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, 1);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 1);
}

static void test_input_is_bounded(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[VIRTIO_CONSOLE_INPUT_MAX + 1];
    assert_int_equal(virtio_console_input(f->dev, bytes, sizeof(bytes)), VIRTIO_CONSOLE_INPUT_MAX);
    assert_int_equal(virtio_console_input(f->dev, bytes, 1), 0);
    fake_driver_turn(f->d);
    assert_int_equal(f->rooms, 0);
    add_rx(f, 10);
    fake_driver_kick(f->d, RX);
    assert_int_equal(f->rooms, 1); /* told once */
    assert_int_equal(virtio_console_input(f->dev, bytes, 11), 10);
}

static void test_input_before_the_guest_waits_for_it(void **state)
{
    set_up(state, FAKE_VHOST_USER);
    struct fixture *f = *state;
    assert_int_equal(virtio_console_input(f->dev, "early", 5), 5);
    fake_driver_start(f->d, f->dev, 0, SIZE); /* its first reset drops nothing */
    add_rx(f, 16);
    fake_driver_kick(f->d, RX);
    assert_int_equal(fake_driver_wait_used(f->d, RX).len, 5);

    assert_int_equal(virtio_console_input(f->dev, "late", 4), 4);
    fake_driver_reset(f->d); /* but this one is for a guest that has gone */
    fake_driver_start(f->d, f->dev, 0, SIZE);
    struct fake_used used;
    add_rx(f, 16);
    fake_driver_kick(f->d, RX);
    assert_false(fake_driver_get_used(f->d, RX, &used));
}

static void test_config_space(void **state)
{
    struct fixture *f = *state;
    struct {
        struct virtio_console_config config;
        uint8_t behind[8];
    } c;
    memset(&c, 0xff, sizeof(c));
    fake_driver_read_config(f->d, 0, &c, sizeof(c));
    assert_int_equal(c.config.cols, 80);
    assert_int_equal(c.config.rows, 25);
    assert_int_equal(c.config.max_nr_ports, 1);
    for (size_t i = 0; i < sizeof(c.behind); i++)
        assert_int_equal(c.behind[i], 0);
    fake_driver_read_config(f->d, 200, &c, 8);
    fake_driver_read_config(f->d, VIRTIO_DEVICE_CONFIG_MAX - 1, &c, 1);

    uint32_t emergency = 'E';
    assert_int_equal(fake_driver_write_config(f->d, 8, &emergency, 4), 0);
    assert_int_equal(f->output_len, 1);
    assert_int_equal(f->output[0], 'E');
    for (uint32_t offset = 0; offset < 16; offset++)
        if (offset != 8)
            assert_true(fake_driver_write_config(f->d, offset, &emergency, 4) < 0);
    assert_true(fake_driver_write_config(f->d, 8, &emergency, 1) < 0);
    assert_int_equal(f->output_len, 1);
}

static void test_resizing_tells_the_guest_when_it_changes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(virtio_console_resize(f->dev, 80, 25), 0);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, 0);
    assert_int_equal(virtio_console_resize(f->dev, 81, 25), 0);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, 1);
}

static void test_without_a_size_none_is_offered(void **state)
{
    struct pv_loop *loop = pv_loop_new();
    struct virtio_device *dev;
    struct virtio_console_options o = {.output = on_output};
    assert_int_equal(virtio_console_new(&o, loop, &dev, NULL), 0);
    assert_int_equal(virtio_device_get_features(dev) & 1ull << VIRTIO_CONSOLE_F_SIZE, 0);
    assert_int_equal(virtio_console_resize(dev, 1, 1), -EOPNOTSUPP);
    virtio_device_free(dev);
    pv_loop_free(loop);
}

static void test_a_broken_ring_stops_the_device(void **state)
{
    struct fixture *f = *state;
    fake_ring_publish(&f->d->rings[RX], SIZE);
    assert_int_equal(virtio_console_input(f->dev, "x", 1), 1); /* found outside of a kick */
    for (int i = 0; i < 3; i++)
        fake_driver_turn(f->d);
    assert_true(f->d->broken);
    assert_string_equal(f->d->reason, "a descriptor chain is malformed");
    assert_int_equal(fake_driver_counter(f->d, "ring_errors"), 1);

    struct fake_desc d = {fake_driver_bytes(f->d, "late", 4), 4, 0, 0};
    fake_ring_add(&f->d->rings[TX], &d, 1);
    virtio_device_kick(f->dev, TX);
    assert_int_equal(f->output_len, 0);
    if (f->d->transport == FAKE_DIRECT)
        assert_true(virtio_device_needs_reset(f->dev)); /* else the transport has reset it */
}

#define ALL(name)                                                                                  \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down),                       \
        cmocka_unit_test_setup_teardown(name, set_up_no_event_idx, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(test_output_in_parts_arrives_in_order),
        ALL(test_one_huge_buffer_is_printed_in_turns),
        ALL(test_a_turn_is_bounded_over_all_buffers),
        cmocka_unit_test_setup_teardown(test_a_guest_that_refills_its_queue_does_not_keep_the_loop,
                                        set_up_direct, tear_down),
        ALL(test_writable_and_empty_output_is_harmless),
        ALL(test_input_fills_the_guests_buffers),
        ALL(test_input_buffers_that_are_not_writable_are_given_back),
        ALL(test_input_is_bounded),
        cmocka_unit_test_teardown(test_input_before_the_guest_waits_for_it, tear_down),
        ALL(test_config_space),
        ALL(test_resizing_tells_the_guest_when_it_changes),
        cmocka_unit_test(test_without_a_size_none_is_offered),
        ALL(test_a_broken_ring_stops_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
