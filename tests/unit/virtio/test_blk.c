/* SPDX-License-Identifier: Apache-2.0
 *
 * test_blk.c: every request ends with a status, whatever is in it, and touches what it may.
 */
#include "blk_fixture.h"

#include <errno.h>
#include <sys/stat.h>

static void test_what_was_written_is_read(void **state)
{
    struct fixture *f = *state;
    const uint32_t sizes[] = {512, 4096, 128 * 1024, LARGE};
    for (size_t i = 0; i < PV_ARRAY_SIZE(sizes); i++) {
        uint32_t len = sizes[i];
        uint64_t sector = (BYTES - len) / 512;
        uint8_t *data = fake_driver_at(f->d, f->data, len);
        for (uint32_t j = 0; j < len; j++)
            data[j] = (uint8_t)((j + i) * 2654435761u >> 24);
        uint8_t *copy = malloc(len), *file = malloc(len);
        memcpy(copy, data, len);
        assert_int_equal(request(f, VIRTIO_BLK_T_OUT, sector, len), VIRTIO_BLK_S_OK);
        read_file(f, BYTES - len, file, len);
        assert_memory_equal(file, copy, len);
        memset(data, 0, len);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, sector, len), VIRTIO_BLK_S_OK);
        assert_memory_equal(data, copy, len);
        free(copy);
        free(file);
    }
    assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(fake_driver_counter(f->d, "writes"), 4);
    assert_int_equal(fake_driver_counter(f->d, "flushes"), 1);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 0);
}

static void test_how_a_request_is_cut_means_nothing(void **state)
{
    struct fixture *f = *state;
    set_header(f, VIRTIO_BLK_T_OUT, 3);
    memset(fake_driver_at(f->d, f->data, 1024), 0x5a, 1024);
    struct fake_desc out[] = {
        {f->header, 5, 0, 0}, {{f->header.addr + 5}, 10, 0, 0},  {{f->header.addr + 15}, 1, 0, 0},
        {f->data, 511, 0, 0}, {{f->data.addr + 511}, 513, 0, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], out, 6);
    fake_driver_kick(f->d, 0);
    fake_driver_wait_used(f->d, 0);
    assert_int_equal(*bytes_at(f, f->status), VIRTIO_BLK_S_OK);

    /* Header and data in one buffer, and the status behind the data in one. */
    gpa_t in = fake_driver_alloc(f->d, 1025);
    set_header(f, VIRTIO_BLK_T_IN, 3);
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {in, 7, W, 0}, {{in.addr + 7}, 1018, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    fake_driver_kick(f->d, 0);
    assert_int_equal(fake_driver_wait_used(f->d, 0).len, 1025);
    for (unsigned i = 0; i < 1024; i++)
        assert_int_equal(bytes_at(f, in)[i], 0x5a);
    assert_int_equal(bytes_at(f, in)[1024], VIRTIO_BLK_S_OK);
}

static void test_many_requests_are_in_flight(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 80 }; /* more than the disk takes at once */
    set_header(f, VIRTIO_BLK_T_IN, 0);
    gpa_t status = fake_driver_alloc(f->d, COUNT);
    memset(fake_driver_at(f->d, status, COUNT), NO_STATUS, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        struct fake_desc d[] = {
            {f->header, 16, 0, 0}, {f->data, LARGE, W, 0}, {{status.addr + i}, 1, W, 0}};
        fake_ring_add(&f->d->rings[0], d, 3);
    }
    fake_driver_kick(f->d, 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(fake_driver_wait_used(f->d, 0).len, LARGE + 1);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(bytes_at(f, status)[i], VIRTIO_BLK_S_OK);
    assert_int_equal(fake_driver_counter(f->d, "io_errors"), 0);
}

static void test_the_serial_is_told(void **state)
{
    struct fixture *f = *state;
    const uint32_t lens[] = {20, 64, 6, 1};
    for (size_t i = 0; i < PV_ARRAY_SIZE(lens); i++) {
        uint8_t expected[64];
        memset(expected, 0xaa, sizeof(expected));
        memcpy(expected, "serial-17\0\0\0\0\0\0\0\0\0\0\0", PV_MIN(lens[i], 20u));
        memset(fake_driver_at(f->d, f->data, 64), 0xaa, 64);
        assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, lens[i]), VIRTIO_BLK_S_OK);
        assert_memory_equal(bytes_at(f, f->data), expected, 64);
    }
    assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 0), VIRTIO_BLK_S_IOERR);
}

static void test_config_space(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_config c;
    fake_driver_read_config(f->d, 0, &c, sizeof(c));
    assert_int_equal(c.capacity, SECTORS);
    assert_int_equal(c.blk_size, 512);
    assert_int_equal(c.seg_max, 254);
    assert_int_equal(c.max_discard_seg, 1);
    assert_int_equal(c.max_secure_erase_sectors, 0);
    assert_true(fake_driver_write_config(f->d, 0, &c, 8) < 0);
}

static void test_ranges_outside_of_the_disk_fail(void **state)
{
    struct fixture *f = *state;
    const struct {
        uint64_t sector;
        uint32_t len;
        uint8_t status;
    } cases[] = {
        {SECTORS - 1, 512, VIRTIO_BLK_S_OK},
        {SECTORS, 0, VIRTIO_BLK_S_OK}, /* nothing, at the end */
        {SECTORS, 512, VIRTIO_BLK_S_IOERR},
        {SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR},
        {SECTORS + 1, 0, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX, 512, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX / 512, 512, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX / 512 + 1, 512, VIRTIO_BLK_S_IOERR}, /* would wrap to 0 as bytes */
        {1ull << 55, 512, VIRTIO_BLK_S_IOERR},
        {0, 1, VIRTIO_BLK_S_IOERR},
        {0, 511, VIRTIO_BLK_S_IOERR},
        {0, 513, VIRTIO_BLK_S_IOERR},
    };
    uint8_t before[1024], after[1024];
    read_file(f, 0, before, sizeof(before));
    memset(fake_driver_at(f->d, f->data, 2048), 0x77, 2048);
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        assert_int_equal(request(f, VIRTIO_BLK_T_OUT, cases[i].sector, cases[i].len),
                         cases[i].status);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, cases[i].sector, cases[i].len),
                         cases[i].status);
    }
    read_file(f, 0, after, sizeof(after));
    assert_memory_equal(before, after, sizeof(before));
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 20);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_size, BYTES);
}

static void test_unknown_types_are_unsupported(void **state)
{
    struct fixture *f = *state;
    const uint32_t types[] = {2, 3, 5, 7, 14, 15, 0x80000000, 0x80000001, UINT32_MAX};
    for (size_t i = 0; i < PV_ARRAY_SIZE(types); i++)
        assert_int_equal(request(f, types[i], 0, 512), VIRTIO_BLK_S_UNSUPP);
}

static void test_malformed_requests_end_with_a_status_where_there_is_room(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct fake_desc d[3];
        unsigned n;
        uint8_t status; /* NO_STATUS: none */
        uint32_t used;
    } cases[] = {
        {{{f->status, 1, W, 0}}, 1, VIRTIO_BLK_S_IOERR, 1},
        {{{f->header, 15, 0, 0}, {f->status, 1, W, 0}}, 2, VIRTIO_BLK_S_IOERR, 1},
        {{{f->header, 0, 0, 0}, {f->status, 1, W, 0}}, 2, VIRTIO_BLK_S_IOERR, 1},
        {{{f->header, 16, 0, 0}}, 1, NO_STATUS, 0},
        {{{f->header, 16, 0, 0}, {f->status, 0, W, 0}}, 2, NO_STATUS, 0},
        {{{{0}, 0, 0, 0}}, 1, NO_STATUS, 0},
        /* Data on the wrong side. */
        {{{f->header, 16, 0, 0}, {f->data, 512, 0, 0}, {f->status, 1, W, 0}},
         3,
         VIRTIO_BLK_S_IOERR,
         1},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        set_header(f, VIRTIO_BLK_T_IN, 0);
        fake_ring_add(&f->d->rings[0], cases[i].d, cases[i].n);
        fake_driver_kick(f->d, 0);
        assert_int_equal(fake_driver_wait_used(f->d, 0).len, cases[i].used);
        assert_int_equal(*bytes_at(f, f->status), cases[i].status);
    }
    set_header(f, VIRTIO_BLK_T_OUT, 0);
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, 512, W, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    fake_driver_kick(f->d, 0);
    fake_driver_wait_used(f->d, 0);
    assert_int_equal(*bytes_at(f, f->status), VIRTIO_BLK_S_IOERR);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), PV_ARRAY_SIZE(cases) + 1);
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void test_discard_and_write_zeroes(void **state)
{
    struct fixture *f = *state;
    const uint32_t discard = VIRTIO_BLK_T_DISCARD, zero = VIRTIO_BLK_T_WRITE_ZEROES;
    const struct {
        uint64_t sector;
        uint32_t type, sectors, flags;
        uint8_t status;
    } cases[] = {
        {0, zero, SECTORS, 0, VIRTIO_BLK_S_OK},
        {0, zero, SECTORS, 1, VIRTIO_BLK_S_OK},
        {SECTORS, zero, 0, 0, VIRTIO_BLK_S_OK},
        {SECTORS, zero, 1, 0, VIRTIO_BLK_S_IOERR},
        {1, zero, SECTORS, 0, VIRTIO_BLK_S_IOERR},
        {0, zero, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX, zero, 1, 0, VIRTIO_BLK_S_IOERR},
        {0, zero, 1, 2, VIRTIO_BLK_S_UNSUPP},
        {0, zero, 1, UINT32_MAX, VIRTIO_BLK_S_UNSUPP},
        {0, discard, SECTORS, 0, VIRTIO_BLK_S_OK},
        {0, discard, 1, 1, VIRTIO_BLK_S_UNSUPP},
        {SECTORS - 1, discard, 2, 0, VIRTIO_BLK_S_IOERR},
        {1ull << 55, discard, 1, 0, VIRTIO_BLK_S_IOERR},
    };
    if (!disk_can_discard(f->disk))
        skip();
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++)
        assert_int_equal(
            on_range(f, cases[i].type, cases[i].sector, cases[i].sectors, cases[i].flags),
            cases[i].status);
    const uint32_t lens[] = {0, 15, 17, 32};
    assert_int_equal(on_range(f, zero, 0, 1, 0), VIRTIO_BLK_S_OK);
    for (size_t i = 0; i < PV_ARRAY_SIZE(lens); i++) /* one good range, and something else */
        assert_int_equal(request(f, zero, 0, lens[i]), VIRTIO_BLK_S_IOERR);

    memset(fake_driver_at(f->d, f->data, 2048), 0x11, 2048);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 2048), VIRTIO_BLK_S_OK);
    assert_int_equal(on_range(f, zero, 1, 2, 0), VIRTIO_BLK_S_OK);
    uint8_t file[2048];
    read_file(f, 0, file, sizeof(file));
    for (unsigned i = 0; i < sizeof(file); i++)
        assert_int_equal(file[i], i / 512 == 1 || i / 512 == 2 ? 0 : 0x11);
}

static void test_a_read_only_device_is_not_written(void **state)
{
    struct fixture *f = *state;
    assert_true(virtio_device_get_features(f->dev) & 1ull << VIRTIO_BLK_F_RO);
    memset(fake_driver_at(f->d, f->data, 512), 0x11, 512);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(on_range(f, VIRTIO_BLK_T_DISCARD, 0, 1, 0), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(on_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(*bytes_at(f, f->data), 0);
}

static void test_options_are_checked(void **state)
{
    struct fixture *f = *state;
    struct virtio_device *dev = NULL;
    struct virtio_blk_options o = {.disk = f->disk, .serial = "123456789012345678901"};
    assert_int_equal(virtio_blk_new(&o, f->d->loop, &dev, NULL), -EINVAL);
    o.num_queues = VIRTIO_BLK_QUEUES_MAX + 1;
    o.serial++; /* 20 bytes */
    assert_int_equal(virtio_blk_new(&o, f->d->loop, &dev, NULL), -EINVAL);
    o.num_queues = VIRTIO_BLK_QUEUES_MAX;
    assert_int_equal(virtio_blk_new(&o, f->d->loop, &dev, NULL), 0);
    virtio_device_free(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_what_was_written_is_read),
        BOTH(test_how_a_request_is_cut_means_nothing),
        BOTH(test_many_requests_are_in_flight),
        BOTH(test_the_serial_is_told),
        BOTH(test_config_space),
        BOTH(test_ranges_outside_of_the_disk_fail),
        BOTH(test_unknown_types_are_unsupported),
        BOTH(test_malformed_requests_end_with_a_status_where_there_is_room),
        BOTH(test_discard_and_write_zeroes),
        cmocka_unit_test_setup_teardown(test_a_read_only_device_is_not_written, set_up_read_only,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_options_are_checked, set_up_direct, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
