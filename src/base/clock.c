/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.c: clocks, and points in time as text.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t pv_time_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t pv_time_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

const char *pv_time_text(uint64_t realtime_ns, char buf[PV_TIME_TEXT_MAX])
{
    time_t seconds = (time_t)(realtime_ns / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t len = strftime(buf, PV_TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + len, PV_TIME_TEXT_MAX - len, ".%09uZ", (unsigned)(realtime_ns % 1000000000u));
    return buf;
}
