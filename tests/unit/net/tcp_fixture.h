/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_fixture.h: net/tcp with this test in the guest's place and real sockets of the host's
 * loopback behind the gateway. The clock is the test's.
 */
#ifndef TEST_NET_TCP_FIXTURE_H
#define TEST_NET_TCP_FIXTURE_H

#include "net/reply.h"
#include "net/tcp.h"

#include "support/unit.h"

#define GUEST_PORT 40000
#define GUEST_SEQ 1000u
#define SEGMENTS_MAX 512u

/* A segment that the guest was given. */
struct told {
    struct net_packet p;
    size_t len;
    uint16_t mss;  /* 0: not said */
    int scale;     /* -1: not said */
    uint8_t *data; /* len bytes */
};

struct fixture {
    struct pv_loop *loop;
    struct pv_loop_source *timer;
    struct net_tcp *tcp;
    struct net_tcp_options options;
    bool v6;
    bool full;    /* the guest has no room */
    bool cutting; /* what is given is answered with a reset, as a fence does */
    bool (*lose)(struct fixture *f, const struct net_packet *p, size_t len);
    struct told told[SEGMENTS_MAX]; /* what came since it was last forgotten */
    unsigned num_told;
    unsigned refused; /* times that there was no room */
    int listener;     /* of the host */
    uint16_t port;
    int peer; /* the host's end, once accepted; -1 */
    /* The connection, as the guest knows it. */
    struct net_packet_ends ends;
    uint32_t seq, ack; /* what the guest sends and expects next */
    uint16_t window;
};

/* setup and teardown of cmocka; _v6: over IPv6. */
int tcp_fixture_set_up(void **state);
int tcp_fixture_set_up_v6(void **state);
int tcp_fixture_tear_down(void **state);
/* Makes f->tcp anew from f->options. */
void tcp_fixture_restart(struct fixture *f);

/* Lets the loop run for some milliseconds of real time. */
void tcp_fixture_turn(struct fixture *f);
/* Moves the clock, and lets what is due happen. */
void tcp_fixture_pass(struct fixture *f, uint64_t ms);
void tcp_fixture_forget(struct fixture *f);
/* The last segment that the guest was given; fails when there was none. */
const struct told *tcp_fixture_last(struct fixture *f);
uint64_t tcp_fixture_counter(struct fixture *f, enum net_tcp_counter counter);

/* The guest says a segment, as its connection stands; seq moves on by what it says. */
void tcp_fixture_say(struct fixture *f, uint8_t flags, const void *data, size_t len);
/* Any segment. options: whole words. */
void tcp_fixture_say_raw(struct fixture *f, uint8_t flags, uint32_t seq, uint32_t ack,
                         uint16_t window, const uint8_t *options, size_t option_bytes,
                         const void *data, size_t len);
/* Opens the connection with the usual options (MSS 65480, a scale of 7), up to both ends knowing of
 * it; f->peer is the host's end. */
void tcp_fixture_open(struct fixture *f);
/* The host's end reads exactly len bytes. */
void tcp_fixture_peer_reads(struct fixture *f, void *buf, size_t len);
/* What the guest was told in order: takes over and acknowledges it. Appends to buf. */
size_t tcp_fixture_take(struct fixture *f, uint8_t *buf, size_t room);

extern uint64_t tcp_fixture_now;
extern const uint8_t tcp_fixture_options[8];

#endif
