/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock_connection.c: one connection of the vsock device: states, pumps, credit.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.10.6.
 * Trust:   the guest's credit counts only limit what we send to it. What it sends must fit into
 *          the credit that we gave: a guest that sends more loses the connection.
 *
 * Theory of operation: towards the guest there is no buffer: data is read from the socket straight
 * into the guest's buffer, when there is one and credit for it. Towards the host, data goes
 * straight into the socket; what that does not take waits in `to_host`, and is what the credit
 * counts. The socket is watched edge-triggered, once: an edge sets a flag, and the flag falls when
 * the socket says EAGAIN.
 *
 * Ends: the host's end of file becomes SHUTDOWN(SEND), a reader that has gone SHUTDOWN(RECEIVE);
 * when both are told, the guest has some seconds to agree with RST. The guest's SHUTDOWN(SEND)
 * becomes an end of file for the host behind the last byte; when the guest shut both ways, RST
 * confirms it, as soon as the host has taken all.
 */
#include "virtio/device/vsock_internal.h"

#include "base/clock.h"
#include "base/iov.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define HEADER_BYTES sizeof(struct virtio_vsock_hdr)
#define PACKET_BYTES_MAX 65536u
#define IOVECS_MAX 32u
#define SHUT_BOTH ((unsigned)(VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND))

static void on_socket(void *data, int fd, uint32_t events);

/* -- life -- */

struct vsock_connection *virtio_vsock_connection_new(struct vsock *v, int fd,
                                                     enum vsock_state state)
{
    struct vsock_connection *c = NULL;
    if (v->num_connections < v->options.max_connections)
        c = calloc(1, sizeof(*c));
    if (c)
        c->source = pv_loop_add_fd(v->base.loop, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                   on_socket, c);
    if (!c || !c->source) {
        free(c);
        close(fd);
        return NULL;
    }
    c->vsock = v;
    c->state = state;
    c->fd = fd;
    pv_bytes_init(&c->to_host, VIRTIO_VSOCK_BUFFER_BYTES);
    TAILQ_INSERT_TAIL(&v->connections, c, all);
    v->num_connections++;
    return c;
}

static unsigned bucket_of(uint32_t guest_port, uint32_t host_port)
{
    return (guest_port * 31u + host_port) % VSOCK_BUCKETS;
}

void virtio_vsock_connection_name(struct vsock_connection *c, uint32_t guest_port,
                                  uint32_t host_port)
{
    c->guest_port = guest_port;
    c->host_port = host_port;
    c->is_named = true;
    LIST_INSERT_HEAD(&c->vsock->buckets[bucket_of(guest_port, host_port)], c, in_bucket);
}

struct vsock_connection *virtio_vsock_connection_find(struct vsock *v, uint32_t guest_port,
                                                      uint32_t host_port)
{
    struct vsock_connection *c;
    LIST_FOREACH(c, &v->buckets[bucket_of(guest_port, host_port)], in_bucket)
    if (c->guest_port == guest_port && c->host_port == host_port)
        return c;
    return NULL;
}

static void close_socket(struct vsock_connection *c)
{
    pv_loop_remove(c->source);
    c->source = NULL;
    if (c->fd >= 0)
        close(pv_take_fd(&c->fd));
    pv_bytes_done(&c->to_host);
}

/* Out of the guest's sight. */
static void unlink_from_guest(struct vsock_connection *c)
{
    if (c->is_ready)
        TAILQ_REMOVE(&c->vsock->ready, c, ready);
    if (c->is_named)
        LIST_REMOVE(c, in_bucket);
    c->is_ready = c->is_named = false;
    c->pending = 0;
    c->deadline_ns = 0;
}

void virtio_vsock_connection_free(struct vsock_connection *c)
{
    unlink_from_guest(c);
    close_socket(c);
    TAILQ_REMOVE(&c->vsock->connections, c, all);
    c->vsock->num_connections--;
    free(c);
}

void virtio_vsock_connection_tell(struct vsock_connection *c, int rc)
{
    virtio_vsock_connected_fn *fn = c->connected;
    c->connected = NULL;
    if (fn)
        fn(c->connected_data, rc);
}

void virtio_vsock_connection_set_deadline(struct vsock_connection *c)
{
    c->deadline_ns = pv_time_monotonic_ns() + c->vsock->options.timeout_ms * 1000000ull;
    virtio_vsock_arm(c->vsock, c->deadline_ns);
}

void virtio_vsock_connection_clear_deadline(struct vsock_connection *c)
{
    c->deadline_ns = 0;
}

void virtio_vsock_connection_kill(struct vsock_connection *c)
{
    bool known = c->is_named && !(c->pending & VSOCK_SEND_REQUEST); /* the guest has heard of it */
    virtio_vsock_connection_tell(c, -ECONNREFUSED);
    if (!known || !c->vsock->base.guest) {
        virtio_vsock_connection_free(c);
        return;
    }
    c->vsock->base.counters[VSOCK_COUNTER_RESETS]++;
    close_socket(c);
    c->state = VSOCK_DEAD;
    virtio_vsock_connection_clear_deadline(c);
    c->pending = 0;
    virtio_vsock_connection_owe(c, VSOCK_SEND_RST);
}

void virtio_vsock_connection_linger(struct vsock_connection *c, int rc)
{
    virtio_vsock_connection_tell(c, rc);
    if (c->state == VSOCK_LINGERING)
        return;
    if (c->state != VSOCK_ESTABLISHED || c->to_host.len == 0) {
        virtio_vsock_connection_free(c);
        return;
    }
    unlink_from_guest(c);
    c->state = VSOCK_LINGERING;
    shutdown(c->fd, SHUT_RD); /* the host's writers see that nobody reads */
}

/* -- what is owed to the guest -- */

static uint32_t credit(const struct vsock_connection *c)
{
    uint32_t in_flight = c->sent - c->guest_forwarded; /* free-running counts */
    return in_flight < c->guest_alloc ? c->guest_alloc - in_flight : 0;
}

static bool wants_to_send(const struct vsock_connection *c)
{
    return c->state == VSOCK_ESTABLISHED && c->readable && !c->host_eof &&
           !(c->shut_by_guest & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

static unsigned shut_wanted(const struct vsock_connection *c)
{
    return (c->host_eof ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0u) |
           (c->host_deaf ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0u);
}

void virtio_vsock_connection_owe(struct vsock_connection *c, unsigned pending)
{
    c->pending |= pending;
    if (c->state == VSOCK_ESTABLISHED) {
        if (shut_wanted(c) != c->shut_by_host)
            c->pending |= VSOCK_SEND_SHUTDOWN;
        if (wants_to_send(c) && credit(c) == 0 && !c->asked_credit) {
            c->pending |= VSOCK_SEND_CREDIT_REQUEST;
            c->asked_credit = true;
        }
        if (c->forwarded - c->told_forwarded >= VIRTIO_VSOCK_BUFFER_BYTES / 4)
            c->pending |= VSOCK_SEND_CREDIT_UPDATE;
    }
    if (c->is_ready || !(c->pending || (wants_to_send(c) && credit(c) > 0)))
        return;
    c->is_ready = true;
    TAILQ_INSERT_TAIL(&c->vsock->ready, c, ready);
}

void virtio_vsock_connection_header(struct vsock_connection *c, uint16_t op, uint32_t flags,
                                    uint32_t len, struct virtio_vsock_hdr *ret_header)
{
    *ret_header = (struct virtio_vsock_hdr){
        .src_cid = htole64(VSOCK_HOST_CID),
        .dst_cid = htole64(c->vsock->options.guest_cid),
        .src_port = htole32(c->host_port),
        .dst_port = htole32(c->guest_port),
        .len = htole32(len),
        .type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
        .op = htole16(op),
        .flags = htole32(flags),
        .buf_alloc = htole32(VIRTIO_VSOCK_BUFFER_BYTES),
        .fwd_cnt = htole32(c->forwarded),
    };
    c->told_forwarded = c->forwarded;
    c->pending &= ~(unsigned)VSOCK_SEND_CREDIT_UPDATE; /* each packet is one */
}

static uint32_t give_control(struct vsock_connection *c, const struct virtio_chain *chain,
                             uint16_t op, uint32_t flags)
{
    struct virtio_vsock_hdr h;
    virtio_vsock_connection_header(c, op, flags, 0, &h);
    return (uint32_t)virtio_chain_write(chain, 0, &h, sizeof(h));
}

/* Reads from the socket into the guest's buffer behind the header: bytes read, 0 when there is
 * nothing now. */
static uint32_t give_data(struct vsock_connection *c, const struct virtio_chain *chain)
{
    struct iovec iov[IOVECS_MAX];
    struct msghdr m = {.msg_iov = iov};
    m.msg_iovlen = pv_iov_slice(chain->writable, chain->num_writable, HEADER_BYTES,
                                PV_MIN(credit(c), PACKET_BYTES_MAX), iov, IOVECS_MAX, NULL);

    ssize_t n;
    do
        n = recvmsg(c->fd, &m, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        c->readable = false;
        return 0;
    }
    if (n <= 0) {
        c->host_eof = true;
        c->host_deaf |= n < 0;
        return 0;
    }
    c->sent += (uint32_t)n;
    c->vsock->base.counters[VSOCK_COUNTER_TO_GUEST_BYTES] += (uint64_t)n;
    struct virtio_vsock_hdr h;
    virtio_vsock_connection_header(c, VIRTIO_VSOCK_OP_RW, 0, (uint32_t)n, &h);
    virtio_chain_write(chain, 0, &h, sizeof(h));
    return (uint32_t)(HEADER_BYTES + (size_t)n);
}

static uint32_t give_shutdown(struct vsock_connection *c, const struct virtio_chain *chain)
{
    c->shut_by_host = shut_wanted(c);
    if (c->shut_by_host == SHUT_BOTH)
        virtio_vsock_connection_set_deadline(c);
    return give_control(c, chain, VIRTIO_VSOCK_OP_SHUTDOWN, c->shut_by_host);
}

/* In the order in which they must arrive: the answer first, data before the end. */
static uint32_t give_one(struct vsock_connection *c, const struct virtio_chain *chain)
{
    static const struct {
        unsigned pending;
        uint16_t op;
    } controls[] = {
        {VSOCK_SEND_REQUEST, VIRTIO_VSOCK_OP_REQUEST},
        {VSOCK_SEND_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE},
        {VSOCK_SEND_RST, VIRTIO_VSOCK_OP_RST},
        {VSOCK_SEND_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_UPDATE},
        {VSOCK_SEND_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_REQUEST},
    };
    for (unsigned i = 0; i < PV_ARRAY_SIZE(controls); i++) {
        if (c->pending & controls[i].pending) {
            c->pending &= ~controls[i].pending;
            return give_control(c, chain, controls[i].op, 0);
        }
    }
    uint32_t len = wants_to_send(c) && credit(c) > 0 ? give_data(c, chain) : 0;
    if (len == 0 && c->state == VSOCK_ESTABLISHED && shut_wanted(c) != c->shut_by_host)
        len = give_shutdown(c, chain);
    c->pending &= ~(unsigned)VSOCK_SEND_SHUTDOWN;
    return len;
}

uint32_t virtio_vsock_connection_give(struct vsock_connection *c, const struct virtio_chain *chain)
{
    uint32_t len = give_one(c, chain);
    if (c->state == VSOCK_DEAD)
        virtio_vsock_connection_free(c);
    else
        virtio_vsock_connection_owe(c, 0);
    return len;
}

/* -- to the host -- */

static void note_forwarded(struct vsock_connection *c, size_t len)
{
    c->forwarded += (uint32_t)len;
    c->vsock->base.counters[VSOCK_COUNTER_TO_HOST_BYTES] += len;
}

/* Nobody reads at the host: what waits is dropped, and counts as taken. */
static void go_deaf(struct vsock_connection *c)
{
    c->host_deaf = true;
    c->forwarded += (uint32_t)c->to_host.len;
    pv_bytes_done(&c->to_host);
}

/* Does what had to wait for the last byte. The connection may be gone when it returns. */
static void after_flush(struct vsock_connection *c)
{
    if (c->to_host.len > 0) {
        virtio_vsock_connection_owe(c, 0);
        return;
    }
    pv_bytes_done(&c->to_host); /* an idle connection holds no buffer */
    if (c->state == VSOCK_LINGERING) {
        virtio_vsock_connection_free(c);
        return;
    }
    if (c->shut_by_guest == SHUT_BOTH) {
        close_socket(c);
        c->state = VSOCK_DEAD;
        c->deadline_ns = 0;
        c->pending = 0;
        virtio_vsock_connection_owe(c, VSOCK_SEND_RST);
        return;
    }
    if (c->shut_by_guest & VIRTIO_VSOCK_SHUTDOWN_SEND && !c->shut_write_done) {
        shutdown(c->fd, SHUT_WR);
        c->shut_write_done = true;
    }
    virtio_vsock_connection_owe(c, 0);
}

/* Writes what waits. The connection may be gone when it returns. */
static void flush(struct vsock_connection *c)
{
    while (c->to_host.len > 0) {
        ssize_t n =
            send(c->fd, pv_bytes_head(&c->to_host), c->to_host.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            go_deaf(c);
            break;
        }
        pv_bytes_drop(&c->to_host, (size_t)n);
        note_forwarded(c, (size_t)n);
    }
    after_flush(c);
}

static void on_socket(void *data, int fd, uint32_t events)
{
    struct vsock_connection *c = data;
    struct vsock *v = c->vsock;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->readable = true;
    if (c->state == VSOCK_LINE) {
        virtio_vsock_host_read_line(c);
    } else if (c->state == VSOCK_ESTABLISHED || c->state == VSOCK_LINGERING) {
        if (events & (EPOLLHUP | EPOLLERR))
            go_deaf(c);
        flush(c);
    }
    virtio_vsock_pump(v);
}

/* -- packets from the guest -- */

/* The payload, straight from the guest's buffer: bytes taken by the socket. */
static size_t send_payload(struct vsock_connection *c, const struct virtio_chain *chain, size_t len)
{
    struct iovec iov[IOVECS_MAX];
    struct msghdr m = {.msg_iov = iov};
    m.msg_iovlen = pv_iov_slice(chain->readable, chain->num_readable, HEADER_BYTES, len, iov,
                                IOVECS_MAX, NULL);
    ssize_t n;
    do
        n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        go_deaf(c);
    return n > 0 ? (size_t)n : 0;
}

static int keep_payload(struct vsock_connection *c, const struct virtio_chain *chain, size_t from,
                        size_t len)
{
    int rc = 0;
    while (from < len && rc == 0) {
        uint8_t part[4096];
        size_t n =
            virtio_chain_read(chain, HEADER_BYTES + from, part, PV_MIN(sizeof(part), len - from));
        rc = pv_bytes_push(&c->to_host, part, n);
        from += n;
    }
    return rc;
}

static void take_data(struct vsock_connection *c, size_t len, const struct virtio_chain *chain)
{
    if (len > pv_bytes_room(&c->to_host)) { /* more than the credit that it had */
        c->vsock->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        virtio_vsock_connection_kill(c);
        return;
    }
    size_t sent = 0;
    if (c->to_host.len == 0 && len > 0 && !c->host_deaf)
        sent = send_payload(c, chain, len);
    note_forwarded(c, sent);
    if (c->host_deaf)
        c->forwarded += (uint32_t)(len - sent);
    else if (keep_payload(c, chain, sent, len) < 0) {
        virtio_vsock_connection_kill(c);
        return;
    }
    virtio_vsock_connection_owe(c, 0);
}

static void take_response(struct vsock_connection *c)
{
    c->state = VSOCK_ESTABLISHED;
    virtio_vsock_connection_clear_deadline(c);
    c->vsock->base.counters[VSOCK_COUNTER_CONNECTIONS]++;
    if (c->is_client) {
        char ok[32];
        int len = snprintf(ok, sizeof(ok), "OK %u\n", c->host_port);
        if (send(c->fd, ok, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len) {
            virtio_vsock_connection_kill(c);
            return;
        }
    }
    virtio_vsock_connection_tell(c, 0);
    virtio_vsock_connection_owe(c, 0);
}

static void take_shutdown(struct vsock_connection *c, uint32_t flags)
{
    c->shut_by_guest |= flags & SHUT_BOTH;
    if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV)
        shutdown(c->fd, SHUT_RD); /* the host's writers see that nobody reads */
    after_flush(c);
}

static void take_rst(struct vsock_connection *c)
{
    bool connecting = c->state == VSOCK_CONNECTING;
    c->vsock->base.counters[connecting ? VSOCK_COUNTER_REFUSED : VSOCK_COUNTER_RESETS]++;
    virtio_vsock_connection_linger(c, -ECONNREFUSED);
}

void virtio_vsock_connection_take(struct vsock_connection *c, const struct virtio_vsock_hdr *h,
                                  const struct virtio_chain *chain)
{
    bool established = c->state == VSOCK_ESTABLISHED;
    if (h->op == VIRTIO_VSOCK_OP_RST) {
        take_rst(c);
        return;
    }
    if (c->state == VSOCK_DEAD) /* its RST is on the way */
        return;
    c->guest_alloc = h->buf_alloc;
    c->guest_forwarded = h->fwd_cnt;
    if (credit(c) > 0)
        c->asked_credit = false;

    if (h->op == VIRTIO_VSOCK_OP_RESPONSE && c->state == VSOCK_CONNECTING)
        take_response(c);
    else if (h->op == VIRTIO_VSOCK_OP_RW && established &&
             !(c->shut_by_guest & VIRTIO_VSOCK_SHUTDOWN_SEND))
        take_data(c, h->len, chain);
    else if (h->op == VIRTIO_VSOCK_OP_SHUTDOWN && established)
        take_shutdown(c, h->flags);
    else if (h->op == VIRTIO_VSOCK_OP_CREDIT_UPDATE && established)
        virtio_vsock_connection_owe(c, 0);
    else if (h->op == VIRTIO_VSOCK_OP_CREDIT_REQUEST && established)
        virtio_vsock_connection_owe(c, VSOCK_SEND_CREDIT_UPDATE);
    else {
        c->vsock->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        virtio_vsock_connection_kill(c);
    }
}
