/* SPDX-License-Identifier: Apache-2.0
 *
 * test_blk_trouble.c: a host that is full, and what is in flight when the device ends.
 */
#include "blk_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

static bool have_small_fs; /* a file system of 1 MiB is mounted at small_fs */
static char small_fs[] = "/tmp/pv-small-XXXXXX";

static void test_a_full_host_fails_the_write_and_keeps_the_rest(void **state)
{
    if (!have_small_fs) {
        printf("mounting a small tmpfs needs root\n");
        skip();
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_an_orderly_reset_waits_for_what_is_in_flight),
        BOTH(test_a_hard_reset_forgets_what_is_in_flight),
        BOTH(test_a_device_may_be_freed_with_requests_in_flight),
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
