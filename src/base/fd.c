/* SPDX-License-Identifier: Apache-2.0
 *
 * fd.c: descriptors: whole reads and writes, small files, atomic replacement, passing.
 */
#include "base/fd.h"

#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* SCM_MAX_FD of the kernel is 253; no message of the house carries more than a few. */
#define FDS_MAX 16

ssize_t pv_fd_read_full(int fd, void *buf, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = read(fd, (char *)buf + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int pv_fd_write_full(int fd, const void *buf, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(fd, (const char *)buf + done, len - done);
        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

int pv_fd_set_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int pv_fd_set_cloexec(int fd, bool on)
{
    return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

int pv_fd_read_file(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len,
                    struct pv_error *err)
{
    pv_auto_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pv_error_set(err, errno, "open '%s': %s", path, strerror(errno));

    struct pv_str text __attribute__((cleanup(pv_str_auto))) = {0};
    for (;;) {
        char chunk[4096];
        ssize_t n = pv_fd_read_full(fd, chunk, sizeof(chunk));
        if (n < 0)
            return pv_error_set(err, (int)-n, "read '%s': %s", path, strerror((int)-n));
        if (n == 0)
            break;
        if (text.len + (size_t)n > max)
            return pv_error_set(err, EFBIG, "read '%s': larger than %zu bytes", path, max);
        if (pv_str_add_bytes(&text, chunk, (size_t)n) < 0)
            return pv_error_set(err, ENOMEM, "read '%s': out of memory", path);
    }

    size_t len = text.len;
    char *taken = pv_str_take(&text);
    if (!taken)
        return pv_error_set(err, ENOMEM, "read '%s': out of memory", path);
    *ret_text = taken;
    if (ret_len)
        *ret_len = len;
    return 0;
}

int pv_fd_replace_file(int dirfd, const char *name, const void *text, size_t len, mode_t mode,
                       struct pv_error *err)
{
    /* Writers of one file are serialised by their owner (a lock or a single process), so the
     * process id is enough to keep two files apart. */
    char temp[300];
    if (snprintf(temp, sizeof(temp), ".%s.%d.new", name, (int)getpid()) >= (int)sizeof(temp))
        return pv_error_set(err, ENAMETOOLONG, "write '%s': the name is too long", name);

    pv_auto_fd int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return pv_error_set(err, errno, "create '%s': %s", temp, strerror(errno));

    int rc = pv_fd_write_full(fd, text, len);
    if (rc == 0 && renameat(dirfd, temp, dirfd, name) < 0)
        rc = -errno;
    if (rc < 0) {
        unlinkat(dirfd, temp, 0);
        return pv_error_set(err, -rc, "write '%s': %s", name, strerror(-rc));
    }
    return 0;
}

ssize_t pv_fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned num_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (num_fds > FDS_MAX)
        return -E2BIG;
    if (num_fds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
    }

    ssize_t n;
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Keeps the first max_fds descriptors of a message and closes the others. */
static unsigned collect_fds(struct msghdr *msg, int *fds, unsigned max_fds)
{
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t num = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < num; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (count < max_fds)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    return count;
}

ssize_t pv_fd_recv(int sock, void *buf, size_t len, int flags, int *fds, unsigned max_fds,
                   unsigned *ret_num_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };

    ssize_t n;
    do
        n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    unsigned count = collect_fds(&msg, fds, max_fds);
    if (ret_num_fds)
        *ret_num_fds = count;
    else
        for (unsigned i = 0; i < count; i++)
            close(fds[i]);
    return n;
}

int pv_fd_memfd_with(const char *name, const void *buf, size_t len)
{
    pv_auto_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int rc = pv_fd_write_full(fd, buf, len);
    if (rc < 0)
        return rc;
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return pv_take_fd(&fd);
}
