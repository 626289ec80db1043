/* SPDX-License-Identifier: Apache-2.0
 *
 * power.h: the end of the machine.
 */
#ifndef AGENT_POWER_H
#define AGENT_POWER_H

#include "agent/reap.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct agent_power {
    struct agent_reaper *reaper;
    struct pv_loop_source *timer;
    enum { AGENT_POWER_ON, AGENT_POWER_TERM, AGENT_POWER_KILL, AGENT_POWER_LINGER } phase;
    bool linger; /* somebody listens: let the last exit codes leave before the power goes */
    /* The last thing before the power goes, when nothing runs any more; may be NULL. */
    void (*on_quiet)(void *data);
    void *data;
};

/* Returns 0 or -errno. */
int agent_power_init(struct agent_power *p, struct pv_loop *loop, struct agent_reaper *reaper,
                     void (*on_quiet)(void *data), void *data);
/* Ends all processes: SIGTERM, SIGKILL after grace_ms (0: at once); then on_quiet and power-off. A
 * second call can only make it faster. linger: sessions are connected, their ends must be sent. */
void agent_power_shutdown(struct agent_power *p, uint32_t grace_ms, bool linger);

/* Off, now. */
_Noreturn void agent_power_off(void);

/* From now on a crash of this process says so, to the log and, as SETUP_FAILED, to setup_fd (-1:
 * nobody), and powers off instead of panicking the kernel. May be called again. */
void agent_power_guard(int setup_fd);

#endif
