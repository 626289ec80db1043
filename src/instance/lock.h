/* SPDX-License-Identifier: Apache-2.0
 *
 * lock.h: the locks that make commands safe against each other and against being killed.
 *
 * Three kinds, none of which outlives its holder:
 *   the store's lock    short, while a name or an instance appears or goes
 *   an instance's guard while a command moves an instance from one state to another
 *   the life lock       file `lock` of an instance: held by its creator, then, through the
 *                       inherited descriptor, by its monitor for as long as that lives. It is the
 *                       truth about liveness: no pid can be reused, no crash can forget it.
 */
#ifndef INSTANCE_LOCK_H
#define INSTANCE_LOCK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define INSTANCE_LOCK_FILE "lock"

/* Locks a folder (store or instance) until the returned descriptor is closed. With wait false,
 * -EWOULDBLOCK when another process has it. */
int instance_lock_folder(int dirfd, bool wait, struct pv_error *err);

/* Takes the life lock of the instance in dirfd, creating its file. Returns the descriptor that
 * holds it, to be handed to a monitor; -EBUSY when it is held. */
int instance_lock_hold(int dirfd, struct pv_error *err);
/* Is the life lock held? Takes nothing, disturbs nobody. A missing file is not held. */
bool instance_lock_is_held(int dirfd);
/* Waits until it is free: 0, or -ETIMEDOUT. timeout_ns 0: for ever. */
int instance_lock_wait(int dirfd, uint64_t timeout_ns);

#endif
