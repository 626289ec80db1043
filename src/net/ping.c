/* SPDX-License-Identifier: Apache-2.0
 *
 * ping.c: a ping socket for each pair of address and identifier that the guest pings.
 *
 * Spec: RFC 4443, 4.1 and 4.2; ping sockets: icmp(7), since Linux 3.0.
 */
#include "net/ping.h"

#include "base/attr.h"
#include "base/clock.h"
#include "net/link.h"
#include "net/reply.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define SECOND_NS 1000000000ull
#define IDLE_NS (30 * SECOND_NS)
#define SOCKETS_MAX 64u /* the one that was asked longest ago leaves */
#define V6_BYTES 40u
#define ICMP_BYTES 4u /* type, code, checksum: identifier, number and data follow */
#define ECHO_REQUEST 128
#define ECHO_REPLY 129

struct echo {
    TAILQ_ENTRY(echo) next;
    struct net_ping *ping;
    int fd;
    struct pv_loop_source *source;
    uint64_t used_ns;
    struct net_packet last; /* the last request, and how it began: for errors about it */
    uint8_t head[NET_PACKET_HEAD_MAX];
};

struct net_ping {
    struct net_ping_options o;
    struct pv_loop_source *timer;
    TAILQ_HEAD(echoes, echo) echoes; /* the one that was used longest ago first */
    unsigned count;
    uint8_t buffer[NET_FRAME_MAX], frame[NET_FRAME_MAX];
};

static void drop(struct net_ping *p, struct echo *e)
{
    TAILQ_REMOVE(&p->echoes, e, next);
    p->count--;
    pv_loop_remove(e->source);
    pv_cleanup_fd(&e->fd);
    free(e);
}

static void arm(struct net_ping *p)
{
    struct echo *e = TAILQ_FIRST(&p->echoes);
    uint64_t now = pv_time_monotonic_ns();
    if (e)
        pv_loop_arm(p->timer, e->used_ns + IDLE_NS > now ? e->used_ns + IDLE_NS - now : 1);
}

static void on_timer(void *data)
{
    struct net_ping *p = data;
    uint64_t now = pv_time_monotonic_ns();
    struct echo *e;
    while ((e = TAILQ_FIRST(&p->echoes)) && e->used_ns + IDLE_NS <= now)
        drop(p, e);
    arm(p);
}

struct net_ping *net_ping_new(const struct net_ping_options *options)
{
    struct net_ping *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->o = *options;
    TAILQ_INIT(&p->echoes);
    p->timer = pv_loop_add_timer(p->o.loop, on_timer, p);
    if (!p->timer)
        free(pv_take_ptr(p));
    return p;
}

void net_ping_free(struct net_ping *p)
{
    if (!p)
        return;
    while (!TAILQ_EMPTY(&p->echoes))
        drop(p, TAILQ_FIRST(&p->echoes));
    pv_loop_remove(p->timer);
    free(p);
}

/* -- for the guest -- */

/* Why there is no way to go: what the host says, or that it lets this user not ping. */
static void say_unreachable(struct net_ping *p, const struct net_packet *packet,
                            const uint8_t *head, int error)
{
    bool refused = error == EACCES || error == EPERM;
    size_t bytes = refused ? net_reply_prohibited(p->frame, packet, head)
                           : net_reply_unreachable(p->frame, packet, head, error == EHOSTUNREACH);
    p->o.give(p->o.data, p->frame, bytes);
}

static void give_reply(struct net_ping *p, const struct echo *e, const uint8_t *icmp, size_t len)
{
    struct net_reply_path path = net_reply_back(&e->last);
    if (len < ICMP_BYTES + 4 || icmp[0] != ECHO_REPLY)
        return;
    uint8_t *body = p->buffer + ICMP_BYTES;
    net_packet_put_u16(body, e->last.ends.src_port); /* the guest's own identifier */
    size_t bytes = net_reply_echo6(p->frame, &path, body, len - ICMP_BYTES);
    p->o.give(p->o.data, p->frame, bytes);
}

static void on_socket(void *data, int fd, uint32_t events)
{
    struct echo *e = data;
    struct net_ping *p = e->ping;
    /* A reply that fits into no frame is cut, and its checksum ours: so it is dropped. */
    ssize_t n = recv(fd, p->buffer, sizeof(p->buffer), MSG_DONTWAIT | MSG_TRUNC);
    if (n > (ssize_t)(NET_MTU_MAX - V6_BYTES))
        return;
    if (n >= 0)
        give_reply(p, e, p->buffer, (size_t)n);
    else if (errno != EAGAIN && errno != EINTR)
        say_unreachable(p, &e->last, e->head, errno);
}

/* -- of the guest -- */

static bool is_for_outside(const struct net_ping *p, const struct net_packet *packet, size_t bytes)
{
    const uint8_t *to = packet->ends.dst.bytes;
    return packet->kind == NET_PACKET_IP && packet->v6 && !packet->mapped &&
           packet->fragment == NET_FRAGMENT_WHOLE && packet->ends.protocol == IPPROTO_ICMP &&
           packet->icmp_type == ECHO_REQUEST && packet->icmp_code == 0 &&
           packet->l4 == packet->l3 + V6_BYTES && packet->end <= bytes &&
           packet->end >= packet->l4 + ICMP_BYTES + 4 && /* an identifier and a number */
           to[0] != 0xff && (to[0] != 0xfe || (to[1] & 0xc0) != 0x80) && /* not link-local */
           !workload_prefix_contains(&p->o.own, &packet->ends.dst);
}

static struct echo *find(struct net_ping *p, const struct net_packet *packet)
{
    struct echo *e;
    TAILQ_FOREACH(e, &p->echoes, next)
    if (e->last.ends.src_port == packet->ends.src_port &&
        workload_address_equal(&e->last.ends.src, &packet->ends.src) &&
        workload_address_equal(&e->last.ends.dst, &packet->ends.dst))
        return e;
    return NULL;
}

/* -errno when the host does not want to. */
static int make(struct net_ping *p, const struct net_packet *packet, struct echo **ret_echo)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6};
    struct echo *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    memcpy(&to.sin6_addr, packet->ends.dst.bytes, sizeof(to.sin6_addr));
    e->ping = p;
    e->fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);
    if (e->fd < 0 || connect(e->fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
        !(e->source = pv_loop_add_fd(p->o.loop, e->fd, EPOLLIN, on_socket, e))) {
        int rc = -errno;
        pv_cleanup_fd(&e->fd);
        free(e);
        return rc;
    }
    if (p->count == SOCKETS_MAX)
        drop(p, TAILQ_FIRST(&p->echoes));
    TAILQ_INSERT_TAIL(&p->echoes, e, next);
    p->count++;
    *ret_echo = e;
    return 0;
}

static void use(struct net_ping *p, struct echo *e, const struct net_packet *packet,
                const uint8_t *frame, size_t bytes)
{
    e->last = *packet;
    memcpy(e->head, frame, PV_MIN(bytes, sizeof(e->head)));
    e->used_ns = pv_time_monotonic_ns();
    TAILQ_REMOVE(&p->echoes, e, next);
    TAILQ_INSERT_TAIL(&p->echoes, e, next);
    arm(p);
}

bool net_ping_request(struct net_ping *p, const uint8_t *frame, size_t bytes)
{
    struct net_packet packet;
    struct echo *e;
    if (bytes < NET_ETHERNET_BYTES || net_packet_u16(frame + 12) != 0x86dd ||
        net_packet_parse(frame, bytes, &packet) < 0 || !is_for_outside(p, &packet, bytes))
        return false;
    e = find(p, &packet);
    int rc = e ? 0 : make(p, &packet, &e);
    if (rc == 0) {
        use(p, e, &packet, frame, bytes);
        if (send(e->fd, frame + packet.l4, packet.end - packet.l4, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            rc = -errno;
    }
    if (rc < 0 && rc != -EAGAIN && rc != -ENOMEM && rc != -ENOBUFS)
        say_unreachable(p, &packet, frame, -rc);
    return true;
}
