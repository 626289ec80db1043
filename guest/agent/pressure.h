/* SPDX-License-Identifier: Apache-2.0
 *
 * pressure.h: ends the standstill of a machine that has no memory left but whose kernel still finds
 * some page to take.
 */
#ifndef AGENT_PRESSURE_H
#define AGENT_PRESSURE_H

#include "base/loop.h"

#include <stdbool.h>

struct agent_pressure_sample {
    uint64_t total_bytes, available_bytes, file_bytes; /* /proc/meminfo */
    uint64_t refault_bytes; /* /proc/vmstat: read again soon after they were dropped, so far */
    uint64_t stalled_us; /* /proc/pressure/memory: nothing could run for want of memory, so far */
};

/* Fills a sample from the texts of the three files; what they lack is 0. */
void agent_pressure_parse(const char *meminfo, const char *vmstat, const char *pressure,
                          struct agent_pressure_sample *ret_sample);
/* True when, at both ends of a window of window_us, next to nothing was available or cached from
 * files, and meanwhile what little is cached was read anew several times, or half of the time
 * nothing could run. */
bool agent_pressure_is_hopeless(const struct agent_pressure_sample *before,
                                const struct agent_pressure_sample *after, uint64_t window_us);

/* Watches, at most once. 0 or -errno (a kernel without pressure stall information). */
int agent_pressure_watch(struct pv_loop *loop, int proc_fd);

#endif
