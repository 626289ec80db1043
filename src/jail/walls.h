/* SPDX-License-Identifier: Apache-2.0
 *
 * walls.h: what a jail consists of on this host, wall by wall, as `paravane inspect` shows it.
 *
 * A wall either stands or does not, and says how or why not: nothing is silently less. The list
 * is plain data without pointers to the heap, so a child fills it in shared memory after fork.
 */
#ifndef JAIL_WALLS_H
#define JAIL_WALLS_H

#include "base/attr.h"

#include <stdbool.h>

#define JAIL_WALLS_MAX 32
#define JAIL_WALL_DETAIL_MAX 192

/* The names, as users see them. */
#define JAIL_WALL_USER "user namespace"
#define JAIL_WALL_IDENTITY "unprivileged uid"
#define JAIL_WALL_PID "pid namespace"
#define JAIL_WALL_NET "network namespace"
#define JAIL_WALL_IPC "ipc namespace"
#define JAIL_WALL_UTS "uts namespace"
#define JAIL_WALL_CGROUP "cgroup namespace"
#define JAIL_WALL_ROOT "empty root"   /* guest: nothing at all in it */
#define JAIL_WALL_OWN_ROOT "own root" /* monitor: its two directories in it */
#define JAIL_WALL_DESCRIPTORS "descriptors"
#define JAIL_WALL_RLIMITS "resource limits"
#define JAIL_WALL_PROCESSES "process limit"
#define JAIL_WALL_OOM "first to go when memory ends"
#define JAIL_WALL_CAPABILITIES "no capabilities"
#define JAIL_WALL_NO_NEW_PRIVS "no new privileges"
#define JAIL_WALL_NO_DUMP "not dumpable"
#define JAIL_WALL_PARENT "dies with the monitor"
#define JAIL_WALL_LANDLOCK "landlock"
#define JAIL_WALL_SECCOMP "seccomp"
#define JAIL_WALL_LIMIT_MEMORY "cgroup memory limit"
#define JAIL_WALL_LIMIT_CPU "cgroup cpu limit"
#define JAIL_WALL_LIMIT_PIDS "cgroup process limit"

struct jail_wall {
    const char *name; /* a string constant: one of the above */
    bool stands;
    char detail[JAIL_WALL_DETAIL_MAX]; /* how ("abi 7", "43 calls") or why not; may be empty */
};

struct jail_walls {
    struct jail_wall list[JAIL_WALLS_MAX]; /* in the order in which they were built */
    unsigned count;
};

/* Records a wall, replacing an earlier record of the same name. name: a string constant. Safe
 * after fork: allocates nothing. Text that is too long is cut. */
void jail_walls_set(struct jail_walls *walls, const char *name, bool stands, const char *fmt, ...)
    PV_PRINTF(4, 5);

/* The wall of that name, or NULL when nobody recorded it. Borrowed. */
const struct jail_wall *jail_walls_find(const struct jail_walls *walls, const char *name);

/* True when the wall is recorded and stands. */
bool jail_walls_stands(const struct jail_walls *walls, const char *name);

#endif
