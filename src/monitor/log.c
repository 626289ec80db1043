/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c: the workload's output as lines of JSON, in two files of half the limit each.
 *
 * Theory of operation: each stream has a partial line. A whole line (or 16 KiB without a newline)
 * is formatted into one buffer that is written at the end of each monitor_log_add, so `logs -f`
 * sees it at once and a line is never torn between two writes. When the current file has reached
 * half of the limit it takes the place of the old one.
 */
#include "monitor/log.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_BYTES_MIN (64u * 1024)

static const char *const stream_names[] = {
    [MONITOR_LOG_STDOUT] = "stdout",
    [MONITOR_LOG_STDERR] = "stderr",
};

struct monitor_log {
    int state_dirfd; /* borrowed */
    int fd;
    uint64_t half_max, written, lost;
    struct pv_str partial[2];
    struct pv_str out;
};

static int open_current(struct monitor_log *log)
{
    log->fd =
        openat(log->state_dirfd, MONITOR_LOG_FILE, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log->fd < 0)
        return -errno;
    struct stat st;
    log->written = fstat(log->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    return 0;
}

int monitor_log_open(int state_dirfd, uint64_t max_bytes, struct monitor_log **ret_log,
                     struct pv_error *err)
{
    struct monitor_log *log = calloc(1, sizeof(*log));
    if (!log)
        return pv_error_set(err, ENOMEM, "log: out of memory");
    log->state_dirfd = state_dirfd;
    log->half_max = PV_MAX(max_bytes, (uint64_t)LOG_BYTES_MIN) / 2;
    int rc = open_current(log);
    if (rc < 0) {
        free(log);
        return pv_error_set(err, -rc, "open '%s': %s", MONITOR_LOG_FILE, strerror(-rc));
    }
    *ret_log = log;
    return 0;
}

void monitor_log_free(struct monitor_log *log)
{
    if (!log)
        return;
    monitor_log_flush(log);
    pv_str_done(&log->partial[0]);
    pv_str_done(&log->partial[1]);
    pv_str_done(&log->out);
    if (log->fd >= 0)
        close(log->fd);
    free(log);
}

static int add_json_text(struct pv_str *out, const unsigned char *p, size_t len)
{
    int rc = pv_str_add(out, "\"");
    size_t plain = 0;
    for (size_t i = 0; i < len && rc == 0; i++) {
        if (p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7f)
            continue;
        rc = pv_str_add_bytes(out, p + plain, i - plain);
        if (rc == 0)
            rc = p[i] == '\n'   ? pv_str_add(out, "\\n")
                 : p[i] == '"'  ? pv_str_add(out, "\\\"")
                 : p[i] == '\\' ? pv_str_add(out, "\\\\")
                                : pv_str_addf(out, "\\u%04x", p[i]);
        plain = i + 1;
    }
    if (rc == 0)
        rc = pv_str_add_bytes(out, p + plain, len - plain);
    return rc < 0 ? rc : pv_str_add(out, "\"");
}

static int add_base64(struct pv_str *out, const unsigned char *p, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int rc = pv_str_add(out, "\"");
    for (size_t i = 0; i < len && rc == 0; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < len ? (uint32_t)p[i + 1] << 8 : 0) |
                     (i + 2 < len ? p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                        i + 1 < len ? digits[v >> 6 & 63] : '=',
                        i + 2 < len ? digits[v & 63] : '='};
        rc = pv_str_add_bytes(out, four, 4);
    }
    return rc < 0 ? rc : pv_str_add(out, "\"");
}

/* Formats one line of output, its newline included when it had one. */
static int format_line(struct monitor_log *log, enum monitor_log_stream stream, const char *line,
                       size_t len)
{
    const unsigned char *p = (const unsigned char *)line;
    char now[PV_TIME_TEXT_MAX];
    bool text = pv_str_is_utf8(p, len);
    int rc = pv_str_add(&log->out, text ? "{\"log\":" : "{\"data\":");
    if (rc == 0)
        rc = text ? add_json_text(&log->out, p, len) : add_base64(&log->out, p, len);
    if (rc == 0)
        rc = pv_str_addf(&log->out, ",\"stream\":\"%s\",\"time\":\"%s\"}\n", stream_names[stream],
                         pv_time_text(pv_time_realtime_ns(), now));
    return rc;
}

static void rotate(struct monitor_log *log)
{
    /* A failed rename leaves one file that goes on growing past its half: better than losing
     * output; the next line tries again. */
    if (renameat(log->state_dirfd, MONITOR_LOG_FILE, log->state_dirfd, MONITOR_LOG_OLD_FILE) < 0)
        return;
    close(log->fd);
    if (open_current(log) < 0)
        log->fd = -1;
}

static void write_out(struct monitor_log *log)
{
    if (log->out.len == 0)
        return;
    if (log->written && log->written + log->out.len > log->half_max)
        rotate(log);
    if (log->fd < 0)
        open_current(log);
    if (log->fd >= 0 && pv_fd_write_full(log->fd, log->out.text, log->out.len) == 0)
        log->written += log->out.len;
    else
        log->lost += log->out.len;
    log->out.len = 0;
}

static void finish_line(struct monitor_log *log, enum monitor_log_stream stream)
{
    struct pv_str *partial = &log->partial[stream];
    size_t before = log->out.len;
    if (partial->len && format_line(log, stream, partial->text, partial->len) < 0) {
        log->out.len = before;
        log->lost += partial->len;
    }
    partial->len = 0;
    if (log->out.len >= LOG_BYTES_MIN / 4)
        write_out(log);
}

void monitor_log_add(struct monitor_log *log, enum monitor_log_stream stream, const void *bytes,
                     size_t len)
{
    struct pv_str *partial = &log->partial[stream];
    const char *p = bytes;
    while (len) {
        size_t take = PV_MIN(len, MONITOR_LOG_LINE_MAX - partial->len);
        const char *newline = memchr(p, '\n', take);
        if (newline)
            take = (size_t)(newline - p) + 1;
        if (pv_str_add_bytes(partial, p, take) < 0)
            log->lost += take;
        if (newline || partial->len >= MONITOR_LOG_LINE_MAX)
            finish_line(log, stream);
        p += take;
        len -= take;
    }
    write_out(log);
}

void monitor_log_flush(struct monitor_log *log)
{
    finish_line(log, MONITOR_LOG_STDOUT);
    finish_line(log, MONITOR_LOG_STDERR);
    write_out(log);
}

uint64_t monitor_log_lost(const struct monitor_log *log)
{
    return log->lost;
}
