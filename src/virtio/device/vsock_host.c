/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock_host.c: the host's side of the vsock device: listeners, connecting, the serving socket.
 *
 * Runs on: the loop thread of the machine.
 *
 * The serving socket speaks a line protocol that tools for other monitors speak too: the client
 * says "CONNECT <guest port>\n", hears "OK <host port>\n", and the stream follows. The line is read
 * without taking a byte behind it.
 */
#include "virtio/device/vsock_internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define FIRST_FREE_PORT 0x40000000u
#define PAUSE_NS 100000000ull

static struct vsock_listener *find_listener(struct vsock *v, uint32_t port)
{
    for (unsigned i = 0; i < VIRTIO_VSOCK_LISTENERS_MAX; i++)
        if (v->listeners[i].accepted && v->listeners[i].port == port)
            return &v->listeners[i];
    return NULL;
}

int virtio_vsock_listen(struct virtio_device *dev, uint32_t host_port, virtio_vsock_accepted_fn *fn,
                        void *data)
{
    struct vsock *v = vsock_of(dev);
    if (find_listener(v, host_port))
        return -EADDRINUSE;
    for (unsigned i = 0; i < VIRTIO_VSOCK_LISTENERS_MAX; i++) {
        if (v->listeners[i].accepted)
            continue;
        v->listeners[i] = (struct vsock_listener){.port = host_port, .accepted = fn, .data = data};
        return 0;
    }
    return -ENOSPC;
}

void virtio_vsock_unlisten(struct virtio_device *dev, uint32_t host_port)
{
    struct vsock_listener *l = find_listener(vsock_of(dev), host_port);
    if (l)
        *l = (struct vsock_listener){0};
}

int virtio_vsock_host_open(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
    const struct vsock_listener *found = find_listener(v, host_port);
    if (!found)
        return v->options.connect_host ? v->options.connect_host(v->options.data, host_port)
                                       : -ECONNREFUSED;
    struct vsock_listener l = *found; /* the callee may stop listening */
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    l.accepted(l.data, ends[1], guest_port);
    return ends[0];
}

uint32_t virtio_vsock_host_pick_port(struct vsock *v, uint32_t guest_port)
{
    uint32_t port;
    do { /* more ports than connections and listeners: it ends */
        port = FIRST_FREE_PORT + v->next_host_port++ % FIRST_FREE_PORT;
    } while (virtio_vsock_connection_find(v, guest_port, port) || find_listener(v, port));
    return port;
}

static void start_connecting(struct vsock_connection *c, uint32_t guest_port)
{
    struct vsock *v = c->vsock;
    c->state = VSOCK_CONNECTING;
    virtio_vsock_connection_name(c, guest_port, virtio_vsock_host_pick_port(v, guest_port));
    virtio_vsock_connection_set_deadline(c);
    virtio_vsock_connection_owe(c, VSOCK_SEND_REQUEST);
}

int virtio_vsock_connect(struct virtio_device *dev, uint32_t guest_port, int fd,
                         virtio_vsock_connected_fn *fn, void *data)
{
    struct vsock *v = vsock_of(dev);
    int rc = 0;
    if (!dev->guest || dev->needs_reset)
        rc = -ENOTCONN;
    else if (v->num_connections >= v->options.max_connections)
        rc = -EMFILE;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    struct vsock_connection *c = virtio_vsock_connection_new(v, fd, VSOCK_CONNECTING);
    if (!c)
        return -ENOMEM;
    c->connected = fn;
    c->connected_data = data;
    start_connecting(c, guest_port);
    virtio_device_again(dev, VSOCK_RX); /* not now: the caller may be a callback of ours */
    return 0;
}

/* -- the serving socket -- */

/* "CONNECT <port>": true and the port. */
static bool parse_line(const char *line, uint32_t *ret_port)
{
    static const char word[] = "CONNECT ";
    uint64_t port;
    if (!pv_str_starts_with(line, word) ||
        pv_str_to_u64(line + strlen(word), 0, UINT32_MAX, &port) < 0)
        return false;
    *ret_port = (uint32_t)port;
    return true;
}

/* Moves the next bytes of the line from the socket: 1 when it is complete, 0 when more must come,
 * -1 when it never will be. */
static int read_part(struct vsock_connection *c)
{
    char *at = c->line + c->line_len;
    size_t room = sizeof(c->line) - c->line_len;
    ssize_t n = recv(c->fd, at, room, MSG_DONTWAIT | MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return -1;
    const char *newline = memchr(at, '\n', (size_t)n);
    size_t take = newline ? (size_t)(newline - at) + 1 : (size_t)n;
    if (recv(c->fd, at, take, MSG_DONTWAIT) != (ssize_t)take)
        return -1;
    c->line_len += take;
    if (!newline)
        return c->line_len < sizeof(c->line) ? 0 : -1;
    c->line[c->line_len - 1] = '\0';
    return memchr(c->line, '\0', c->line_len - 1) ? -1 : 1;
}

void virtio_vsock_host_read_line(struct vsock_connection *c)
{
    uint32_t port;
    int rc = read_part(c);
    if (rc == 0)
        return;
    if (rc < 0 || !parse_line(c->line, &port) || !c->vsock->base.guest) {
        virtio_vsock_connection_free(c);
        return;
    }
    c->is_client = true;
    start_connecting(c, port);
}

/* One client per turn of the loop. */
static void on_client(void *data, int listen_fd, uint32_t events)
{
    struct vsock *v = data;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
        v->serve_paused = true; /* it would stay readable: try again a little later */
        pv_loop_set_events(v->serve_source, 0);
        virtio_vsock_arm(v, pv_time_monotonic_ns() + PAUSE_NS);
    }
    if (fd < 0)
        return;
    if (!v->base.guest) {
        close(fd);
        return;
    }
    struct vsock_connection *c = virtio_vsock_connection_new(v, fd, VSOCK_LINE);
    if (c)
        virtio_vsock_connection_set_deadline(c);
}

void virtio_vsock_host_resume_serving(struct vsock *v)
{
    if (v->serve_paused && pv_loop_set_events(v->serve_source, EPOLLIN) == 0)
        v->serve_paused = false;
}

int virtio_vsock_serve(struct virtio_device *dev, int listen_fd)
{
    struct vsock *v = vsock_of(dev);
    pv_auto_fd int owned = listen_fd;
    if (v->serve_fd >= 0)
        return -EBUSY;
    int rc = pv_fd_set_nonblocking(listen_fd, true);
    if (rc < 0)
        return rc;
    v->serve_source = pv_loop_add_fd(dev->loop, listen_fd, EPOLLIN, on_client, v);
    if (!v->serve_source)
        return -errno;
    v->serve_fd = pv_take_fd(&owned);
    return 0;
}

void virtio_vsock_host_stop_serving(struct vsock *v)
{
    pv_loop_remove(v->serve_source);
    v->serve_source = NULL;
    if (v->serve_fd >= 0)
        close(pv_take_fd(&v->serve_fd));
}
