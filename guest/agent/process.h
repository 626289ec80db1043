/* SPDX-License-Identifier: Apache-2.0
 *
 * process.h: starts a process of the workload with pipes or a terminal.
 */
#ifndef AGENT_PROCESS_H
#define AGENT_PROCESS_H

#include "agent/exec.h"

#include <sys/types.h>

/* Our ends: non-blocking, close-on-exec, owned by whoever started the process. */
struct agent_process {
    pid_t pid;
    int in, out;    /* with a terminal two descriptors of its master */
    int err;        /* -1 with a terminal */
    int failure_fd; /* one struct agent_exec_failure, or just the end when the program runs */
};

/* Forks. Whether the program starts is told through failure_fd later. */
int agent_process_start(const struct agent_world *world, const struct wire_process *process,
                        struct agent_process *ret_process, struct pv_error *err);
/* What failure_fd says: 1 the program runs, 0 not known yet, or -EIO and *ret_failure (with text
 * and code filled in any case). */
int agent_process_get_result(int failure_fd, struct agent_exec_failure *ret_failure);

#endif
