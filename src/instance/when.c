/* SPDX-License-Identifier: Apache-2.0
 *
 * when.c: RFC 3339 and durations.
 */
#include "instance/when.h"

#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND_NS 1000000000ull

/* ".123456" as nanoseconds; *text goes on behind it. */
static uint64_t parse_fraction(const char **text)
{
    uint64_t ns = 0, unit = SECOND_NS / 10;
    if (**text != '.')
        return 0;
    for ((*text)++; isdigit((unsigned char)**text); (*text)++, unit /= 10)
        ns += (uint64_t)(**text - '0') * unit;
    return ns;
}

/* "Z" or "+hh:mm" in seconds east of UTC. */
static int parse_zone(const char *text, int *ret_seconds)
{
    int hours, minutes, used = 0;
    *ret_seconds = 0;
    if ((*text == 'Z' || *text == 'z') && !text[1])
        return 0;
    if ((*text != '+' && *text != '-') ||
        sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5 || text[6] ||
        hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_seconds = (*text == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return 0;
}

int instance_when_parse(const char *text, uint64_t *ret_ns)
{
    struct tm tm = {0};
    int used = 0, zone;
    if (sscanf(text, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6 ||
        used != 19 || tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
        tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    const char *rest = text + used;
    uint64_t fraction = parse_fraction(&rest);
    if (parse_zone(rest, &zone) < 0)
        return -EINVAL;
    time_t seconds = timegm(&tm) - zone;
    if (seconds < 0)
        return -EINVAL;
    *ret_ns = (uint64_t)seconds * SECOND_NS + fraction;
    return 0;
}

static uint64_t unit_seconds(char unit)
{
    switch (unit) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return 86400;
    default:
        return 0;
    }
}

static int parse_duration(const char *text, uint64_t *ret_ns)
{
    uint64_t total = 0;
    if (!*text)
        return -EINVAL;
    while (*text) {
        size_t digits = strspn(text, "0123456789");
        char number[16];
        uint64_t value, unit = unit_seconds(text[digits]);
        if (digits == 0 || digits >= sizeof(number) || unit == 0)
            return -EINVAL;
        snprintf(number, sizeof(number), "%.*s", (int)digits, text);
        if (pv_str_to_u64(number, 0, 1u << 30, &value) < 0)
            return -EINVAL;
        total += value * unit * SECOND_NS;
        text += digits + 1;
    }
    *ret_ns = total;
    return 0;
}

int instance_when_parse_since(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
    uint64_t value;
    if (pv_str_to_u64(text, 0, UINT64_MAX / SECOND_NS, &value) == 0) {
        *ret_ns = value * SECOND_NS;
        return 0;
    }
    if (parse_duration(text, &value) == 0) {
        *ret_ns = value < now_ns ? now_ns - value : 0;
        return 0;
    }
    return instance_when_parse(text, ret_ns);
}
