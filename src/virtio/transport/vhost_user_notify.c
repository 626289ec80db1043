/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user_notify.c: signals to the guest, on call descriptors and on the request socket.
 *
 * Trust: the guest need not read. A call socket that is full holds calls that the guest has not
 *        seen, so one more would say nothing new. On the request socket different things share
 *        one stream: what finds no room there is remembered as a bit and sent later.
 */
#include "virtio/transport/vhost_user_internal.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static const uint64_t one = 1;

/* Sends one request: 0 or -errno. */
static int send_request(int fd, uint32_t request, const struct vhost_user_vring_state *state)
{
    struct {
        struct vhost_user_header header;
        struct vhost_user_vring_state state;
    } m = {.header = {.request = request, .flags = VHOST_USER_VERSION}};
    size_t bytes = sizeof(m.header);
    if (state) {
        m.state = *state;
        m.header.size = sizeof(m.state);
        bytes += sizeof(m.state);
    }
    ssize_t n = send(fd, &m, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n == (ssize_t)bytes ? 0 : -EIO;
}

/* Sends what waits, until the socket is full; then its source wakes us when there is room. */
static void flush_requests(struct virtio_vhost_user *conn)
{
    int rc = 0;
    while (conn->requests && rc == 0) {
        unsigned bit = (unsigned)__builtin_ctz(conn->requests);
        struct vhost_user_vring_state state = {.index = bit};
        if (1u << bit == VHOST_USER_REQUEST_CONFIG)
            rc = send_request(conn->request_fd, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL);
        else
            rc = send_request(conn->request_fd, VHOST_USER_BACKEND_VRING_CALL, &state);
        if (rc == 0)
            conn->requests &= conn->requests - 1;
    }
    if (rc == -EAGAIN)
        rc = pv_loop_set_events(conn->request_source, EPOLLOUT);
    else if (rc == 0)
        rc = pv_loop_set_events(conn->request_source, 0);
    if (rc < 0) /* the guest closed its end, or a part of a message is lost */
        virtio_vhost_user_close_request_fd(conn);
}

static void on_request_socket(void *data, int fd, uint32_t events)
{
    flush_requests(data);
}

int virtio_vhost_user_set_request_fd(struct virtio_vhost_user *conn, int fd)
{
    pv_auto_fd int owned = fd;
    if (!virtio_vhost_user_is_socket(fd))
        return -EINVAL;
    virtio_vhost_user_close_request_fd(conn);
    conn->request_source = pv_loop_add_fd(conn->options.loop, fd, 0, on_request_socket, conn);
    if (!conn->request_source)
        return -errno;
    conn->request_fd = pv_take_fd(&owned);
    return 0;
}

void virtio_vhost_user_close_request_fd(struct virtio_vhost_user *conn)
{
    pv_loop_remove(conn->request_source);
    conn->request_source = NULL;
    conn->requests = 0;
    if (conn->request_fd >= 0)
        close(pv_take_fd(&conn->request_fd));
}

static void request(struct virtio_vhost_user *conn, uint32_t bit)
{
    if (conn->request_fd < 0)
        return;
    bool waits = conn->requests != 0;
    conn->requests |= bit;
    if (!waits)
        flush_requests(conn);
}

static int call(const struct vhost_user_ring *ring)
{
    ssize_t n = ring->call_is_socket
                    ? send(ring->call_fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL)
                    : write(ring->call_fd, &one, sizeof(one));
    return n < 0 ? -errno : 0;
}

void virtio_vhost_user_signal_queue(void *transport, uint16_t queue)
{
    struct virtio_vhost_user *conn = transport;
    struct vhost_user_ring *ring = &conn->rings[queue];
    assert(queue < VIRTIO_DEVICE_QUEUES_MAX);
    if (ring->call_fd < 0) { /* in-band, or the guest polls */
        if (vhost_user_has(conn, VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS)) {
            conn->counters[VHOST_USER_COUNTER_CALLS]++;
            request(conn, 1u << queue);
        }
        return;
    }
    int rc = call(ring);
    conn->counters[rc == -EAGAIN ? VHOST_USER_COUNTER_CALLS_PENDING : VHOST_USER_COUNTER_CALLS]++;
    if (rc < 0 && rc != -EAGAIN) /* the guest closed its end: it does not want to know */
        close(pv_take_fd(&ring->call_fd));
}

void virtio_vhost_user_signal_config(void *transport)
{
    request(transport, VHOST_USER_REQUEST_CONFIG);
}
