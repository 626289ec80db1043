/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroup.h: the cgroup of the workload, and the memory that is kept from it.
 */
#ifndef AGENT_CGROUP_H
#define AGENT_CGROUP_H

#include "base/loop.h"

#include <stdint.h>

#define AGENT_CGROUP_CPU_TEXT 32

/* Makes /sys/fs/cgroup/workload, with the controllers that the kernel has and a limit just below
 * the machine's memory. Returns its cgroup.procs for writing, or -errno. */
int agent_cgroup_make(void);
/* Keeps the limit in step with a machine whose memory grows. 0 or -errno. */
int agent_cgroup_watch(struct pv_loop *loop);

/* The machine has another amount of memory: the limit follows, down to what the workload cannot do
 * without. */
void agent_cgroup_adapt(void);

/* The memory.reclaim of the whole machine: borrowed; -1: the kernel has none. */
int agent_cgroup_get_reclaim(void);

/* The workload may use so many thousandths of a CPU; 0: any. 0 or -errno. */
int agent_cgroup_set_cpu(uint32_t milli);
/* The same as the text of a cpu.max. Returns its length. */
int agent_cgroup_cpu_text(uint32_t milli, char text[AGENT_CGROUP_CPU_TEXT]);

/* The limit for a workload that has to fit into `wanted` bytes, from its memory.current and the
 * text of its memory.stat: what is not file pages stays, with a little more, so that lowering the
 * limit never calls the OOM killer. */
uint64_t agent_cgroup_lower(uint64_t wanted, uint64_t current, const char *stat);
/* What is kept for the kernel and the agent in a machine of total bytes. */
uint64_t agent_cgroup_reserve(uint64_t total);
/* The limit for a machine of total bytes, of which the kernel itself used `used` at boot. */
uint64_t agent_cgroup_limit(uint64_t total, uint64_t used);

#endif
