/* SPDX-License-Identifier: Apache-2.0
 *
 * file.c: the host's files below a disk: opened with care, locked, measured, given back.
 *
 * The lock is an open file description lock: it belongs to our open file, ends with it (also when
 * the monitor is killed), and cannot be lost by closing another descriptor of the same file. A ring
 * holds the open file too: the kernel takes rings of the dead apart in its own time, and only then
 * do the last writes of a killed monitor end, and its lock with them. So a lock is worth a short
 * wait, and closing unlocks by itself.
 */
#include "disk/disk_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LOCK_WAIT_NS 500000000
#define LOCK_TRIES 50

/* Opens without blocking on a FIFO or a device of another kind: that is refused afterwards. */
static int open_file(const char *path, bool read_only, int *ret_fd, struct pv_error *err)
{
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    pv_auto_fd int fd = open(path, flags);
    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM) && !read_only)
        return pv_error_set(err, errno,
                            "open disk '%s' for writing: %s: change its permissions or attach it "
                            "read-only",
                            path, strerror(errno));
    if (fd < 0)
        return pv_error_set(err, errno, "open disk '%s': %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0)
        return pv_error_set(err, errno, "stat disk '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return pv_error_set(err, EINVAL,
                            "open disk '%s': it is neither a regular file nor a block device: give "
                            "an image file, for example made by truncate -s 10G disk.img",
                            path);
    int rc = pv_fd_set_nonblocking(fd, false);
    if (rc < 0)
        return pv_error_set(err, -rc, "open disk '%s': %s", path, strerror(-rc));
    *ret_fd = pv_take_fd(&fd);
    return 0;
}

/* Waits for a dying owner, see above. */
static int set_lock(int fd, struct flock *lock)
{
    const struct timespec pause = {.tv_nsec = LOCK_WAIT_NS / LOCK_TRIES};
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (fcntl(fd, F_OFD_SETLK, lock) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return -errno;
        nanosleep(&pause, NULL);
    }
    return -EBUSY;
}

static int lock_file(int fd, const char *path, bool read_only, struct pv_error *err)
{
    struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    int rc = set_lock(fd, &lock);
    if (rc == -EBUSY)
        return pv_error_set(err, EBUSY,
                            "lock disk '%s': another machine uses it%s: stop that machine or give "
                            "this one a copy",
                            path, read_only ? " for writing" : "");
    return rc < 0 ? pv_error_set(err, -rc, "lock disk '%s': %s", path, strerror(-rc)) : 0;
}

int disk_file_open(const char *path, bool read_only, int *ret_fd, struct pv_error *err)
{
    pv_auto_fd int fd = -1;
    int rc = open_file(path, read_only, &fd, err);
    if (rc == 0)
        rc = lock_file(fd, path, read_only, err);
    if (rc == 0)
        *ret_fd = pv_take_fd(&fd);
    return rc;
}

void disk_file_close(int fd)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (fd < 0)
        return;
    fcntl(fd, F_OFD_SETLK, &lock);
    close(fd);
}

int64_t disk_file_size(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    return end < 0 ? -errno : end;
}

int disk_file_allocate(int fd, int mode, uint64_t offset, uint64_t bytes)
{
    int rc;
    do
        rc = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

/* A hole behind the end of a file changes nothing, but tells whether holes are possible. */
bool disk_file_can_punch(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return false;
    return S_ISBLK(st.st_mode) ||
           disk_file_allocate(fd, FALLOC_FL_PUNCH_HOLE, (uint64_t)st.st_size, 4096) == 0;
}

static int write_zeroes(int fd, uint64_t offset, uint64_t bytes)
{
    static const uint8_t zeroes[65536];
    int rc = 0;
    while (bytes > 0 && rc == 0) {
        size_t n = (size_t)PV_MIN(bytes, (uint64_t)sizeof(zeroes));
        rc = disk_write_bytes(fd, zeroes, n, offset);
        offset += n;
        bytes -= n;
    }
    return rc;
}

int disk_file_zero(int fd, uint64_t offset, uint64_t bytes, bool unmap)
{
    int rc = unmap ? disk_file_allocate(fd, FALLOC_FL_PUNCH_HOLE, offset, bytes) : -EOPNOTSUPP;
    if (rc == -EOPNOTSUPP)
        rc = disk_file_allocate(fd, FALLOC_FL_ZERO_RANGE, offset, bytes);
    return rc == -EOPNOTSUPP ? write_zeroes(fd, offset, bytes) : rc;
}

int disk_file_sync(int fd)
{
    int rc;
    do
        rc = fdatasync(fd);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}
