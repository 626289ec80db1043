/* SPDX-License-Identifier: Apache-2.0
 *
 * when.h: points in time as text, read.
 */
#ifndef INSTANCE_WHEN_H
#define INSTANCE_WHEN_H

#include <stdint.h>

/* Parses RFC 3339 ("2026-01-31T12:00:00.5Z", "+02:00" too) into nanoseconds of CLOCK_REALTIME.
 * 0 or -EINVAL. */
int instance_when_parse(const char *text, uint64_t *ret_ns);
/* Parses what stands behind --since: such a point, seconds since 1970, or how long ago: "90s",
 * "10m", "1h30m", "2d". now_ns: what "ago" counts from. 0 or -EINVAL. */
int instance_when_parse_since(const char *text, uint64_t now_ns, uint64_t *ret_ns);

#endif
