/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c: one write(2) per line, so lines of several processes on one descriptor do not mix.
 */
#include "base/log.h"

#include "base/fd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *program = "paravane";
static enum pv_log_level threshold = PV_LOG_WARNING;
static int target = 2;

static const char *const level_names[] = {
    [PV_LOG_ERROR] = "error",
    [PV_LOG_WARNING] = "warning",
    [PV_LOG_INFO] = "info",
    [PV_LOG_DEBUG] = "debug",
};

void pv_log_init(const char *name)
{
    program = name;
    const char *wanted = getenv("PARAVANE_LOG");
    for (size_t i = 0; wanted && i < PV_ARRAY_SIZE(level_names); i++)
        if (strcmp(wanted, level_names[i]) == 0)
            threshold = (enum pv_log_level)i;
}

void pv_log_to_fd(int fd)
{
    target = fd;
}

void pv_log(enum pv_log_level level, const char *fmt, ...)
{
    if (level > threshold)
        return;

    char line[2048];
    int head = level <= PV_LOG_ERROR
                   ? snprintf(line, sizeof(line), "%s: ", program)
                   : snprintf(line, sizeof(line), "%s: %s: ", program, level_names[level]);
    va_list args;
    va_start(args, fmt);
    int body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, args);
    va_end(args);
    if (body < 0)
        return;

    size_t len = PV_MIN((size_t)head + (size_t)body, sizeof(line) - 2);
    line[len++] = '\n';
    pv_fd_write_full(target, line, len);
}
