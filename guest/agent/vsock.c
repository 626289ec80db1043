/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock.c: virtio sockets.   Spec: vsock(7).
 */
#include "agent/vsock.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define RETRY_US 1000
#define BACKLOG 64

/* One try: 0 and *ret_fd, or -errno. */
static int try_connect(uint32_t port, int timeout_ms, int *ret_fd)
{
    pv_auto_fd int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    /* The kernel's own patience ends after two seconds, in which a busy host may not run the
     * monitor. */
    struct timeval patience = {.tv_sec = timeout_ms / 1000};
    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno != EINPROGRESS)
            return -errno;
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, timeout_ms) != 1)
            return -ETIMEDOUT;
        int error = 0;
        socklen_t len = sizeof(error);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
            return error ? -error : -errno;
    }
    *ret_fd = pv_take_fd(&fd);
    return 0;
}

int agent_vsock_connect(uint32_t port, unsigned timeout_ms, int *ret_fd, struct pv_error *err)
{
    uint64_t end = pv_time_monotonic_ns() + timeout_ms * 1000000ull;
    for (;;) {
        int rc = try_connect(port, (int)timeout_ms, ret_fd);
        if (rc == 0)
            return 0;
        /* No device yet, or nobody who listens yet. */
        bool later = rc == -ENODEV || rc == -ENETUNREACH || rc == -EADDRNOTAVAIL ||
                     rc == -ECONNRESET || rc == -ECONNREFUSED;
        if (!later || pv_time_monotonic_ns() >= end)
            return pv_error_set(err, -rc, "connect with the monitor: vsock port %u: %s", port,
                                strerror(-rc));
        usleep(RETRY_US);
    }
}

int agent_vsock_listen(uint32_t port, int *ret_fd, struct pv_error *err)
{
    pv_auto_fd int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, BACKLOG) < 0)
        return pv_error_set(err, errno, "listen on vsock port %u: %s", port, strerror(errno));
    *ret_fd = pv_take_fd(&fd);
    return 0;
}

int agent_vsock_accept(int listen_fd)
{
    struct sockaddr_vm peer = {0};
    socklen_t len = sizeof(peer);
    pv_auto_fd int fd =
        accept4(listen_fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (len < sizeof(peer) || peer.svm_family != AF_VSOCK || peer.svm_cid != VMADDR_CID_HOST)
        return -EPERM;
    return pv_take_fd(&fd);
}
