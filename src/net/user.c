/* SPDX-License-Identifier: Apache-2.0
 *
 * user.c: the user-mode network: router and peer for the guest, whose connections become sockets of
 * this process. TCP is ended by net/tcp.c; libslirp has the rest: ARP, neighbour discovery, ICMP,
 * UDP. Home of libslirp.
 *
 * Runs on: the loop thread of the machine.
 * Trust:   the guest's frames go into libslirp, a TCP/IP stack in C with a history of faults. That
 *          is why it runs here, in the jailed monitor of this one machine: who breaks it has got
 *          that machine's own devices and sockets, and no more. Frames that aim at the host itself
 *          are dropped before libslirp sees them, whatever the fence above allows.
 *
 * Theory of operation: libslirp wants to be told which of its sockets are ready and says, as often
 * as it is asked, which it wants to wait for. Both happen once at the end of a turn of the loop in
 * which anything moved. Its sockets are watched by sources of the loop that stay until libslirp
 * closes the socket; only what changed costs a system call.
 *
 * Frames for the guest that it has no room for are kept in a queue. While there are any, no socket
 * is read, so that the queue ends with what libslirp has in its own hands. TCP needs no queue: what
 * the guest has no room for stays with its connection.
 */
#include "net/table.h"

#include "base/clock.h"
#include "net/offload.h"
#include "net/packet.h"
#include "net/ping.h"
#include "net/port_owner.h"
#include "net/tcp.h"
#include "net/user_check.h"
#include "net/user_datagrams.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>

#define QUEUE_BYTES_MAX (4u << 20)
#define MS_NS 1000000ull

enum {
    COUNTER_TCP,                     /* NET_TCP_COUNTERS of them */
    COUNTER_SENT = NET_TCP_COUNTERS, /* frames of the guest */
    COUNTER_RECEIVED,                /* frames for the guest */
    COUNTER_REFUSED,                 /* frames that aimed at the host itself, fragments */
    COUNTER_QUEUED,                  /* frames that had to wait for the guest */
    COUNTER_DROPPED,                 /* frames that could not even wait */
    COUNTER_ERRORS,                  /* frames that libslirp found fault with */
    COUNTER_END,
};
static const char *const own_labels[COUNTER_END - COUNTER_SENT] = {
    "sent", "received", "refused", "queued", "dropped", "guest_errors"};

/* A socket of libslirp's. */
struct watch {
    struct pv_loop_source *source; /* NULL until libslirp first wants to wait for it */
    uint32_t ready;                /* EPOLL bits that came since libslirp was last told */
    uint32_t wanted;
    bool polled; /* in the list of those that libslirp waits for */
};

struct waiting {
    STAILQ_ENTRY(waiting) next;
    size_t bytes;
    uint8_t frame[];
};

struct user_timer {
    struct user *user;
    struct pv_loop_source *source;
    SlirpTimerId id;
    void *data;
};

struct user {
    struct net_link link;
    struct pv_loop *loop;
    Slirp *slirp;
    struct pv_loop_source *after, *timer;
    struct net_user_datagrams *datagrams;
    struct net_tcp *tcp;
    struct net_ping *ping;
    struct in_addr gateway4;
    struct in6_addr gateway6;
    uint64_t timer_due_ns; /* when the timer is armed for; 0: it is not */
    struct watch *watches; /* by descriptor */
    int num_watches;
    int *polled; /* descriptors that libslirp waits for, of num_watches places */
    int num_polled;
    STAILQ_HEAD(, waiting) queue;
    size_t queue_bytes;
    bool blocked; /* the guest has no room: the sockets are not read */
    bool delayed; /* libslirp's turn came meanwhile */
    const char *labels[COUNTER_END];
    uint64_t counters[COUNTER_END];
    uint8_t frame[NET_FRAME_MAX];
};

static struct user *user_of(struct net_link *link)
{
    return PV_CONTAINER_OF(link, struct user, link);
}

/* -- sockets -- */

static uint32_t to_epoll(int events)
{
    return (events & SLIRP_POLL_IN ? (uint32_t)EPOLLIN : 0) |
           (events & SLIRP_POLL_OUT ? (uint32_t)EPOLLOUT : 0) |
           (events & SLIRP_POLL_PRI ? (uint32_t)EPOLLPRI : 0);
}

static int to_slirp(uint32_t events)
{
    return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
           (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
           (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void on_socket(void *data, int fd, uint32_t events)
{
    struct user *u = data;
    u->watches[fd].ready |= events;
    pv_loop_wake(u->after);
}

/* A place for fd, or NULL when out of memory. */
static struct watch *watch_of(struct user *u, int fd)
{
    if (fd < u->num_watches)
        return &u->watches[fd];
    int num = PV_MAX(64, (fd + 1) * 2);
    struct watch *watches = reallocarray(u->watches, (size_t)num, sizeof(*watches));
    if (watches)
        u->watches = watches;
    int *polled = reallocarray(u->polled, (size_t)num, sizeof(*polled));
    if (polled)
        u->polled = polled;
    if (!watches || !polled)
        return NULL;
    memset(watches + u->num_watches, 0, (size_t)(num - u->num_watches) * sizeof(*watches));
    u->num_watches = num;
    return &u->watches[fd];
}

/* The index that libslirp gets is the descriptor. */
static int on_add_poll(int fd, int events, void *opaque)
{
    struct user *u = opaque;
    struct watch *w = watch_of(u, fd);
    if (!w)
        return -1;
    w->wanted |= to_epoll(events);
    if (!w->polled)
        u->polled[u->num_polled++] = fd;
    w->polled = true;
    return fd;
}

static int on_get_revents(int fd, void *opaque)
{
    struct user *u = opaque;
    return fd < 0 || fd >= u->num_watches ? 0 : to_slirp(u->watches[fd].ready);
}

static void apply(struct user *u, int fd)
{
    struct watch *w = &u->watches[fd];
    uint32_t wanted = u->blocked ? 0 : w->wanted;
    if (!w->source && wanted)
        w->source = pv_loop_add_fd(u->loop, fd, wanted, on_socket, u);
    else if (w->source)
        pv_loop_set_events(w->source, wanted);
}

static void on_unregister(int fd, void *opaque)
{
    struct user *u = opaque;
    if (fd < 0 || fd >= u->num_watches)
        return;
    struct watch *w = &u->watches[fd];
    pv_loop_remove(pv_take_ptr(w->source));
    w->ready = w->wanted = 0;
}

static void on_register(int fd, void *opaque)
{
}

/* -- timers -- */

static int64_t on_clock(void *opaque)
{
    return (int64_t)pv_time_monotonic_ns();
}

static void on_slirp_timer(void *data)
{
    struct user_timer *t = data;
    slirp_handle_timer(t->user->slirp, t->id, t->data);
    pv_loop_wake(t->user->after);
}

static void *on_timer_new(SlirpTimerId id, void *data, void *opaque)
{
    struct user *u = opaque;
    struct user_timer *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    *t = (struct user_timer){.user = u, .id = id, .data = data};
    t->source = pv_loop_add_timer(u->loop, on_slirp_timer, t);
    if (!t->source)
        free(pv_take_ptr(t));
    return t;
}

static void on_timer_free(void *timer, void *opaque)
{
    struct user_timer *t = timer;
    if (!t)
        return;
    pv_loop_remove(t->source);
    free(t);
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    struct user_timer *t = timer;
    int64_t ns = expire_ms * (int64_t)MS_NS - on_clock(NULL);
    if (t)
        pv_loop_arm(t->source, ns > 0 ? (uint64_t)ns : 1);
}

static void on_timeout(void *data)
{
    struct user *u = data;
    u->timer_due_ns = 0;
    pv_loop_wake(u->after);
}

/* An earlier end of the timer than needed does no harm, and not to touch it costs nothing. */
static void arm(struct user *u, uint32_t timeout_ms)
{
    if (timeout_ms == UINT32_MAX)
        return;
    uint64_t due = pv_time_monotonic_ns() + timeout_ms * MS_NS;
    if (u->timer_due_ns && u->timer_due_ns <= due)
        return;
    u->timer_due_ns = due;
    pv_loop_arm(u->timer, PV_MAX(timeout_ms * MS_NS, 1ull));
}

/* -- the end of a turn -- */

static void listen_to_sockets(struct user *u)
{
    uint32_t timeout_ms = UINT32_MAX;
    int before = u->num_polled;
    pv_auto_free int *old = NULL;
    if (before) {
        old = malloc((size_t)before * sizeof(*old));
        if (old)
            memcpy(old, u->polled, (size_t)before * sizeof(*old));
    }
    for (int i = 0; i < before; i++) {
        struct watch *w = &u->watches[u->polled[i]];
        w->polled = false;
        w->wanted = w->ready = 0;
    }
    u->num_polled = 0;
    slirp_pollfds_fill(u->slirp, &timeout_ms, on_add_poll, u);
    for (int i = 0; i < u->num_polled; i++)
        apply(u, u->polled[i]);
    for (int i = 0; old && i < before; i++)
        if (!u->watches[old[i]].polled)
            apply(u, old[i]);
    arm(u, timeout_ms);
}

static void on_after(void *data)
{
    struct user *u = data;
    u->delayed = u->blocked;
    if (!u->blocked)
        slirp_pollfds_poll(u->slirp, 0, on_get_revents, u);
    listen_to_sockets(u);
}

/* -- frames for the guest -- */

static int give(struct user *u, const uint8_t *frame, size_t bytes)
{
    struct iovec iov = {(void *)(uintptr_t)frame, bytes};
    struct net_frame f = {/* libslirp has just computed all checksums */
                          .hdr = {.flags = VIRTIO_NET_HDR_F_DATA_VALID},
                          .iov = &iov,
                          .num_iov = 1,
                          .bytes = bytes};
    return u->link.upper.receive ? u->link.upper.receive(u->link.upper.data, &f) : 0;
}

static void keep(struct user *u, const uint8_t *frame, size_t bytes)
{
    struct waiting *w = NULL;
    if (u->queue_bytes + bytes <= QUEUE_BYTES_MAX)
        w = malloc(sizeof(*w) + bytes);
    if (!w) {
        u->counters[COUNTER_DROPPED]++;
        return;
    }
    w->bytes = bytes;
    memcpy(w->frame, frame, bytes);
    STAILQ_INSERT_TAIL(&u->queue, w, next);
    u->queue_bytes += bytes;
    u->counters[COUNTER_QUEUED]++;
    u->blocked = true;
}

static ssize_t on_send_packet(const void *buf, size_t len, void *opaque)
{
    struct user *u = opaque;
    if (len > NET_FRAME_MAX)
        return (ssize_t)len;
    u->counters[COUNTER_RECEIVED]++;
    net_user_datagrams_note(u->datagrams, (uint8_t *)&u->gateway4, (uint8_t *)&u->gateway6, buf,
                            len);
    if (u->blocked || give(u, buf, len) == -EAGAIN)
        keep(u, buf, len);
    return (ssize_t)len;
}

/* TCP's way to the guest. */
static int on_tcp_frame(void *data, const struct net_frame *frame)
{
    struct user *u = data;
    int rc = 0;
    if (u->link.upper.receive)
        rc = u->blocked ? -EAGAIN : u->link.upper.receive(u->link.upper.data, frame);
    u->blocked |= rc == -EAGAIN;
    u->counters[COUNTER_RECEIVED] += rc == 0;
    return rc;
}

static void on_ping_frame(void *data, const uint8_t *frame, size_t bytes)
{
    on_send_packet(frame, bytes, data);
}

static void drop_first(struct user *u)
{
    struct waiting *w = STAILQ_FIRST(&u->queue);
    STAILQ_REMOVE_HEAD(&u->queue, next);
    u->queue_bytes -= w->bytes;
    free(w);
}

static void user_resume(struct net_link *link)
{
    struct user *u = user_of(link);
    struct waiting *w;
    while ((w = STAILQ_FIRST(&u->queue)) && give(u, w->frame, w->bytes) != -EAGAIN)
        drop_first(u);
    u->blocked = w != NULL;
    if (!u->blocked)
        net_tcp_resume(u->tcp);
    if (u->delayed)
        pv_loop_wake(u->after);
}

/* -- frames of the guest -- */

/* Copies bytes [from, len), as far as there are, to their places in `to`. Returns where they end.
 */
static size_t gather(const struct net_frame *frame, uint8_t *to, size_t from, size_t len)
{
    size_t begin = 0; /* of the piece */
    for (unsigned i = 0; i < frame->num_iov && begin < len; i++) {
        size_t end = begin + PV_MIN(frame->iov[i].iov_len, len - begin);
        size_t at = PV_MAX(begin, from);
        if (at < end)
            memcpy(to + at, (const uint8_t *)frame->iov[i].iov_base + (at - begin), end - at);
        begin = end;
    }
    return begin;
}

static int refuse(struct user *u)
{
    u->counters[COUNTER_REFUSED]++;
    return 0;
}

/* All but TCP. frame: in our own memory. */
static void send_to_slirp(struct user *u, const struct virtio_net_hdr *hdr, size_t len)
{
    if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        net_offload_complete(hdr, u->frame, len);
    if (net_user_datagrams_answer(u->datagrams, (uint8_t *)&u->gateway4, (uint8_t *)&u->gateway6,
                                  u->frame, len) ||
        net_ping_request(u->ping, u->frame, len))
        return;
    slirp_input(u->slirp, u->frame, (int)len);
    pv_loop_wake(u->after);
}

static int user_send(struct net_link *link, const struct net_frame *frame)
{
    struct user *u = user_of(link);
    struct net_packet p;
    /* A copy of our own, made once: the guest may change its bytes while we or libslirp look at
     * them. */
    size_t len = gather(frame, u->frame, 0, NET_PACKET_HEAD_MAX);
    if (len < ETH_HLEN || !net_user_check_head(u->frame, len))
        return refuse(u);
    bool parsed = net_packet_parse(u->frame, frame->bytes, &p) == 0;
    if (parsed && p.kind == NET_PACKET_IP && p.ends.protocol == IPPROTO_TCP &&
        p.fragment == NET_FRAGMENT_WHOLE) {
        u->counters[COUNTER_SENT]++;
        net_tcp_input(u->tcp, &p, u->frame, frame);
        return 0;
    }
    if (net_user_check_is_tcp(u->frame, len))
        return refuse(u);
    u->counters[COUNTER_SENT]++;
    send_to_slirp(u, &frame->hdr, gather(frame, u->frame, len, sizeof(u->frame)));
    return 0;
}

static void on_guest_error(const char *message, void *opaque)
{
    struct user *u = opaque;
    u->counters[COUNTER_ERRORS]++;
}

static void on_notify(void *opaque)
{
    struct user *u = opaque;
    pv_loop_wake(u->after);
}

static void on_init_completed(Slirp *slirp, void *opaque)
{
}

/* -- life -- */

static void user_get_counters(const struct net_link *link, const char *name,
                              struct pv_counter_group *ret_group)
{
    struct user *u = PV_CONTAINER_OF(link, struct user, link);
    memcpy(u->counters, net_tcp_counters(u->tcp), NET_TCP_COUNTERS * sizeof(uint64_t));
    *ret_group = (struct pv_counter_group){
        .name = name, .labels = u->labels, .values = u->counters, .count = COUNTER_END};
}

static void user_free(struct net_link *link)
{
    struct user *u = user_of(link);
    u->link.upper = (struct net_upper){0};
    if (u->slirp)
        slirp_cleanup(u->slirp);
    net_user_datagrams_free(u->datagrams);
    net_tcp_free(u->tcp);
    net_ping_free(u->ping);
    for (int i = 0; i < u->num_watches; i++)
        pv_loop_remove(u->watches[i].source);
    while (!STAILQ_EMPTY(&u->queue))
        drop_first(u);
    pv_loop_remove(u->after);
    pv_loop_remove(u->timer);
    free(u->watches);
    free(u->polled);
    free(u);
}

static const struct net_link_class class = {
    .name = "user",
    .send = user_send,
    .resume = user_resume,
    .get_counters = user_get_counters,
    .free = user_free,
};

static const SlirpCb callbacks = {
    .send_packet = on_send_packet,
    .guest_error = on_guest_error,
    .clock_get_ns = on_clock,
    .timer_free = on_timer_free,
    .timer_mod = on_timer_mod,
    .register_poll_fd = on_register,
    .unregister_poll_fd = on_unregister,
    .notify = on_notify,
    .init_completed = on_init_completed,
    .timer_new_opaque = on_timer_new,
};

static struct net_ping *make_ping(struct user *u, const struct net_config *c)
{
    struct net_ping_options o = {.loop = u->loop, .give = on_ping_frame, .data = u};
    o.own.address = workload_address_from_v6(c->gateway6.s6_addr);
    o.own.bits = (uint8_t)c->prefix6; /* 0, everything, when the guest has no IPv6 */
    for (unsigned bit = c->prefix6; bit < 128; bit++)
        o.own.address.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    return net_ping_new(&o);
}

static int start_slirp(struct user *u, const struct net_config *c, struct pv_error *err)
{
    SlirpConfig config = {
        .version = 4,
        .in_enabled = c->has4,
        .vhost = c->gateway4,
        .vnameserver = c->dns4,
        .vdhcp_start = c->guest4,
        .in6_enabled = c->has6,
        .vprefix_addr6 = c->gateway6,
        .vprefix_len = (uint8_t)c->prefix6,
        .vhost6 = c->gateway6,
        .vnameserver6 = c->dns6,
        .if_mtu = NET_MTU_MAX,
        .if_mru = NET_MTU_MAX,
        .disable_host_loopback = !c->host_loopback,
        .disable_dns = true, /* who answers names stands above */
        .disable_dhcp = true,
    };
    config.vnetmask.s_addr = htonl(c->prefix4 ? ~0u << (32 - c->prefix4) : 0);
    config.vnetwork.s_addr = c->gateway4.s_addr & config.vnetmask.s_addr;
    for (unsigned bit = c->prefix6; bit < 128; bit++)
        config.vprefix_addr6.s6_addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    u->slirp = slirp_new(&config, &callbacks, u);
    return u->slirp ? 0 : pv_error_set(err, EINVAL, "user-mode network: libslirp refused it");
}

/* The number that the next socket will have: libslirp does not tell. -1: unknown. */
static int find_next_fd(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd;
}

static bool is_bound_to(int fd, uint16_t port)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        return false;
    /* The port is at the same place in both families. */
    return (a.ss_family == AF_INET || a.ss_family == AF_INET6) &&
           ((struct sockaddr_in *)&a)->sin_port == htons(port);
}

static int publish_datagrams(struct user *u, const struct net_config *c,
                             const struct workload_port *port, struct pv_error *err)
{
    struct sockaddr_in host4 = {.sin_family = AF_INET, .sin_port = htons(port->host_port)};
    struct sockaddr_in guest4 = {
        .sin_family = AF_INET, .sin_port = htons(port->guest_port), .sin_addr = c->guest4};
    struct sockaddr_in6 host6 = {.sin6_family = AF_INET6, .sin6_port = htons(port->host_port)};
    struct sockaddr_in6 guest6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port->guest_port), .sin6_addr = c->guest6};
    memcpy(&host4.sin_addr, port->address, sizeof(host4.sin_addr));
    memcpy(&host6.sin6_addr, port->address, sizeof(host6.sin6_addr));
    errno = 0;
    int next_fd = find_next_fd();
    int rc = port->v6 ? slirp_add_hostxfwd(u->slirp, (struct sockaddr *)&host6, sizeof(host6),
                                           (struct sockaddr *)&guest6, sizeof(guest6),
                                           SLIRP_HOSTFWD_UDP | SLIRP_HOSTFWD_V6ONLY)
                      : slirp_add_hostxfwd(u->slirp, (struct sockaddr *)&host4, sizeof(host4),
                                           (struct sockaddr *)&guest4, sizeof(guest4),
                                           SLIRP_HOSTFWD_UDP);
    if (rc < 0)
        return net_port_refuse(port, errno ? errno : EIO, err);
    if (is_bound_to(next_fd, port->host_port) &&
        net_user_datagrams_publish(u->datagrams, next_fd, port->v6, port->guest_port) < 0)
        return net_port_refuse(port, ENOMEM, err);
    return 0;
}

/* Each connection is a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = PV_MIN(limit.rlim_max, (rlim_t)65536);
    setrlimit(RLIMIT_NOFILE, &limit);
}

static struct net_tcp *make_tcp(struct user *u, const struct net_config *c)
{
    struct net_tcp_options o = {
        .loop = u->loop,
        .gateway_mac = {0x52, 0x55}, /* as libslirp has it: then comes its address */
        .mtu = NET_MTU_MAX,
        .has4 = c->has4,
        .has6 = c->has6,
        .guest4 = c->guest4,
        .gateway4 = c->gateway4,
        .guest6 = c->guest6,
        .gateway6 = c->gateway6,
        .prefix6 = c->prefix6,
        .host_loopback = c->host_loopback,
        .give = on_tcp_frame,
        .data = u,
    };
    memcpy(o.guest_mac, c->mac, sizeof(o.guest_mac));
    memcpy(o.gateway_mac + 2, &c->gateway4, 4);
    return net_tcp_new(&o);
}

static int user_open(const struct net_config *config, struct pv_loop *loop,
                     struct net_link **ret_link, struct pv_error *err)
{
    struct user *u = calloc(1, sizeof(*u));
    if (!u)
        return pv_error_set(err, ENOMEM, "user-mode network: out of memory");
    *u = (struct user){
        .link = {.class = &class,
                 .send_offloads = NET_OFFLOAD_CSUM,
                 .receive_offloads = NET_OFFLOAD_CSUM,
                 .mtu = NET_MTU_MAX},
        .loop = loop,
        .gateway4 = config->gateway4,
        .gateway6 = config->gateway6,
        .datagrams = net_user_datagrams_new(),
    };
    STAILQ_INIT(&u->queue);
    memcpy(u->labels, net_tcp_counter_labels, NET_TCP_COUNTERS * sizeof(*u->labels));
    memcpy(u->labels + COUNTER_SENT, own_labels, sizeof(own_labels));
    raise_descriptor_limit();
    u->tcp = make_tcp(u, config);
    u->after = pv_loop_add_after(loop, on_after, u);
    u->timer = pv_loop_add_timer(loop, on_timeout, u);
    u->ping = make_ping(u, config);
    int rc = u->after && u->timer && u->datagrams && u->tcp && u->ping && watch_of(u, 63)
                 ? 0
                 : pv_error_set(err, ENOMEM, "user-mode network: out of memory");
    if (rc == 0)
        rc = start_slirp(u, config, err);
    for (size_t i = 0; rc == 0 && i < config->num_ports; i++)
        rc = config->ports[i].udp ? publish_datagrams(u, config, &config->ports[i], err)
                                  : net_tcp_publish(u->tcp, &config->ports[i], err);
    if (rc < 0) {
        user_free(&u->link);
        return rc;
    }
    pv_loop_wake(u->after);
    *ret_link = &u->link;
    return 0;
}

static const struct net_syscall syscalls[] = {
    {"socket", "net: a connection of the guest"},
    {"connect", "net: a connection of the guest"},
    {"bind", "net: a datagram socket of the guest"},
    {"accept4", "net: a connection to a published port"},
    {"getsockname", "net: the port that a socket was given"},
    {"getsockopt", "net: how a connection attempt ended"},
    {"setsockopt", "net: no delay, urgent data in line, reuse of ports"},
    {"ioctl", "net: how much a datagram socket has"},
    {"recvfrom", "net: data for the guest"},
    {"recvmsg", "net: data for the guest"},
    {"readv", "net: data for the guest"},
    {"sendto", "net: data of the guest"},
    {"sendmsg", "net: data of the guest"},
    {"writev", "net: data of the guest"},
    {"shutdown", "net: half of a connection"},
    {"close", "net: the end of a connection"},
    {"fcntl", "net: non-blocking mode"},
    {"epoll_ctl", "net: sockets come and go"},
    {"getrandom", "net: another port for a peer whose own is taken"},
    {NULL, NULL},
};

const struct net_backend net_user_backend = {
    .name = "user",
    .summary = "user-mode network stack: no privilege needed",
    .keeps_network = true,
    .syscalls = syscalls,
    .open = user_open,
};
