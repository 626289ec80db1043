/* SPDX-License-Identifier: Apache-2.0
 *
 * mounts.h: the kernel's own file systems, and the settings that live in them.
 */
#ifndef AGENT_MOUNTS_H
#define AGENT_MOUNTS_H

#include "agent/world.h"
#include "base/error.h"

/* Mounts /dev, /proc, /sys and what is below them, makes the usual links, sets up cgroups, the
 * loopback network and kernel settings, and fills *world (but its hostname) with descriptors of
 * private copies of the mounts. */
int agent_mounts_make(struct agent_world *world, struct pv_error *err);

/* Moves /dev, /proc and /sys to the folder, a future root. */
int agent_mounts_move(const char *root, struct pv_error *err);

#endif
