/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h: what the machine lends to the processes that the agent starts.
 *
 * The descriptors are of private copies of mounts, so the agent keeps what it needs whatever the
 * workload mounts, unmounts or deletes. In tests on a host all are -1 and hostname is NULL.
 */
#ifndef AGENT_WORLD_H
#define AGENT_WORLD_H

struct agent_world {
    int proc_fd;          /* directory: procfs; -1: /proc */
    int devpts_fd;        /* directory: the devpts of /dev/pts; -1: /dev/pts */
    int cgroup_fd;        /* cgroup.procs of the workload's cgroup, for writing; -1: none */
    const char *hostname; /* borrowed; NULL: unknown */
};

#define AGENT_WORLD_INIT                                                                           \
    {                                                                                              \
        .proc_fd = -1, .devpts_fd = -1, .cgroup_fd = -1                                            \
    }

#endif
