/* SPDX-License-Identifier: Apache-2.0
 *
 * launch.h: starts a monitor: a process of a new session that inherits exactly what it is given.
 */
#ifndef ISOLATION_LAUNCH_H
#define ISOLATION_LAUNCH_H

#include "base/error.h"

#include <sys/types.h>

#define ISOLATION_LAUNCH_SPEC_FD 3
#define ISOLATION_LAUNCH_READY_FD 4
#define ISOLATION_LAUNCH_LOCK_FD 5

struct isolation_launch {
    const char *program;            /* absolute */
    int error_fd;                   /* becomes 2; 0 and 1 are /dev/null */
    int spec_fd, ready_fd, lock_fd; /* become 3, 4 and 5 */
};

/* Starts it with argument `name` (for `ps`), cwd "/", no signal blocked or ignored. */
int isolation_launch_start(const struct isolation_launch *launch, const char *name, pid_t *ret_pid,
                           struct pv_error *err);
/* Waits for the line on ready_fd: 0 when it is "ok". -ECANCELED when cancel_fd (-1: none) becomes
 * readable first; the child's own error when it tells one; -EPIPE when it died without a word. */
int isolation_launch_wait(int ready_fd, int cancel_fd, struct pv_error *err);

#endif
