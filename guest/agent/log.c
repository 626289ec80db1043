/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c: one record of /dev/kmsg per line.
 */
#include "agent/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RECORD_MAX 900 /* the kernel refuses records of a KiB and more */

static int kmsg_fd = -1;

void agent_log_open(void)
{
    if (kmsg_fd < 0)
        kmsg_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NONBLOCK);
}

void agent_log_raw(const char *text)
{
    ssize_t n = -1;
    if (kmsg_fd >= 0)
        n = write(kmsg_fd, text, strlen(text));
    if (n < 0 && *text == '<' && strchr(text, '>'))
        text = strchr(text, '>') + 1; /* the level is for the kernel's log only */
    if (n < 0)
        n = write(STDERR_FILENO, text, strlen(text));
    (void)n; /* there is nobody to tell */
}

static void log_line(char level, const char *fmt, va_list args) PV_PRINTF(2, 0);

static void log_line(char level, const char *fmt, va_list args)
{
    char line[RECORD_MAX];
    int head = snprintf(line, sizeof(line), "<%c>agent: ", level);
    int body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, args);
    size_t len = strnlen(line, sizeof(line) - 2);
    if (body < 0)
        return;
    line[len] = '\n';
    line[len + 1] = '\0';
    agent_log_raw(line);
}

void agent_log_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_line('3', fmt, args);
    va_end(args);
}

void agent_log_note(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_line('6', fmt, args);
    va_end(args);
}
