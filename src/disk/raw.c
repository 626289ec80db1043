/* SPDX-License-Identifier: Apache-2.0
 *
 * raw.c: disk images whose bytes are the disk's, in a file or a block device of the host.
 *
 * Runs on: the loop thread and the disk's worker; the object does not change after opening.
 *
 * The lock is an open file description lock: it belongs to our open file, ends with it (also when
 * the monitor is killed), and cannot be lost by closing another descriptor of the same file.
 */
#include "disk/disk_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

struct raw {
    struct disk_image image;
    int fd;
};

static struct raw *raw_of(struct disk_image *image)
{
    return PV_CONTAINER_OF(image, struct raw, image);
}

static ssize_t raw_read(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                        uint64_t offset, bool nowait)
{
    ssize_t n =
        preadv2(raw_of(image)->fd, iov, (int)num_iov, (off_t)offset, nowait ? RWF_NOWAIT : 0);
    return n < 0 ? -errno : n;
}

static ssize_t raw_write(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                         uint64_t offset, bool nowait)
{
    ssize_t n =
        pwritev2(raw_of(image)->fd, iov, (int)num_iov, (off_t)offset, nowait ? RWF_NOWAIT : 0);
    return n < 0 ? -errno : n;
}

static int raw_flush(struct disk_image *image)
{
    return fdatasync(raw_of(image)->fd) < 0 ? -errno : 0;
}

static int allocate(struct disk_image *image, int mode, uint64_t offset, uint64_t bytes)
{
    int rc;
    do
        rc = fallocate(raw_of(image)->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

static int raw_discard(struct disk_image *image, uint64_t offset, uint64_t bytes)
{
    int rc = allocate(image, FALLOC_FL_PUNCH_HOLE, offset, bytes);
    return rc == -EOPNOTSUPP ? 0 : rc; /* it was advice */
}

static int write_zeroes(struct disk_image *image, uint64_t offset, uint64_t bytes)
{
    static const uint8_t zeroes[65536];
    while (bytes > 0) {
        struct iovec iov = {(void *)(uintptr_t)zeroes, PV_MIN(bytes, (uint64_t)sizeof(zeroes))};
        ssize_t n = raw_write(image, &iov, 1, offset, false);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int raw_zero(struct disk_image *image, uint64_t offset, uint64_t bytes, bool unmap)
{
    int rc = unmap ? allocate(image, FALLOC_FL_PUNCH_HOLE, offset, bytes) : -EOPNOTSUPP;
    if (rc == -EOPNOTSUPP)
        rc = allocate(image, FALLOC_FL_ZERO_RANGE, offset, bytes);
    return rc == -EOPNOTSUPP ? write_zeroes(image, offset, bytes) : rc;
}

static void raw_close(struct disk_image *image)
{
    struct raw *r = raw_of(image);
    if (r->fd >= 0)
        close(r->fd);
    free(r);
}

static const struct disk_format raw_format = {
    .name = "raw",
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .discard = raw_discard,
    .zero = raw_zero,
    .close = raw_close,
};

/* Opens without blocking on a FIFO or a device of another kind: that is refused afterwards. */
static int open_file(struct raw *r, const char *path, struct stat *st, struct pv_error *err)
{
    int flags = (r->image.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    r->fd = open(path, flags);
    if (r->fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM) && !r->image.read_only)
        return pv_error_set(err, errno,
                            "open disk '%s' for writing: %s: change its permissions or attach it "
                            "read-only",
                            path, strerror(errno));
    if (r->fd < 0)
        return pv_error_set(err, errno, "open disk '%s': %s", path, strerror(errno));
    if (fstat(r->fd, st) < 0)
        return pv_error_set(err, errno, "stat disk '%s': %s", path, strerror(errno));
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
        return pv_error_set(err, EINVAL,
                            "open disk '%s': it is neither a regular file nor a block device: give "
                            "an image file, for example made by truncate -s 10G disk.img",
                            path);
    int rc = pv_fd_set_nonblocking(r->fd, false);
    return rc < 0 ? pv_error_set(err, -rc, "open disk '%s': %s", path, strerror(-rc)) : 0;
}

static int lock_file(struct raw *r, const char *path, struct pv_error *err)
{
    struct flock lock = {.l_type = r->image.read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(r->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return pv_error_set(err, EBUSY,
                            "lock disk '%s': another machine uses it%s: stop that machine or give "
                            "this one a copy",
                            path, r->image.read_only ? " for writing" : "");
    return pv_error_set(err, errno, "lock disk '%s': %s", path, strerror(errno));
}

static int measure(struct raw *r, const char *path, const struct stat *st, struct pv_error *err)
{
    uint64_t bytes = (uint64_t)st->st_size;
    if (S_ISBLK(st->st_mode) && ioctl(r->fd, BLKGETSIZE64, &bytes) < 0)
        return pv_error_set(err, errno, "size of disk '%s': %s", path, strerror(errno));
    r->image.bytes = bytes - bytes % DISK_SECTOR_BYTES;
    if (r->image.bytes == 0)
        return pv_error_set(err, EINVAL,
                            "open disk '%s': it is smaller than a sector: grow it, "
                            "for example by truncate -s 10G",
                            path);
    return 0;
}

/* A hole behind the end of a file changes nothing, but tells whether holes are possible. */
static void probe_discard(struct raw *r, const struct stat *st)
{
    uint64_t end = (uint64_t)st->st_size;
    r->image.can_discard =
        !r->image.read_only &&
        (S_ISBLK(st->st_mode) || allocate(&r->image, FALLOC_FL_PUNCH_HOLE, end, 4096) == 0);
}

int disk_raw_open(const char *path, bool read_only, struct disk_image **ret_image,
                  struct pv_error *err)
{
    struct raw *r = calloc(1, sizeof(*r));
    if (!r)
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", path);
    r->image.format = &raw_format;
    r->image.read_only = read_only;
    r->fd = -1;

    struct stat st;
    int rc = open_file(r, path, &st, err);
    if (rc == 0)
        rc = lock_file(r, path, err);
    if (rc == 0)
        rc = measure(r, path, &st, err);
    if (rc < 0) {
        raw_close(&r->image);
        return rc;
    }
    probe_discard(r, &st);
    *ret_image = &r->image;
    return 0;
}
