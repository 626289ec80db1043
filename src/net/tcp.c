/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp.c: the table of connections, their turns, their timers, their ends.
 *
 * Runs on: the loop thread of the machine.   Spec: RFC 9293, 7323 (window scale only).
 * Trust:   tcp_input.c reads what the guest says. A guest can have as many connections as there are
 *          places; what they keep in memory comes out of one budget.
 *
 * Theory of operation: a connection of the guest is two: one with the guest, which we end here, and
 * a socket of the host. Between them is at most one ring of bytes each way.
 *
 *   guest -> host: a segment goes from the guest's memory to the socket at once. What the socket
 *     does not take is copied to `to_host`; the window that the guest is told shrinks by it.
 *   host -> guest: what the socket has is read into `to_guest` and stays there until the guest
 *     acknowledges it; frames for the guest are made of pieces of the ring.
 *
 * The wire between is memory: nothing comes out of order and next to nothing gets lost. So what
 * comes out of order is dropped, and what the guest does not acknowledge is said again one segment
 * at a time; there is no congestion to be controlled, only the guest's window.
 *
 * Whoever has something to do stands in the list `ready` and gets a turn of bounded work at the end
 * of the loop's turn. When the guest has no room, everybody stays in that list until it has.
 * Acknowledgements, too, wait for the end of the turn: one for all segments that came in it.
 *
 * A frame that is given upwards may come back as a reset of the fence's before the call returns, so
 * a connection that ends stays in memory until the end of the turn, as CONN_GONE.
 */
#include "net/tcp.h"

#include "base/clock.h"
#include "net/flow.h"
#include "net/tcp_internal.h"

#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Descriptors that the rest of the monitor may need. */
#define DESCRIPTORS_RESERVED 128u

const char *const net_tcp_counter_labels[NET_TCP_COUNTERS] = {
    [NET_TCP_OPENED] = "tcp_opened",
    [NET_TCP_FAILED] = "tcp_failed",
    [NET_TCP_RESET] = "tcp_reset",
    [NET_TCP_EXHAUSTED] = "tcp_exhausted",
    [NET_TCP_RETRANSMITTED] = "tcp_retransmitted",
    [NET_TCP_DROPPED] = "tcp_dropped",
    [NET_TCP_OUT_BYTES] = "tcp_out_bytes",
    [NET_TCP_IN_BYTES] = "tcp_in_bytes",
};

/* -- the table -- */

__extension__ typedef unsigned __int128 wide;

static uint64_t mix(uint64_t a, uint64_t b)
{
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* With a key: a guest that could choose its ends to be in one bucket would make us search. */
static uint64_t hash_of(const struct net_tcp *t, const struct net_packet_ends *e)
{
    uint64_t words[5];
    memcpy(words, e->src.bytes, 16);
    memcpy(words + 2, e->dst.bytes, 16);
    words[4] = (uint64_t)e->src_port << 16 | e->dst_port;
    uint64_t hash = t->key[0];
    for (unsigned i = 0; i < PV_ARRAY_SIZE(words); i++)
        hash = mix(hash ^ words[i], t->key[1] ^ hash);
    return hash;
}

struct tcp_conn *tcp_conn_find(struct net_tcp *t, const struct net_packet_ends *e)
{
    uint32_t hash = (uint32_t)hash_of(t, e);
    struct tcp_conn *c = t->buckets[hash % TCP_BUCKETS];
    while (c &&
           (c->hash != hash || c->ends.src_port != e->src_port || c->ends.dst_port != e->dst_port ||
            !workload_address_equal(&c->ends.src, &e->src) ||
            !workload_address_equal(&c->ends.dst, &e->dst)))
        c = c->chain;
    return c;
}

struct tcp_conn *tcp_conn_new(struct net_tcp *t, const struct net_packet_ends *ends)
{
    struct tcp_conn *c = t->count < t->max ? calloc(1, sizeof(*c)) : NULL;
    if (!c)
        return NULL;
    c->tcp = t;
    c->ends = *ends;
    c->fd = -1;
    c->hash = (uint32_t)hash_of(t, ends);
    struct tcp_conn **bucket = &t->buckets[c->hash % TCP_BUCKETS];
    c->chain = *bucket;
    *bucket = c;
    TAILQ_INSERT_TAIL(&t->all, c, in_all);
    t->count++;
    return c;
}

uint32_t tcp_first_number(const struct tcp_conn *c)
{
    uint64_t secret = mix(hash_of(c->tcp, &c->ends) ^ c->tcp->key[1], c->tcp->key[0] | 1);
    return (uint32_t)(secret + c->tcp->o.now() / 4000);
}

static void leave_table(struct tcp_conn *c)
{
    struct tcp_conn **at = &c->tcp->buckets[c->hash % TCP_BUCKETS];
    while (*at != c)
        at = &(*at)->chain;
    *at = c->chain;
}

void tcp_conn_end(struct tcp_conn *c, bool reset)
{
    struct net_tcp *t = c->tcp;
    if (c->state == CONN_GONE)
        return;
    leave_table(c);
    TAILQ_REMOVE(&t->all, c, in_all);
    if (c->is_ready)
        TAILQ_REMOVE(&t->ready, c, in_ready);
    pv_loop_remove(c->source);
    if (reset && c->fd >= 0) {
        struct linger now = {.l_onoff = 1};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    if (c->fd >= 0)
        close(c->fd);
    net_tcp_ring_release(&c->to_host, &t->budget);
    net_tcp_ring_release(&c->to_guest, &t->budget);
    c->state = CONN_GONE;
    c->fd = -1;
    c->source = NULL;
    c->is_ready = false;
    t->count--;
    TAILQ_INSERT_TAIL(&t->dead, c, in_all);
    pv_loop_wake(t->after);
    tcp_listen_resume(t);
}

/* -- turns -- */

void tcp_conn_schedule(struct tcp_conn *c)
{
    struct net_tcp *t = c->tcp;
    if (c->is_ready || c->state == CONN_GONE)
        return;
    c->is_ready = true;
    TAILQ_INSERT_TAIL(&t->ready, c, in_ready);
    pv_loop_wake(t->after);
}

static void forget_ready(struct tcp_conn *c)
{
    if (c->is_ready)
        TAILQ_REMOVE(&c->tcp->ready, c, in_ready);
    c->is_ready = false;
}

void tcp_conn_serve(struct tcp_conn *c)
{
    struct net_tcp *t = c->tcp;
    forget_ready(c);
    if (c->state == CONN_CONNECTING)
        tcp_input_connected(c);
    if (c->syn_due && (c->state == CONN_ASKING || c->state == CONN_ANSWERED))
        tcp_output_syn(c);
    if (c->state == CONN_GONE || c->state == CONN_CONNECTING || c->state == CONN_ASKING)
        return;
    tcp_host_flush(c);
    if (c->state == CONN_OPEN && !t->blocked)
        tcp_host_fill(c);
    tcp_output(c);
    if (c->state == CONN_OPEN && c->guest_fin && c->host_shut && c->fin_acked)
        tcp_conn_end(c, false);
}

static void free_dead(struct net_tcp *t)
{
    struct tcp_conn *c;
    while ((c = TAILQ_FIRST(&t->dead))) {
        TAILQ_REMOVE(&t->dead, c, in_all);
        free(c);
    }
}

static void on_after(void *data)
{
    struct net_tcp *t = data;
    struct tcp_conn *c;
    for (unsigned n = 0; n < TCP_CONNECTIONS_PER_TURN && !t->blocked; n++) {
        c = TAILQ_FIRST(&t->ready);
        if (!c)
            break;
        tcp_conn_serve(c);
    }
    if (!t->blocked && !TAILQ_EMPTY(&t->ready))
        pv_loop_wake(t->after);
    free_dead(t);
}

void net_tcp_resume(struct net_tcp *t)
{
    t->blocked = false;
    on_after(t); /* now, so that the guest is told of all this in one signal */
}

/* -- timers -- */

uint64_t tcp_rto(const struct tcp_conn *c)
{
    unsigned shift = PV_MIN(c->backoff, 10u);
    return PV_MIN(TCP_RTO_NS << shift, TCP_RTO_MAX_NS);
}

/* One timer for all, armed for the earliest that it knows; that a connection is due later than it
 * once was shows when it rings. */
void tcp_arm_timer(struct net_tcp *t, uint64_t ns)
{
    uint64_t due = t->o.now() + ns;
    if (t->timer_ns && t->timer_ns <= due)
        return;
    t->timer_ns = due;
    pv_loop_arm(t->timer, ns);
}

void tcp_conn_arm(struct tcp_conn *c, uint64_t ns)
{
    c->due_ns = ns ? c->tcp->o.now() + ns : 0;
    if (ns)
        tcp_arm_timer(c->tcp, ns);
}

static void give_up(struct tcp_conn *c)
{
    struct net_tcp *t = c->tcp;
    t->counters[c->state == CONN_OPEN ? NET_TCP_RESET : NET_TCP_FAILED]++;
    tcp_output_reset(c);
    tcp_conn_end(c, true);
}

static void on_due(struct tcp_conn *c)
{
    bool open = c->state == CONN_OPEN;
    if (c->tcp->blocked) { /* not the guest's silence, but ours */
        tcp_conn_arm(c, tcp_rto(c));
        return;
    }
    if (++c->tries > (open ? TCP_TRIES_OPEN : TCP_TRIES_OPENING)) {
        give_up(c);
        return;
    }
    c->backoff++;
    if (!open) {
        tcp_output_syn(c);
    } else if (c->snd_nxt != c->snd_una) {
        c->recovering = true;
        c->recover = c->snd_nxt;
        tcp_output_again(c);
    } else {
        tcp_output_probe(c);
    }
    if (c->state != CONN_GONE)
        tcp_conn_arm(c, tcp_rto(c));
}

void net_tcp_expire(struct net_tcp *t)
{
    uint64_t now = t->o.now(), next = UINT64_MAX;
    struct tcp_conn *c, *after;
    t->timer_ns = 0;
    tcp_listen_resume(t);
    for (c = TAILQ_FIRST(&t->all); c; c = after) {
        after = TAILQ_NEXT(c, in_all);
        if (c->due_ns && c->due_ns <= now)
            on_due(c);
        if (c->state != CONN_GONE && c->due_ns)
            next = PV_MIN(next, c->due_ns);
    }
    if (next == UINT64_MAX)
        return;
    t->timer_ns = next;
    pv_loop_arm(t->timer, next > now ? next - now : 1);
}

static void on_timer(void *data)
{
    net_tcp_expire(data);
}

/* -- life -- */

/* Each connection is a descriptor. */
static unsigned most_connections(unsigned asked)
{
    struct rlimit limit;
    unsigned most = asked ? asked : NET_FLOWS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return most;
    uint64_t left = limit.rlim_cur > 2 * DESCRIPTORS_RESERVED
                        ? limit.rlim_cur - DESCRIPTORS_RESERVED
                        : limit.rlim_cur / 2;
    return (unsigned)PV_MIN((uint64_t)most, left);
}

struct net_tcp *net_tcp_new(const struct net_tcp_options *options)
{
    struct net_tcp *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->o = *options;
    if (!t->o.now)
        t->o.now = pv_time_monotonic_ns;
    t->max = most_connections(options->max);
    t->budget.max = TCP_BUDGET;
    TAILQ_INIT(&t->all);
    TAILQ_INIT(&t->ready);
    TAILQ_INIT(&t->dead);
    if (getrandom(t->key, sizeof(t->key), GRND_NONBLOCK) < 0)
        t->key[0] = (uint64_t)(uintptr_t)t ^ t->o.now();
    t->buckets = calloc(TCP_BUCKETS, sizeof(struct tcp_conn *));
    t->after = pv_loop_add_after(options->loop, on_after, t);
    t->timer = pv_loop_add_timer(options->loop, on_timer, t);
    if (!t->buckets || !t->after || !t->timer) {
        net_tcp_free(t);
        return NULL;
    }
    return t;
}

void net_tcp_free(struct net_tcp *t)
{
    if (!t)
        return;
    tcp_listen_free(t);
    while (!TAILQ_EMPTY(&t->all))
        tcp_conn_end(TAILQ_FIRST(&t->all), false);
    free_dead(t);
    pv_loop_remove(t->after);
    pv_loop_remove(t->timer);
    free(t->buckets);
    free(t);
}

const uint64_t *net_tcp_counters(const struct net_tcp *t)
{
    return t->counters;
}

unsigned net_tcp_count(const struct net_tcp *t)
{
    return t->count;
}
