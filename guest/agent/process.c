/* SPDX-License-Identifier: Apache-2.0
 *
 * process.c: pipes or a terminal, and a fork; the rest happens in the child, in exec.c.
 */
#include "agent/process.h"

#include "agent/terminal.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* The ends of one start; what is not taken closes with it. */
struct ends {
    int ours[3], theirs[3]; /* by the numbers of stdin, stdout, stderr */
    int failure_read, failure_write;
};

static void close_ends(struct ends *e)
{
    for (int i = 0; i < 3; i++) {
        pv_cleanup_fd(&e->ours[i]);
        pv_cleanup_fd(&e->theirs[i]);
    }
    pv_cleanup_fd(&e->failure_read);
    pv_cleanup_fd(&e->failure_write);
}

static int open_pipe(int *ret_read, int *ret_write, bool reader_is_ours)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ret_read = fds[0];
    *ret_write = fds[1];
    return pv_fd_set_nonblocking(reader_is_ours ? fds[0] : fds[1], true);
}

static int open_pipes(struct ends *e)
{
    int rc = open_pipe(&e->theirs[0], &e->ours[0], false);
    if (rc == 0)
        rc = open_pipe(&e->ours[1], &e->theirs[1], true);
    return rc < 0 ? rc : open_pipe(&e->ours[2], &e->theirs[2], true);
}

/* The master serves for both directions, the slave as all of stdio. */
static int open_terminal(const struct agent_world *world, const struct wire_process *process,
                         struct ends *e, struct pv_error *err)
{
    int rc = agent_terminal_open(world->devpts_fd, process->rows, process->columns, &e->ours[1],
                                 &e->theirs[0], err);
    if (rc < 0)
        return rc;
    e->ours[0] = fcntl(e->ours[1], F_DUPFD_CLOEXEC, 3);
    e->theirs[1] = fcntl(e->theirs[0], F_DUPFD_CLOEXEC, 3);
    e->theirs[2] = fcntl(e->theirs[0], F_DUPFD_CLOEXEC, 3);
    if (e->ours[0] < 0 || e->theirs[1] < 0 || e->theirs[2] < 0)
        return pv_error_set(err, errno, "terminal: %s", strerror(errno));
    return 0;
}

int agent_process_start(const struct agent_world *world, const struct wire_process *process,
                        struct agent_process *ret_process, struct pv_error *err)
{
    struct ends e __attribute__((cleanup(close_ends))) = {{-1, -1, -1}, {-1, -1, -1}, -1, -1};
    int rc = open_pipe(&e.failure_read, &e.failure_write, true);
    if (rc < 0)
        return pv_error_set(err, -rc, "pipe: %s", strerror(-rc));
    if (process->terminal)
        rc = open_terminal(world, process, &e, err);
    else if ((rc = open_pipes(&e)) < 0)
        pv_error_set(err, -rc, "pipe: %s", strerror(-rc));
    if (rc < 0)
        return rc;

    pid_t pid = fork();
    if (pid < 0)
        return pv_error_set(err, errno, "fork: %s", strerror(errno));
    if (pid == 0) {
        struct agent_exec exec = {.world = world,
                                  .process = process,
                                  .stdio = {e.theirs[0], e.theirs[1], e.theirs[2]},
                                  .failure_fd = e.failure_write};
        agent_exec_run(&exec);
    }
    *ret_process = (struct agent_process){.pid = pid,
                                          .in = pv_take_fd(&e.ours[0]),
                                          .out = pv_take_fd(&e.ours[1]),
                                          .err = pv_take_fd(&e.ours[2]),
                                          .failure_fd = pv_take_fd(&e.failure_read)};
    return 0;
}

int agent_process_get_result(int failure_fd, struct agent_exec_failure *ret_failure)
{
    ssize_t n;
    do
        n = read(failure_fd, ret_failure, sizeof(*ret_failure));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return 1;
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n != (ssize_t)sizeof(*ret_failure)) {
        ret_failure->code = AGENT_EXEC_FAILED;
        snprintf(ret_failure->text, sizeof(ret_failure->text), "start the process: no answer");
    }
    ret_failure->text[sizeof(ret_failure->text) - 1] = '\0';
    return -EIO;
}
