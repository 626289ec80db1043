/* SPDX-License-Identifier: Apache-2.0
 *
 * exec.c: turns the forked child into the workload's process.
 * Runs in: the child only. It may block (on a file system of the workload): the agent does not
 *          wait for it.
 *
 * Order matters: first what needs the agent's descriptors, then all of these are closed, so that a
 * child that blocks later holds no end of another session's pipes; privileges fall last.
 */
#include "agent/exec.h"

#include "agent/env.h"
#include "agent/user.h"
#include "base/fd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#define FAILURE_FD 3
#define PATH_BYTES 4096

static _Noreturn void fail(const struct agent_exec *e, uint32_t code, const char *text)
{
    struct agent_exec_failure failure = {.code = code};
    snprintf(failure.text, sizeof(failure.text), "%s", text);
    /* Less than PIPE_BUF: whole or not at all. */
    ssize_t n = write(e->failure_fd, &failure, sizeof(failure));
    _exit(n < 0 ? 1 : (int)code);
}

static _Noreturn void fail_errno(const struct agent_exec *e, uint32_t code, const char *what)
{
    char text[PV_ERROR_TEXT_MAX];
    snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
    fail(e, code, text);
}

/* strerror as Go, and so Docker, writes it: "permission denied". */
static const char *cause(int code, char buf[64])
{
    snprintf(buf, 64, "%s", strerror(code));
    if (isupper((unsigned char)buf[0]) && islower((unsigned char)buf[1]))
        buf[0] = (char)tolower((unsigned char)buf[0]);
    return buf;
}

static void reset_signals(void)
{
    /* The C library keeps two signals for itself and would not reset them, though whoever started
     * us may have left them ignored (posix_spawn does). All zero is the default action. Refused for
     * KILL and STOP, which cannot differ. */
    static const uint64_t kernel_action[4];
    for (int signo = 1; signo < NSIG; signo++)
        syscall(SYS_rt_sigaction, signo, kernel_action, NULL, sizeof(uint64_t));
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The agent must never be the OOM killer's choice, the workload may. Neither step is worth failing
 * for: without them the process merely counts to the agent's group. */
static void leave_agent(const struct agent_world *world)
{
    if (world->cgroup_fd >= 0 && write(world->cgroup_fd, "0", 1) < 0)
        errno = 0;
    pv_auto_fd int fd = world->proc_fd >= 0
                            ? openat(world->proc_fd, "self/oom_score_adj", O_WRONLY | O_CLOEXEC)
                            : open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "0", 1) < 0)
        errno = 0;
}

/* Descriptors 0, 1, 2 are the session's, 3 tells of failure, all others are closed. */
static void set_descriptors(struct agent_exec *e)
{
    if (e->failure_fd != FAILURE_FD) {
        /* stdio may sit on 3: it is moved out of the way first. */
        for (int i = 0; i < 3; i++) {
            int moved = fcntl(e->stdio[i], F_DUPFD_CLOEXEC, FAILURE_FD + 1);
            if (moved < 0)
                fail_errno(e, AGENT_EXEC_FAILED, "move descriptors");
            e->stdio[i] = moved;
        }
        if (dup3(e->failure_fd, FAILURE_FD, O_CLOEXEC) < 0)
            fail_errno(e, AGENT_EXEC_FAILED, "move descriptors");
        e->failure_fd = FAILURE_FD;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(e->stdio[i], i) < 0)
            fail_errno(e, AGENT_EXEC_FAILED, "set up stdio");
    if (close_range(FAILURE_FD + 1, ~0u, 0) < 0)
        fail_errno(e, AGENT_EXEC_FAILED, "close descriptors");
}

static void set_session(const struct agent_exec *e)
{
    if (setsid() < 0)
        fail_errno(e, AGENT_EXEC_FAILED, "start a session");
    if (e->process->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        fail_errno(e, AGENT_EXEC_FAILED, "take the terminal");
}

/* The agent's own limits come from the kernel and would be small or strange for a service. */
static void set_limits(void)
{
    static const struct {
        int resource;
        struct rlimit limit;
    } limits[] = {
        {RLIMIT_NOFILE, {1024, 1048576}},
        {RLIMIT_NPROC, {RLIM_INFINITY, RLIM_INFINITY}},
        {RLIMIT_CORE, {0, RLIM_INFINITY}},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(limits); i++) {
        struct rlimit limit = limits[i].limit, now;
        if (setrlimit((__rlimit_resource_t)limits[i].resource, &limit) == 0)
            continue;
        /* Without the privilege to raise the hard limit it stays as it is. */
        if (getrlimit((__rlimit_resource_t)limits[i].resource, &now) == 0) {
            now.rlim_cur = PV_MIN(limit.rlim_cur, now.rlim_max);
            setrlimit((__rlimit_resource_t)limits[i].resource, &now);
        }
    }
}

/* mkdir -p; what exists is left as it is. */
static int make_dirs(const char *path)
{
    char dir[PATH_BYTES];
    if (strlen(path) >= sizeof(dir))
        return -ENAMETOOLONG;
    strcpy(dir, path);
    for (char *p = dir + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char saved = *p;
        *p = '\0';
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
            return -errno;
        *p = saved;
        if (!saved)
            return 0;
    }
}

static _Noreturn void fail_cwd(const struct agent_exec *e, const char *cwd, int code)
{
    char text[PV_ERROR_TEXT_MAX], buf[64];
    snprintf(text, sizeof(text), "working directory \"%.512s\": %s", cwd, cause(code, buf));
    fail(e, AGENT_EXEC_NOT_RUN, text);
}

/* Goes to the working directory, which Docker makes when it is missing. */
static void enter_cwd(const struct agent_exec *e, const char *cwd)
{
    if (chdir(cwd) == 0)
        return;
    int rc = errno == ENOENT ? make_dirs(cwd) : -errno;
    if (rc == 0 && chdir(cwd) < 0)
        rc = -errno;
    if (rc < 0)
        fail_cwd(e, cwd, -rc);
}

static void become(const struct agent_exec *e, const struct agent_user *u)
{
    if (geteuid() != 0 && !e->process->user)
        return; /* an agent that is not root, as in tests: nobody asked for another user */

    /* A process that is not root can open /dev/stdout and the like only when it owns them. */
    for (int fd = 0; u->uid && fd < 3; fd++)
        if (fchown(fd, u->uid, (gid_t)-1) < 0)
            break;
    if (setgroups(u->num_groups, u->groups) < 0)
        fail_errno(e, AGENT_EXEC_FAILED, "set the groups");
    if (setresgid(u->gid, u->gid, u->gid) < 0)
        fail_errno(e, AGENT_EXEC_FAILED, "set the group");
    if (setresuid(u->uid, u->uid, u->uid) < 0)
        fail_errno(e, AGENT_EXEC_FAILED, "set the user");
}

static _Noreturn void fail_exec(const struct agent_exec *e, const char *name, int code)
{
    char text[PV_ERROR_TEXT_MAX], buf[64];
    cause(code, buf);
    if (code == ENOENT) {
        snprintf(text, sizeof(text), "exec: \"%.256s\": stat %.256s: %s", name, name, buf);
        fail(e, AGENT_EXEC_NOT_FOUND, text);
    }
    snprintf(text, sizeof(text), "exec: \"%.512s\": %s", name, buf);
    fail(e, AGENT_EXEC_NOT_RUN, text);
}

/* Tries name in each directory of path. Returns only when none had a program that runs: the most
 * telling errno. */
static int exec_in_path(const char *name, const char *path, char **args, char **env)
{
    int worst = ENOENT;
    for (const char *dir = path;; dir++) {
        size_t len = strcspn(dir, ":");
        char file[PATH_BYTES];
        int n = len ? snprintf(file, sizeof(file), "%.*s/%s", (int)len, dir, name)
                    : snprintf(file, sizeof(file), "./%s", name);
        struct stat st;
        if (n > 0 && n < (int)sizeof(file)) {
            execve(file, args, env);
            if (errno == EACCES && stat(file, &st) == 0 && S_ISDIR(st.st_mode))
                errno = ENOENT; /* a directory of that name is no command */
            if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
                worst = errno;
                if (errno != EACCES)
                    return worst;
            }
        }
        dir += len;
        if (!*dir)
            return worst;
    }
}

static _Noreturn void exec_program(const struct agent_exec *e, struct pv_strv *env)
{
    char **args = e->process->args.items;
    const char *name = args[0];
    if (strchr(name, '/')) {
        execve(name, args, env->items);
        int code = errno;
        struct stat st;
        if (code == EACCES && stat(name, &st) == 0 && S_ISDIR(st.st_mode))
            code = EISDIR;
        fail_exec(e, name, code);
    }

    int code = *name ? exec_in_path(name, agent_env_find(env, "PATH"), args, env->items) : ENOENT;
    if (code != ENOENT)
        fail_exec(e, name, code);
    char text[PV_ERROR_TEXT_MAX];
    snprintf(text, sizeof(text), "exec: \"%.512s\": executable file not found in $PATH", name);
    fail(e, AGENT_EXEC_NOT_FOUND, text);
}

_Noreturn void agent_exec_run(const struct agent_exec *given)
{
    static struct agent_user user; /* large, and this process is ours alone */
    struct agent_exec e = *given;
    struct pv_error err = PV_ERROR_INIT;
    struct pv_strv env = {0};

    reset_signals();
    umask(022);
    leave_agent(e.world);
    set_descriptors(&e);
    set_session(&e);
    set_limits();

    pv_auto_fd int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (agent_user_find(root_fd, e.process->user, &user, &err) < 0)
        fail(&e, AGENT_EXEC_FAILED, err.text);
    if (agent_env_complete(&e.process->env, user.home, e.world->hostname, e.process->terminal,
                           &env) < 0)
        fail(&e, AGENT_EXEC_FAILED, "environment: out of memory");
    enter_cwd(&e, e.process->cwd ? e.process->cwd : "/");
    become(&e, &user);
    exec_program(&e, &env);
}
