/* SPDX-License-Identifier: Apache-2.0
 *
 * test_blk_limits.c: the longest chains, largest ranges and segments that the block device takes,
 * and one more than that.
 */
#include "virtio/device/blk.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>

#define SIZE 256u                  /* of the queue */
#define SEG_MAX (SIZE - 2u)        /* as the config space tells */
#define DISCARD_SECTORS (1u << 21) /* 1 GiB */
#define ZERO_SECTORS (1u << 18)    /* 128 MiB */
#define BYTES (2ull << 30)         /* of the disk, sparse */
#define W VRING_DESC_F_WRITE
#define N VRING_DESC_F_NEXT

struct fixture {
    struct fake_driver *d;
    struct disk *disk;
    char path[64];
    gpa_t header, status, data, table;
};

static int set_up_with(void **state, enum fake_transport transport, uint16_t size)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct virtio_device *dev;
    strcpy(f->path, "/tmp/pv-blk-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)BYTES), 0);
    close(fd);
    f->d = fake_driver_new(transport);
    assert_int_equal(disk_open(f->path, NULL, &f->disk, NULL), 0);
    assert_int_equal(disk_start(f->disk, f->d->loop, NULL), 0);
    struct virtio_blk_options o = {.disk = f->disk, .serial = "limits"};
    assert_int_equal(virtio_blk_new(&o, f->d->loop, &dev, NULL), 0);
    fake_driver_start(f->d, dev, 0, size);
    f->header = fake_driver_alloc(f->d, 16);
    f->status = fake_driver_alloc(f->d, 1);
    f->data = fake_driver_alloc(f->d, SIZE * 512);
    f->table = fake_driver_alloc(f->d, (SIZE + 1) * sizeof(struct vring_desc));
    *state = f;
    return 0;
}

static int set_up_direct(void **state)
{
    return set_up_with(state, FAKE_DIRECT, SIZE);
}

static int set_up_vhost_user(void **state)
{
    return set_up_with(state, FAKE_VHOST_USER, SIZE);
}

static int set_up_short(void **state)
{
    return set_up_with(state, FAKE_DIRECT, 4);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
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

static uint8_t *at(struct fixture *f, gpa_t gpa, uint64_t len)
{
    return fake_driver_at(f->d, gpa, len);
}

static void set_header(struct fixture *f, uint32_t type, uint64_t sector)
{
    const struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    memcpy(at(f, f->header, sizeof(h)), &h, sizeof(h));
    *at(f, f->status, 1) = 0xee;
}

static uint8_t wait_for_status(struct fixture *f)
{
    fake_driver_kick(f->d, 0);
    fake_driver_wait_used(f->d, 0);
    return *at(f, f->status, 1);
}

/* One sector in each of `segments` buffers, the last one first in memory. */
static unsigned fill_segments(struct fixture *f, struct fake_desc *descs, unsigned segments,
                              uint16_t flags)
{
    unsigned n = 0;
    descs[n++] = (struct fake_desc){f->header, 16, 0, 0};
    for (unsigned i = 0; i < segments; i++)
        descs[n++] = (struct fake_desc){{f->data.addr + (segments - 1 - i) * 512}, 512, flags, 0};
    descs[n++] = (struct fake_desc){f->status, 1, W, 0};
    return n;
}

static void put_table(struct fixture *f, const struct fake_desc *descs, unsigned n)
{
    struct vring_desc *table = (void *)at(f, f->table, n * sizeof(*table));
    for (unsigned i = 0; i < n; i++)
        table[i] = (struct vring_desc){descs[i].addr.addr, descs[i].len,
                                       (uint16_t)(descs[i].flags | (i + 1 < n ? N : 0)),
                                       (uint16_t)(i + 1)};
    const struct fake_desc one = {f->table, (uint32_t)(n * sizeof(*table)), VRING_DESC_F_INDIRECT,
                                  0};
    fake_ring_add(&f->d->rings[0], &one, 1);
}

static uint8_t transfer(struct fixture *f, uint32_t type, unsigned segments, bool indirect)
{
    struct fake_desc descs[SIZE + 1];
    set_header(f, type, 7);
    unsigned n = fill_segments(f, descs, segments, type == VIRTIO_BLK_T_IN ? W : 0);
    if (indirect)
        put_table(f, descs, n);
    else
        fake_ring_add(&f->d->rings[0], descs, n);
    return wait_for_status(f);
}

static void write_and_read(struct fixture *f, unsigned segments, bool indirect)
{
    size_t bytes = segments * 512ull;
    uint8_t *data = at(f, f->data, bytes), *copy = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        copy[i] = data[i] = (uint8_t)(i / 512 + i % 251);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, segments, indirect), VIRTIO_BLK_S_OK);
    memset(data, 0, bytes);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, segments, indirect), VIRTIO_BLK_S_OK);
    assert_memory_equal(data, copy, bytes);
    /* The first segment, which is the last one in memory, went to the first sector. */
    uint8_t sector[512];
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, sector, 512, 7 * 512), 512);
    assert_memory_equal(sector, copy + (segments - 1) * 512ull, 512);
    close(fd);
    free(copy);
}

static void test_the_longest_chain(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_config config;
    fake_driver_read_config(f->d, 0, &config, sizeof(config));
    assert_int_equal(config.seg_max, SEG_MAX);
    write_and_read(f, SEG_MAX, false);
    write_and_read(f, 1, true);
    write_and_read(f, SEG_MAX - 1, true);
    write_and_read(f, SEG_MAX, true);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 0);
}

/* A queue of four takes them in a table. */
static void test_a_table_may_be_longer_than_the_queue(void **state)
{
    struct fixture *f = *state;
    write_and_read(f, SEG_MAX, true);
    write_and_read(f, 2, false);
}

static void test_a_chain_that_is_too_long_breaks_the_device(void **state)
{
    struct fixture *f = *state;
    struct fake_desc descs[SIZE + 1];
    set_header(f, VIRTIO_BLK_T_OUT, 0);
    unsigned n = fill_segments(f, descs, SEG_MAX + 1, 0);
    assert_int_equal(n, SIZE + 1);
    put_table(f, descs, n);
    fake_driver_kick(f->d, 0);
    fake_driver_turn(f->d);
    assert_true(f->d->broken);
    assert_int_equal(*at(f, f->status, 1), 0xee);
}

static uint8_t range(struct fixture *f, uint32_t type, uint64_t sector, uint32_t sectors)
{
    const struct virtio_blk_discard_write_zeroes r = {.sector = sector, .num_sectors = sectors};
    memcpy(at(f, f->data, sizeof(r)), &r, sizeof(r));
    set_header(f, type, 0);
    const struct fake_desc d[] = {
        {f->header, 16, 0, 0}, {f->data, sizeof(r), 0, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    return wait_for_status(f);
}

static void test_ranges_at_their_limits(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_config config;
    fake_driver_read_config(f->d, 0, &config, sizeof(config));
    assert_int_equal(config.max_write_zeroes_sectors, ZERO_SECTORS);
    assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, ZERO_SECTORS), VIRTIO_BLK_S_OK);
    assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, ZERO_SECTORS + 1), VIRTIO_BLK_S_IOERR);
    assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, UINT32_MAX), VIRTIO_BLK_S_IOERR);
    assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, BYTES / 512, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, BYTES / 512 - 1, 2), VIRTIO_BLK_S_IOERR);
    assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX, 1), VIRTIO_BLK_S_IOERR);
    if (!disk_can_discard(f->disk)) {
        print_message("no discard: this file system has no holes\n");
        return;
    }
    assert_int_equal(config.max_discard_sectors, DISCARD_SECTORS);
    assert_int_equal(range(f, VIRTIO_BLK_T_DISCARD, 0, DISCARD_SECTORS), VIRTIO_BLK_S_OK);
    assert_int_equal(range(f, VIRTIO_BLK_T_DISCARD, 0, DISCARD_SECTORS + 1), VIRTIO_BLK_S_IOERR);
    assert_int_equal(range(f, VIRTIO_BLK_T_DISCARD, BYTES / 512 - DISCARD_SECTORS, DISCARD_SECTORS),
                     VIRTIO_BLK_S_OK);
}

/* Each segment has size_max bytes at most; nothing is wrong with a larger one. */
static void test_segments_larger_than_told(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_config config;
    fake_driver_read_config(f->d, 0, &config, sizeof(config));
    uint32_t len = config.size_max + 512;
    gpa_t large = fake_driver_alloc(f->d, len);
    memset(at(f, large, len), 0x5a, len);
    set_header(f, VIRTIO_BLK_T_OUT, 0);
    const struct fake_desc d[] = {{f->header, 16, 0, 0}, {large, len, 0, 0}, {f->status, 1, W, 0}};
    fake_ring_add(&f->d->rings[0], d, 3);
    assert_int_equal(wait_for_status(f), VIRTIO_BLK_S_OK);
    assert_int_equal(fake_driver_counter(f->d, "written_bytes"), len);
}

/* The same memory many times in one request: more bytes than the guest has. One byte more than all
 * segments of the largest size is refused. */
static void test_the_largest_request(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_config config;
    fake_driver_read_config(f->d, 0, &config, sizeof(config));
    gpa_t large = fake_driver_alloc(f->d, config.size_max + 512);
    struct fake_desc descs[SIZE];
    for (uint32_t more = 0; more <= 512; more += 512) {
        set_header(f, VIRTIO_BLK_T_IN, 0);
        fill_segments(f, descs, SEG_MAX, W);
        for (unsigned i = 1; i <= SEG_MAX; i++) {
            descs[i].addr = large;
            descs[i].len = config.size_max + (i == 1 ? more : 0);
        }
        put_table(f, descs, SIZE);
        assert_int_equal(wait_for_status(f), more ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
    }
    assert_int_equal(fake_driver_counter(f->d, "read_bytes"), (uint64_t)SEG_MAX * config.size_max);
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_the_longest_chain),
        cmocka_unit_test_setup_teardown(test_a_table_may_be_longer_than_the_queue, set_up_short,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_chain_that_is_too_long_breaks_the_device,
                                        set_up_direct, tear_down),
        BOTH(test_ranges_at_their_limits),
        BOTH(test_segments_larger_than_told),
        BOTH(test_the_largest_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
