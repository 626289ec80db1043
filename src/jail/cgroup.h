/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroup.h: memory, CPU and process limits of a machine by cgroups v2, v1 or both.
 *
 * root creates <top>/paravane/<id> in each hierarchy that has a controller we need; a plain user
 * does so where the system delegated cgroups to the user (a systemd user session on v2), and
 * nowhere else. The handle keeps the control files open, so limits are changed and usage is read
 * from within the monitor's jail; the directories are removed from outside it.
 */
#ifndef JAIL_CGROUP_H
#define JAIL_CGROUP_H

#include "jail/filter.h"
#include "jail/walls.h"

#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct jail_cgroup;

/* Where the host's cgroups are described; NULL members mean the real ones. For tests. */
struct jail_cgroup_host {
    const char *mountinfo;   /* /proc/self/mountinfo */
    const char *self_cgroup; /* /proc/self/cgroup */
    const char *parent;      /* "paravane": the directory that holds the machines' */
};

struct jail_cgroup_limit {
    uint64_t value; /* 0: no limit */
    bool required;  /* the user asked for it: refuse when it cannot be set */
};

struct jail_cgroup_limits {
    struct jail_cgroup_limit memory_bytes; /* swap is limited to as much again */
    struct jail_cgroup_limit cpu_milli;    /* thousandths of a CPU: 1500 is one and a half */
    struct jail_cgroup_limit pids;         /* tasks, threads included */
};

struct jail_cgroup_usage {
    uint64_t memory_bytes;
    uint64_t memory_peak_bytes; /* 0 when the host cannot say */
    uint64_t cpu_ns;
    uint64_t oom_kills; /* processes killed because of the memory limit */
    uint64_t pids;
    bool has_memory, has_cpu, has_pids; /* false: not known on this host, the values are 0 */
};

/* Creates the cgroups of machine id (pv_str_is_name), sets the limits and records for each of the
 * three in walls whether it stands: "v1 /memory/paravane/ID" or "not set: reason". A required limit
 * that cannot be set is an error that says what would help, and nothing is left behind; -EEXIST
 * when the id has processes already. *ret_cgroup is owned by the caller and never NULL on success,
 * also when no limit could be set (then it is empty). host: NULL for the real one. */
int jail_cgroup_create(const struct jail_cgroup_host *host, const char *id,
                       const struct jail_cgroup_limits *limits, struct jail_cgroup **ret_cgroup,
                       struct jail_walls *walls, struct pv_error *err);

/* Closes the handle; the cgroups stay. Accepts NULL. */
void jail_cgroup_close(struct jail_cgroup *cgroup);
PV_DEFINE_AUTO(jail_cgroup, struct jail_cgroup *, jail_cgroup_close)

/* Moves the process pid (with all its threads; its later children follow) into the cgroups. */
int jail_cgroup_attach(struct jail_cgroup *cgroup, pid_t pid, struct pv_error *err);

/* Changes limits of a living machine; a limit with value 0 is lifted. All or an error that names
 * the one that failed (earlier ones stay changed). `required` decides as in jail_cgroup_create.
 * -EBUSY: the machine uses more memory than the new limit and the host cannot take it back. */
int jail_cgroup_update(struct jail_cgroup *cgroup, const struct jail_cgroup_limits *limits,
                       struct jail_walls *walls, struct pv_error *err);

/* Reads what the machine uses. Allocates nothing. 0 or -errno of a file that should be readable. */
int jail_cgroup_usage(struct jail_cgroup *cgroup, struct jail_cgroup_usage *ret_usage,
                      struct pv_error *err);

/* Allows reading and writing the handle's control files from within a jail. */
int jail_cgroup_grant(const struct jail_cgroup *cgroup, struct jail_filter *filter,
                      struct pv_error *err);

/* Adds the absolute paths of the directories, for the instance's state. 0 or -ENOMEM. */
int jail_cgroup_paths(const struct jail_cgroup *cgroup, struct pv_strv *paths);

/* Kills what is still inside and removes the directories. For whoever stands outside the
 * monitor's jail. Waits up to two seconds; -EBUSY when something does not die. */
int jail_cgroup_remove(struct jail_cgroup *cgroup, struct pv_error *err);

/* The same by id, when the monitor is dead: looks in all hierarchies where this caller would
 * create it, and at `paths` (from jail_cgroup_paths; NULL: none; each must end in /<parent>/<id>,
 * else -EINVAL). Nothing there is success. */
int jail_cgroup_remove_leftovers(const struct jail_cgroup_host *host, const char *id,
                                 const struct pv_strv *paths, struct pv_error *err);

#endif
