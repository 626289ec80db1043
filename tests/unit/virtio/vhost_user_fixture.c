/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user_fixture.c: a console behind a vhost-user connection, and what tests ask of it.
 */
#include "vhost_user_fixture.h"

static void on_output(void *data, const void *bytes, size_t len)
{
    struct fixture *f = data;
    size_t n = PV_MIN(len, sizeof(f->output) - 1 - f->output_len);
    memcpy(f->output + f->output_len, bytes, n);
    f->output_len += n;
}

struct virtio_device *new_console(struct fixture *f)
{
    struct virtio_device *dev;
    struct virtio_console_options o = {.output = on_output, .data = f, .cols = 80, .rows = 24};
    assert_int_equal(virtio_console_new(&o, f->d->loop, &dev, NULL), 0);
    return dev;
}

struct fixture *set_up_transport(enum fake_transport transport)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->fds_before = fake_count_fds();
    f->d = fake_driver_new(transport);
    return f;
}

/* A driver that has connected and said nothing. */
int set_up_connected(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER);
    fake_driver_connect(f->d, new_console(f));
    *state = f;
    return 0;
}

/* ... that has negotiated: REPLY_ACK works. */
int set_up_negotiated(void **state)
{
    set_up_connected(state);
    fake_driver_negotiate(((struct fixture *)*state)->d, 0);
    return 0;
}

int set_up_running(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER);
    fake_driver_start(f->d, new_console(f), 0, SIZE);
    *state = f;
    return 0;
}

int set_up_inband(void **state)
{
    struct fixture *f = set_up_transport(FAKE_VHOST_USER_INBAND);
    fake_driver_start(f->d, new_console(f), 0, SIZE);
    *state = f;
    return 0;
}

/* Each test ends with as many descriptors as it began with. */
int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    unsigned left = fake_count_fds() - f->fds_before;
    free(f);
    if (left)
        print_error("%u descriptors leaked\n", left);
    return left ? -1 : 0;
}

uint64_t counter(struct fixture *f, const char *label)
{
    struct pv_counter_group g;
    virtio_vhost_user_get_counters(f->d->conn, "conn", &g);
    for (size_t i = 0; i < g.count; i++)
        if (strcmp(g.labels[i], label) == 0)
            return g.values[i];
    fail_msg("no counter %s", label);
    return 0;
}

void add_text(struct fixture *f, const char *text)
{
    gpa_t gpa = fake_driver_bytes(f->d, text, strlen(text));
    struct fake_desc desc = {gpa, (uint32_t)strlen(text), 0, 0};
    fake_ring_add(&f->d->rings[TX], &desc, 1);
}

void assert_prints(struct fixture *f, const char *text)
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
void assert_broken(struct fixture *f, const char *reason)
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

void assert_alive(struct fixture *f)
{
    assert_true(virtio_vhost_user_is_open(f->d->conn));
    fake_driver_get_u64(f->d, VHOST_USER_GET_FEATURES);
}
