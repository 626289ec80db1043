/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_internal.h: what the parts of the private switch share.
 */
#ifndef NET_SWITCH_INTERNAL_H
#define NET_SWITCH_INTERNAL_H

#include "base/rate.h"
#include "net/switch.h"
#include "net/switch_ring.h"
#include "workload/member.h"

#include <netinet/in.h>
#include <sys/un.h>

#define SWITCH_LINES_MAX 256 /* to other machines at the same time */
#define SWITCH_RINGS_MAX 32  /* of them with a ring */
#define SWITCH_HEAD_MAX 128  /* bytes of a frame that the way is chosen by */
#define SWITCH_ALL_OFFLOADS                                                                        \
    (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_USO)

enum switch_counter {
    SWITCH_SENT,        /* frames to other machines */
    SWITCH_RECEIVED,    /* frames from them */
    SWITCH_LINES_MADE,  /* both ways */
    SWITCH_UNREACHABLE, /* no machine, or none that lives, has the address */
    SWITCH_SLOW,        /* dropped: the other machine does not read */
    SWITCH_FLOOD,       /* dropped: too many broadcasts */
    SWITCH_FORGED,      /* dropped: from another's address, ours or theirs */
    SWITCH_BROKEN,      /* dropped: what came over a line is no frame */
    SWITCH_STRANGERS,   /* messages to our port that were none */
    SWITCH_RINGS_MADE,  /* lines with a ring */
    SWITCH_SIGNS,       /* bells, and the like, that we sent */
    SWITCH_COUNTERS,
};

struct net_switch;

/* The way to one other machine. */
struct switch_line {
    struct net_switch *s;
    uint32_t number;
    int fd;
    struct pv_loop_source *source;
    uint32_t events;
    bool deaf; /* it did not read for too long: frames to it are dropped until it does */
    struct switch_ring *ring; /* NULL: frames are messages */
    bool ring_is_shared;      /* the other has it, too: frames are sent by it */
    bool due;                 /* it is to be looked into, without a bell */
    bool was_used;            /* since on_idle looked */
};

/* What is known of a member, from its file. */
struct switch_member {
    uint32_t number;
    struct workload_member names;
};

struct net_switch {
    struct net_link base;
    struct pv_loop *loop;
    struct workload_subnet subnet;
    uint32_t number;
    uint8_t mac[WORKLOAD_SUBNET_MAC_LEN];
    struct net_link *below;

    int folder_fd, port_fd;
    struct pv_loop_source *port_source;
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "" before the start */

    struct switch_line *lines[SWITCH_LINES_MAX];
    unsigned num_lines;
    unsigned num_rings;
    struct switch_line *waiting;   /* whose room the upper end waits for */
    struct switch_line *current;   /* which is being read; NULL once it has ended */
    struct switch_ring *last_ring; /* of the current one that has ended: its frame is in use */
    struct pv_loop_source *patience, *idle, *work;
    bool patience_runs, idle_runs, lost_waiting;
    uint64_t patience_ends;
    unsigned first_line; /* each turn begins with another one */
    struct pv_rate flood;

    /* The upper end has no room. A frame that it did not take is kept, or stays in its ring. */
    bool stopped, has_kept;
    struct net_frame kept;
    struct iovec kept_iov;

    struct switch_member *members;
    size_t num_members;
    struct timespec members_time; /* of the folder when they were read */

    uint64_t counters[SWITCH_COUNTERS];
    struct switch_ring_frame slot;                        /* what is being taken from a ring */
    uint8_t frame[NET_FRAME_MAX + 1];                     /* what is being received, or kept */
    uint8_t whole[NET_FRAME_MAX], segment[NET_FRAME_MAX]; /* a frame put together, and cut */
};

/* switch_line.c ------------------------------------------------------------------------------ */

int switch_lines_init(struct net_switch *s, struct pv_error *err);
void switch_lines_free(struct net_switch *s);
struct switch_line *switch_line_find(struct net_switch *s, uint32_t number); /* or NULL */
/* The line to a machine, made now if need be. NULL when it does not live. */
struct switch_line *switch_line_get(struct net_switch *s, uint32_t number);
/* Takes fd and ring (or NULL), also on failure. made: by us. NULL: it cannot be watched, or there
 * are too many. */
struct switch_line *switch_line_add(struct net_switch *s, uint32_t number, int fd,
                                    struct switch_ring *ring, bool made);
void switch_line_free(struct switch_line *line);
/* 0: sent, or dropped and counted. -EAGAIN: the machine is slow, sendable will be called. may_wait
 * false: it is dropped then. */
int switch_line_send(struct switch_line *line, const struct net_frame *frame, bool may_wait);
/* Takes frames from all lines again, or not. */
void switch_lines_stop(struct net_switch *s, bool stop);

/* switch_port.c ------------------------------------------------------------------------------ */

/* Binds the port. */
int switch_port_open(struct net_switch *s, const char *folder, struct pv_error *err);
void switch_port_close(struct net_switch *s);
/* Calls another machine: sends it one end of a new line. Returns our end, and the ring that it was
 * offered (or NULL), both the caller's; -errno: nobody is there. */
int switch_port_call(struct net_switch *s, uint32_t number, struct switch_ring **ret_ring);

/* switch.c ----------------------------------------------------------------------------------- */

/* A frame that came over a line. Its first piece is all of it or NET_PACKET_HEAD_MAX bytes, and
 * ours. 0: it was taken, or dropped. -EAGAIN: no room now, taking has been stopped. */
int switch_deliver(struct net_switch *s, uint32_t number, struct net_frame *frame);

/* switch_check.c ----------------------------------------------------------------------------- */

enum switch_way {
    SWITCH_TO_NOBODY,
    SWITCH_TO_MACHINE, /* *ret_number */
    SWITCH_TO_ALL,
    SWITCH_TO_BELOW,
};

/* Where a frame goes, by its first bytes. It need not be an honest one. */
enum switch_way switch_choose(const struct workload_subnet *subnet, uint32_t own,
                              const uint8_t *head, size_t len, uint32_t *ret_number);
/* Whether a frame of machine `from` for machine `to` says nothing that only others may say: its
 * MAC, IP, ARP and neighbour addresses are its own, and it is no router. */
bool switch_is_honest(const struct workload_subnet *subnet, uint32_t from, uint32_t to,
                      const uint8_t *frame, size_t len);

/* switch_names.c ----------------------------------------------------------------------------- */

/* Reads the members again when their folder has changed. */
void switch_members_refresh(struct net_switch *s);
void switch_members_free(struct net_switch *s);

#endif
