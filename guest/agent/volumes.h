/* SPDX-License-Identifier: Apache-2.0
 *
 * volumes.h: shared folders of the host.
 */
#ifndef AGENT_VOLUMES_H
#define AGENT_VOLUMES_H

#include "base/error.h"
#include "wire/volume.h"

/* Mounts them, in order, in the root that is there now; mount points are made. Once, at boot. */
int agent_volumes_mount(const struct wire_mounts *mounts, struct pv_error *err);
/* Mounts the file system of a tag, which may not be there yet, for 5 seconds at most. */
int agent_volumes_mount_tag(const char *tag, const char *target, bool read_only,
                            struct pv_error *err);

#endif
