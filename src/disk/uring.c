/* SPDX-License-Identifier: Apache-2.0
 *
 * uring.c: reads, writes and syncs through the host's io_uring. Home of liburing.
 *
 * Runs on: the loop thread.
 *
 * What a ring does passes by the seccomp filter: whoever took over the monitor could open and
 * connect through it. So the ring is made before the jail closes, gets its files and the list of
 * what it may do (read, write, sync of these files), and takes no other list ever after; the filter
 * then allows io_uring_enter alone. No work is given to it before the jail has closed, since the
 * kernel's helper threads have the privileges of whoever called them first.
 */
#include "disk/disk_internal.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

struct disk_uring {
    struct io_uring ring;
    bool have_ring;
    int event_fd;
    unsigned under_way;
    struct pv_loop_source *source;
    void (*completed)(void *data, struct disk_request *request, int result);
    void *data;
};

/* Debian 12's liburing declares these two and does not export them. */
static int ring_register(struct disk_uring *u, unsigned what, const void *arg, unsigned num)
{
    return syscall(SYS_io_uring_register, u->ring.ring_fd, what, arg, num) < 0 ? -errno : 0;
}

static int restrict_ring(struct disk_uring *u)
{
    const struct io_uring_restriction list[] = {
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FSYNC},
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE},
    };
    return ring_register(u, IORING_REGISTER_RESTRICTIONS, list, PV_ARRAY_SIZE(list));
}

int disk_uring_new(const int *fds, unsigned num, struct disk_uring **ret_ring)
{
    struct disk_uring *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = u->event_fd < 0 ? -errno : 0;
    if (rc == 0)
        rc = io_uring_queue_init(DISK_REQUESTS_MAX, &u->ring, IORING_SETUP_R_DISABLED);
    u->have_ring = rc == 0 && u->event_fd >= 0;
    if (rc == 0)
        rc = io_uring_register_files(&u->ring, fds, num);
    if (rc == 0)
        rc = io_uring_register_eventfd(&u->ring, u->event_fd);
    if (rc == 0)
        rc = restrict_ring(u);
    if (rc == 0)
        rc = ring_register(u, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (rc < 0) {
        disk_uring_free(u);
        return rc;
    }
    *ret_ring = u;
    return 0;
}

static bool complete_one(struct disk_uring *u)
{
    struct io_uring_cqe *cqe;
    if (io_uring_peek_cqe(&u->ring, &cqe) < 0)
        return false;
    struct disk_request *r = io_uring_cqe_get_data(cqe);
    int result = cqe->res;
    io_uring_cqe_seen(&u->ring, cqe);
    u->under_way--;
    u->completed(u->data, r, result);
    return true;
}

static void on_event(void *data, int fd, uint32_t events)
{
    uint64_t count;
    struct disk_uring *u = data;
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        while (complete_one(u))
            continue;
    if (io_uring_sq_ready(&u->ring) > 0)
        io_uring_submit(&u->ring);
}

int disk_uring_start(struct disk_uring *u, struct pv_loop *loop,
                     void (*completed)(void *data, struct disk_request *request, int result),
                     void *data, struct pv_error *err)
{
    u->completed = completed;
    u->data = data;
    u->source = pv_loop_add_fd(loop, u->event_fd, EPOLLIN, on_event, u);
    return u->source ? 0 : pv_error_set(err, errno, "watch a disk's ring: %s", strerror(errno));
}

bool disk_uring_submit(struct disk_uring *u, struct disk_request *r, unsigned file, uint64_t offset)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (!sqe)
        return false;
    if (r->op == DISK_FLUSH)
        io_uring_prep_fsync(sqe, (int)file, IORING_FSYNC_DATASYNC);
    else if (r->op == DISK_READ)
        io_uring_prep_readv(sqe, (int)file, r->iov, r->num_iov, offset);
    else
        io_uring_prep_writev(sqe, (int)file, r->iov, r->num_iov, offset);
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data(sqe, r);
    u->under_way++;
    /* What could not be submitted now stays in the ring and goes with the next one; one that is
     * alone is tried again. */
    int rc;
    do
        rc = io_uring_submit(&u->ring);
    while (rc == -EINTR || (rc == -EAGAIN && u->under_way == 1));
    return true;
}

void disk_uring_drain(struct disk_uring *u)
{
    while (u->under_way > 0) {
        struct io_uring_cqe *cqe;
        io_uring_submit(&u->ring);
        if (io_uring_wait_cqe(&u->ring, &cqe) == 0)
            complete_one(u);
    }
}

void disk_uring_free(struct disk_uring *u)
{
    if (!u)
        return;
    pv_loop_remove(u->source);
    if (u->have_ring)
        io_uring_queue_exit(&u->ring);
    if (u->event_fd >= 0)
        close(u->event_fd);
    free(u);
}
