/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroup_internal.h: where this host's cgroups are: cgroup_find.c finds, cgroup.c uses, probe.c
 * tells.
 */
#ifndef JAIL_CGROUP_INTERNAL_H
#define JAIL_CGROUP_INTERNAL_H

#include "base/str.h"
#include "jail/cgroup.h"

/* cpuacct is v1's separate accounting of CPU time; v2 always accounts. */
enum jail_controller {
    JAIL_CONTROLLER_MEMORY,
    JAIL_CONTROLLER_CPU,
    JAIL_CONTROLLER_CPUACCT,
    JAIL_CONTROLLER_PIDS,
    JAIL_CONTROLLERS,
};

extern const char *const jail_controller_names[JAIL_CONTROLLERS];

/* One mounted hierarchy. */
struct jail_hierarchy {
    int version; /* 1 or 2 */
    char *top;   /* its mount point */
    char *own;   /* the directory of the cgroup that we are in; top when that lies outside */
    bool has[JAIL_CONTROLLERS];
};

#define JAIL_HIERARCHIES_MAX 16

struct jail_hierarchies {
    struct jail_hierarchy list[JAIL_HIERARCHIES_MAX];
    size_t count;
};

/* Reads mountinfo and self_cgroup. The caller releases with jail_hierarchies_done, also after an
 * error. No hierarchy at all is success with count 0. */
int jail_hierarchies_read(const struct jail_cgroup_host *host, struct jail_hierarchies *ret_list,
                          struct pv_error *err);
void jail_hierarchies_done(struct jail_hierarchies *list);

/* The hierarchy of a controller, or NULL. v1 first: a controller is in one hierarchy only, and
 * v2 accounts CPU time even where v1 limits it. */
const struct jail_hierarchy *jail_hierarchies_find(const struct jail_hierarchies *list,
                                                   enum jail_controller controller);

/* The i-th directory below which this user might make cgroups, best first, or NULL. The caller
 * frees. *ret_reason, when not NULL, becomes why this one cannot be used (access rights only;
 * nothing is created), or stays NULL: both owned by the caller. */
char *jail_hierarchy_base(const struct jail_hierarchy *hierarchy, unsigned i, char **ret_reason);

/* The name of the directory that holds the machines' cgroups. */
const char *jail_cgroup_parent(const struct jail_cgroup_host *host);

/* Opens dir/name; the descriptor, owned by the caller, or -errno. */
int jail_cgroup_open(const char *dir, const char *name, int flags);

/* Writes text into dir/name: 0 or -errno. */
int jail_cgroup_write(const char *dir, const char *name, const char *text);

/* True when the space-separated words of the file dir/name contain word. */
bool jail_cgroup_lists(const char *dir, const char *name, const char *word);

#endif
