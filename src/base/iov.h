/* SPDX-License-Identifier: Apache-2.0
 *
 * iov.h: parts of scattered bytes.
 */
#ifndef PV_BASE_IOV_H
#define PV_BASE_IOV_H

#include <stdint.h>
#include <sys/uio.h>

/* Fills out with the iovecs of `bytes` bytes from `offset` on, at most max of them. Returns how
 * many; ret_bytes (may be NULL) gets what they hold, fewer than asked for when there are no more or
 * max is reached. */
unsigned pv_iov_slice(const struct iovec *iov, unsigned num, uint64_t offset, uint64_t bytes,
                      struct iovec *out, unsigned max, uint64_t *ret_bytes);

#endif
