/* SPDX-License-Identifier: Apache-2.0
 *
 * guest_internal.h: between the two sides of a guest's start: guest.c in the monitor and
 * guest_stages.c in the child.
 */
#ifndef JAIL_GUEST_INTERNAL_H
#define JAIL_GUEST_INTERNAL_H

#include "base/error.h"
#include "jail/guest.h"

#include <stdbool.h>

/* Shared memory that the child writes and the monitor reads once the control socket closed: it
 * works without a system call, so also when the filter is already installed. */
struct jail_guest_report {
    struct jail_walls walls;
    struct pv_error error; /* code != 0: the child gave up */
    bool user_ns_refused;  /* it gave up because its user namespace is of no use: try without */
    bool executing;        /* all stages are behind it */
};

struct jail_guest_child {
    const struct jail_guest *config;
    struct jail_guest_report *report; /* shared with the monitor */
    int control;                      /* one byte: go on; end of file: the monitor is dead */
    int null_fd;                      /* /dev/null */
    unsigned long namespaces;         /* CLONE_NEWUSER and CLONE_NEWPID, as far as it has them */
    bool become;                      /* started by root: become config->uid and gid */
    bool nproc_is_own;                /* RLIMIT_NPROC counts per user namespace (Linux 5.14) */
    uid_t uid;                        /* of the monitor, in its user namespace */
    gid_t gid;
};

/* Goes through the stages and executes the guest kernel. Only in a child after fork. */
_Noreturn void jail_guest_enter(const struct jail_guest_child *child);

#endif
