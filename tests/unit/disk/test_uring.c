/* SPDX-License-Identifier: Apache-2.0
 *
 * test_uring.c: a ring does what it is for and refuses everything else: no seccomp filter sees what
 * a ring does. The test includes the source, for it needs what nobody else may have.
 */
#include "disk/uring.c" /* NOLINT */

#include "support/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct fixture {
    int fd;
    struct disk_uring *ring;
    struct pv_loop *loop;
    int result;
};

static void on_completed(void *data, struct disk_request *request, int result)
{
    ((struct fixture *)data)->result = result;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    *state = f;
    f->fd = memfd_create("disk", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f->fd, 8192), 0);
    f->loop = pv_loop_new();
    int rc = disk_uring_new(&f->fd, 1, &f->ring);
    if (rc < 0)
        printf("this host has no io_uring for us: %s\n", strerror(-rc));
    return rc < 0 ? 0 : disk_uring_start(f->ring, f->loop, on_completed, f, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    disk_uring_free(f->ring);
    pv_loop_free(f->loop);
    close(f->fd);
    free(f);
    return 0;
}

static int submit(struct fixture *f, enum disk_op op, unsigned file, uint64_t offset, void *buf)
{
    struct iovec iov = {buf, 512};
    struct disk_request r = {.op = op, .bytes = 512, .iov = &iov, .num_iov = 1};
    assert_true(disk_uring_submit(f->ring, &r, file, offset));
    disk_uring_drain(f->ring);
    return f->result;
}

static void test_it_reads_writes_and_syncs(void **state)
{
    struct fixture *f = *state;
    uint8_t out[512] = {1, 2, 3}, in[512];
    if (!f->ring)
        skip();
    assert_int_equal(submit(f, DISK_WRITE, 0, 512, out), 512);
    assert_int_equal(submit(f, DISK_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(submit(f, DISK_READ, 0, 512, in), 512);
    assert_memory_equal(in, out, 512);
    assert_int_equal(submit(f, DISK_READ, 0, 8192, in), 0);   /* behind the end */
    assert_int_equal(submit(f, DISK_READ, 1, 0, in), -EBADF); /* no such file in its table */
}

/* Fills an entry by hand and says what becomes of it. */
static int try_entry(struct fixture *f, void (*prepare)(struct io_uring_sqe *sqe, int fd))
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring->ring);
    assert_non_null(sqe);
    prepare(sqe, f->fd);
    f->ring->under_way++;
    disk_uring_drain(f->ring);
    return f->result;
}

static uint8_t buffer[512];
static struct iovec buffer_iov = {buffer, sizeof(buffer)};

static void open_a_file(struct io_uring_sqe *sqe, int fd)
{
    io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void make_a_socket(struct io_uring_sqe *sqe, int fd)
{
    io_uring_prep_rw(45 /* IORING_OP_SOCKET */, sqe, AF_INET, NULL, 0, SOCK_STREAM);
}

static void read_another_descriptor(struct io_uring_sqe *sqe, int fd)
{
    io_uring_prep_readv(sqe, fd, &buffer_iov, 1, 0); /* not one of its files */
}

static void do_nothing(struct io_uring_sqe *sqe, int fd)
{
    io_uring_prep_nop(sqe);
}

static void test_it_does_nothing_else(void **state)
{
    struct fixture *f = *state;
    if (!f->ring)
        skip();
    assert_int_equal(try_entry(f, open_a_file), -EACCES);
    assert_int_equal(try_entry(f, make_a_socket), -EACCES);
    assert_int_equal(try_entry(f, read_another_descriptor), -EACCES);
    assert_int_equal(try_entry(f, do_nothing), -EACCES);
    /* Neither can it be given other files, nor other rules. */
    int stdin_fd = 0;
    const struct io_uring_restriction all = {.opcode = IORING_RESTRICTION_SQE_OP,
                                             .sqe_op = IORING_OP_OPENAT};
    struct io_uring_files_update update = {.fds = (uint64_t)(uintptr_t)&stdin_fd};
    assert_true(ring_register(f->ring, IORING_REGISTER_FILES_UPDATE, &update, 1) < 0);
    assert_true(ring_register(f->ring, IORING_REGISTER_RESTRICTIONS, &all, 1) < 0);
    assert_true(ring_register(f->ring, IORING_REGISTER_BUFFERS, &buffer_iov, 1) < 0);
    uint8_t in[512];
    assert_int_equal(submit(f, DISK_READ, 0, 0, in), 512); /* it still works */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_reads_writes_and_syncs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_does_nothing_else, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
