/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_internal.h: connections, as the files of net/tcp share them.
 */
#ifndef NET_TCP_INTERNAL_H
#define NET_TCP_INTERNAL_H

#include "net/tcp.h"
#include "net/tcp_ring.h"

#include <linux/if_ether.h>
#include <sys/queue.h>

#define TCP_BUCKETS 4096u
#define TCP_BUDGET (64u << 20)
#define TCP_IOV_MAX 1024u
/* Shift of the windows that we announce: up to 8 MiB. */
#define TCP_SCALE 7u
#define TCP_SCALE_MAX 14u
#define TCP_MSS_LEAST 64u
/* What one connection may do before others get their turn. */
#define TCP_SEGMENTS_PER_TURN 64u
#define TCP_BYTES_PER_TURN (1u << 20)
#define TCP_CONNECTIONS_PER_TURN 64u

#define MS_NS 1000000ull
#define TCP_RTO_NS (300 * MS_NS)
#define TCP_RTO_MAX_NS (60000 * MS_NS)
#define TCP_TRIES_OPENING 8u /* 300 ms doubling: 76 s */
#define TCP_TRIES_OPEN 20u   /* about a quarter of an hour */

enum tcp_state {
    CONN_CONNECTING, /* the guest began; the host's socket is being connected */
    CONN_ASKING,     /* the host's peer began; the guest was asked */
    CONN_ANSWERED,   /* the guest was told yes, and has not said that it knows */
    CONN_OPEN,       /* both ends know; each direction ends on its own */
    CONN_GONE,       /* in no table any more, freed at the end of the turn */
};

struct tcp_conn {
    struct net_tcp *tcp;
    struct tcp_conn *chain;       /* in its bucket */
    TAILQ_ENTRY(tcp_conn) in_all; /* or among the dead */
    TAILQ_ENTRY(tcp_conn) in_ready;
    uint32_t hash;
    struct net_packet_ends ends; /* src: the guest */
    uint8_t guest_mac[6], gateway_mac[6];
    enum tcp_state state;

    int fd; /* of the host; -1: none any more */
    struct pv_loop_source *source;
    bool readable, writable; /* as far as we know: edges of epoll set them, -EAGAIN clears them */
    bool hung_up;            /* its end will come without another edge */
    bool host_eof;           /* all that comes from the host is in to_guest */
    bool host_broken;        /* nothing can be written to it or read from it any more */
    bool host_shut;          /* nothing more is written to it: it was told, or cannot be told */
    bool host_deaf;          /* it was the latter */

    bool is_ready;  /* in the list of those that have something to do */
    bool ack_due;   /* the guest must hear from us */
    bool syn_due;   /* our first segment found no room */
    bool guest_fin; /* the guest will send nothing more */
    bool fin_sent, fin_acked;

    /* From the guest (RFC 9293, 3.3.1): what came, up to where it may send. */
    uint32_t irs, rcv_nxt, rcv_edge;
    bool scaled; /* both sides scale their windows */
    struct net_tcp_ring to_host;

    /* To the guest: to_guest begins with the byte snd_una. */
    uint32_t iss, snd_una, snd_nxt;
    uint32_t snd_wnd;
    uint8_t snd_scale;
    uint16_t mss;
    unsigned dup_acks;
    bool recovering; /* segments before `recover` are said again as the guest asks for them */
    uint32_t recover;
    struct net_tcp_ring to_guest;

    uint64_t due_ns;         /* of the timer; 0: none */
    unsigned tries, backoff; /* since the guest last spoke; since something moved */
};

TAILQ_HEAD(tcp_list, tcp_conn);

struct tcp_listener;

struct net_tcp {
    struct net_tcp_options o;
    struct tcp_conn **buckets;
    uint64_t key[2];
    struct tcp_list all, ready, dead;
    unsigned count, max;
    struct tcp_listener *listeners;
    struct pv_loop_source *after, *timer;
    uint64_t timer_ns; /* when the timer is armed for; 0: it is not */
    bool blocked;      /* the guest has no room */
    struct net_tcp_budget budget;
    uint64_t counters[NET_TCP_COUNTERS];
    struct iovec iov[TCP_IOV_MAX];
};

/* tcp.c */
/* A connection with these ends, in the table; NULL: out of memory, or there are too many. */
struct tcp_conn *tcp_conn_new(struct net_tcp *t, const struct net_packet_ends *ends);
struct tcp_conn *tcp_conn_find(struct net_tcp *t, const struct net_packet_ends *ends);
/* Takes it out of everything. reset: the host's peer sees a reset rather than an end. The memory
 * stays until the end of the turn; the state is CONN_GONE. */
void tcp_conn_end(struct tcp_conn *c, bool reset);
/* Lets it have its turn. */
void tcp_conn_schedule(struct tcp_conn *c);
/* What there is to do for it, as far as it goes now. */
void tcp_conn_serve(struct tcp_conn *c);
/* The timer, from now on; 0: none. */
void tcp_conn_arm(struct tcp_conn *c, uint64_t ns);
/* The timer rings in ns nanoseconds, or earlier. */
void tcp_arm_timer(struct net_tcp *t, uint64_t ns);
uint64_t tcp_rto(const struct tcp_conn *c);
/* A number of our own to begin with (RFC 6528). */
uint32_t tcp_first_number(const struct tcp_conn *c);

/* tcp_input.c */
/* The host's socket may have got its answer. */
void tcp_input_connected(struct tcp_conn *c);

/* tcp_output.c */
/* What the guest must be told now: data, an end, that something came. */
void tcp_output(struct tcp_conn *c);
/* An acknowledgement at once, where each counts. */
void tcp_output_ack(struct tcp_conn *c);
/* The segment that the guest waits for, again. */
void tcp_output_again(struct tcp_conn *c);
/* The first segment of ours, or what keeps a silent connection going. */
void tcp_output_syn(struct tcp_conn *c);
void tcp_output_probe(struct tcp_conn *c);
/* A reset of the connection; then it is to be ended. -EAGAIN: the guest has no room, and does not
 * know. */
int tcp_output_reset(struct tcp_conn *c);
/* A frame of our own; lost when the guest has no room: it will ask again. */
void tcp_output_frame(struct net_tcp *t, uint8_t *frame, size_t len);
/* Up to where the guest may send, given what waits for the host. */
uint32_t tcp_output_edge(const struct tcp_conn *c);
/* Data that the guest has not been sent yet. */
uint32_t tcp_output_unsent(const struct tcp_conn *c);

/* tcp_host.c */
/* Begins to connect. 0 or -errno. */
int tcp_host_connect(struct tcp_conn *c);
/* Takes a descriptor that is connected. 0 or -errno; it is closed then, too. */
int tcp_host_take(struct tcp_conn *c, int fd);
/* How the attempt ended: 0, -errno, or -EAGAIN: not yet. */
int tcp_host_connected(struct tcp_conn *c);
/* Data of the guest: `len` bytes behind `skip` of the frame. How many were taken. */
size_t tcp_host_write(struct tcp_conn *c, const struct net_frame *frame, size_t skip, size_t len);
/* Writes what waits, and then the end when the guest has ended. */
void tcp_host_flush(struct tcp_conn *c);
/* Reads what there is room for. */
void tcp_host_fill(struct tcp_conn *c);

/* tcp_listen.c */
void tcp_listen_free(struct net_tcp *t);
/* A descriptor became free. */
void tcp_listen_resume(struct net_tcp *t);

#endif
