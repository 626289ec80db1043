/* SPDX-License-Identifier: Apache-2.0
 *
 * promise.h: memory of the host that living machines were given and may still take.
 */
#ifndef INSTANCE_PROMISE_H
#define INSTANCE_PROMISE_H

#include "instance/store.h"
#include "isolation/capacity.h"

/* What a machine of memory_bytes asks of this host beside the other living machines of the store.
 * id: the machine itself, NULL when it is new; what it occupies already counts as its own. Fills
 * *ret_demand for isolation_capacity_check. Other machines are asked how much they occupy only when
 * memory could be short; one that does not answer soon counts as occupying none. */
int instance_promise_find(const struct instance_store *store, const char *id, uint64_t memory_bytes,
                          const struct isolation_capacity *capacity,
                          struct isolation_demand *ret_demand, struct pv_error *err);

/* Both, for this host: refuses what cannot be, and warns when it might not. */
int instance_promise_check(const struct instance_store *store, const char *id,
                           uint64_t memory_bytes, struct pv_strv *warnings, struct pv_error *err);

#endif
