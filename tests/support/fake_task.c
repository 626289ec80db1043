/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_task.c: a child with pipes or a terminal, on the fake monitor's loop.
 */
#include "support/fake_monitor.h"

#include "base/bytes.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PIECE 16384

struct fake_task {
    struct pv_loop *loop;
    const struct fake_task_events *events;
    void *data;
    pid_t pid;
    int in_fd, pid_fd;
    struct pv_loop_source *in, *out[2], *end;
    int out_fd[2]; /* stdout, stderr; a terminal is stdout */
    struct pv_bytes queue;
    bool write_end, terminal, exited;
    int status;
};

static void finish(struct fake_task *t)
{
    if (!t->exited || t->out_fd[0] >= 0 || t->out_fd[1] >= 0)
        return;
    int code = WIFSIGNALED(t->status) ? 128 + WTERMSIG(t->status) : WEXITSTATUS(t->status);
    const char *failure = code == 127   ? "command not found"
                          : code == 126 ? "command cannot be run"
                                        : NULL;
    t->exited = false; /* once */
    t->events->on_exit(t->data, code, failure);
}

static void on_output(void *data, int fd, uint32_t events)
{
    struct fake_task *t = data;
    uint8_t bytes[PIECE];
    int i = fd == t->out_fd[1];
    ssize_t n = read(fd, bytes, sizeof(bytes));
    if (n > 0) {
        t->events->on_output(t->data, i == 1, bytes, (size_t)n);
        return;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    pv_loop_remove(pv_take_ptr(t->out[i]));
    if (!t->terminal)
        close(fd);
    t->out_fd[i] = -1;
    finish(t);
}

static void on_end(void *data, int fd, uint32_t events)
{
    struct fake_task *t = data;
    kill(-t->pid, SIGKILL); /* as a machine ends with all its processes */
    waitpid(t->pid, &t->status, 0);
    pv_loop_remove(pv_take_ptr(t->end));
    t->exited = true;
    finish(t);
}

static void close_stdin(struct fake_task *t)
{
    pv_loop_remove(pv_take_ptr(t->in));
    if (!t->terminal)
        pv_cleanup_fd(&t->in_fd);
    else if (t->in_fd >= 0)
        (void)!write(t->in_fd, "\004", 1);
    t->in_fd = -1;
}

static void on_input(void *data, int fd, uint32_t events)
{
    struct fake_task *t = data;
    ssize_t n = pv_bytes_write_to(&t->queue, fd);
    if (n < 0 && n != -EAGAIN)
        pv_bytes_drop(&t->queue, t->queue.len);
    if (n > 0)
        t->events->on_credit(t->data, (uint32_t)n);
    if (t->queue.len > 0)
        return;
    pv_loop_set_events(t->in, 0);
    if (t->write_end || (n < 0 && n != -EAGAIN))
        close_stdin(t);
}

static void run_child(const struct wire_process *p, const int fds[3])
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    for (int i = 0; i < 3; i++)
        dup2(fds[i], i);
    if (p->terminal)
        ioctl(0, TIOCSCTTY, 0);
    if (p->cwd && chdir(p->cwd) < 0)
        _exit(126);
    clearenv();
    for (size_t i = 0; i < p->env.count; i++)
        putenv(p->env.items[i]);
    execvp(p->args.items[0], p->args.items);
    _exit(errno == ENOENT ? 127 : 126);
}

static void open_pipes(struct fake_task *t, int theirs[3])
{
    int in[2], out[2], error[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(error, O_CLOEXEC) < 0)
        abort();
    theirs[0] = in[0];
    theirs[1] = out[1];
    theirs[2] = error[1];
    t->in_fd = in[1];
    t->out_fd[0] = out[0];
    t->out_fd[1] = error[0];
}

static void open_terminal(struct fake_task *t, const struct wire_process *p, int theirs[3])
{
    int master, slave;
    struct winsize size = {.ws_row = p->rows ? p->rows : 24,
                           .ws_col = p->columns ? p->columns : 80};
    if (openpty(&master, &slave, NULL, NULL, &size) < 0)
        abort();
    pv_fd_set_cloexec(master, true);
    pv_fd_set_cloexec(slave, true);
    theirs[0] = theirs[1] = theirs[2] = slave;
    t->in_fd = t->out_fd[0] = master;
    t->out_fd[1] = -1;
    t->terminal = true;
}

struct fake_task *fake_task_new(struct pv_loop *loop, const struct wire_process *process,
                                bool no_stdin, const struct fake_task_events *events, void *data)
{
    struct fake_task *t = calloc(1, sizeof(*t));
    int theirs[3];
    *t = (struct fake_task){.loop = loop, .events = events, .data = data};
    pv_bytes_init(&t->queue, 4 << 20);
    if (process->terminal)
        open_terminal(t, process, theirs);
    else
        open_pipes(t, theirs);
    t->pid = fork();
    if (t->pid == 0)
        run_child(process, theirs);
    for (int i = 0; i < (t->terminal ? 1 : 3); i++)
        close(theirs[i]);
    t->pid_fd = (int)syscall(SYS_pidfd_open, t->pid, 0);
    t->end = pv_loop_add_fd(loop, t->pid_fd, EPOLLIN, on_end, t);
    for (int i = 0; i < 2; i++) {
        if (t->out_fd[i] < 0)
            continue;
        pv_fd_set_nonblocking(t->out_fd[i], true);
        t->out[i] = pv_loop_add_fd(loop, t->out_fd[i], EPOLLIN, on_output, t);
    }
    if (t->terminal)
        t->in_fd = fcntl(t->in_fd, F_DUPFD_CLOEXEC, 6);
    pv_fd_set_nonblocking(t->in_fd, true);
    t->in = pv_loop_add_fd(loop, t->in_fd, EPOLLOUT, on_input, t);
    pv_loop_set_events(t->in, 0);
    if (no_stdin && !t->terminal)
        close_stdin(t);
    return t;
}

void fake_task_free(struct fake_task *t)
{
    if (!t)
        return;
    pv_loop_remove(t->in);
    pv_loop_remove(t->out[0]);
    pv_loop_remove(t->out[1]);
    pv_loop_remove(t->end);
    pv_cleanup_fd(&t->in_fd);
    pv_cleanup_fd(&t->pid_fd);
    pv_bytes_done(&t->queue);
    free(t);
}

void fake_task_pause(struct fake_task *t, bool paused)
{
    for (int i = 0; t && i < 2; i++)
        if (t->out[i])
            pv_loop_set_events(t->out[i], paused ? 0 : EPOLLIN);
}

void fake_task_signal(struct fake_task *t, int signo)
{
    if (t->end)
        kill(t->pid, signo);
}

int fake_task_write(struct fake_task *t, const void *bytes, size_t len)
{
    if (!t->in || t->write_end)
        return 0;
    int rc = pv_bytes_push(&t->queue, bytes, len);
    pv_loop_set_events(t->in, EPOLLOUT);
    return rc;
}

void fake_task_write_end(struct fake_task *t)
{
    t->write_end = true;
    if (t->in && t->queue.len == 0)
        close_stdin(t);
}

void fake_task_resize(struct fake_task *t, const uint8_t size[4])
{
    struct winsize w = {.ws_row = (unsigned short)(size[0] | size[1] << 8),
                        .ws_col = (unsigned short)(size[2] | size[3] << 8)};
    if (t->terminal && t->in_fd >= 0)
        ioctl(t->in_fd, TIOCSWINSZ, &w);
}
