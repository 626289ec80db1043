/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user.c: life of a vhost-user connection: receiving, replying, breaking.
 *
 * Runs on: the machine's loop thread.   Spec: QEMU docs/interop/vhost-user.
 * Trust:   every byte and every descriptor is guest input.
 *
 * Theory of operation: the stream is read message by message, never beyond the end of one, so that
 * descriptors belong to the message in whose bytes they came. A message that is not complete stays
 * in `message` and costs nothing. A complete one is checked against the table, handled and
 * answered before the next one is read. Where the device must first finish what is in flight, the
 * socket is left unread until it has.
 *
 * When the connection ends, everything is closed and the device reset at once, but the owner
 * hears of it on a later turn, when none of our functions is on the stack.
 */
#include "virtio/transport/vhost_user.h"

#include "virtio/transport/vhost_user_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static const char *const counter_labels[VHOST_USER_COUNTERS] = {
    [VHOST_USER_COUNTER_MESSAGES] = "messages",
    [VHOST_USER_COUNTER_REFUSED] = "refused",
    [VHOST_USER_COUNTER_BROKEN] = "broken",
    [VHOST_USER_COUNTER_KICKS] = "kicks",
    [VHOST_USER_COUNTER_CALLS] = "calls",
    [VHOST_USER_COUNTER_CALLS_PENDING] = "calls_pending",
};

const struct virtio_syscall virtio_vhost_user_syscalls[] = {
    {"recvmsg", "vhost-user: receive messages and descriptors"},
    {"sendto", "vhost-user: replies, calls, requests to the guest"},
    {"getsockopt", "vhost-user: check that a call descriptor is a socket"},
    {"newfstatat", "vhost-user: recognize guest memory, check kick descriptors"},
    {"fstat", "vhost-user: the same, as older C libraries call it"},
    {"fcntl", "vhost-user: make kick descriptors non-blocking"},
    {"write", "vhost-user: check kick descriptors"},
    {"epoll_ctl", "vhost-user: watch kick descriptors"},
    {"close", "vhost-user: descriptors of the guest"},
    {NULL, NULL},
};

static void close_message_fds(struct vhost_user_message *m)
{
    for (unsigned i = 0; i < m->num_fds; i++)
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    m->num_fds = 0;
}

void virtio_vhost_user_drop_message(struct virtio_vhost_user *conn)
{
    close_message_fds(&conn->message);
    conn->message.received = 0;
}

/* Closes all that the connection holds. The device is reset last: it may look at nothing else. */
static void shut(struct virtio_vhost_user *conn)
{
    if (conn->sock < 0)
        return;
    pv_loop_remove(conn->source);
    conn->source = NULL;
    close(pv_take_fd(&conn->sock));
    conn->draining = false;
    virtio_vhost_user_drop_message(conn);
    virtio_vhost_user_reset_rings(conn);
    virtio_vhost_user_close_calls(conn);
    virtio_vhost_user_close_request_fd(conn);
    virtio_device_reset(conn->options.device);
}

static void end(struct virtio_vhost_user *conn, const char *reason)
{
    if (conn->sock < 0)
        return;
    shut(conn);
    conn->reason = reason;
    pv_loop_arm(conn->farewell, 1);
}

void virtio_vhost_user_break(struct virtio_vhost_user *conn, const char *reason)
{
    if (conn->sock >= 0)
        conn->counters[VHOST_USER_COUNTER_BROKEN]++;
    end(conn, reason);
}

static void on_farewell(void *data)
{
    struct virtio_vhost_user *conn = data;
    const struct virtio_vhost_user_options *o = &conn->options;
    if (conn->reason && o->on_broken)
        o->on_broken(o->data, conn->reason);
    else if (!conn->reason && o->on_closed)
        o->on_closed(o->data);
}

void virtio_vhost_user_send_reply(struct virtio_vhost_user *conn, const void *payload,
                                  uint32_t size)
{
    struct {
        struct vhost_user_header header;
        uint8_t payload[sizeof(union vhost_user_payload)];
    } reply = {.header = {.request = conn->message.header.request,
                          .flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
                          .size = size}};
    memcpy(reply.payload, payload, size);

    /* A front end reads each reply before it sends on, so there is always room. */
    size_t bytes = sizeof(reply.header) + size;
    ssize_t n = send(conn->sock, &reply, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == (ssize_t)bytes)
        return;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
        end(conn, NULL);
    else
        virtio_vhost_user_break(conn, "the guest does not read its replies");
}

/* Receives up to `want` bytes of the current message to `at`. Returns false when there is nothing
 * more now, or when the connection has ended. */
static bool receive_into(struct virtio_vhost_user *conn, void *at, size_t want)
{
    struct vhost_user_message *m = &conn->message;
    unsigned num_fds = 0;
    ssize_t n = pv_fd_recv(conn->sock, at, want, MSG_DONTWAIT, m->fds + m->num_fds,
                           VHOST_USER_FDS_MAX - m->num_fds, &num_fds);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        bool between = m->received == 0 && m->num_fds == 0;
        if (between || n == -ECONNRESET)
            end(conn, NULL);
        else
            virtio_vhost_user_break(conn, "the connection ended within a message");
        return false;
    }
    m->num_fds += num_fds;
    m->received += (uint32_t)n;
    return true;
}

/* Receives more of the current message: true when it is complete. */
static bool receive(struct virtio_vhost_user *conn)
{
    struct vhost_user_message *m = &conn->message;
    const uint32_t header = sizeof(m->header);
    while (m->received < header)
        if (!receive_into(conn, (uint8_t *)&m->header + m->received, header - m->received))
            return false;

    const char *wrong = virtio_vhost_user_check_header(&m->header);
    if (wrong) {
        virtio_vhost_user_break(conn, wrong);
        return false;
    }
    while (m->received < header + m->header.size) {
        uint32_t at = m->received - header;
        if (!receive_into(conn, (uint8_t *)&m->payload + at, m->header.size - at))
            return false;
    }
    return true;
}

/* One message per call: the loop calls again while there are more, and serves others between. */
static void on_readable(void *data, int fd, uint32_t events)
{
    struct virtio_vhost_user *conn = data;
    if (!receive(conn))
        return;
    conn->counters[VHOST_USER_COUNTER_MESSAGES]++;
    if (virtio_vhost_user_dispatch(conn))
        return;
    conn->draining = true;
    pv_loop_set_events(conn->source, 0);
}

/* The device has finished what was in flight: the message that waited can be handled. */
static void on_drained(void *transport)
{
    struct virtio_vhost_user *conn = transport;
    if (!conn->draining)
        return;
    conn->draining = false;
    if (pv_loop_set_events(conn->source, EPOLLIN) < 0)
        virtio_vhost_user_break(conn, "the host cannot watch the connection any more");
    else
        virtio_vhost_user_finish(conn);
}

static void on_device_broken(void *transport, const char *reason)
{
    virtio_vhost_user_break(transport, reason);
}

static int set_up(struct virtio_vhost_user *conn, struct pv_error *err)
{
    struct pv_loop *loop = conn->options.loop;
    conn->farewell = pv_loop_add_timer(loop, on_farewell, conn);
    conn->source = pv_loop_add_fd(loop, conn->sock, EPOLLIN, on_readable, conn);
    if (!conn->farewell || !conn->source)
        return pv_error_set(err, errno, "serve vhost-user: watch the socket: %s", strerror(errno));
    return 0;
}

int virtio_vhost_user_new(const struct virtio_vhost_user_options *options, int sock,
                          struct virtio_vhost_user **ret_conn, struct pv_error *err)
{
    pv_auto_fd int owned = sock;
    if (!virtio_vhost_user_is_socket(sock))
        return pv_error_set(err, ENOTSOCK,
                            "serve vhost-user: descriptor %d is no connected unix stream socket",
                            sock);
    pv_auto(virtio_vhost_user) struct virtio_vhost_user *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return pv_error_set(err, ENOMEM, "serve vhost-user: out of memory");

    conn->options = *options;
    conn->request_fd = -1;
    conn->sock = pv_take_fd(&owned);
    memory_map_init(&conn->map, options->memory);
    virtio_vhost_user_init_rings(conn);
    conn->guest = (struct virtio_guest){
        .memory = &conn->map,
        .signal_queue = virtio_vhost_user_signal_queue,
        .signal_config = virtio_vhost_user_signal_config,
        .broken = on_device_broken,
        .drained = on_drained,
        .transport = conn,
    };
    int rc = set_up(conn, err);
    if (rc < 0)
        return rc;
    *ret_conn = pv_take_ptr(conn);
    return 0;
}

void virtio_vhost_user_free(struct virtio_vhost_user *conn)
{
    if (!conn)
        return;
    shut(conn);
    pv_loop_remove(conn->farewell);
    free(conn);
}

bool virtio_vhost_user_is_open(const struct virtio_vhost_user *conn)
{
    return conn->sock >= 0;
}

void virtio_vhost_user_get_counters(const struct virtio_vhost_user *conn, const char *name,
                                    struct pv_counter_group *ret_group)
{
    *ret_group = (struct pv_counter_group){.name = name,
                                           .labels = counter_labels,
                                           .values = conn->counters,
                                           .count = VHOST_USER_COUNTERS};
}
