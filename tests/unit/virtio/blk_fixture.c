/* SPDX-License-Identifier: Apache-2.0 */
#include "blk_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void on_error(void *data, enum disk_op op, uint64_t offset, int error)
{
    struct fixture *f = data;
    f->errors++;
    f->last_error = error;
    f->last_offset = offset;
}

int set_up_with(void **state, enum fake_transport transport, const char *path, off_t bytes,
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

int set_up_at(void **state, enum fake_transport transport, const char *path, off_t bytes,
              bool read_only)
{
    struct virtio_blk_options o = {.read_only = read_only, .on_error = on_error};
    return set_up_with(state, transport, path, bytes, o, 0);
}

int set_up_direct(void **state)
{
    return set_up_at(state, FAKE_DIRECT, "/tmp/pv-blk-XXXXXX", BYTES, false);
}

int set_up_vhost_user(void **state)
{
    return set_up_at(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, false);
}

int set_up_read_only(void **state)
{
    return set_up_at(state, FAKE_VHOST_USER, "/tmp/pv-blk-XXXXXX", BYTES, true);
}

int tear_down(void **state)
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

uint8_t *bytes_at(struct fixture *f, gpa_t gpa)
{
    return fake_driver_at(f->d, gpa, 1);
}

void set_header(struct fixture *f, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    memcpy(fake_driver_at(f->d, f->header, sizeof(h)), &h, sizeof(h));
    *bytes_at(f, f->status) = NO_STATUS;
}

uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len)
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

void read_file(struct fixture *f, uint64_t offset, void *buf, size_t len)
{
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, buf, len, (off_t)offset), len);
    close(fd);
}

uint8_t on_range(struct fixture *f, uint32_t type, uint64_t sector, uint32_t sectors,
                 uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};
    memcpy(fake_driver_at(f->d, f->data, sizeof(range)), &range, sizeof(range));
    return request(f, type, 0, sizeof(range));
}
