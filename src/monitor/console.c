/* SPDX-License-Identifier: Apache-2.0
 *
 * console.c: the guest kernel's console. The bytes are guest input: they go to a file as they are
 * and to people only through monitor_console_tail, which takes out what a terminal would obey.
 */
#include "monitor/console.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct monitor_console {
    int fd;
    size_t written;
    char tail[MONITOR_CONSOLE_TAIL_MAX]; /* ring: the last byte stands before tail_end */
    size_t tail_len, tail_end;
};

int monitor_console_open(int state_dirfd, struct monitor_console **ret_console,
                         struct pv_error *err)
{
    struct monitor_console *c = calloc(1, sizeof(*c));
    if (!c)
        return pv_error_set(err, ENOMEM, "console: out of memory");
    c->fd =
        openat(state_dirfd, MONITOR_CONSOLE_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (c->fd < 0) {
        int rc = pv_error_set(err, errno, "create '%s': %s", MONITOR_CONSOLE_FILE, strerror(errno));
        free(c);
        return rc;
    }
    *ret_console = c;
    return 0;
}

void monitor_console_free(struct monitor_console *c)
{
    if (!c)
        return;
    close(c->fd);
    free(c);
}

void monitor_console_add(struct monitor_console *c, const void *bytes, size_t len)
{
    const char *p = bytes;
    if (c->written + len > MONITOR_CONSOLE_FILE_MAX && ftruncate(c->fd, 0) == 0 &&
        lseek(c->fd, 0, SEEK_SET) == 0)
        c->written = 0;
    /* A full disk costs console text, nothing else: the tail still has the last lines. */
    if (pv_fd_write_full(c->fd, p, len) == 0)
        c->written += len;

    for (size_t i = 0; i < len; i++) {
        c->tail[c->tail_end] = p[i];
        c->tail_end = (c->tail_end + 1) % MONITOR_CONSOLE_TAIL_MAX;
    }
    c->tail_len = PV_MIN(c->tail_len + len, (size_t)MONITOR_CONSOLE_TAIL_MAX);
}

static char tail_at(const struct monitor_console *c, size_t index)
{
    size_t start =
        (c->tail_end + MONITOR_CONSOLE_TAIL_MAX - c->tail_len) % MONITOR_CONSOLE_TAIL_MAX;
    return c->tail[(start + index) % MONITOR_CONSOLE_TAIL_MAX];
}

static size_t copy_printable(const struct monitor_console *c, size_t begin, size_t end, char *buf,
                             size_t size)
{
    size_t len = 0;
    for (size_t i = begin; i < end && len < size - 1; i++) {
        char ch = tail_at(c, i);
        if (ch == '\r')
            continue;
        buf[len++] = ch == '\n' || ch == '\t' || (ch >= 0x20 && ch < 0x7f) ? ch : '?';
    }
    buf[len] = '\0';
    return len;
}

size_t monitor_console_tail(const struct monitor_console *c, unsigned max_lines, char *buf,
                            size_t size)
{
    size_t end = c->tail_len;
    while (end > 0 && (tail_at(c, end - 1) == '\n' || tail_at(c, end - 1) == '\r'))
        end--;

    size_t begin = end;
    for (unsigned lines = 0; begin > 0 && end - begin < size - 1; begin--) {
        if (tail_at(c, begin - 1) == '\n' && ++lines >= max_lines)
            break;
    }

    return copy_printable(c, begin, end, buf, size);
}

static bool word_at(const struct monitor_console *c, size_t index, const char *word)
{
    for (; *word; word++, index++)
        if (index >= c->tail_len || tail_at(c, index) != *word)
            return false;
    return true;
}

size_t monitor_console_find(const struct monitor_console *c, const char *word, char *buf,
                            size_t size)
{
    size_t begin = c->tail_len;
    while (begin > 0 && !word_at(c, begin - 1, word))
        begin--;
    if (begin == 0) {
        buf[0] = '\0';
        return 0;
    }
    begin--;
    size_t end = begin;
    while (end < c->tail_len && tail_at(c, end) != '\n')
        end++;
    return copy_printable(c, begin, end, buf, size);
}
