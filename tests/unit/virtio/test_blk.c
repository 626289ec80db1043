/* SPDX-License-Identifier: Apache-2.0
 *
 * test_blk.c: every request ends with a status, whatever is in it, and touches what it may.
 */
#include "virtio/device/blk.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define SIZE 256
#define SECTORS 8192u
#define BYTES (SECTORS * 512u)
#define LARGE (256u * 1024u)
#define NO_STATUS 0xee /* what is there before the device writes */
#define W VRING_DESC_F_WRITE

static bool have_small_fs; /* a file system of 1 MiB is mounted at small_fs */
static char small_fs[] = "/tmp/pv-small-XXXXXX";

struct fixture {
    struct fake_driver *d;
    struct disk *disk;
    struct virtio_device *dev;
    char path[64];
    gpa_t header, status, data;
    unsigned errors; /* as told to the owner */
    int last_error;
    uint64_t last_offset;
};

static void on_error(void *data, enum disk_op op, uint64_t offset, int error)
{
    struct fixture *f = data;
    f->errors++;
    f->last_error = error;
    f->last_offset = offset;
}

static int set_up_with(void **state, enum fake_transport transport, const char *path, off_t bytes,
                       struct virtio_blk_options o, uint64_t refuse)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->path, sizeof(f->path), "%s", path);
    int fd = strstr(path, "XXXXXX") ? mkstemp(f->path) : open(path, O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0);
    close(fd);
    f->d = fake_driver_new(transport);
    assert_int_equal(disk_open(f->path, NULL, &f->disk, NULL), 0);
    assert_int_equal(disk_start(f->disk, f->d->loop, NULL), 0);
    o.disk = f->disk;
    o.serial = "serial-17";
    o.data = f;
    assert_int_equal(virtio_blk_new(&o, f->d->loop, &f->dev, NULL), 0);
    fake_driver_start(f->d, f->dev, refuse, SIZE);
    f->header = fake_driver_alloc(f->d, 16);
    f->status = fake_driver_alloc(f->d, 1);
    f->data = fake_driver_alloc(f->d, LARGE);
    *state = f;
    return 0;
}

static int set_up_at(void **state, enum fake_transport transport, const char *path, off_t bytes,
                     bool read_only)
{
    struct virtio_blk_options o = {.read_only = read_only, .on_error = on_error};
    return set_up_with(state, transport, path, bytes, o, 0);
}

static int set_up_direct(void **state)
{
    return set_up_at(state, FAKE_DIRECT, "/tmp/pv-blk-XXXXXX", BYTES, false);
}

static int set_up_vhost_user(void **state)
{
    return set_up_at(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, false);
}

static int set_up_read_only(void **state)
{
    return set_up_at(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    /* In the order that the header asks for: device, disk, memory and loop. */
    virtio_vhost_user_free(f->d->conn);
    virtio_device_free(f->d->dev);
    disk_close(f->disk);
    f->d->conn = NULL;
    f->d->dev = NULL;
    fake_driver_free(f->d);
    unlink(f->path);
    free(f);
    return 0;
}

static uint8_t *bytes_at(struct fixture *f, gpa_t gpa)
{
    return fake_driver_at(f->d, gpa, 1);
}

static void set_header(struct fixture *f, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    memcpy(fake_driver_at(f->d, f->header, sizeof(h)), &h, sizeof(h));
    *bytes_at(f, f->status) = NO_STATUS;
}

/* One request with `len` bytes of data: its status. */
static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len)
{
    set_header(f, type, sector);
    uint16_t flags = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? W : 0;
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, len, flags, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    fake_driver_kick(f->d, 0);
    uint32_t used = fake_driver_wait_used(f->d, 0).len;
    uint8_t status = *bytes_at(f, f->status);
    assert_int_equal(
        used, status == VIRTIO_BLK_S_OK && flags ? PV_MIN(len, type == 8 ? 20 : len) + 1 : 1);
    return status;
}

static void read_file(struct fixture *f, uint64_t offset, void *buf, size_t len)
{
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, buf, len, (off_t)offset), len);
    close(fd);
}

/* -- correct requests -- */

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

/* -- requests that make no sense -- */

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

static uint8_t on_range(struct fixture *f, uint32_t type, uint64_t sector, uint32_t sectors,
                        uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};
    memcpy(fake_driver_at(f->d, f->data, sizeof(range)), &range, sizeof(range));
    return request(f, type, 0, sizeof(range));
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

/* -- several queues -- */

static int set_up_queues(void **state)
{
    struct virtio_blk_options o = {.num_queues = 3};
    return set_up_with(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, o, 0);
}

static void test_each_queue_is_served(void **state)
{
    struct fixture *f = *state;
    uint16_t queues = 0;
    assert_true(virtio_device_get_features(f->dev) & 1ull << VIRTIO_BLK_F_MQ);
    fake_driver_read_config(f->d, offsetof(struct virtio_blk_config, num_queues), &queues, 2);
    assert_int_equal(queues, 3);
    for (uint16_t q = 0; q < 3; q++) {
        uint32_t len = q == 1 ? LARGE : 512; /* at once, and later */
        set_header(f, VIRTIO_BLK_T_IN, q);
        struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, len, W, 0}, {f->status, 1, W, 0}};
        fake_ring_add(&f->d->rings[q], d, 3);
        fake_driver_kick(f->d, q);
        assert_int_equal(fake_driver_wait_used(f->d, q).len, len + 1);
        assert_int_equal(*bytes_at(f, f->status), VIRTIO_BLK_S_OK);
    }
    assert_int_equal(fake_driver_counter(f->d, "reads"), 3);
}

static void test_one_queue_offers_no_more(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(virtio_device_get_num_queues(f->dev), 1);
    assert_false(virtio_device_get_features(f->dev) & 1ull << VIRTIO_BLK_F_MQ);
}

/* -- the write cache -- */

static uint8_t get_cache(struct fixture *f)
{
    uint8_t value = 0xff;
    fake_driver_read_config(f->d, offsetof(struct virtio_blk_config, wce), &value, 1);
    return value;
}

static int set_cache(struct fixture *f, uint8_t value)
{
    return fake_driver_write_config(f->d, offsetof(struct virtio_blk_config, wce), &value, 1);
}

static uint64_t disk_flushes(struct fixture *f)
{
    struct pv_counter_group g;
    disk_get_counters(f->disk, "", &g);
    for (size_t i = 0; i < g.count; i++)
        if (strcmp(g.labels[i], "flushes") == 0)
            return g.values[i];
    return UINT64_MAX;
}

static void test_without_the_cache_each_write_is_flushed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get_cache(f), 1);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 0);
    assert_int_equal(set_cache(f, 0), 0);
    assert_int_equal(get_cache(f), 0);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 1);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, LARGE), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 2);
    assert_int_equal(on_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 3);
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(disk_flushes(f), 3);
    assert_int_equal(set_cache(f, 1), 0);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 3);
    assert_int_equal(fake_driver_counter(f->d, "flushes"), 0); /* the guest asked for none */
}

static void test_nothing_else_can_be_written(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[8] = {0};
    assert_true(set_cache(f, 2) != 0);
    assert_true(fake_driver_write_config(f->d, 0, bytes, 8) != 0);
    assert_true(fake_driver_write_config(f->d, 31, bytes, 2) != 0);
    assert_true(fake_driver_write_config(f->d, 32, bytes, 2) != 0);
    assert_int_equal(get_cache(f), 1);
}

/* Many at once, so that flushes find the disk full. */
static void test_many_writes_without_the_cache(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 84 };
    assert_int_equal(set_cache(f, 0), 0);
    set_header(f, VIRTIO_BLK_T_OUT, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        struct fake_desc d[] = {
            {f->header, 16, 0, 0}, {f->data, LARGE, 0, 0}, {f->status, 1, W, 0}};
        fake_ring_add(&f->d->rings[0], d, 3);
    }
    fake_driver_kick(f->d, 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(fake_driver_wait_used(f->d, 0).len, 1);
    assert_int_equal(disk_flushes(f), COUNT);
}

static int set_up_no_flush(void **state)
{
    struct virtio_blk_options o = {0};
    return set_up_with(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, o,
                       1ull << VIRTIO_BLK_F_FLUSH);
}

static void test_a_guest_that_knows_no_flush_has_no_cache(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(disk_flushes(f), 1);
}

/* -- rates -- */

static int set_up_rate(void **state)
{
    struct virtio_blk_options o = {.bytes = {.per_second = 512 * 10, .burst = 512},
                                   .operations = {.per_second = 1000000}};
    return set_up_with(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, o, 0);
}

static void test_what_is_over_the_rate_waits(void **state)
{
    struct fixture *f = *state;
    uint64_t begin = pv_time_monotonic_ns();
    for (int i = 0; i < 4; i++)
        assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    assert_true(pv_time_monotonic_ns() - begin >= 300 * 1000000);
    assert_true(fake_driver_counter(f->d, "throttled") > 0);
    assert_true(fake_driver_counter(f->d, "throttled_ns") > 0);
    assert_int_equal(fake_driver_counter(f->d, "writes"), 4);
    assert_int_equal(fake_driver_counter(f->d, "written_bytes"), 4 * 512);

    /* larger than the burst: it passes, and the next one pays for it, unless the limit goes */
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, LARGE), VIRTIO_BLK_S_OK);
    const struct pv_rate_limit none = {0};
    set_header(f, VIRTIO_BLK_T_IN, 0);
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, 512, W, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    fake_driver_kick(f->d, 0);
    fake_driver_turn(f->d);
    struct fake_used used;
    assert_false(fake_driver_get_used(f->d, 0, &used)); /* for most of a minute */
    virtio_blk_set_rate(f->dev, &none, &none);
    assert_int_equal(fake_driver_wait_used(f->d, 0).len, 513);
}

static void test_operations_are_limited_too(void **state)
{
    struct fixture *f = *state;
    const struct pv_rate_limit none = {0}, few = {.per_second = 100, .burst = 1};
    virtio_blk_set_rate(f->dev, &none, &few);
    uint64_t begin = pv_time_monotonic_ns();
    for (int i = 0; i < 3; i++)
        assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    assert_true(pv_time_monotonic_ns() - begin >= 20 * 1000000);
}

static void test_a_reset_ends_the_waiting(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, LARGE), VIRTIO_BLK_S_OK);
    set_header(f, VIRTIO_BLK_T_IN, 0);
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, 512, W, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    fake_driver_kick(f->d, 0);
    fake_driver_turn(f->d);
    fake_driver_reset(f->d);
    assert_false(virtio_device_is_active(f->dev));
}

/* -- another size -- */

static void test_a_disk_that_grew_tells_the_guest(void **state)
{
    struct fixture *f = *state;
    uint64_t sectors = 0;
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(disk_resize(f->disk, BYTES + 4096, NULL), 0);
    virtio_blk_resized(f->dev);
    fake_driver_turn(f->d);
    assert_int_equal(f->d->config_signals, 1);
    fake_driver_read_config(f->d, 0, &sectors, 8);
    assert_int_equal(sectors, SECTORS + 8);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS + 7, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS + 8, 512), VIRTIO_BLK_S_IOERR);
}

/* -- the host's errors -- */

static void test_a_full_host_fails_the_write_and_keeps_the_rest(void **state)
{
    if (!have_small_fs)
        skip();
    char path[64];
    snprintf(path, sizeof(path), "%s/disk", small_fs);
    set_up_at(state, FAKE_VHOST_USER, path, 16 << 20, false);
    struct fixture *f = *state;
    unsigned good = 0;
    uint8_t status = VIRTIO_BLK_S_OK;
    for (; good < 64; good++) {
        memset(fake_driver_at(f->d, f->data, LARGE), (int)good + 1, LARGE);
        status = request(f, VIRTIO_BLK_T_OUT, good * (LARGE / 512), LARGE);
        if (status != VIRTIO_BLK_S_OK)
            break;
    }
    assert_int_equal(status, VIRTIO_BLK_S_IOERR);
    assert_true(good >= 1 && good < 8);
    assert_int_equal(fake_driver_counter(f->d, "io_errors"), 1);
    assert_int_equal(f->errors, 1);
    assert_int_equal(f->last_error, -ENOSPC);
    assert_int_equal(f->last_offset, good * LARGE);
    assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < good; i++) { /* nothing acknowledged is lost */
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, i * (LARGE / 512), LARGE), VIRTIO_BLK_S_OK);
        const uint8_t *data = fake_driver_at(f->d, f->data, LARGE);
        for (unsigned j = 0; j < LARGE; j++)
            assert_int_equal(data[j], i + 1);
    }
    assert_int_equal(on_range(f, VIRTIO_BLK_T_DISCARD, 0, LARGE / 512, 0), VIRTIO_BLK_S_OK);
    memset(fake_driver_at(f->d, f->data, LARGE / 2), 9, LARGE / 2);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, LARGE / 2), VIRTIO_BLK_S_OK);
}

/* -- resets with requests in flight -- */

static void add_large_read(struct fixture *f)
{
    set_header(f, VIRTIO_BLK_T_IN, 0);
    struct fake_desc d[] = {{f->header, 16, 0, 0}, {f->data, LARGE, W, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
}

static void test_an_orderly_reset_waits_for_what_is_in_flight(void **state)
{
    struct fixture *f = *state;
    const uint64_t one = 1;
    add_large_read(f);
    if (f->d->transport == FAKE_DIRECT) {
        virtio_device_kick(f->dev, 0);
        assert_int_equal(disk_get_in_flight(f->disk), 1);
        assert_int_equal(virtio_device_drain(f->dev), -EINPROGRESS);
        add_large_read(f); /* comes too late: it is left in the ring */
        virtio_device_kick(f->dev, 0);
        assert_int_equal(disk_get_in_flight(f->disk), 1);
        while (!f->d->drains)
            fake_driver_turn(f->d);
    } else { /* kick and reset arrive in the same turn of the loop */
        assert_int_equal(write(f->d->kick_fds[0], &one, sizeof(one)), sizeof(one));
        assert_int_equal(fake_driver_ask_u64(f->d, VHOST_USER_SET_STATUS, 0), 0);
        assert_int_equal(disk_get_in_flight(f->disk), 0);
    }
    struct fake_used used;
    assert_true(fake_driver_get_used(f->d, 0, &used)); /* done before the answer */
    assert_int_equal(*bytes_at(f, f->status), VIRTIO_BLK_S_OK);
}

static void test_a_hard_reset_forgets_what_is_in_flight(void **state)
{
    struct fixture *f = *state;
    add_large_read(f);
    virtio_device_kick(f->dev, 0);
    assert_int_equal(disk_get_in_flight(f->disk), 1);
    virtio_device_reset(f->dev);
    memset(fake_driver_at(f->d, f->d->rings[0].used, 64), 0, 64);
    while (disk_get_in_flight(f->disk))
        fake_driver_turn(f->d);
    const uint8_t *used = fake_driver_at(f->d, f->d->rings[0].used, 64);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(used[i], 0);
    assert_int_equal(*bytes_at(f, f->status), NO_STATUS);
}

static void test_a_device_may_be_freed_with_requests_in_flight(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++)
        add_large_read(f);
    virtio_device_kick(f->dev, 0);
    assert_int_equal(disk_get_in_flight(f->disk), 4);
    /* tear_down frees the device, then closes the disk */
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

/* -- a file system that is soon full -- */

static void write_map(const char *path, unsigned id)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "0 %u 1\n", id);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, text, (size_t)len) == len)
        close(fd);
}

/* In a mount namespace of our own, which ends with us. */
static void mount_small_fs(void)
{
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return;
    int fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "deny", 4) == 4)
        close(fd);
    write_map("/proc/self/uid_map", uid);
    write_map("/proc/self/gid_map", gid);
    have_small_fs = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mkdtemp(small_fs) &&
                    mount("small", small_fs, "tmpfs", 0, "size=1m") == 0;
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

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
        BOTH(test_an_orderly_reset_waits_for_what_is_in_flight),
        BOTH(test_a_hard_reset_forgets_what_is_in_flight),
        BOTH(test_a_device_may_be_freed_with_requests_in_flight),
        cmocka_unit_test_setup_teardown(test_options_are_checked, set_up_direct, tear_down),
        cmocka_unit_test_setup_teardown(test_each_queue_is_served, set_up_queues, tear_down),
        BOTH(test_one_queue_offers_no_more),
        BOTH(test_without_the_cache_each_write_is_flushed),
        BOTH(test_nothing_else_can_be_written),
        BOTH(test_many_writes_without_the_cache),
        cmocka_unit_test_setup_teardown(test_a_guest_that_knows_no_flush_has_no_cache,
                                        set_up_no_flush, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_over_the_rate_waits, set_up_rate, tear_down),
        BOTH(test_operations_are_limited_too),
        cmocka_unit_test_setup_teardown(test_a_reset_ends_the_waiting, set_up_rate, tear_down),
        BOTH(test_a_disk_that_grew_tells_the_guest),
    };
    const struct CMUnitTest full_tests[] = {
        cmocka_unit_test_teardown(test_a_full_host_fails_the_write_and_keeps_the_rest, tear_down),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mount_small_fs();
    if (have_small_fs)
        failed += cmocka_run_group_tests(full_tests, NULL, NULL);
    umount2(small_fs, MNT_DETACH);
    rmdir(small_fs);
    return failed;
}
