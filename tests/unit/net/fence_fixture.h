/* SPDX-License-Identifier: Apache-2.0
 *
 * fence_fixture.h: a fence between a guest and an outside that note what reaches them, a clock that
 * stands still, and a name server on the loopback.
 */
#ifndef UNIT_NET_FENCE_FIXTURE_H
#define UNIT_NET_FENCE_FIXTURE_H

#include "support/unit.h"

#include "net/dns_message.h"
#include "net/fence.h"
#include "net/packet.h"
#include "net/reply.h"

#define SECOND 1000000000ull
#define GUEST "10.0.2.15"
#define GUEST6 "fd00::15"
#define DNS "10.0.2.3"
#define DNS6 "fd00::3"

struct seen {
    unsigned count;
    size_t len; /* of the last frame */
    uint8_t frame[NET_FRAME_MAX];
    struct net_packet p; /* of the last frame */
    bool full;           /* says -EAGAIN */
    unsigned again;      /* how often sendable or resume was called */
};

/* What the name server says to a name: addresses as text, or an alias. */
struct fixture_answer {
    const char *name;
    uint16_t type;
    const char *says; /* an address, a name for CNAME, or NULL: no records */
    uint32_t ttl;
    unsigned code;
};

struct fixture {
    struct pv_loop *loop;
    struct net_link below, *fence;
    struct seen guest, outside;
    struct net_fence_options options;
    struct workload_grants grants;

    int server_fd, server_tcp_fd;
    struct pv_loop_source *server, *server_tcp, *server_client, *give_up;
    uint16_t server_port;
    const struct fixture_answer *answers; /* ends with a NULL name */
    bool silent, truncate;
    unsigned questions;

    unsigned denials;
    struct net_denial denial; /* the last one */
    char denied_name[WORKLOAD_NAME_MAX + 1];
    struct workload_address denied_address;
};

extern uint64_t fixture_now;
uint64_t fixture_clock(void);

int fixture_set_up(void **state);
int fixture_tear_down(void **state);
/* Makes the fence with f->options; done by the first send, too. */
void fixture_start(struct fixture *f);
void fixture_grant(struct fixture *f, const char *text);
void fixture_revoke(struct fixture *f, const char *text);
struct workload_address fixture_address(const char *text);

/* A frame of the guest, or for it: what the fence's end returned. */
int fixture_send(struct fixture *f, const uint8_t *frame, size_t len);
int fixture_receive(struct fixture *f, const uint8_t *frame, size_t len);
/* The guest sends a segment or datagram from port 40000 (of the family of `to`). */
int fixture_tcp(struct fixture *f, const char *to, uint16_t port, uint8_t flags);
int fixture_udp(struct fixture *f, const char *to, uint16_t port);
/* The outside sends one from `from`'s port to the guest's port 40000. */
int fixture_tcp_in(struct fixture *f, const char *from, uint16_t port, uint8_t flags);
/* Turns the loop until `count` frames have reached the guest, or a second has passed. */
void fixture_wait(struct fixture *f, unsigned count);
/* Lets the loop do what is due. */
void fixture_turn(struct fixture *f);
uint64_t fixture_counter(struct fixture *f, const char *label);

/* The guest asks its DNS over UDP and gets the answer; its code, records noted. */
struct fixture_told {
    unsigned code, addresses, records;
    uint32_t ttl;
    struct workload_address first;
    bool truncated;
};
struct fixture_told fixture_ask(struct fixture *f, const char *name, uint16_t type);
void fixture_read_answer(const uint8_t *message, size_t len, struct fixture_told *told);

#endif
