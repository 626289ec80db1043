/* SPDX-License-Identifier: Apache-2.0 */
#include "base/iov.h"

#include "base/attr.h"

unsigned pv_iov_slice(const struct iovec *iov, unsigned num, uint64_t offset, uint64_t bytes,
                      struct iovec *out, unsigned max, uint64_t *ret_bytes)
{
    unsigned used = 0;
    uint64_t left = bytes;
    for (unsigned i = 0; i < num && used < max && left > 0; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t n = (size_t)PV_MIN((uint64_t)iov[i].iov_len - offset, left);
        out[used++] = (struct iovec){(uint8_t *)iov[i].iov_base + offset, n};
        left -= n;
        offset = 0;
    }
    if (ret_bytes)
        *ret_bytes = bytes - left;
    return used;
}
