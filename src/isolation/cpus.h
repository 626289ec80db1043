/* SPDX-License-Identifier: Apache-2.0
 *
 * cpus.h: which host CPUs a machine's virtual CPUs are pinned to.
 */
#ifndef ISOLATION_CPUS_H
#define ISOLATION_CPUS_H

#include "base/error.h"
#include "base/str.h"

#include <sched.h>
#include <stdint.h>

#define ISOLATION_CPUS_MAX 4096 /* host CPU numbers stay below */

/* Picks `cpus` of the allowed host CPUs, those with the fewest entries in busy first, in rising
 * order. Among equals the search starts at `start`. Leaves *ret_cpus empty when there are fewer
 * allowed ones than asked for: the machine is then not pinned. */
int isolation_cpus_choose(const uint8_t *allowed, size_t num_allowed, const struct pv_strv *busy,
                          uint32_t cpus, uint32_t start, struct pv_strv *ret_cpus,
                          struct pv_error *err);
/* The same from the CPUs that this process may use; warns when the machine is not pinned. */
int isolation_cpus_pick(const struct pv_strv *busy, uint32_t cpus, struct pv_strv *ret_cpus,
                        struct pv_strv *warnings, struct pv_error *err);

#endif
