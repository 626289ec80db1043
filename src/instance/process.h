/* SPDX-License-Identifier: Apache-2.0
 *
 * process.h: a process named for ever: its pid together with its start time.
 */
#ifndef INSTANCE_PROCESS_H
#define INSTANCE_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct instance_process {
    pid_t pid;           /* 0: unknown */
    uint64_t start_time; /* clock ticks since boot: field 22 of /proc/PID/stat */
};

/* Opens the process: a pidfd, or -ESRCH when it is gone (also when its pid is another's now). */
int instance_process_open(const struct instance_process *process);
/* Kills it with SIGKILL and waits up to a second for its end. It must run as one of the two users,
 * so that a forged state file cannot aim at a stranger: -EPERM. Gone already is success. */
int instance_process_kill(const struct instance_process *process, uid_t owner, uid_t other_owner);
/* The start time of a living process, or 0. */
uint64_t instance_process_start_time(pid_t pid);

#endif
