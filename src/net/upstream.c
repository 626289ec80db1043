/* SPDX-License-Identifier: Apache-2.0
 *
 * upstream.c: asks the host's nameservers.
 *
 * Theory of operation: a query goes from server to server: each has its time, after which, or after
 * a refusal, the next one is asked, twice round when there is one server only. A truncated answer
 * is fetched again from the same server over TCP, within the same time.
 */
#include "net/upstream.h"

#include "base/fd.h"
#include "net/packet.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#define TRIES_MIN 2u
#define TRIES_MAX 4u

struct query {
    struct net_upstream *upstream;
    struct query *next;
    char name[WORKLOAD_NAME_MAX + 1];
    uint16_t type, id;
    unsigned tries;
    int fd;
    struct pv_loop_source *source, *timer;
    net_upstream_done_fn *fn;
    void *data;

    /* TCP: the question or the answer, with its two bytes of length. */
    bool tcp, sent;
    uint8_t *stream;
    size_t at, len;
};

struct net_upstream {
    struct net_upstream_options options;
    struct query *queries;
    unsigned count;
    uint8_t buffer[NET_DNS_MESSAGE_MAX];
};

static void try_next(struct query *q);

struct net_upstream *net_upstream_new(const struct net_upstream_options *options)
{
    struct net_upstream *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->options = *options;
    r->options.num_servers = PV_MIN(options->num_servers, NET_UPSTREAM_SERVERS_MAX);
    if (!r->options.timeout_ns)
        r->options.timeout_ns = NET_UPSTREAM_TIMEOUT_NS;
    return r;
}

static void close_socket(struct query *q)
{
    pv_loop_remove(q->source);
    q->source = NULL;
    if (q->fd >= 0)
        close(pv_take_fd(&q->fd));
}

static void free_query(struct query *q)
{
    close_socket(q);
    pv_loop_remove(q->timer);
    free(q->stream);
    free(q);
}

void net_upstream_free(struct net_upstream *r)
{
    if (!r)
        return;
    while (r->queries) {
        struct query *q = r->queries;
        r->queries = q->next;
        free_query(q);
    }
    free(r);
}

static void finish(struct query *q, const struct net_dns_answer *answer)
{
    struct query **at = &q->upstream->queries;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    q->upstream->count--;
    close_socket(q);
    q->fn(q->data, answer);
    free_query(q);
}

static const struct net_upstream_server *server_of(const struct query *q)
{
    const struct net_upstream_options *o = &q->upstream->options;
    return &o->servers[(q->tries - 1) % o->num_servers];
}

static int connect_to(const struct net_upstream_server *s, int type)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } to = {0};
    bool v4 = workload_address_is_v4(&s->address);
    uint16_t port = htons(s->port ? s->port : NET_DNS_PORT);
    if (v4) {
        to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
        memcpy(&to.v4.sin_addr, workload_address_v4(&s->address), 4);
    } else {
        to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
        memcpy(&to.v6.sin6_addr, s->address.bytes, 16);
    }
    pv_auto_fd int fd = socket(v4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, &to.any, v4 ? sizeof(to.v4) : sizeof(to.v6)) < 0 && errno != EINPROGRESS)
        return -errno;
    return pv_take_fd(&fd);
}

/* The answer to this very question? */
static bool is_ours(const struct query *q, const struct net_dns_answer *a)
{
    return a->id == q->id && a->type == q->type && strcmp(a->name, q->name) == 0;
}

static bool is_final(const struct net_dns_answer *a)
{
    return a->code == NET_DNS_NOERROR || a->code == NET_DNS_NXDOMAIN;
}

/* -- TCP -- */

static void on_tcp(void *data, int fd, uint32_t events);

static int start_tcp(struct query *q)
{
    struct net_upstream *r = q->upstream;
    close_socket(q);
    free(q->stream);
    q->stream = malloc(2 + NET_DNS_MESSAGE_MAX);
    if (!q->stream)
        return -ENOMEM;
    q->tcp = true;
    q->sent = false;
    q->at = 0;
    size_t len = net_dns_message_build_question(r->buffer, q->id, q->name, q->type);
    net_packet_put_u16(q->stream, (uint16_t)len);
    memcpy(q->stream + 2, r->buffer, len);
    q->len = len + 2;
    q->fd = connect_to(server_of(q), SOCK_STREAM);
    if (q->fd < 0)
        return q->fd;
    q->source = pv_loop_add_fd(r->options.loop, q->fd, EPOLLOUT, on_tcp, q);
    return q->source ? 0 : -errno;
}

static void send_stream(struct query *q)
{
    ssize_t n = send(q->fd, q->stream + q->at, q->len - q->at, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        try_next(q);
        return;
    }
    q->at += (size_t)n;
    if (q->at < q->len)
        return;
    q->sent = true;
    q->at = 0;
    q->len = 2;
    pv_loop_set_events(q->source, EPOLLIN);
}

static void take_stream(struct query *q)
{
    struct net_dns_answer a;
    if (net_dns_message_answer(q->stream + 2, q->len - 2, &a) < 0 || !is_ours(q, &a) ||
        !is_final(&a))
        try_next(q);
    else
        finish(q, &a);
}

static void receive_stream(struct query *q)
{
    ssize_t n = recv(q->fd, q->stream + q->at, q->len - q->at, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        try_next(q);
        return;
    }
    q->at += (size_t)n;
    if (q->at == 2)
        q->len = 2u + net_packet_u16(q->stream);
    if (q->at == q->len)
        take_stream(q);
}

static void on_tcp(void *data, int fd, uint32_t events)
{
    struct query *q = data;
    if (q->sent)
        receive_stream(q);
    else
        send_stream(q);
}

/* -- UDP -- */

static void on_udp(void *data, int fd, uint32_t events)
{
    struct query *q = data;
    struct net_upstream *r = q->upstream;
    struct net_dns_answer a;
    ssize_t n = recv(fd, r->buffer, sizeof(r->buffer), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        try_next(q);
        return;
    }
    if (net_dns_message_answer(r->buffer, (size_t)n, &a) < 0 || !is_ours(q, &a))
        return; /* a stranger's: the server's own may still come */
    if (a.truncated) {
        if (start_tcp(q) < 0)
            try_next(q);
    } else if (is_final(&a)) {
        finish(q, &a);
    } else {
        try_next(q);
    }
}

static int start_udp(struct query *q)
{
    struct net_upstream *r = q->upstream;
    q->tcp = false;
    if (getrandom(&q->id, sizeof(q->id), GRND_NONBLOCK) != sizeof(q->id))
        return -EAGAIN;
    q->fd = connect_to(server_of(q), SOCK_DGRAM);
    if (q->fd < 0)
        return q->fd;
    q->source = pv_loop_add_fd(r->options.loop, q->fd, EPOLLIN, on_udp, q);
    if (!q->source)
        return -errno;
    size_t len = net_dns_message_build_question(r->buffer, q->id, q->name, q->type);
    return send(q->fd, r->buffer, len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Asks the next server that can be asked; without one, the query is over. */
static void try_next(struct query *q)
{
    const struct net_upstream_options *o = &q->upstream->options;
    unsigned tries = PV_MAX(o->num_servers, TRIES_MIN);
    tries = PV_MIN(tries, TRIES_MAX);
    while (q->tries < tries) {
        close_socket(q);
        q->tries++;
        if (start_udp(q) == 0 && pv_loop_arm(q->timer, o->timeout_ns) == 0)
            return;
    }
    finish(q, NULL);
}

static void on_timer(void *data)
{
    try_next(data);
}

int net_upstream_ask(struct net_upstream *r, const char *name, uint16_t type,
                     net_upstream_done_fn *fn, void *data)
{
    if (!r->options.num_servers)
        return -ENETUNREACH;
    if (r->count >= NET_UPSTREAM_QUERIES_MAX)
        return -EAGAIN;
    struct query *q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    *q = (struct query){
        .upstream = r, .type = type, .fd = -1, .fn = fn, .data = data, .next = r->queries};
    snprintf(q->name, sizeof(q->name), "%s", name);
    /* The timer also starts the query, so that no answer comes inside this call. */
    q->timer = pv_loop_add_timer(r->options.loop, on_timer, q);
    if (!q->timer || pv_loop_arm(q->timer, 1) < 0) {
        pv_loop_remove(q->timer);
        free(q);
        return -ENOMEM;
    }
    r->queries = q;
    r->count++;
    return 0;
}
