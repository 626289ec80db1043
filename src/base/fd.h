/* SPDX-License-Identifier: Apache-2.0
 *
 * fd.h: descriptors: whole reads and writes, small files, atomic replacement, passing.
 */
#ifndef PV_BASE_FD_H
#define PV_BASE_FD_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads until len bytes or end of file, through EINTR. Returns the bytes read or -errno. */
ssize_t pv_fd_read_full(int fd, void *buf, size_t len);
/* Writes all of buf, through EINTR and (by poll) EAGAIN. Returns 0 or -errno. */
int pv_fd_write_full(int fd, const void *buf, size_t len);
int pv_fd_set_nonblocking(int fd, bool on);
int pv_fd_set_cloexec(int fd, bool on);

/* Reads the file `path` (relative to dirfd, or AT_FDCWD) of at most max bytes. The text is
 * NUL-terminated; the caller frees *ret_text. ret_len may be NULL. -EFBIG when it is larger. */
int pv_fd_read_file(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len,
                    struct pv_error *err);
/* Replaces the file `name` in dirfd by text in one step (temporary file, rename), so a reader sees
 * the old one or the new one, whole. Nothing is synced: after a power failure the file may be the
 * old one, the new one or empty, and a reader treats an empty one as missing. */
int pv_fd_replace_file(int dirfd, const char *name, const void *text, size_t len, mode_t mode,
                       struct pv_error *err);

/* Sends bytes with descriptors (SCM_RIGHTS) over a unix socket. Returns bytes sent or -errno. */
ssize_t pv_fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned num_fds);
/* Receives up to len bytes and at most max_fds descriptors (close-on-exec; the caller owns them;
 * surplus ones are closed). flags as for recvmsg. Returns bytes, 0 at the end, or -errno. */
ssize_t pv_fd_recv(int sock, void *buf, size_t len, int flags, int *fds, unsigned max_fds,
                   unsigned *ret_num_fds);

/* Creates or opens a sealed memfd with the bytes given, positioned at 0, for handing over to a
 * child. Returns the descriptor or -errno. */
int pv_fd_memfd_with(const char *name, const void *buf, size_t len);

#endif
