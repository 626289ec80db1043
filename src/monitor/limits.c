/* SPDX-License-Identifier: Apache-2.0
 *
 * limits.c: what the host's control groups hold this machine to.
 */
#include "monitor/internal.h"

/* What a guest kernel needs beside the guest's memory: its image, and for each guest process the
 * host's own structures and page tables. A guest that is full of processes needs most. */
#define MEMORY_OVERHEAD (256ull << 20)
/* A guest process is a process of the host. More than a guest's default pid_max is never needed. */
#define HOST_PROCESSES_MAX 40000

static struct jail_cgroup_limits limits_of(const struct monitor *m)
{
    uint64_t memory = PV_MAX(monitor_memory_given(m), m->spec.memory_bytes);
    return (struct jail_cgroup_limits){
        .memory_bytes = {.value = memory + memory / 2 + MEMORY_OVERHEAD},
        /* As many as it has virtual CPUs is what its threads cannot exceed anyway. */
        .cpu_milli = {.value = m->spec.cpu_milli}, /* else the guest's kernel: cpu.c */
        .pids = {.value = HOST_PROCESSES_MAX},
    };
}

int monitor_limits_make(struct monitor *m, struct pv_error *err)
{
    struct jail_cgroup_limits limits = limits_of(m);
    return jail_cgroup_create(NULL, m->spec.id, &limits, &m->cgroup, &m->limit_walls, err);
}

int monitor_limits_update(struct monitor *m, struct pv_error *err)
{
    struct jail_cgroup_limits limits = limits_of(m);
    return jail_cgroup_update(m->cgroup, &limits, &m->limit_walls, err);
}
