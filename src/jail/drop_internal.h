/* SPDX-License-Identifier: Apache-2.0
 *
 * drop_internal.h: giving up identity, capabilities and resources: the steps that both jails share.
 *
 * Everything here but jail_decide_identity runs after fork too: system calls only, no allocation,
 * no locks.
 */
#ifndef JAIL_DROP_INTERNAL_H
#define JAIL_DROP_INTERNAL_H

#include "base/error.h"
#include "jail/walls.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a uid looks like from inside a guest's user namespace: "nobody", never a mapped host id. */
#define JAIL_INNER_ID 65534

/* As strerror, but safe after fork. */
const char *jail_errno_text(int code);

/* True when code is how a host refuses a namespace, a mount or a similar privilege, by its rules,
 * its limits or its build: a missing wall, not a failure. EINVAL is not among them: only clone and
 * unshare use it for what is not built in, elsewhere it is a bug of ours. */
bool jail_is_refusal(int code);

/* Writes text into an existing file of procfs or the like, in one write. 0 or -errno. */
int jail_write_text(const char *path, const char *text);

/* Maps one outer id to one inner id: `map` is /proc/<pid>/uid_map or gid_map. 0 or -errno. */
int jail_write_id_map(const char *map, uint32_t inner, uint32_t outer);

/* Whether this process must become uid and gid: yes when it is root, unless it is the root of a
 * user namespace that has no such ids and is a plain user outside. Not after fork. */
int jail_decide_identity(uid_t uid, gid_t gid, bool *ret_become, struct pv_error *err);

/* Locks the secure bits and empties the bounding and ambient sets; comes before
 * jail_drop_identity. Returns false when this process may not (it never had the privilege). */
bool jail_drop_bounding(void);

/* Becomes uid and gid without supplementary groups; groups: false where setgroups is denied. */
int jail_drop_identity(uid_t uid, gid_t gid, bool groups, struct pv_error *err);

/* Empties the other capability sets but for the bits of keep, which stay permitted and effective,
 * checks that nothing else is left, and records the wall: with anything kept it does not stand. */
int jail_drop_capabilities(bool bounding_dropped, uint64_t keep, struct jail_walls *walls,
                           struct pv_error *err);

int jail_set_no_new_privs(struct jail_walls *walls, struct pv_error *err);

/* Sets soft and hard limit to value, or to the present hard limit if that is lower. */
int jail_set_rlimit(int resource, uint64_t value, struct pv_error *err);

/* Cores, locked memory, queues and priorities: limits that are the same in both jails. */
int jail_set_common_rlimits(uint64_t memlock, struct pv_error *err);

/* Closes all descriptors from first on. 0 or -errno. */
int jail_close_from(unsigned first);

#endif
