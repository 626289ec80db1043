/* SPDX-License-Identifier: Apache-2.0
 *
 * hosted.c: the hosted engine: the guest kernel is a process of the host in a jail of its own.
 *
 * Runs on: the machine's loop thread, which also is the parent that the guest dies with.
 * Trust:   text from the guest's descriptor 2 is guest input; it is read in bounded pieces and
 *          only passed on. The exit status comes from the host.
 */
#include "engine/engine.h"

#include "base/fd.h"
#include "base/log.h"
#include "engine/hosted/cmdline.h"
#include "engine/hosted/filter.h"
#include "jail/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define HOSTED_FDS_MAX 64
/* At the end at most so much text is waited for: a stub that outlives the kernel may hold the
 * pipe, and a hostile one could fill it for ever. */
#define LAST_TEXT_MAX (256u * 1024)

struct engine {
    pid_t pid;
    int pidfd, console_fd;
    bool reaped;
    struct jail_walls walls;
    struct pv_loop_source *pid_source, *console_source;
    void (*on_console)(void *data, const void *bytes, size_t len);
    void (*on_end)(void *data, int status);
    void *data;
};

const struct engine_syscall engine_syscalls[] = {
    {"pidfd_send_signal", "engine: end the guest"},
    {"waitid", "engine: the guest's exit status"},
    {"read", "engine: the guest kernel's early text"},
    {NULL, NULL},
};

/* Reads one piece of text; the bytes read, 0 at the end, -errno. */
static ssize_t read_console(struct engine *e)
{
    char buf[4096];
    ssize_t n = read(e->console_fd, buf, sizeof(buf));
    if (n < 0)
        return -errno;
    if (n > 0)
        e->on_console(e->data, buf, (size_t)n);
    return n;
}

static void on_console_ready(void *data, int fd, uint32_t events)
{
    struct engine *e = data;
    ssize_t n = read_console(e);
    if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
        pv_loop_remove(pv_take_ptr(e->console_source));
}

/* Collects the guest; its status as waitpid(2) gives it. */
static int reap(struct engine *e)
{
    siginfo_t info = {0};
    while (waitid(P_PIDFD, (id_t)e->pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
    e->reaped = true;
    return info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
}

static void on_pidfd_ready(void *data, int fd, uint32_t events)
{
    struct engine *e = data;
    pv_loop_remove(pv_take_ptr(e->pid_source));
    int status = reap(e);
    size_t total = 0;
    for (ssize_t n; total < LAST_TEXT_MAX && (n = read_console(e)) > 0;)
        total += (size_t)n;
    e->on_end(e->data, status);
}

/* The descriptors that the guest gets, with their numbers there. */
static size_t list_fds(const struct engine_options *o, int console_fd, struct jail_guest_fd *fds)
{
    size_t n = 0;
    fds[n++] = (struct jail_guest_fd){console_fd, ENGINE_HOSTED_CONSOLE_FD};
    fds[n++] = (struct jail_guest_fd){memory_get_fd(o->memory), ENGINE_HOSTED_MEMORY_FD};
    fds[n++] = (struct jail_guest_fd){o->initramfs_fd, ENGINE_HOSTED_INITRAMFS_FD};
    for (size_t i = 0; i < o->num_devices; i++)
        fds[n++] = (struct jail_guest_fd){o->devices[i].sock, ENGINE_HOSTED_DEVICE_FD + (int)i};
    return n;
}

static int spawn(const struct engine_options *o, struct engine *e, int console_fd,
                 struct pv_error *err)
{
    struct pv_strv argv __attribute__((cleanup(pv_strv_auto))) = {0};
    pv_auto(jail_filter_program) struct jail_filter_program *filter = NULL;
    struct jail_guest_fd fds[HOSTED_FDS_MAX];

    int rc = engine_hosted_cmdline(o, &argv, err);
    if (rc == 0)
        rc = engine_hosted_filter(o->strict, &filter, err);
    if (rc < 0)
        return rc;

    struct jail_guest config = {
        .exec_fd = o->kernel_fd,
        .argv = (const char *const *)argv.items,
        .fds = fds,
        .num_fds = list_fds(o, console_fd, fds),
        .filter = filter,
        .uid = o->uid,
        .gid = o->gid,
        .cgroup = o->cgroup,
        .max_files = 65536, /* docs/guest-interface.md, 1: one per guest address space */
        .oom_score_adj = 200,
    };
    struct jail_process process = {.pidfd = -1};
    rc = jail_guest_spawn(&config, &process, err);
    if (rc < 0)
        return rc;
    e->pid = process.pid;
    e->pidfd = process.pidfd;
    e->walls = process.walls;
    return 0;
}

static int watch(struct engine *e, struct pv_loop *loop, struct pv_error *err)
{
    pv_fd_set_nonblocking(e->console_fd, true);
    e->pid_source = pv_loop_add_fd(loop, e->pidfd, EPOLLIN, on_pidfd_ready, e);
    e->console_source = pv_loop_add_fd(loop, e->console_fd, EPOLLIN, on_console_ready, e);
    if (!e->pid_source || !e->console_source)
        return pv_error_set(err, errno, "watch the guest kernel: %s", strerror(errno));
    return 0;
}

int engine_start(const struct engine_options *o, struct engine **ret_engine, struct pv_error *err)
{
    if (o->num_devices > HOSTED_FDS_MAX - 3)
        return pv_error_set(err, E2BIG, "guest kernel: more than %d devices", HOSTED_FDS_MAX - 3);
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return pv_error_set(err, errno, "pipe: %s", strerror(errno));
    pv_auto_fd int write_end = pipe_fds[1];

    pv_auto(engine) struct engine *e = calloc(1, sizeof(*e));
    if (!e) {
        close(pipe_fds[0]);
        return pv_error_set(err, ENOMEM, "guest kernel: out of memory");
    }
    *e = (struct engine){.pid = -1,
                         .pidfd = -1,
                         .console_fd = pipe_fds[0],
                         .on_console = o->on_console,
                         .on_end = o->on_end,
                         .data = o->data};

    int rc = spawn(o, e, write_end, err);
    if (rc == 0)
        rc = watch(e, o->loop, err);
    if (rc < 0)
        return pv_error_prefix(err, "start the guest kernel");
    *ret_engine = pv_take_ptr(e);
    return 0;
}

void engine_kill(struct engine *e)
{
    if (!e->reaped)
        syscall(SYS_pidfd_send_signal, e->pidfd, SIGKILL, NULL, 0);
}

pid_t engine_get_pid(const struct engine *e)
{
    return e->pid;
}

const struct jail_walls *engine_get_walls(const struct engine *e)
{
    return &e->walls;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    pv_loop_remove(e->pid_source);
    pv_loop_remove(e->console_source);
    if (e->pidfd >= 0) {
        engine_kill(e);
        if (!e->reaped)
            reap(e);
        close(e->pidfd);
    }
    close(e->console_fd);
    free(e);
}
