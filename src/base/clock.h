/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.h: clocks, and points in time as text.
 */
#ifndef PV_BASE_CLOCK_H
#define PV_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds. */
uint64_t pv_time_monotonic_ns(void);
uint64_t pv_time_realtime_ns(void);

#define PV_TIME_TEXT_MAX 40
/* A CLOCK_REALTIME point as RFC 3339 with nanoseconds in UTC. Writes into buf (PV_TIME_TEXT_MAX
 * bytes) and returns it. */
const char *pv_time_text(uint64_t realtime_ns, char buf[PV_TIME_TEXT_MAX]);

#endif
