/* SPDX-License-Identifier: Apache-2.0
 *
 * blk_fixture.h: a disk of a few MiB behind the block device, and a guest's requests to it.
 */
#ifndef TESTS_VIRTIO_BLK_FIXTURE_H
#define TESTS_VIRTIO_BLK_FIXTURE_H

#include "virtio/device/blk.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <linux/virtio_blk.h>

#define SIZE 256
#define SECTORS 8192u
#define BYTES (SECTORS * 512u)
#define LARGE (256u * 1024u)
#define NO_STATUS 0xee /* what is there before the device writes */
#define W VRING_DESC_F_WRITE

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

/* A device with these options, its disk a new file (where path has XXXXXX) or this one. */
int set_up_with(void **state, enum fake_transport transport, const char *path, off_t bytes,
                struct virtio_blk_options o, uint64_t refuse);
int set_up_at(void **state, enum fake_transport transport, const char *path, off_t bytes,
              bool read_only);
int set_up_direct(void **state);
int set_up_vhost_user(void **state);
int set_up_read_only(void **state);
int tear_down(void **state);

uint8_t *bytes_at(struct fixture *f, gpa_t gpa);
void set_header(struct fixture *f, uint32_t type, uint64_t sector);
/* One request with `len` bytes of data: its status. */
uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len);
/* What is in the file now. */
void read_file(struct fixture *f, uint64_t offset, void *buf, size_t len);
/* A request about one range (discard, zeroes): its status. */
uint8_t on_range(struct fixture *f, uint32_t type, uint64_t sector, uint32_t sectors,
                 uint32_t flags);

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

#endif
