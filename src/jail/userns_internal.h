/* SPDX-License-Identifier: Apache-2.0
 *
 * userns_internal.h: tries a user namespace in a child, because a process that entered one which
 * turns out to be of no use cannot go back.
 */
#ifndef JAIL_USERNS_INTERNAL_H
#define JAIL_USERNS_INTERNAL_H

#include <stdbool.h>

/* Makes a user namespace in a short-lived child and maps the caller's ids there; with mount, also
 * mounts a tmpfs in a mount namespace of it. Returns 0 or -errno; *ret_step then names what failed,
 * a string constant. Sends no SIGCHLD. */
int jail_userns_try(bool mount, const char **ret_step);

/* Maps the calling process's ids, uid and gid outside, to the same numbers in the user namespace
 * that it has just entered. 0 or -errno. Safe after fork. */
int jail_userns_map_self(unsigned uid, unsigned gid);

#endif
