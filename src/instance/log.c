/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c: log.1.jsonl, then log.jsonl: one JSON object per line (monitor/log.c writes them).
 *
 * Theory of operation: the reader holds the file that it reads open. At its end it looks whether
 * log.jsonl is still the same file; if it was rotated away, the rest is read and the new file
 * opened. A reader that is slower than two rotations loses what the size limit threw away.
 */
#include "instance/log.h"

#include "base/fd.h"
#include "base/json.h"
#include "instance/file.h"
#include "instance/text.h"
#include "instance/when.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define LOG_FILE "log.jsonl"
#define LOG_OLD_FILE "log.1.jsonl"
#define READ_BYTES (64u << 10)
#define LINE_BYTES_MAX (1u << 20)

struct instance_log {
    int dirfd; /* borrowed */
    int fd;    /* of the file being read; -1: none yet */
    bool in_old;
    ino_t inode; /* of fd */
    int inotify_fd;
    char *buffer; /* bytes [start, len) are not delivered yet */
    size_t start, len, cap;
    bool discarding; /* within a line that is too long */
    uint64_t skipped;
    struct pv_json *json; /* the entry delivered last */
    uint8_t *data;
    char *time;
};

static void drop_entry(struct instance_log *log)
{
    pv_json_free(pv_take_ptr(log->json));
    free(pv_take_ptr(log->data));
    free(pv_take_ptr(log->time));
}

/* Opens a file of the log: 0, or -ENOENT and nothing changed. */
static int switch_to(struct instance_log *log, const char *name)
{
    struct stat st;
    pv_auto_fd int fd = instance_file_open(log->dirfd, name, NULL);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    pv_cleanup_fd(&log->fd);
    log->fd = pv_take_fd(&fd);
    log->inode = st.st_ino;
    log->in_old = strcmp(name, LOG_OLD_FILE) == 0;
    return 0;
}

static void rewind_files(struct instance_log *log)
{
    pv_cleanup_fd(&log->fd);
    log->fd = -1;
    log->start = log->len = 0;
    log->discarding = false;
    if (switch_to(log, LOG_OLD_FILE) < 0)
        switch_to(log, LOG_FILE);
}

int instance_log_open(int machine_dirfd, struct instance_log **ret_log, struct pv_error *err)
{
    struct instance_log *log = calloc(1, sizeof(*log));
    char path[64];
    if (!log)
        return pv_error_set(err, ENOMEM, "open the log: out of memory");
    log->dirfd = machine_dirfd;
    log->fd = -1;
    log->cap = LINE_BYTES_MAX;
    log->buffer = malloc(log->cap);
    log->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (!log->buffer) {
        instance_log_free(log);
        return pv_error_set(err, ENOMEM, "open the log: out of memory");
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", machine_dirfd);
    if (log->inotify_fd >= 0) /* without it, waiting is only less prompt */
        inotify_add_watch(log->inotify_fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
    rewind_files(log);
    *ret_log = log;
    return 0;
}

void instance_log_free(struct instance_log *log)
{
    if (!log)
        return;
    drop_entry(log);
    pv_cleanup_fd(&log->fd);
    pv_cleanup_fd(&log->inotify_fd);
    free(log->buffer);
    free(log);
}

/* True when log.jsonl is another file than the one being read. */
static bool is_rotated(const struct instance_log *log)
{
    struct stat st;
    return log->in_old || (fstatat(log->dirfd, LOG_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                           st.st_ino != log->inode);
}

/* Reads more into the buffer: bytes read, 0 at the end for now, -errno. */
static ssize_t read_more(struct instance_log *log)
{
    if (log->start > 0) {
        memmove(log->buffer, log->buffer + log->start, log->len - log->start);
        log->len -= log->start;
        log->start = 0;
    }
    if (log->len == log->cap) {
        log->discarding = true;
        log->len = 0;
    }
    for (;;) {
        if (log->fd < 0 && switch_to(log, LOG_FILE) < 0)
            return 0;
        bool rotated = is_rotated(log);
        ssize_t n =
            read(log->fd, log->buffer + log->len, PV_MIN(log->cap - log->len, (size_t)READ_BYTES));
        if (n > 0)
            log->len += (size_t)n;
        if (n != 0)
            return n < 0 ? -errno : n;
        /* The end, looked for after the question whether a new file is there: nothing is missed.*/
        if (!rotated || switch_to(log, LOG_FILE) < 0)
            return 0;
    }
}

/* Takes a whole line out of the buffer, terminated in place; NULL while there is none. */
static char *take_line(struct instance_log *log, size_t *ret_len)
{
    char *line = log->buffer + log->start;
    char *newline = memchr(line, '\n', log->len - log->start);
    if (!newline)
        return NULL;
    *newline = '\0';
    *ret_len = (size_t)(newline - line);
    log->start += *ret_len + 1;
    return line;
}

/* The next whole line: 1, 0, -errno. */
static int next_line(struct instance_log *log, char **ret_line, size_t *ret_len)
{
    for (;;) {
        char *line = take_line(log, ret_len);
        if (line && !log->discarding) {
            *ret_line = line;
            return 1;
        }
        if (line) { /* the end of the line that was too long */
            log->discarding = false;
            log->skipped++;
            continue;
        }
        ssize_t n = read_more(log);
        if (n <= 0)
            return (int)n;
    }
}

static bool read_bytes(struct instance_log *log, struct instance_log_entry *entry)
{
    pv_auto_free char *base64 = NULL;
    const struct pv_json *value = pv_json_get(log->json, "log");
    int rc = value ? instance_text_decode_string(value, &log->data, &entry->len)
                   : pv_json_need_string(log->json, "data", &base64, NULL);
    if (rc == 0 && base64)
        rc = instance_text_decode_base64(base64, &log->data, &entry->len);
    entry->bytes = log->data;
    return rc == 0;
}

static bool read_entry(struct instance_log *log, const char *line, size_t len,
                       struct instance_log_entry *entry)
{
    drop_entry(log);
    *entry = (struct instance_log_entry){.time_text = ""};
    if (pv_json_parse(line, len, &log->json, NULL) < 0 || !pv_json_is_object(log->json) ||
        !read_bytes(log, entry))
        return false;
    const struct pv_json *stream = pv_json_get(log->json, "stream");
    const char *name = stream ? pv_json_text(stream) : NULL;
    entry->is_stderr = name && strcmp(name, "stderr") == 0;
    if (pv_json_get_string(log->json, "time", &log->time, NULL) == 0 && log->time &&
        instance_when_parse(log->time, &entry->time_ns) == 0)
        entry->time_text = log->time;
    return true;
}

int instance_log_next(struct instance_log *log, struct instance_log_entry *ret_entry,
                      struct pv_error *err)
{
    char *line;
    size_t len;
    int rc;
    while ((rc = next_line(log, &line, &len)) == 1) {
        if (read_entry(log, line, len, ret_entry))
            return 1;
        log->skipped++;
    }
    return rc == 0 ? 0 : pv_error_set(err, -rc, "read the log: %s", strerror(-rc));
}

int instance_log_skip_to_tail(struct instance_log *log, uint64_t count, struct pv_error *err)
{
    char *line;
    size_t len;
    uint64_t lines = 0;
    int rc;
    while ((rc = next_line(log, &line, &len)) == 1)
        lines++;
    if (rc < 0)
        return pv_error_set(err, -rc, "read the log: %s", strerror(-rc));
    rewind_files(log);
    log->skipped = 0;
    for (uint64_t i = count; i < lines && next_line(log, &line, &len) == 1; i++)
        ;
    return 0;
}

uint64_t instance_log_skipped(const struct instance_log *log)
{
    return log->skipped;
}

void instance_log_wait(struct instance_log *log, int timeout_ms)
{
    char events[4096];
    struct pollfd pfd = {.fd = log->inotify_fd, .events = POLLIN};
    poll(&pfd, 1, timeout_ms); /* with fd -1 this is a plain pause */
    while (log->inotify_fd >= 0 && read(log->inotify_fd, events, sizeof(events)) > 0)
        ;
}
