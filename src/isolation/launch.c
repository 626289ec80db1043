/* SPDX-License-Identifier: Apache-2.0
 *
 * launch.c: posix_spawn with a fixed set of descriptors. It uses vfork semantics, so its cost does
 * not grow with the caller.
 */
#include "isolation/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

#define FIRST_FREE_FD 10

/* Moves a descriptor out of the way of the numbers that the child will have. */
static int lift_fd(int fd, int *ret_fd)
{
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    return *ret_fd < 0 ? errno : 0;
}

static int set_files(posix_spawn_file_actions_t *actions, const int *fds)
{
    int rc = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
    for (int i = 0; rc == 0 && i < 4; i++)
        rc = posix_spawn_file_actions_adddup2(actions, fds[i], 2 + i);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, ISOLATION_LAUNCH_LOCK_FD + 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_addchdir_np(actions, "/");
    return rc;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                      POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attributes, &all);
    return rc;
}

static int spawn_with(const struct isolation_launch *launch, const char *name, const int *fds,
                      pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *argv[] = {(char *)launch->program, (char *)name, NULL};

    int rc = posix_spawn_file_actions_init(&actions);
    if (rc)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc) {
        posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    rc = set_files(&actions, fds);
    if (rc == 0)
        rc = set_attributes(&attributes);
    if (rc == 0)
        rc = posix_spawn(ret_pid, launch->program, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int isolation_launch_start(const struct isolation_launch *launch, const char *name, pid_t *ret_pid,
                           struct pv_error *err)
{
    pv_auto_fd int error_fd = -1;
    pv_auto_fd int spec_fd = -1;
    pv_auto_fd int ready_fd = -1;
    pv_auto_fd int lock_fd = -1;

    int rc = lift_fd(launch->error_fd, &error_fd);
    if (rc == 0)
        rc = lift_fd(launch->spec_fd, &spec_fd);
    if (rc == 0)
        rc = lift_fd(launch->ready_fd, &ready_fd);
    if (rc == 0)
        rc = lift_fd(launch->lock_fd, &lock_fd);
    if (rc == 0)
        rc = spawn_with(launch, name, (int[]){error_fd, spec_fd, ready_fd, lock_fd}, ret_pid);
    if (rc)
        return pv_error_set(err, rc, "start '%s': %s", launch->program, strerror(rc));
    return 0;
}

/* Understands the child's line: "ok", or "error ERRNO TEXT". */
static int judge_line(char *line, struct pv_error *err)
{
    int code, used = 0;
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "ok") == 0)
        return 0;
    if (sscanf(line, "error %d %n", &code, &used) == 1 && used > 0 && code > 0)
        return pv_error_set(err, code, "%s", line + used);
    return pv_error_set(err, EPIPE, "the monitor ended before the machine ran");
}

int isolation_launch_wait(int ready_fd, int cancel_fd, struct pv_error *err)
{
    char line[PV_ERROR_TEXT_MAX] = "";
    size_t len = 0;
    while (len < sizeof(line) - 1 && !memchr(line, '\n', len)) {
        struct pollfd fds[] = {{.fd = ready_fd, .events = POLLIN},
                               {.fd = cancel_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return pv_error_set(err, errno, "wait for the monitor: %s", strerror(errno));
        if (fds[1].revents)
            return pv_error_set(err, ECANCELED, "interrupted");
        if (!fds[0].revents)
            continue;
        ssize_t n = read(ready_fd, line + len, sizeof(line) - 1 - len);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    line[len] = '\0';
    return judge_line(line, err);
}
