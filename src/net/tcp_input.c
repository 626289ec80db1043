/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_input.c: what the guest's segments mean.
 *
 * Spec:  RFC 9293, 3.10; RFC 5961 (what a reset or a SYN must carry to be believed).
 * Trust: every field is the guest's. Checksums are not looked at, whether they are partial or said
 *        to be complete: between the guest's memory and ours nothing can get damaged, and a guest
 *        that sends nonsense under a wrong checksum could have sent it under a right one. Payload
 *        goes from the guest's memory to the socket, and may change on its way; it is the guest's.
 */
#include "net/tcp_internal.h"

#include "net/reply.h"

#include <errno.h>

#define TCP_HEADER 20u
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_SCALE 3
#define DUP_ACKS 3u
#define MSS_DEFAULT_V4 536u /* RFC 9293, 3.7.1 */
#define MSS_DEFAULT_V6 1220u
#define IP_BYTES(v6) ((v6) ? 40u : 20u)

/* A segment, as its connection looks at it. */
struct segment {
    const struct net_packet *p;
    const uint8_t *head;
    const struct net_frame *frame;
    size_t len; /* bytes of data */
    bool fin;
};

/* -- beginnings -- */

static void read_options(struct tcp_conn *c, const struct net_packet *p, const uint8_t *head)
{
    const uint8_t *at = head + p->l4 + TCP_HEADER, *end = head + p->payload;
    unsigned mss = p->v6 ? MSS_DEFAULT_V6 : MSS_DEFAULT_V4;
    c->scaled = false;
    c->snd_scale = 0;
    while (at < end && *at != OPTION_END) {
        if (*at == OPTION_NOP) {
            at++;
            continue;
        }
        if (end - at < 2 || at[1] < 2 || at[1] > end - at)
            break;
        if (at[0] == OPTION_MSS && at[1] == 4)
            mss = net_packet_u16(at + 2);
        if (at[0] == OPTION_SCALE && at[1] == 3) {
            c->scaled = true;
            c->snd_scale = PV_MIN(at[2], (uint8_t)TCP_SCALE_MAX);
        }
        at += at[1];
    }
    unsigned most = c->tcp->o.mtu - IP_BYTES(p->v6) - TCP_HEADER;
    mss = PV_MIN(mss, most);
    c->mss = (uint16_t)PV_MAX(mss, TCP_MSS_LEAST);
}

/* The guest's SYN, with or without an acknowledgement. Data in it come again. */
static void take_syn(struct tcp_conn *c, const struct net_packet *p, const uint8_t *head)
{
    read_options(c, p, head);
    c->irs = p->tcp_seq;
    c->rcv_nxt = c->rcv_edge = c->irs + 1;
    c->snd_wnd = p->tcp_window; /* in a SYN it is not scaled */
    memcpy(c->guest_mac, p->src_mac, 6);
    memcpy(c->gateway_mac, p->dst_mac, 6);
}

static void answer_reset(struct net_tcp *t, const struct net_packet *p)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    if (p->tcp_flags & NET_TCP_RST)
        return;
    tcp_output_frame(t, frame, net_reply_reset(frame, p));
}

/* Tells the guest that its destination cannot be reached, about a SYN like the one it sent. */
static void answer_unreachable(struct tcp_conn *c, bool host)
{
    uint8_t syn[NET_REPLY_BYTES_MAX], frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path path = {.ends = c->ends};
    struct net_packet p;
    memcpy(path.src_mac, c->guest_mac, 6);
    memcpy(path.dst_mac, c->gateway_mac, 6);
    size_t len = net_reply_segment(syn, &path, c->irs, 0, NET_TCP_SYN, 0, NULL, 0, NULL, 0);
    if (net_packet_parse(syn, len, &p) == 0)
        tcp_output_frame(c->tcp, frame, net_reply_unreachable(frame, &p, syn, host));
}

/* The connection does not come about, by the host's word (a negative errno). */
static void refuse(struct tcp_conn *c, int rc)
{
    switch (-rc) {
    case ETIMEDOUT: /* as silent as the other end */
        break;
    case EMFILE:
    case ENFILE:
        c->tcp->counters[NET_TCP_EXHAUSTED]++;
        tcp_output_reset(c);
        break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENOMEM:
    case ENOBUFS:
        tcp_output_reset(c);
        break;
    default:
        answer_unreachable(c, rc == -EHOSTUNREACH);
        break;
    }
    c->tcp->counters[NET_TCP_FAILED]++;
    tcp_conn_end(c, true);
}

void tcp_input_connected(struct tcp_conn *c)
{
    int rc = tcp_host_connected(c);
    if (rc == -EAGAIN)
        return;
    if (rc < 0) {
        refuse(c, rc);
        return;
    }
    c->state = CONN_ANSWERED;
    c->iss = c->snd_una = tcp_first_number(c);
    c->snd_nxt = c->iss + 1;
    tcp_output_syn(c);
    tcp_conn_arm(c, tcp_rto(c));
}

static void begin(struct net_tcp *t, const struct net_packet *p, const uint8_t *head)
{
    if ((p->tcp_flags & (NET_TCP_SYN | NET_TCP_ACK | NET_TCP_FIN | NET_TCP_RST)) != NET_TCP_SYN) {
        answer_reset(t, p);
        return;
    }
    struct tcp_conn *c = tcp_conn_new(t, &p->ends);
    if (!c) {
        t->counters[NET_TCP_EXHAUSTED]++;
        t->counters[NET_TCP_FAILED]++;
        answer_reset(t, p);
        return;
    }
    take_syn(c, p, head);
    int rc = tcp_host_connect(c);
    if (rc < 0)
        refuse(c, rc);
}

/* -- ends -- */

static void broken_by_guest(struct tcp_conn *c)
{
    c->tcp->counters[c->state == CONN_OPEN ? NET_TCP_RESET : NET_TCP_FAILED]++;
    tcp_conn_end(c, true);
}

/* RFC 5961: believed only when it carries the very number that we wait for; other numbers in the
 * window are answered with an acknowledgement, which makes a true one come again. */
static void take_reset(struct tcp_conn *c, const struct net_packet *p)
{
    uint32_t ahead = p->tcp_seq - c->rcv_nxt;
    if (ahead == 0)
        broken_by_guest(c);
    else if (ahead <= c->rcv_edge - c->rcv_nxt)
        tcp_output_ack(c);
}

/* -- acknowledgements -- */

static void opened(struct tcp_conn *c)
{
    c->state = CONN_OPEN;
    c->snd_una = c->iss + 1;
    c->tries = c->backoff = 0;
    tcp_conn_arm(c, 0);
    c->tcp->counters[NET_TCP_OPENED]++;
}

/* Something new was acknowledged. */
static void advance(struct tcp_conn *c, uint32_t ack)
{
    uint32_t bytes = ack - c->snd_una;
    if (c->fin_sent && ack == c->snd_nxt) {
        c->fin_acked = true;
        bytes--;
    }
    net_tcp_ring_drop(&c->to_guest, &c->tcp->budget, bytes);
    c->snd_una = ack;
    c->dup_acks = c->backoff = 0;
    if (c->recovering && (int32_t)(ack - c->recover) >= 0)
        c->recovering = false;
    if (c->recovering)
        tcp_output_again(c);
}

static void note_duplicate(struct tcp_conn *c)
{
    if (++c->dup_acks != DUP_ACKS || c->recovering)
        return;
    c->recovering = true;
    c->recover = c->snd_nxt;
    tcp_output_again(c);
}

/* False: the segment is not to be looked at further. */
static bool take_ack(struct tcp_conn *c, const struct segment *s)
{
    const struct net_packet *p = s->p;
    uint32_t window = (uint32_t)p->tcp_window << (c->scaled ? c->snd_scale : 0);
    int32_t moved = (int32_t)(p->tcp_ack - c->snd_una);
    if ((int32_t)(p->tcp_ack - c->snd_nxt) > 0) { /* of what was never sent */
        tcp_output_ack(c);
        return false;
    }
    c->tries = 0;
    if (moved < 0)
        return true; /* an old one */
    if (moved > 0)
        advance(c, p->tcp_ack);
    else if (c->snd_nxt != c->snd_una && !s->len && !s->fin && window == c->snd_wnd)
        note_duplicate(c);
    c->snd_wnd = window;
    bool waits = c->snd_nxt != c->snd_una || tcp_output_unsent(c);
    if (moved > 0 || !waits)
        tcp_conn_arm(c, waits ? tcp_rto(c) : 0);
    return true;
}

/* -- data -- */

static void take_data(struct tcp_conn *c, const struct segment *s)
{
    uint32_t behind = c->rcv_nxt - s->p->tcp_seq; /* what is there already */
    size_t room = c->rcv_edge - c->rcv_nxt, len = s->len;
    bool fin = s->fin;
    if (s->p->tcp_seq != c->rcv_nxt && ((int32_t)behind < 0 || behind >= len + fin)) {
        /* A hole, or nothing new: a question whether we are there, or a frame that came twice. */
        c->tcp->counters[NET_TCP_DROPPED] += len || fin;
        tcp_output_ack(c);
        return;
    }
    if (!len && !fin)
        return;
    c->ack_due = true;
    if (c->guest_fin) /* behind its own end */
        return;
    len -= PV_MIN((size_t)behind, len);
    if (len > room) {
        len = room;
        fin = false;
    }
    size_t done = tcp_host_write(c, s->frame, s->p->payload + behind, len);
    c->rcv_nxt += (uint32_t)done;
    if (done < s->len - PV_MIN((size_t)behind, s->len))
        c->tcp->counters[NET_TCP_DROPPED]++;
    else if (fin) {
        c->rcv_nxt++;
        c->guest_fin = true;
    }
}

/* -- segments by state -- */

/* Between SYN and its answer the guest may change its mind. */
static void while_connecting(struct tcp_conn *c, const struct segment *s)
{
    const struct net_packet *p = s->p;
    if (p->tcp_flags & NET_TCP_RST) {
        if (p->tcp_seq == c->rcv_nxt)
            broken_by_guest(c);
    } else if (p->tcp_flags & NET_TCP_ACK) {
        answer_reset(c->tcp, p);
    } else if (p->tcp_flags & NET_TCP_SYN) {
        take_syn(c, p, s->head);
    }
}

static void while_asking(struct tcp_conn *c, const struct segment *s)
{
    const struct net_packet *p = s->p;
    bool acks = p->tcp_flags & NET_TCP_ACK;
    if (acks && p->tcp_ack != c->iss + 1) {
        answer_reset(c->tcp, p);
    } else if (p->tcp_flags & NET_TCP_RST) {
        if (acks)
            broken_by_guest(c);
    } else if (p->tcp_flags & NET_TCP_SYN) {
        take_syn(c, p, s->head);
        if (acks) {
            opened(c);
            c->ack_due = true;
            tcp_conn_schedule(c);
            return;
        }
        c->state = CONN_ANSWERED; /* both began at once */
        tcp_output_syn(c);
    }
}

static void while_open(struct tcp_conn *c, const struct segment *s)
{
    const struct net_packet *p = s->p;
    if (p->tcp_flags & NET_TCP_RST) {
        take_reset(c, p);
        return;
    }
    if (p->tcp_flags & NET_TCP_SYN) {
        if (c->state == CONN_ANSWERED && p->tcp_seq == c->irs && !(p->tcp_flags & NET_TCP_ACK))
            tcp_output_syn(c); /* our answer got lost */
        else if (c->state == CONN_ANSWERED && p->tcp_seq == c->irs && p->tcp_ack == c->iss + 1) {
            opened(c); /* both began at once */
            c->ack_due = true;
            tcp_conn_schedule(c);
        } else
            tcp_output_ack(c);
        return;
    }
    if (!(p->tcp_flags & NET_TCP_ACK))
        return;
    if (c->state == CONN_ANSWERED) {
        if (p->tcp_ack != c->iss + 1) {
            answer_reset(c->tcp, p);
            return;
        }
        opened(c);
    }
    if (!take_ack(c, s) || c->state == CONN_GONE)
        return;
    take_data(c, s);
    tcp_conn_schedule(c);
}

void net_tcp_input(struct net_tcp *t, const struct net_packet *p, const uint8_t *head,
                   const struct net_frame *frame)
{
    struct segment s = {.p = p,
                        .head = head,
                        .frame = frame,
                        .len = p->end - p->payload,
                        .fin = p->tcp_flags & NET_TCP_FIN};
    if (p->v6 ? !t->o.has6 : !t->o.has4)
        return;
    struct tcp_conn *c = tcp_conn_find(t, &p->ends);
    if (!c)
        begin(t, p, head);
    else if (c->state == CONN_CONNECTING)
        while_connecting(c, &s);
    else if (c->state == CONN_ASKING)
        while_asking(c, &s);
    else
        while_open(c, &s);
}
