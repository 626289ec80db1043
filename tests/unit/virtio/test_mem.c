/* SPDX-License-Identifier: Apache-2.0
 *
 * test_mem.c: the guest plugs what was requested of it, where it may, and no more.
 */
#include "virtio/device/mem.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <linux/virtio_mem.h>
#include <sys/stat.h>

#define SIZE 256
#define MIB (1ull << 20)
#define BOOT (64 * MIB)
#define START VIRTIO_MEM_ALIGNMENT
#define REGION (2 * VIRTIO_MEM_ALIGNMENT)
#define BLOCK VIRTIO_MEM_BLOCK
#define BLOCKS (REGION / BLOCK)

struct fixture {
    struct fake_driver *d;
    struct virtio_device *dev;
    struct memory *memory;
    unsigned changes;
};

static void on_change(void *data)
{
    ((struct fixture *)data)->changes++;
}

static int set_up(void **state, enum fake_transport transport)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->d = fake_driver_new(transport);
    assert_int_equal(memory_new_growing(BOOT, START + REGION, &f->memory, NULL), 0);
    struct virtio_mem_options o = {
        .memory = f->memory, .start = START, .size = REGION, .on_change = on_change, .data = f};
    assert_int_equal(virtio_mem_new(&o, f->d->loop, &f->dev, NULL), 0);
    fake_driver_start(f->d, f->dev, 0, SIZE);
    *state = f;
    return 0;
}

static int set_up_direct(void **state)
{
    return set_up(state, FAKE_DIRECT);
}

static int set_up_vhost_user(void **state)
{
    return set_up(state, FAKE_VHOST_USER);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_driver_free(f->d);
    memory_free(f->memory);
    free(f);
    return 0;
}

static struct virtio_mem_resp last;

static uint16_t ask_bytes(struct fixture *f, const void *bytes, uint32_t len, uint32_t room)
{
    gpa_t answer = fake_driver_alloc(f->d, 64);
    memset(fake_driver_at(f->d, answer, 64), 0xee, 64);
    struct fake_desc chain[] = {{fake_driver_bytes(f->d, bytes, len), len, 0, 0},
                                {answer, room, VRING_DESC_F_WRITE, 0}};
    fake_ring_add(&f->d->rings[0], chain, 2);
    fake_driver_kick(f->d, 0);
    uint32_t written = fake_driver_wait_used(f->d, 0).len;
    assert_int_equal(written, PV_MIN(room, (uint32_t)sizeof(last)));
    memcpy(&last, fake_driver_at(f->d, answer, sizeof(last)), sizeof(last));
    return last.type;
}

static uint16_t ask(struct fixture *f, uint16_t type, uint64_t addr, uint16_t blocks)
{
    struct virtio_mem_req request = {.type = type};
    request.u.plug.addr = addr;
    request.u.plug.nb_blocks = blocks;
    return ask_bytes(f, &request, sizeof(request), 64);
}

static uint64_t file_size(struct fixture *f)
{
    struct stat st;
    assert_int_equal(fstat(memory_get_fd(f->memory), &st), 0);
    return (uint64_t)st.st_size;
}

static void test_nothing_without_a_request(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START, 1), VIRTIO_MEM_RESP_NACK);
    assert_int_equal(virtio_mem_get_plugged(f->dev), 0);
    assert_int_equal(file_size(f), BOOT);
    assert_int_equal(f->changes, 0);
}

static void test_plug_and_unplug(void **state)
{
    struct fixture *f = *state;
    virtio_mem_set_requested(f->dev, 4 * BLOCK);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, 1);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START + BLOCK, 3), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(virtio_mem_get_plugged(f->dev), 3 * BLOCK);
    assert_int_equal(file_size(f), START + 4 * BLOCK);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START + 10 * BLOCK, 2), VIRTIO_MEM_RESP_NACK);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START + 3 * BLOCK, 1), VIRTIO_MEM_RESP_ERROR);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START, 1), VIRTIO_MEM_RESP_ACK);

    uint64_t used;
    memset(memory_at(f->memory, START, 4 * BLOCK), 1, 4 * BLOCK);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG, START + BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(virtio_mem_get_plugged(f->dev), 2 * BLOCK);
    assert_int_equal(memory_get_in_use(f->memory, &used), 0);
    assert_int_equal(used, 2 * BLOCK);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG, START, 2), VIRTIO_MEM_RESP_ERROR); /* mixed */

    assert_int_equal(ask(f, VIRTIO_MEM_REQ_STATE, START, 1), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(last.u.state.state, VIRTIO_MEM_STATE_PLUGGED);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_STATE, START, 2), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(last.u.state.state, VIRTIO_MEM_STATE_MIXED);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_STATE, START + BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(last.u.state.state, VIRTIO_MEM_STATE_UNPLUGGED);

    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(virtio_mem_get_plugged(f->dev), 0);
    assert_int_equal(memory_get_in_use(f->memory, &used), 0);
    assert_int_equal(used, 0);
    assert_int_equal(file_size(f), START + 4 * BLOCK); /* it never shrinks */
}

static void test_less_is_requested_than_is_plugged(void **state)
{
    struct fixture *f = *state;
    virtio_mem_set_requested(f->dev, 4 * BLOCK);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START, 4), VIRTIO_MEM_RESP_ACK);
    virtio_mem_set_requested(f->dev, BLOCK);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START + 4 * BLOCK, 1), VIRTIO_MEM_RESP_NACK);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG, START + 2 * BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(virtio_mem_get_plugged(f->dev), 2 * BLOCK);
}

static void test_outside_of_the_region(void **state)
{
    struct fixture *f = *state;
    const struct {
        uint64_t addr;
        uint16_t blocks;
    } bad[] = {{0, 1},
               {START - BLOCK, 1},
               {START - BLOCK, 2},
               {START + 1, 1},
               {START, 0},
               {START, BLOCKS + 1},
               {START + BLOCK, BLOCKS},
               {START + REGION, 1},
               {START + REGION - BLOCK, 2},
               {UINT64_MAX - BLOCK + 1, UINT16_MAX},
               {UINT64_MAX, 1}};
    virtio_mem_set_requested(f->dev, REGION);
    for (uint16_t type = VIRTIO_MEM_REQ_PLUG; type <= VIRTIO_MEM_REQ_STATE; type++)
        for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++)
            if (type != VIRTIO_MEM_REQ_UNPLUG_ALL)
                assert_int_equal(ask(f, type, bad[i].addr, bad[i].blocks), VIRTIO_MEM_RESP_ERROR);
    assert_int_equal(ask(f, 4, START, 1), VIRTIO_MEM_RESP_ERROR);
    assert_int_equal(ask(f, UINT16_MAX, START, 1), VIRTIO_MEM_RESP_ERROR);
    assert_int_equal(virtio_mem_get_plugged(f->dev), 0);
    assert_int_equal(file_size(f), BOOT);
    assert_int_equal(ask(f, VIRTIO_MEM_REQ_PLUG, START, BLOCKS), VIRTIO_MEM_RESP_ACK);
    assert_int_equal(file_size(f), START + REGION);
}

static void test_half_a_request(void **state)
{
    struct fixture *f = *state;
    struct virtio_mem_req request = {.type = VIRTIO_MEM_REQ_PLUG};
    request.u.plug.addr = START;
    request.u.plug.nb_blocks = 1;
    virtio_mem_set_requested(f->dev, REGION);
    assert_int_equal(ask_bytes(f, &request, sizeof(request) - 1, 64), VIRTIO_MEM_RESP_ERROR);
    ask_bytes(f, &request, sizeof(request), sizeof(last) - 1); /* no room for the answer */
    assert_int_equal(virtio_mem_get_plugged(f->dev), 0);
}

static void test_config(void **state)
{
    struct fixture *f = *state;
    struct virtio_mem_config config;
    virtio_mem_set_requested(f->dev, 2 * BLOCK);
    ask(f, VIRTIO_MEM_REQ_PLUG, START, 1);
    fake_driver_read_config(f->d, 0, &config, sizeof(config));
    assert_int_equal(config.block_size, BLOCK);
    assert_int_equal(config.addr, START);
    assert_int_equal(config.region_size, REGION);
    assert_int_equal(config.usable_region_size, REGION);
    assert_int_equal(config.requested_size, 2 * BLOCK);
    assert_int_equal(config.plugged_size, BLOCK);
    assert_true(fake_driver_write_config(f->d, 0, &config, 8) < 0);
    fake_driver_reset(f->d); /* changes nothing about what is plugged */
    assert_int_equal(virtio_mem_get_plugged(f->dev), BLOCK);
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_nothing_without_a_request),
        BOTH(test_plug_and_unplug),
        BOTH(test_less_is_requested_than_is_plugged),
        BOTH(test_outside_of_the_region),
        BOTH(test_half_a_request),
        BOTH(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
