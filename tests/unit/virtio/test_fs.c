/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fs.c: the virtio file system device. What requests mean is tested in fs/.
 */
#include "virtio/device/fs.h"

#include "support/fake_driver.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/virtio_fs.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 64
#define HIPRIO 0
#define REQUESTS 1

struct fixture {
    struct fake_driver *d;
    struct fs *fs;
    int root_fd;
    char top[32];
    unsigned gone;
};

static void on_gone(void *data)
{
    ((struct fixture *)data)->gone++;
}

static int set_up(void **state, enum fake_transport transport)
{
    struct pv_error err = PV_ERROR_INIT;
    struct virtio_device *dev;
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->top, "/tmp/paravane-vfs-XXXXXX");
    assert_non_null(mkdtemp(f->top));
    f->root_fd = open(f->top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct fs_options fs_options = {.root_fd = f->root_fd};
    const struct fs_situation situation = {.contained = true, .max_files = 100};
    assert_int_equal(fs_new(&fs_options, &f->fs, &err), 0);
    assert_int_equal(fs_settle(f->fs, &situation, &err), 0);
    f->d = fake_driver_new(transport);
    assert_int_equal(fs_start(f->fs, f->d->loop, &err), 0);
    const struct virtio_fs_options options = {
        .fs = f->fs, .tag = "share", .on_gone = on_gone, .data = f};
    assert_int_equal(virtio_fs_new(&options, f->d->loop, &dev, &err), 0);
    fake_driver_start(f->d, dev, 0, SIZE);
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
    assert_true(fs_stop(f->fs));
    fake_driver_free(f->d);
    fs_free(f->fs);
    close(f->root_fd);
    rmdir(f->top);
    free(f);
    return 0;
}

/* Adds a request with room for `room` bytes of payload; where the reply goes. */
static gpa_t add(struct fixture *f, uint16_t queue, uint32_t opcode, const void *args, uint32_t len,
                 uint32_t room)
{
    struct fuse_in_header h = {
        .len = (uint32_t)sizeof(h) + len, .opcode = opcode, .unique = 7, .nodeid = FUSE_ROOT_ID};
    gpa_t reply = fake_driver_alloc(f->d, sizeof(struct fuse_out_header) + room);
    struct fake_desc d[] = {
        {fake_driver_bytes(f->d, &h, sizeof(h)), sizeof(h), 0, 0},
        {fake_driver_bytes(f->d, args, len), len, 0, 0},
        {reply, (uint32_t)sizeof(struct fuse_out_header) + room, VRING_DESC_F_WRITE, 0},
    };
    fake_ring_add(&f->d->rings[queue], d, 3);
    return reply;
}

static struct fuse_out_header ask(struct fixture *f, uint32_t opcode, const void *args,
                                  uint32_t len, uint32_t room)
{
    struct fuse_out_header out;
    gpa_t reply = add(f, REQUESTS, opcode, args, len, room);
    fake_driver_kick(f->d, REQUESTS);
    struct fake_used used = fake_driver_wait_used(f->d, REQUESTS);
    memcpy(&out, fake_driver_at(f->d, reply, sizeof(out)), sizeof(out));
    assert_int_equal(used.len, out.len);
    assert_int_equal(out.unique, 7);
    return out;
}

static void start(struct fixture *f)
{
    const struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION, .minor = 38};
    assert_int_equal(ask(f, FUSE_INIT, &in, sizeof(in), sizeof(struct fuse_init_out)).error, 0);
}

static const struct fuse_getattr_in getattr = {0};

static void test_config_has_the_tag(void **state)
{
    struct fixture *f = *state;
    struct virtio_fs_config config;
    fake_driver_read_config(f->d, 0, &config, sizeof(config));
    assert_memory_equal(config.tag, "share\0\0", 7);
    assert_int_equal(config.num_request_queues, 1);
    assert_true(fake_driver_write_config(f->d, 0, "x", 1) < 0);
}

static void test_requests_are_answered(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct fuse_out_header out =
        ask(f, FUSE_GETATTR, &getattr, sizeof(getattr), sizeof(struct fuse_attr_out));
    assert_int_equal(out.error, 0);
    assert_int_equal(out.len, sizeof(out) + sizeof(struct fuse_attr_out));
    assert_int_equal(ask(f, FUSE_GETATTR, &getattr, sizeof(getattr), 4).error, -EINVAL);
    assert_int_equal(ask(f, 999, &getattr, sizeof(getattr), 4).error, -ENOSYS);
    /* Nothing comes back for this, but its chain does. */
    const struct fuse_forget_in forget = {.nlookup = 1};
    add(f, HIPRIO, FUSE_FORGET, &forget, sizeof(forget), 0);
    fake_driver_kick(f->d, HIPRIO);
    assert_int_equal(fake_driver_wait_used(f->d, HIPRIO).len, 0);
}

static void test_what_threads_do_comes_back(void **state)
{
    struct fixture *f = *state;
    const struct fuse_open_in open_in = {0};
    start(f);
    gpa_t reply = add(f, REQUESTS, FUSE_OPENDIR, &open_in, sizeof(open_in), 16);
    fake_driver_kick(f->d, REQUESTS);
    fake_driver_wait_used(f->d, REQUESTS);
    struct fuse_fsync_in fsync_in = {0};
    memcpy(&fsync_in.fh, (uint8_t *)fake_driver_at(f->d, reply, 32) + 16, 8);
    for (int i = 0; i < 10; i++)
        add(f, REQUESTS, FUSE_FSYNCDIR, &fsync_in, sizeof(fsync_in), 0);
    fake_driver_kick(f->d, REQUESTS);
    for (int i = 0; i < 10; i++)
        assert_int_equal(fake_driver_wait_used(f->d, REQUESTS).len, 16);
    /* In flight when the guest goes: nothing of it comes any more. */
    for (int i = 0; i < 5; i++)
        add(f, REQUESTS, FUSE_FSYNCDIR, &fsync_in, sizeof(fsync_in), 0);
    fake_driver_kick(f->d, REQUESTS);
    fake_driver_reset(f->d);
}

static void test_chains_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    struct fake_desc d[] = {{fake_driver_alloc(f->d, 8), 8, 0, 0},
                            {fake_driver_alloc(f->d, 64), 64, VRING_DESC_F_WRITE, 0}};
    start(f);
    fake_ring_add(&f->d->rings[REQUESTS], &d[0], 1); /* half a header, no room */
    fake_ring_add(&f->d->rings[REQUESTS], &d[1], 1); /* nothing but room */
    fake_ring_add(&f->d->rings[REQUESTS], d, 2);
    fake_driver_kick(f->d, REQUESTS);
    assert_int_equal(fake_driver_wait_used(f->d, REQUESTS).len, 0);
    assert_int_equal(fake_driver_wait_used(f->d, REQUESTS).len, 16);
    assert_int_equal(fake_driver_wait_used(f->d, REQUESTS).len, 16);
    assert_int_equal(fake_driver_counter(f->d, "bad_requests"), 3);
    assert_int_equal(
        ask(f, FUSE_GETATTR, &getattr, sizeof(getattr), sizeof(struct fuse_attr_out)).error, 0);
}

static void test_a_folder_that_is_removed_is_told_once(void **state)
{
    struct fixture *f = *state;
    start(f);
    ask(f, FUSE_GETATTR, &getattr, sizeof(getattr), sizeof(struct fuse_attr_out));
    assert_int_equal(f->gone, 0);
    assert_int_equal(rmdir(f->top), 0);
    for (int i = 0; i < 3; i++)
        ask(f, FUSE_GETATTR, &getattr, sizeof(getattr), sizeof(struct fuse_attr_out));
    assert_int_equal(f->gone, 1);
}

static void test_tags_have_a_length(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    struct virtio_device *dev;
    struct pv_loop *loop = pv_loop_new();
    static const char *const bad[] = {NULL, "", "1234567890123456789012345678901234567"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        const struct virtio_fs_options options = {.tag = bad[i]};
        assert_int_equal(virtio_fs_new(&options, loop, &dev, &err), -EINVAL);
        assert_non_null(strstr(err.text, "36"));
    }
    pv_loop_free(loop);
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_direct, tear_down),                               \
        cmocka_unit_test_setup_teardown(name, set_up_vhost_user, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_config_has_the_tag),
        BOTH(test_requests_are_answered),
        BOTH(test_what_threads_do_comes_back),
        BOTH(test_chains_that_make_no_sense),
        BOTH(test_a_folder_that_is_removed_is_told_once),
        cmocka_unit_test(test_tags_have_a_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
