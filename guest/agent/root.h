/* SPDX-License-Identifier: Apache-2.0
 *
 * root.h: the workload's root: the image below, the writable layer above.
 */
#ifndef AGENT_ROOT_H
#define AGENT_ROOT_H

#include "base/error.h"
#include "wire/setup.h"

/* Mounts image and layer, moves the kernel's file systems in, and makes it the root of the agent.
 * *ret_layer_fd: the layer's file system, for agent_root_close. */
int agent_root_enter(const struct wire_setup *setup, int *ret_layer_fd, struct pv_error *err);
/* Before power-off: writes everything out and leaves the layer clean, as far as it goes. */
void agent_root_close(int proc_fd, int layer_fd);
/* Before power-off: forgets what was not written to a layer that will be thrown away. */
void agent_root_discard(int layer_fd);

#endif
