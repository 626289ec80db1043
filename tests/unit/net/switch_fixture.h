/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_fixture.h: machines on a private network, several in one process, and neighbours that the
 * tests play.
 */
#ifndef UNIT_NET_SWITCH_FIXTURE_H
#define UNIT_NET_SWITCH_FIXTURE_H

#include "support/unit.h"

#include "net/switch_internal.h"

#define SECOND_NS 1000000000ull
#define MACHINES 3
#define HOSTILE 7u /* the number of a peer that the tests play */
#define ETH 14

/* A machine: what the card would be. */
struct machine {
    struct net_link *link;
    uint32_t number;
    unsigned received, sendable;
    bool full; /* receive says -EAGAIN */
    uint8_t last[NET_FRAME_MAX];
    size_t last_bytes;
    struct virtio_net_hdr last_hdr;
};

struct fixture {
    char top[64];
    struct pv_loop *loop;
    struct pv_loop_source *timer;
    bool time_out;
    struct workload_subnet subnet;
    struct machine m[MACHINES];
};

struct net_switch *switch_of(const struct machine *m);
uint64_t counter(const struct machine *m, enum switch_counter which);
/* Opens it over a socket that a dead one may have left. */
void open_machine(struct fixture *f, struct machine *m, uint32_t number, struct net_link *below);
void write_member(struct fixture *f, uint32_t number, const char *name);
/* Machines 4, 5 and 6, with members' files m4, m5 and m6. */
int set_up(void **state);
int tear_down(void **state);
/* Turns the loop for so long. */
void turn(struct fixture *f, uint64_t ns);
/* Turns the loop until the value is there. */
void wait_for(struct fixture *f, const unsigned *value, unsigned wanted);
/* An IPv4 frame from one number to another. */
size_t make_ipv4(struct fixture *f, uint8_t *frame, uint32_t from, uint32_t to, size_t bytes);
size_t make_arp(struct fixture *f, uint8_t *frame, uint32_t from, uint32_t target);
int send_bytes(struct machine *m, const void *bytes, size_t len);
/* A socket of somebody that is bound so, below the network's folder. */
int bind_as(struct fixture *f, const char *name);
/* A message to the port of machine 4. */
void greet(struct fixture *f, int port, const void *greeting, size_t len, const int *fds,
           unsigned num_fds);

#endif
