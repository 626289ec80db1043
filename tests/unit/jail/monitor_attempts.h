/* SPDX-License-Identifier: Apache-2.0
 *
 * monitor_attempts.h: what a jailed monitor tries to reach, and what should stop it.
 */
#ifndef TESTS_JAIL_MONITOR_ATTEMPTS_H
#define TESTS_JAIL_MONITOR_ATTEMPTS_H

#include "base/error.h"
#include "jail/walls.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/* The walls that stop an attempt. */
enum {
    BY_ROOT = 1, /* the own root */
    BY_LANDLOCK = 2,
    BY_LANDLOCK4 = 4,
    BY_LANDLOCK6 = 8,
    BY_NET = 16,
    ALWAYS = 32,
    NEVER = 0, /* it may still */
};

#define ATTEMPTS_MAX 40

/* What the jailed child says, in memory that it shares with the test. */
struct report {
    int rc;
    struct pv_error err;
    struct jail_walls walls;
    int results[ATTEMPTS_MAX]; /* by attempt: errno, 0 when it got through, -1 when it was not made
                                */
    unsigned uid;
    int dumpable;
};

/* What there is to be reached; test_monitor.c makes it. */
extern struct prey {
    char top[64], run[80], state[80], share[80], files[80], file[80], sockets[80];
    struct sockaddr_un outside, abstract;
    socklen_t abstract_len;
    struct sockaddr_in tcp;
    int listeners[4];
    struct report *report;
    int state_fd;
    int write_fd, read_fd, one_fd, sockets_fd; /* binds */
    pid_t guest;                               /* a process of the monitor's */
} t;

struct attempt {
    const char *name;
    int (*attempt)(void); /* errno, 0 when it got through */
    unsigned by;
};
extern const struct attempt attempts[];
extern const size_t num_attempts;

/* Some of them, for others to try. errno, 0 when it got through. */
int try_mount(void);
int try_setuid(void);

#endif
