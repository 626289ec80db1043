/* SPDX-License-Identifier: Apache-2.0
 *
 * transfer.c: reads and writes that end only when everything is done, and pieces of iovecs.
 */
#include "disk/disk_internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* Drops the first n bytes of *iov, whose array is ours. */
static void advance(struct iovec **iov, unsigned *num, size_t n)
{
    while (*num > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*num)--;
    }
    if (n > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

/* One call: bytes, at least one, or -errno. */
static ssize_t transfer_some(int fd, bool write, const struct iovec *iov, unsigned num,
                             uint64_t offset)
{
    ssize_t n;
    do
        n = write ? pwritev(fd, iov, (int)num, (off_t)offset)
                  : preadv(fd, iov, (int)num, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n == 0 ? -EIO : n; /* 0: somebody cut the file */
}

/* Goes on after `done` bytes. Apart, for its large array is seldom needed. */
static int transfer_rest(int fd, bool write, const struct iovec *iov, unsigned num, uint64_t offset,
                         uint64_t bytes, uint64_t done)
{
    struct iovec copy[IOV_MAX], *at = copy;
    memcpy(copy, iov, num * sizeof(*copy));
    for (ssize_t n = (ssize_t)done;; done += (uint64_t)n) {
        advance(&at, &num, (size_t)n);
        if (done == bytes)
            return 0;
        n = transfer_some(fd, write, at, num, offset + done);
        if (n < 0)
            return (int)n;
    }
}

int disk_transfer(int fd, bool write, const struct iovec *iov, unsigned num_iov, uint64_t offset,
                  uint64_t bytes)
{
    if (bytes == 0)
        return 0;
    ssize_t n = transfer_some(fd, write, iov, num_iov, offset);
    if (n < 0 || (uint64_t)n == bytes)
        return n < 0 ? (int)n : 0;
    return transfer_rest(fd, write, iov, num_iov, offset, bytes, (uint64_t)n);
}

int disk_read_bytes(int fd, void *buf, size_t len, uint64_t offset)
{
    struct iovec iov = {buf, len};
    return disk_transfer(fd, false, &iov, 1, offset, len);
}

int disk_write_bytes(int fd, const void *buf, size_t len, uint64_t offset)
{
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    return disk_transfer(fd, true, &iov, 1, offset, len);
}

void disk_iov_zero(const struct iovec *iov, unsigned num)
{
    for (unsigned i = 0; i < num; i++)
        memset(iov[i].iov_base, 0, iov[i].iov_len);
}
