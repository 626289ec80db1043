/* SPDX-License-Identifier: Apache-2.0
 *
 * settle.h: finds the truth about instances whose monitor is gone, and cleans up behind them.
 */
#ifndef INSTANCE_SETTLE_H
#define INSTANCE_SETTLE_H

#include "instance/instance.h"

/* When the instance is dead: kills a guest that still lives, records the end if nobody did,
 * removes sockets and cgroups, and removes the instance when it was half made or is to be removed
 * (--rm). Does nothing while it lives. 1: the instance is gone (close it), 0: it is there and was
 * loaded again. Safe against other commands and against being killed at any point. */
int instance_settle(const struct instance_store *store, struct instance *instance,
                    struct pv_error *err);
/* Settles all dead instances that nobody has settled yet, and finishes interrupted removals.
 * What another command works on is left to it. Failures are left to the next command. */
void instance_settle_all(const struct instance_store *store);
/* Removes a dead instance with all its files. -EBUSY while it lives. */
int instance_settle_remove(const struct instance_store *store, struct instance *instance,
                           struct pv_error *err);

/* Leaves a small process behind that waits for the end of the instance and settles it, for an
 * instance to be removed whose client leaves. Best effort: the next command would do it too. */
void instance_settle_later(const struct instance_store *store, const struct instance *instance);

#endif
