/* SPDX-License-Identifier: Apache-2.0
 *
 * landlock_internal.h: denies files, TCP, abstract sockets and signals to the calling thread.
 */
#ifndef JAIL_LANDLOCK_INTERNAL_H
#define JAIL_LANDLOCK_INTERNAL_H

#include "base/error.h"
#include "jail/walls.h"

#include <stdbool.h>

/* The newest ABI whose denials we know. */
#define JAIL_LANDLOCK_ABI_KNOWN 7

enum jail_landlock_access {
    JAIL_LANDLOCK_EXEC,    /* this file may be executed */
    JAIL_LANDLOCK_SOCKETS, /* this directory: sockets made and removed */
    JAIL_LANDLOCK_FILES,   /* this directory: plain files made, read, written and removed */
    JAIL_LANDLOCK_READ,    /* this file or directory: read */
    JAIL_LANDLOCK_WRITE,   /* this file or directory: everything but executing */
};

struct jail_landlock_rule {
    int fd; /* a file, or a directory with all below it; borrowed */
    enum jail_landlock_access access;
};

struct jail_landlock {
    const struct jail_landlock_rule *rules; /* what stays allowed; all else is denied */
    unsigned num_rules;
    bool keep_network; /* TCP bind and connect stay possible */
    bool keep_signals; /* processes outside may still be signalled */
};

/* The host's Landlock ABI (1 or more), or -errno: -ENOSYS, -EOPNOTSUPP, -EPERM: none. */
int jail_landlock_abi(void);

/* Denies everything that this host's ABI can deny, for the calling thread and its children. Needs
 * no_new_privs. Records the wall, standing or not with the reason. Safe after fork. An error only
 * for a failure that is not the host's lack of Landlock. */
int jail_landlock_enter(const struct jail_landlock *config, struct jail_walls *walls,
                        struct pv_error *err);

#endif
