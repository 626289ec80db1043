/* SPDX-License-Identifier: Apache-2.0 */
#include "support/terminal.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_NS (30ull * 1000000000)
#define TEXT_MAX (1u << 20)

void support_terminal_open(struct support_terminal *t, const char *line, unsigned rows,
                           unsigned columns)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    pv_bytes_init(&t->text, TEXT_MAX);
    t->pid = forkpty(&t->fd, NULL, NULL, &size);
    if (t->pid < 0)
        abort();
    if (t->pid == 0) {
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(125);
    }
    pv_fd_set_cloexec(t->fd, true);
}

void support_terminal_type(struct support_terminal *t, const char *keys)
{
    if (pv_fd_write_full(t->fd, keys, strlen(keys)) < 0)
        abort();
}

/* Reads what there is, or waits for it. False at the end and when it took too long. */
static bool read_more(struct support_terminal *t, uint64_t deadline)
{
    struct pollfd pfd = {.fd = t->fd, .events = POLLIN};
    uint64_t now = pv_time_monotonic_ns();
    if (now >= deadline || poll(&pfd, 1, (int)((deadline - now) / 1000000 + 1)) <= 0)
        return false;
    return pv_bytes_read_from(&t->text, t->fd, 4096) > 0; /* EIO: everybody has closed it */
}

bool support_terminal_expect(struct support_terminal *t, const char *text)
{
    uint64_t deadline = pv_time_monotonic_ns() + LIMIT_NS;
    for (;;) {
        const char *head = (const char *)pv_bytes_head(&t->text);
        const char *found = t->text.len ? memmem(head, t->text.len, text, strlen(text)) : NULL;
        if (found) {
            pv_bytes_drop(&t->text, (size_t)(found - head) + strlen(text));
            return true;
        }
        if (!read_more(t, deadline))
            return false;
    }
}

int support_terminal_close(struct support_terminal *t)
{
    uint64_t deadline = pv_time_monotonic_ns() + LIMIT_NS;
    int status = 0;
    while (read_more(t, deadline))
        pv_bytes_drop(&t->text, t->text.len);
    if (pv_time_monotonic_ns() >= deadline)
        kill(t->pid, SIGKILL);
    while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(t->fd);
    pv_bytes_done(&t->text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
