/* SPDX-License-Identifier: Apache-2.0
 *
 * update.h: changes of an instance, running or not.
 */
#ifndef INSTANCE_UPDATE_H
#define INSTANCE_UPDATE_H

#include "base/json.h"
#include "instance/instance.h"

/* Makes the changes: an object with the keys of WIRE_CONTROL_UPDATE (wire/control.h). A running
 * machine is changed first; what it then has, or for one that has ended what was asked for, goes
 * into the configuration for the next start. All or nothing as far as it can be known beforehand.
 * *ret_reply (may be NULL): what holds now, for the caller to free. */
int instance_update(struct instance *instance, const struct pv_json *changes,
                    struct pv_json **ret_reply, struct pv_error *err);

#endif
