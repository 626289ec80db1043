/* SPDX-License-Identifier: Apache-2.0
 *
 * exec.h: what happens in the child between fork and the workload's program.
 */
#ifndef AGENT_EXEC_H
#define AGENT_EXEC_H

#include "agent/world.h"
#include "base/error.h"
#include "wire/session.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit codes as Docker uses them. */
#define AGENT_EXEC_FAILED 125    /* something of ours went wrong before the command was tried */
#define AGENT_EXEC_NOT_RUN 126   /* the command is there but cannot be run */
#define AGENT_EXEC_NOT_FOUND 127 /* there is no such command */

/* Written to failure_fd, at once, when the program did not start. At its success the descriptor
 * closes without a word. */
struct agent_exec_failure {
    uint32_t code;
    char text[PV_ERROR_TEXT_MAX];
};

struct agent_exec {
    const struct agent_world *world;
    const struct wire_process *process;
    int stdio[3]; /* above 2 */
    int failure_fd;
};

/* Becomes the process. Runs in a freshly forked child, where it may block and allocate. */
_Noreturn void agent_exec_run(const struct agent_exec *e);

#endif
