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

int disk_transfer(int fd, bool write, const struct iovec *iov, unsigned num_iov, uint64_t offset,
                  uint64_t bytes)
{
    struct iovec copy[IOV_MAX], *at = copy;
    unsigned num = num_iov;
    memcpy(copy, iov, num * sizeof(*copy));
    uint64_t done = 0;
    while (done < bytes) {
        off_t to = (off_t)(offset + done);
        ssize_t n = write ? pwritev(fd, at, (int)num, to) : preadv(fd, at, (int)num, to);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* 0: somebody cut the file */
            return n < 0 ? -errno : -EIO;
        done += (uint64_t)n;
        advance(&at, &num, (size_t)n);
    }
    return 0;
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

unsigned disk_iov_slice(const struct iovec *iov, unsigned num, uint64_t skip, uint64_t bytes,
                        struct iovec *out)
{
    unsigned used = 0;
    for (unsigned i = 0; i < num && bytes > 0; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t n = (size_t)PV_MIN((uint64_t)iov[i].iov_len - skip, bytes);
        out[used++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, n};
        bytes -= n;
        skip = 0;
    }
    return used;
}

void disk_iov_zero(const struct iovec *iov, unsigned num)
{
    for (unsigned i = 0; i < num; i++)
        memset(iov[i].iov_base, 0, iov[i].iov_len);
}
