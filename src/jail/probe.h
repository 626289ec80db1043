/* SPDX-License-Identifier: Apache-2.0
 *
 * probe.h: what this host allows a jail to be, each fact with its evidence. `doctor` prints it.
 */
#ifndef JAIL_PROBE_H
#define JAIL_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#define JAIL_EVIDENCE_MAX 192

struct jail_fact {
    const char *name; /* "user namespaces", a string constant */
    bool yes;         /* the host has or allows it */
    int64_t
        number; /* the Landlock ABI, the CPUs allowed, max_map_count, ...; 0 without a meaning */
    char evidence[JAIL_EVIDENCE_MAX]; /* what was tried or read, and what came of it */
};

enum jail_probe_fact {
    JAIL_PROBE_USER_NAMESPACES, /* tried in a child: namespace, identity map, mount of an empty root
                                 */
    JAIL_PROBE_APPARMOR_USERNS, /* yes: AppArmor restricts user namespaces of plain users */
    JAIL_PROBE_LANDLOCK,        /* number: ABI */
    JAIL_PROBE_SECCOMP,         /* filters */
    JAIL_PROBE_CGROUP_V1,       /* mounted, with controllers we use */
    JAIL_PROBE_CGROUP_V2,       /* mounted, with controllers we use */
    JAIL_PROBE_LIMIT_MEMORY,    /* this user can set it */
    JAIL_PROBE_LIMIT_CPU,
    JAIL_PROBE_LIMIT_PIDS,
    JAIL_PROBE_CPUS,          /* number: CPUs that this process may run on */
    JAIL_PROBE_MAX_MAP_COUNT, /* number: vm.max_map_count, one limit of a guest process's memory;
                                 yes: at least what a large guest wants */
    JAIL_PROBE_COUNT,
};

struct jail_probe {
    struct jail_fact facts[JAIL_PROBE_COUNT]; /* indexed by enum jail_probe_fact */
};

/* Looks at the host; never fails: what cannot be found out is "no" with the reason as evidence.
 * Forks a short-lived child; creates no cgroup. */
void jail_probe_run(struct jail_probe *ret_probe);

#endif
