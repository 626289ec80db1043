/* SPDX-License-Identifier: Apache-2.0
 *
 * capacity.h: can this host give a machine the memory it asks for?
 */
#ifndef ISOLATION_CAPACITY_H
#define ISOLATION_CAPACITY_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

/* What the host has, in bytes. */
struct isolation_capacity {
    uint64_t memory_total, memory_available, swap_total;
};

/* Reads text in the form of /proc/meminfo. */
int isolation_capacity_parse(const char *meminfo, struct isolation_capacity *ret_capacity,
                             struct pv_error *err);
/* The same of this host. */
int isolation_capacity_read(struct isolation_capacity *ret_capacity, struct pv_error *err);

/* What a machine asks of the host, in bytes. */
struct isolation_demand {
    uint64_t memory_bytes;   /* that it may have */
    uint64_t occupied_bytes; /* of that it has already */
    uint64_t promised_bytes; /* what other machines may still take */
};

/* Refuses more memory than memory and swap of this host, warns when less is free now, without what
 * others may still take. */
int isolation_capacity_check(const struct isolation_capacity *capacity,
                             const struct isolation_demand *demand, struct pv_strv *warnings,
                             struct pv_error *err);
/* How far a machine of memory_bytes may grow on this host: to `wanted`, which must be possible, or
 * with 0 to the host's memory. Whole MiB. */
int isolation_capacity_find_max(uint64_t memory_bytes, uint64_t wanted, uint64_t *ret_max,
                                struct pv_error *err);

#endif
