/* SPDX-License-Identifier: Apache-2.0
 *
 * oom.h: notices the processes that the kernel kills for want of memory.
 */
#ifndef AGENT_OOM_H
#define AGENT_OOM_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>

#define AGENT_OOM_NAME_MAX 64

/* Reads one record of /dev/kmsg. True when it is the kernel's own word (not a process's) that it
 * killed a process, of the name then written. */
bool agent_oom_parse(const char *record, char ret_name[AGENT_OOM_NAME_MAX]);

/* Watches the kernel's log from now on; at most one watch. 0 or -errno. */
int agent_oom_watch(struct pv_loop *loop, void (*on_kill)(void *data, const char *name),
                    void *data);
/* Reads what the log has now: the end of a killed process can be seen before the word about it. */
void agent_oom_look(void);

#endif
