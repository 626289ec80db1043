/* SPDX-License-Identifier: Apache-2.0
 *
 * lock.c: flock(2) on folders, an open file description lock (fcntl(2)) for life: only that kind
 * can be asked about without being taken, and passes on with the descriptor.
 */
#include "instance/lock.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

/* An eighth of the wait so far: what ends is seen late by no more than that. */
#define POLL_SHARE 8
#define POLL_MIN_NS 200000ull
#define POLL_MAX_NS 20000000ull

int instance_lock_folder(int dirfd, bool wait, struct pv_error *err)
{
    /* Opened anew: a lock belongs to an open file description. */
    pv_auto_fd int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return pv_error_set(err, errno, "lock: open: %s", strerror(errno));
    while (flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB) < 0)
        if (errno != EINTR)
            return pv_error_set(err, errno, "lock: %s", strerror(errno));
    return pv_take_fd(&fd);
}

int instance_lock_hold(int dirfd, struct pv_error *err)
{
    pv_auto_fd int fd =
        openat(dirfd, INSTANCE_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return pv_error_set(err, errno, "open '%s': %s", INSTANCE_LOCK_FILE, strerror(errno));
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) == 0)
        return pv_take_fd(&fd);
    if (errno == EAGAIN || errno == EACCES)
        return pv_error_set(err, EBUSY, "the instance is alive");
    return pv_error_set(err, errno, "lock '%s': %s", INSTANCE_LOCK_FILE, strerror(errno));
}

bool instance_lock_is_held(int dirfd)
{
    pv_auto_fd int fd = openat(dirfd, INSTANCE_LOCK_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

int instance_lock_wait(int dirfd, uint64_t timeout_ns)
{
    uint64_t begin = pv_time_monotonic_ns();
    while (instance_lock_is_held(dirfd)) {
        uint64_t waited = pv_time_monotonic_ns() - begin;
        if (timeout_ns && waited >= timeout_ns)
            return -ETIMEDOUT;
        uint64_t pause = PV_MAX(waited / POLL_SHARE, POLL_MIN_NS);
        pause = PV_MIN(pause, POLL_MAX_NS);
        nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
    }
    return 0;
}
