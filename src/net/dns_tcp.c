/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_tcp.c: DNS over TCP for the guest.
 *
 * Theory of operation: one question at a time on a connection: while it is open, nothing more is
 * taken (the window is closed), so a guest cannot pile up work. The answer is kept until it was
 * acknowledged. A connection that is silent for ten seconds, or is not acknowledged after some
 * repeats, is forgotten; its segments are then answered with a reset.
 */
#include "net/dns_tcp.h"

#include "net/reply.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define SECOND_NS 1000000000ull
#define IDLE_NS (10 * SECOND_NS)
#define RESEND_NS SECOND_NS
#define RESENDS_MAX 4
#define QUESTION_MAX 4096u /* with its two bytes of length */
#define MSS_MIN 536u
#define WINDOW QUESTION_MAX
#define OPTION_MSS 2

struct connection {
    struct net_dns_tcp *t;
    struct connection *next;
    struct net_reply_path path; /* to the guest */
    uint32_t rcv_next, snd_una, snd_next;
    uint32_t peer_window, mss;
    bool established, asking, their_fin, our_fin, dead;
    uint8_t question[QUESTION_MAX];
    size_t question_len;
    uint8_t *answer; /* unacknowledged bytes, from snd_una on */
    size_t answer_len;
    uint64_t heard_ns, sent_ns;
    unsigned resends;
};

struct net_dns_tcp {
    struct net_dns_tcp_options o;
    struct connection *connections;
    unsigned count;
    struct pv_loop_source *timer;
    uint8_t frame[NET_REPLY_HEADERS_MAX + NET_DNS_MESSAGE_MAX];
};

static void on_timer(void *data);

struct net_dns_tcp *net_dns_tcp_new(const struct net_dns_tcp_options *options)
{
    struct net_dns_tcp *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->o = *options;
    t->timer = pv_loop_add_timer(options->loop, on_timer, t);
    if (!t->timer) {
        free(t);
        return NULL;
    }
    return t;
}

static void unlink_connection(struct connection *c)
{
    struct connection **at = &c->t->connections;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->t->count--;
}

static void release(struct connection *c)
{
    free(c->answer);
    free(c);
}

/* An open question still points here: then the connection ends with it. */
static void forget(struct connection *c)
{
    unlink_connection(c);
    c->dead = true;
    if (!c->asking)
        release(c);
}

void net_dns_tcp_free(struct net_dns_tcp *t)
{
    if (!t)
        return;
    while (t->connections)
        forget(t->connections);
    pv_loop_remove(t->timer);
    free(t);
}

/* -- sending -- */

static void send_segment(struct connection *c, uint32_t seq, uint8_t flags, const void *data,
                         size_t len)
{
    struct net_dns_tcp *t = c->t;
    uint8_t mss[4] = {OPTION_MSS, 4};
    bool syn = flags & NET_TCP_SYN;
    uint32_t ours = t->o.mtu - 40;
    net_packet_put_u16(mss + 2, (uint16_t)PV_MIN(ours, (uint32_t)QUESTION_MAX));
    size_t window = c->asking ? 0 : QUESTION_MAX - c->question_len;
    size_t bytes =
        net_reply_segment(t->frame, &c->path, seq, c->rcv_next, (uint8_t)(flags | NET_TCP_ACK),
                          (uint16_t)window, mss, syn ? sizeof(mss) : 0, data, len);
    t->o.send(t->o.data, t->frame, bytes);
}

/* Sends what the guest's window takes, from `from` on. */
static void send_from(struct connection *c, uint32_t from)
{
    uint32_t at = from - c->snd_una; /* in the answer */
    size_t allowed = PV_MIN(c->answer_len, (size_t)c->peer_window);
    while (at < allowed) {
        size_t len = PV_MIN(allowed - at, (size_t)c->mss);
        send_segment(c, c->snd_una + at, NET_TCP_PSH, c->answer + at, len);
        at += (uint32_t)len;
    }
    if ((int32_t)(c->snd_una + at - c->snd_next) > 0)
        c->snd_next = c->snd_una + at;
    c->sent_ns = c->t->o.now();
    pv_loop_arm(c->t->timer, RESEND_NS);
}

/* After their end and the last byte: ours. */
static void send_fin(struct connection *c)
{
    if (!c->their_fin || c->our_fin || c->asking || c->answer_len)
        return;
    send_segment(c, c->snd_next, NET_TCP_FIN, NULL, 0);
    c->snd_next++;
    c->our_fin = true;
    c->sent_ns = c->t->o.now();
}

static void resend(struct connection *c)
{
    if (!c->established) {
        send_segment(c, c->snd_una, NET_TCP_SYN, NULL, 0);
    } else if (c->answer_len && c->peer_window == 0) { /* a probe of the window */
        send_segment(c, c->snd_una, 0, c->answer, 1);
        if (c->snd_next == c->snd_una)
            c->snd_next++;
    } else if (c->answer_len) {
        send_from(c, c->snd_una);
    } else if (c->our_fin) {
        send_segment(c, c->snd_una, NET_TCP_FIN, NULL, 0);
    }
    c->sent_ns = c->t->o.now();
}

static void on_timer(void *data)
{
    struct net_dns_tcp *t = data;
    uint64_t now = t->o.now();
    struct connection *next;
    for (struct connection *c = t->connections; c; c = next) {
        next = c->next;
        bool owes = !c->established || c->answer_len || c->our_fin;
        if (now - c->heard_ns >= IDLE_NS || (owes && c->resends >= RESENDS_MAX)) {
            forget(c);
        } else if (owes && now - c->sent_ns >= RESEND_NS) {
            c->resends++;
            resend(c);
        }
    }
    if (t->connections)
        pv_loop_arm(t->timer, RESEND_NS);
}

/* -- questions and answers -- */

static void on_reply(void *data, const uint8_t *message, size_t len)
{
    struct connection *c = data;
    c->asking = false;
    if (c->dead) {
        release(c);
        return;
    }
    if (!message)
        return; /* everything ends */
    uint8_t *answer = malloc(len + 2);
    if (!answer)
        return;
    net_packet_put_u16(answer, (uint16_t)len);
    memcpy(answer + 2, message, len);
    free(c->answer);
    c->answer = answer;
    c->answer_len = len + 2;
    c->resends = 0;
    send_from(c, c->snd_next);
}

/* Asks when a whole question has arrived and the last answer was taken. False: the connection is
 * gone. */
static bool ask_next(struct connection *c)
{
    if (c->asking || c->answer_len || c->question_len < 2)
        return true;
    size_t len = net_packet_u16(c->question);
    if (len > QUESTION_MAX - 2) { /* no question is that long */
        send_segment(c, c->snd_next, NET_TCP_RST, NULL, 0);
        forget(c);
        return false;
    }
    if (c->question_len < len + 2)
        return true;
    uint8_t question[QUESTION_MAX];
    memcpy(question, c->question + 2, len);
    c->question_len -= len + 2;
    memmove(c->question, c->question + 2 + len, c->question_len);
    c->asking = true;
    net_dns_ask(c->t->o.dns, question, len, NET_DNS_MESSAGE_MAX, false, on_reply, c);
    return true;
}

/* -- segments -- */

static struct connection *find(struct net_dns_tcp *t, const struct net_packet *p)
{
    struct connection *c = t->connections;
    while (c && !(c->path.ends.dst_port == p->ends.src_port &&
                  workload_address_equal(&c->path.ends.dst, &p->ends.src) &&
                  workload_address_equal(&c->path.ends.src, &p->ends.dst)))
        c = c->next;
    return c;
}

static void refuse(struct net_dns_tcp *t, const struct net_packet *p)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    if (!(p->tcp_flags & NET_TCP_RST))
        t->o.send(t->o.data, frame, net_reply_reset(frame, p));
}

/* Room for one more: the one that was silent for longest goes. */
static void make_room(struct net_dns_tcp *t)
{
    struct connection *oldest = t->connections;
    for (struct connection *c = t->connections; c; c = c->next)
        if (c->heard_ns < oldest->heard_ns)
            oldest = c;
    if (oldest)
        forget(oldest);
}

static void open_connection(struct net_dns_tcp *t, const struct net_packet *p)
{
    if (t->count >= NET_DNS_TCP_CONNECTIONS_MAX)
        make_room(t);
    struct connection *c = calloc(1, sizeof(*c));
    uint32_t first;
    if (!c || getrandom(&first, sizeof(first), GRND_NONBLOCK) != sizeof(first)) {
        free(c);
        return;
    }
    c->t = t;
    c->path = net_reply_back(p);
    c->rcv_next = p->tcp_seq + 1;
    c->snd_una = first;
    c->snd_next = first + 1;
    c->peer_window = p->tcp_window;
    c->mss = MSS_MIN; /* what every host takes; answers are short */
    c->heard_ns = c->sent_ns = t->o.now();
    c->next = t->connections;
    t->connections = c;
    t->count++;
    send_segment(c, c->snd_una, NET_TCP_SYN, NULL, 0);
    pv_loop_arm(t->timer, RESEND_NS);
}

/* The guest has acknowledged up to ack. False: it is no sane number. */
static bool take_ack(struct connection *c, const struct net_packet *p)
{
    uint32_t bytes = p->tcp_ack - c->snd_una;
    if (bytes > c->snd_next - c->snd_una)
        return false;
    c->peer_window = p->tcp_window;
    if (bytes == 0)
        return true;
    c->resends = 0;
    c->snd_una = p->tcp_ack;
    if (!c->established) {
        c->established = true;
        bytes--; /* the SYN */
    }
    size_t taken = PV_MIN((size_t)bytes, c->answer_len); /* the rest is our FIN */
    c->answer_len -= taken;
    if (taken)
        memmove(c->answer, c->answer + taken, c->answer_len);
    return true;
}

/* Takes data that is in order; true when something must be acknowledged. */
static bool take_data(struct connection *c, const struct net_packet *p, const uint8_t *payload)
{
    size_t len = p->end - p->payload;
    bool fin = p->tcp_flags & NET_TCP_FIN;
    if (len == 0 && !fin)
        return p->tcp_seq != c->rcv_next; /* a probe */
    if (p->tcp_seq != c->rcv_next || c->their_fin)
        return true;
    size_t room = c->asking ? 0 : QUESTION_MAX - c->question_len;
    size_t take = PV_MIN(len, room);
    memcpy(c->question + c->question_len, payload, take);
    c->question_len += take;
    c->rcv_next += (uint32_t)take;
    if (fin && take == len) {
        c->rcv_next++;
        c->their_fin = true;
    }
    return true;
}

void net_dns_tcp_input(struct net_dns_tcp *t, const struct net_packet *p, const uint8_t *payload)
{
    struct connection *c = find(t, p);
    bool syn = p->tcp_flags & NET_TCP_SYN, ack = p->tcp_flags & NET_TCP_ACK;
    if (c && syn && !ack && p->tcp_seq + 1 != c->rcv_next) {
        forget(c); /* the guest begins anew */
        c = NULL;
    }
    if (!c) {
        if (syn && !ack && !(p->tcp_flags & (NET_TCP_RST | NET_TCP_FIN)))
            open_connection(t, p);
        else
            refuse(t, p);
        return;
    }
    if (p->tcp_flags & NET_TCP_RST) {
        if (p->tcp_seq == c->rcv_next)
            forget(c);
        return;
    }
    c->heard_ns = t->o.now();
    if (syn) { /* ours was lost */
        send_segment(c, c->snd_una, NET_TCP_SYN, NULL, 0);
        return;
    }
    if (!ack || !take_ack(c, p)) {
        refuse(t, p);
        return;
    }
    bool must_ack = c->established && take_data(c, p, payload);
    if (must_ack)
        send_segment(c, c->snd_next, 0, NULL, 0);
    if (c->answer_len && (int32_t)(c->snd_next - c->snd_una) >= 0 &&
        c->snd_next - c->snd_una < c->answer_len)
        send_from(c, c->snd_next);
    if (c->our_fin && c->snd_una == c->snd_next) {
        forget(c);
        return;
    }
    if (ask_next(c))
        send_fin(c);
}
