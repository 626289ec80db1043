/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_host.c: the host's end of a connection: a socket that never blocks.
 *
 * Its events are edges: it is added to epoll once, and what an edge told is remembered until the
 * socket says -EAGAIN or gives less than it was asked for.
 */
#include "net/tcp_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void on_socket(void *data, int fd, uint32_t events)
{
    struct tcp_conn *c = data;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->readable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->hung_up = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        c->writable = true;
    if (events & EPOLLERR && c->host_eof) /* nobody reads any more, so nobody would see it */
        c->host_broken = true;
    if (c->tcp->blocked)
        tcp_conn_schedule(c);
    else
        tcp_conn_serve(c);
}

static int watch(struct tcp_conn *c)
{
    int on = 1;
    /* The guest has gathered its data already, and urgent data are data like others. */
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(c->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
    c->source = pv_loop_add_fd(c->tcp->o.loop, c->fd,
                               EPOLLIN | EPOLLOUT | EPOLLRDHUP | (uint32_t)EPOLLET, on_socket, c);
    return c->source ? 0 : -errno;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    return memcmp(a, b, bytes) == 0 && (!rest || (a[bytes] ^ b[bytes]) >> (8 - rest) == 0);
}

/* Whether the address is the gateway's, behind which the host's loopback may be. */
static bool is_gateway(const struct net_tcp *t, const struct workload_address *a)
{
    static const uint8_t broadcast[4] = {255, 255, 255, 255};
    if (workload_address_is_v4(a))
        return memcmp(workload_address_v4(a), &t->o.gateway4, 4) == 0 ||
               memcmp(workload_address_v4(a), broadcast, 4) == 0;
    return same_prefix(a->bytes, t->o.gateway6.s6_addr, t->o.prefix6);
}

/* Where the guest means to go. Its length, or -errno. */
static int find_destination(const struct tcp_conn *c, union address *ret)
{
    const struct workload_address *to = &c->ends.dst;
    bool loopback = is_gateway(c->tcp, to);
    if (loopback && !c->tcp->o.host_loopback)
        return -ENETUNREACH;
    if (workload_address_is_v4(to)) {
        ret->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(c->ends.dst_port)};
        ret->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (!loopback)
            memcpy(&ret->v4.sin_addr, workload_address_v4(to), 4);
        return sizeof(ret->v4);
    }
    ret->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(c->ends.dst_port)};
    ret->v6.sin6_addr = in6addr_loopback;
    if (!loopback)
        memcpy(&ret->v6.sin6_addr, to->bytes, 16);
    return sizeof(ret->v6);
}

int tcp_host_connect(struct tcp_conn *c)
{
    union address to;
    int len = find_destination(c, &to);
    if (len < 0)
        return len;
    c->fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    if (connect(c->fd, &to.any, (socklen_t)len) < 0 && errno != EINPROGRESS)
        return -errno;
    return watch(c);
}

int tcp_host_take(struct tcp_conn *c, int fd)
{
    c->fd = fd;
    c->readable = c->writable = true;
    return watch(c);
}

int tcp_host_connected(struct tcp_conn *c)
{
    int code = 0;
    socklen_t len = sizeof(code);
    if (!c->writable)
        return -EAGAIN;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
        return -errno;
    return -code;
}

/* -- from the guest -- */

/* Nothing can be written any more. What there is to be read still counts; the error comes behind
 * it. */
static void stop_writing(struct tcp_conn *c)
{
    c->host_shut = c->host_deaf = true;
    net_tcp_ring_release(&c->to_host, &c->tcp->budget);
    c->readable = c->hung_up = true;
    if (c->host_eof)
        c->host_broken = true;
    tcp_conn_schedule(c);
}

/* The bytes that the socket took. */
static size_t send_pieces(struct tcp_conn *c, struct iovec *pieces, size_t num, size_t len)
{
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = num};
    ssize_t n = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        stop_writing(c);
    if (n < (ssize_t)len)
        c->writable = false;
    if (n > 0)
        c->tcp->counters[NET_TCP_OUT_BYTES] += (uint64_t)n;
    return n > 0 ? (size_t)n : 0;
}

static size_t keep(struct tcp_conn *c, const struct iovec *pieces, size_t num, size_t skip,
                   size_t len)
{
    struct iovec place[2];
    net_tcp_ring_reserve(&c->to_host, &c->tcp->budget, len);
    size_t room = PV_MIN(len, (size_t)(c->to_host.size - c->to_host.used)), done = 0;
    for (size_t i = 0; i < num && done < room; i++) {
        size_t cut = PV_MIN(skip, pieces[i].iov_len);
        skip -= cut;
        const uint8_t *from = (const uint8_t *)pieces[i].iov_base + cut;
        for (size_t left = PV_MIN(pieces[i].iov_len - cut, room - done); left;) {
            unsigned have = net_tcp_ring_free(&c->to_host, place);
            size_t n = have ? PV_MIN(left, place[0].iov_len) : 0;
            memcpy(place[0].iov_base, from, n);
            net_tcp_ring_added(&c->to_host, n);
            from += n;
            left -= n;
            done += n;
        }
    }
    return done;
}

/* The pieces of a frame behind `skip`, at most len bytes and TCP_IOV_MAX pieces: their number, and
 * the bytes in them. */
static size_t cut_frame(struct net_tcp *t, const struct net_frame *frame, size_t skip, size_t len,
                        size_t *ret_bytes)
{
    size_t num = 0, bytes = 0;
    for (unsigned i = 0; i < frame->num_iov && bytes < len && num < TCP_IOV_MAX; i++) {
        size_t cut = PV_MIN(skip, frame->iov[i].iov_len);
        size_t n = PV_MIN(frame->iov[i].iov_len - cut, len - bytes);
        skip -= cut;
        if (!n)
            continue;
        t->iov[num++] = (struct iovec){(uint8_t *)frame->iov[i].iov_base + cut, n};
        bytes += n;
    }
    *ret_bytes = bytes;
    return num;
}

size_t tcp_host_write(struct tcp_conn *c, const struct net_frame *frame, size_t skip, size_t len)
{
    struct net_tcp *t = c->tcp;
    size_t bytes, done = 0;
    size_t num = cut_frame(t, frame, skip, len, &bytes);
    if (!c->to_host.used && c->writable && !c->host_shut)
        done = send_pieces(c, t->iov, num, bytes);
    if (c->host_shut) /* as a kernel does with data that come too late */
        return bytes;
    return done < bytes ? done + keep(c, t->iov, num, done, bytes - done) : done;
}

/* The window may open again by what the socket took: not by little. */
static void note_room(struct tcp_conn *c)
{
    uint32_t left = c->rcv_edge - c->rcv_nxt, more = tcp_output_edge(c) - c->rcv_edge;
    if (more && (left < c->mss || more >= left))
        c->ack_due = true;
}

void tcp_host_flush(struct tcp_conn *c)
{
    struct iovec pieces[2];
    bool moved = false;
    while (c->to_host.used && c->writable && !c->host_shut) {
        size_t len = c->to_host.used;
        unsigned num = net_tcp_ring_at(&c->to_host, 0, len, pieces);
        size_t done = send_pieces(c, pieces, num, len);
        if (c->host_shut)
            return;
        net_tcp_ring_drop(&c->to_host, &c->tcp->budget, done);
        moved |= done > 0;
    }
    if (moved)
        note_room(c);
    if (c->guest_fin && !c->to_host.used && !c->host_shut) {
        c->host_shut = true;
        shutdown(c->fd, SHUT_WR);
    }
}

/* -- from the host -- */

/* 1: go on; 0: there is no more, yet or at all. */
static int read_some(struct tcp_conn *c)
{
    struct iovec pieces[2];
    unsigned num = net_tcp_ring_free(&c->to_guest, pieces);
    size_t room = c->to_guest.size - c->to_guest.used;
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = num};
    ssize_t n = recvmsg(c->fd, &message, MSG_DONTWAIT);
    if (n > 0) {
        net_tcp_ring_added(&c->to_guest, (size_t)n);
        c->tcp->counters[NET_TCP_IN_BYTES] += (uint64_t)n;
        /* Less than asked for: what comes later is an edge of its own, but for an end that is
         * there already. */
        if ((size_t)n < room && !c->hung_up)
            c->readable = false;
        return 1;
    }
    c->readable = n < 0 && errno == EINTR;
    if (n == 0)
        c->host_eof = true;
    if (n == 0 ? c->host_deaf : errno != EAGAIN && errno != EINTR)
        c->host_broken = true;
    return 0;
}

void tcp_host_fill(struct tcp_conn *c)
{
    struct net_tcp_ring *ring = &c->to_guest;
    size_t before = c->tcp->counters[NET_TCP_IN_BYTES];
    while (c->readable && !c->host_eof && !c->host_broken) {
        if (c->tcp->counters[NET_TCP_IN_BYTES] - before >= TCP_BYTES_PER_TURN) {
            tcp_conn_schedule(c);
            return;
        }
        /* More memory only helps when the guest lets us use it. */
        if (ring->used == ring->size && (ring->size && ring->size > c->snd_wnd))
            return;
        if (ring->used == ring->size && !net_tcp_ring_grow(ring, &c->tcp->budget))
            return;
        if (!read_some(c))
            return;
    }
}
