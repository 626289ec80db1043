/* SPDX-License-Identifier: Apache-2.0
 *
 * counter.h: named counters of a module, for `stats` and for the metrics page.
 *
 * A module defines one static table of names beside one array of values per object; nothing is
 * registered anywhere: whoever owns the object asks it for its group.
 */
#ifndef PV_BASE_COUNTER_H
#define PV_BASE_COUNTER_H

#include <stddef.h>
#include <stdint.h>

struct pv_counter_group {
    const char *name;          /* "blk0" */
    const char *const *labels; /* count names, snake_case, as in the metrics page */
    const uint64_t *values;    /* count values */
    size_t count;
};

#endif
