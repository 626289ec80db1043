/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_listen.c: published TCP ports: connections that begin on the host.
 *
 * The host's peer is connected as soon as it is accepted; then the guest is asked. When it does not
 * want the connection, the peer sees a reset.
 *
 * Peers on the host's own loopback appear as the gateway, with their port. Two of them may have the
 * same port on different addresses; then the second appears with another one.
 */
#include "net/tcp_internal.h"

#include "net/port_owner.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#define BACKLOG 1024
#define ACCEPTS_PER_TURN 64u
#define PORTS_TRIED 64u
#define PORT_FIRST 1024u
#define RETRY_NS (1000 * MS_NS)

struct tcp_listener {
    struct tcp_listener *next;
    struct net_tcp *tcp;
    int fd;
    struct pv_loop_source *source;
    bool silent; /* no descriptors: until a connection ends */
    struct workload_address guest;
    uint16_t guest_port;
};

static bool is_loopback(const struct workload_address *a)
{
    static const struct workload_address none, loopback = {.bytes = {[15] = 1}};
    if (workload_address_is_v4(a))
        return workload_address_v4(a)[0] == 127 ||
               memcmp(workload_address_v4(a), none.bytes, 4) == 0;
    return workload_address_equal(a, &none) || workload_address_equal(a, &loopback);
}

/* Who the guest sees. */
static void name_peer(const struct tcp_listener *l, const struct sockaddr_storage *peer,
                      struct net_packet_ends *ends)
{
    const struct net_tcp_options *o = &l->tcp->o;
    *ends = (struct net_packet_ends){
        .src = l->guest, .src_port = l->guest_port, .protocol = IPPROTO_TCP};
    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
        ends->dst = workload_address_from_v4((const uint8_t *)&v4->sin_addr);
        ends->dst_port = ntohs(v4->sin_port);
        if (is_loopback(&ends->dst))
            ends->dst = workload_address_from_v4((const uint8_t *)&o->gateway4);
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;
        memcpy(ends->dst.bytes, &v6->sin6_addr, 16);
        ends->dst_port = ntohs(v6->sin6_port);
        if (is_loopback(&ends->dst))
            memcpy(ends->dst.bytes, &o->gateway6, 16);
    }
    for (unsigned i = 0; i < PORTS_TRIED && tcp_conn_find(l->tcp, ends); i++) {
        uint16_t random = 0;
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
            random = (uint16_t)(ends->dst_port + i);
        ends->dst_port = (uint16_t)(PORT_FIRST + random % (UINT16_MAX - PORT_FIRST));
    }
}

static void ask_guest(struct tcp_listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct net_tcp *t = l->tcp;
    struct net_packet_ends ends;
    name_peer(l, peer, &ends);
    struct tcp_conn *c = tcp_conn_find(t, &ends) ? NULL : tcp_conn_new(t, &ends);
    if (!c) {
        t->counters[NET_TCP_EXHAUSTED]++;
        t->counters[NET_TCP_FAILED]++;
        close(fd);
        return;
    }
    memcpy(c->guest_mac, t->o.guest_mac, 6);
    memcpy(c->gateway_mac, t->o.gateway_mac, 6);
    c->state = CONN_ASKING;
    c->mss = TCP_MSS_LEAST;
    c->iss = c->snd_una = tcp_first_number(c);
    c->snd_nxt = c->iss + 1;
    if (tcp_host_take(c, fd) < 0) {
        tcp_conn_end(c, true);
        return;
    }
    tcp_output_syn(c);
    if (c->state != CONN_GONE)
        tcp_conn_arm(c, tcp_rto(c));
}

/* Who comes now waits until a connection ends, or until somebody else has given a descriptor back.
 */
static void be_silent(struct tcp_listener *l)
{
    l->tcp->counters[NET_TCP_EXHAUSTED]++;
    l->silent = true;
    pv_loop_set_events(l->source, 0);
    tcp_arm_timer(l->tcp, RETRY_NS);
}

static void on_connection(void *data, int fd, uint32_t events)
{
    struct tcp_listener *l = data;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof(peer);
        if (l->tcp->count >= l->tcp->max) {
            be_silent(l);
            return;
        }
        int accepted = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted >= 0) {
            ask_guest(l, accepted, &peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            be_silent(l);
        return;
    }
}

void tcp_listen_resume(struct net_tcp *t)
{
    for (struct tcp_listener *l = t->listeners; l; l = l->next) {
        if (!l->silent)
            continue;
        l->silent = false;
        pv_loop_set_events(l->source, EPOLLIN);
    }
}

static int open_socket(const struct workload_port *port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port->host_port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port->host_port)};
    int on = 1;
    pv_auto_fd int fd =
        socket(port->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    memcpy(&v4.sin_addr, port->address, sizeof(v4.sin_addr));
    memcpy(&v6.sin6_addr, port->address, sizeof(v6.sin6_addr));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (port->v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, port->v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
             port->v6 ? sizeof(v6) : sizeof(v4)) < 0 ||
        listen(fd, BACKLOG) < 0)
        return -errno;
    return pv_take_fd(&fd);
}

int net_tcp_publish(struct net_tcp *t, const struct workload_port *port, struct pv_error *err)
{
    struct tcp_listener *l = calloc(1, sizeof(*l));
    if (!l)
        return net_port_refuse(port, ENOMEM, err);
    l->tcp = t;
    l->guest_port = port->guest_port;
    l->guest = port->v6 ? (struct workload_address){0}
                        : workload_address_from_v4((const uint8_t *)&t->o.guest4);
    if (port->v6)
        memcpy(l->guest.bytes, &t->o.guest6, 16);
    l->fd = open_socket(port);
    if (l->fd >= 0)
        l->source = pv_loop_add_fd(t->o.loop, l->fd, EPOLLIN, on_connection, l);
    if (!l->source) {
        int rc = net_port_refuse(port, l->fd < 0 ? -l->fd : ENOMEM, err);
        if (l->fd >= 0)
            close(l->fd);
        free(l);
        return rc;
    }
    l->next = t->listeners;
    t->listeners = l;
    return 0;
}

void tcp_listen_free(struct net_tcp *t)
{
    struct tcp_listener *l;
    while ((l = t->listeners)) {
        t->listeners = l->next;
        pv_loop_remove(l->source);
        close(l->fd);
        free(l);
    }
}
