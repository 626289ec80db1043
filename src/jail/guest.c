/* SPDX-License-Identifier: Apache-2.0
 *
 * guest.c: starts the guest kernel in its jail: the monitor's side.
 * Runs on: the monitor's main thread, which the guest does not outlive.
 *
 * The child is made with as many of the two namespaces that only clone can give as the host
 * allows: user (it lends the privileges for all others) and pid. Everything else is the child's
 * work, in guest_stages.c. When a host allows the user namespace but makes it useless (AppArmor on
 * some distributions), the child says so and the next, lower attempt is made.
 */
#include "jail/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail/drop_internal.h"
#include "jail/guest_internal.h"

static int check_descriptor(int fd, struct pv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return pv_error_set(err, EINVAL, "descriptor %d for the guest: %s", fd, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return pv_error_set(err, EINVAL,
                            "descriptor %d for the guest is a directory: it leads out of the jail",
                            fd);
    return 0;
}

static int check_config(const struct jail_guest *config, struct pv_error *err)
{
    if (!config->argv || !config->argv[0] || !config->filter)
        return pv_error_set(err, EINVAL, "a guest needs arguments and a filter");
    if (config->num_fds > JAIL_GUEST_FDS_MAX)
        return pv_error_set(err, EINVAL, "%zu descriptors for the guest: at most %d",
                            config->num_fds, JAIL_GUEST_FDS_MAX);
    if (config->oom_score_adj < 0 || config->oom_score_adj > 1000)
        return pv_error_set(err, EINVAL, "oom_score_adj %d: 0..1000", config->oom_score_adj);
    int rc = check_descriptor(config->exec_fd, err);
    bool used[JAIL_GUEST_TARGET_MAX + 1] = {false};
    for (size_t i = 0; rc == 0 && i < config->num_fds; i++) {
        int target = config->fds[i].target;
        if (target < 0 || target > JAIL_GUEST_TARGET_MAX || used[target])
            return pv_error_set(err, EINVAL, "descriptor number %d for the guest is %s", target,
                                target < 0 || target > JAIL_GUEST_TARGET_MAX ? "out of range"
                                                                             : "given twice");
        used[target] = true;
        rc = check_descriptor(config->fds[i].fd, err);
    }
    return rc;
}

static bool nproc_counts_per_namespace(void)
{
    struct utsname uts;
    unsigned major = 0, minor = 0;
    if (uname(&uts) < 0 || sscanf(uts.release, "%u.%u", &major, &minor) != 2)
        return false;
    return major > 5 || (major == 5 && minor >= 14);
}

/* Root maps the child's ids from outside, where it has the right to. */
static int map_child(const struct jail_guest *config, pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
    int rc = jail_write_id_map(path, JAIL_INNER_ID, config->gid);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
    return jail_write_id_map(path, JAIL_INNER_ID, config->uid);
}

static void end_child(pid_t pid, int pidfd)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    close(pidfd);
}

/* Forks with signals blocked, so that no handler of ours runs in the child; clone does not copy the
 * C library's state, so the child keeps to system calls. Returns as clone, with -errno. */
static long fork_child(struct jail_guest_child *child, int parent_end, int *ret_pidfd)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    long pid =
        syscall(SYS_clone, child->namespaces | CLONE_PIDFD | SIGCHLD, NULL, ret_pidfd, NULL, NULL);
    int code = errno;
    if (pid == 0) {
        close(parent_end);
        jail_guest_enter(child);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -code : pid;
}

/* Does for the child what only the monitor can, lets it go on, and waits until it executed or gave
 * up. Returns 0 or -errno. */
static int see_through(const struct jail_guest_child *child, pid_t pid, int control,
                       struct pv_error *err)
{
    struct jail_guest_report *report = child->report;
    if (child->become && (child->namespaces & CLONE_NEWUSER)) {
        int rc = map_child(child->config, pid);
        if (rc < 0) {
            report->user_ns_refused = jail_is_refusal(-rc);
            return pv_error_set(err, -rc, "map uid %u in the guest's user namespace: %s",
                                child->config->uid, strerror(-rc));
        }
    }
    if (child->config->cgroup) {
        int rc = jail_cgroup_attach(child->config->cgroup, pid, err);
        if (rc < 0)
            return rc;
    }
    if (send(control, "", 1, MSG_NOSIGNAL) != 1)
        return pv_error_set(err, errno, "the guest's process died before its start");

    char byte;
    ssize_t got;
    do
        got = read(control, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (report->error.code) {
        if (err)
            *err = report->error;
        return -report->error.code;
    }
    if (!report->executing)
        return pv_error_set(err, ECHILD, "the guest's process was killed before its start");
    return 0;
}

/* One attempt with child->namespaces. ret_refused: it failed by the host's rules about them. */
static int attempt(struct jail_guest_child *child, struct jail_process *process, bool *ret_refused,
                   struct pv_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return pv_error_set(err, errno, "socket pair: %s", strerror(errno));
    pv_auto_fd int ours = pair[0];
    pv_auto_fd int theirs = pair[1];
    child->control = theirs;

    int pidfd = -1;
    long pid = fork_child(child, ours, &pidfd);
    if (pid < 0) {
        *ret_refused = child->namespaces && (pid == -EINVAL || jail_is_refusal((int)-pid));
        return pv_error_set(err, (int)-pid, "%s", strerror((int)-pid));
    }
    close(pv_take_fd(&theirs));
    int rc = pidfd < 0 ? pv_error_set(err, ENOSYS, "this kernel has no pidfd: needs Linux 5.2")
                       : see_through(child, (pid_t)pid, ours, err);
    if (rc < 0) {
        *ret_refused = child->report->user_ns_refused;
        end_child((pid_t)pid, pidfd);
        return rc;
    }
    process->pid = (pid_t)pid;
    process->pidfd = pidfd;
    process->walls = child->report->walls;
    return 0;
}

/* Attempts from the most to the fewest namespaces; each refusal stays in the list of walls. */
static int attempt_all(struct jail_guest_child *child, struct jail_process *process,
                       struct pv_error *err)
{
    static const unsigned long ladder[] = {CLONE_NEWUSER | CLONE_NEWPID, CLONE_NEWUSER,
                                           CLONE_NEWPID, 0};
    struct jail_walls refused = {.count = 0};
    struct pv_error local = PV_ERROR_INIT;
    int rc = -EIO;
    for (size_t i = 0; i < PV_ARRAY_SIZE(ladder); i++) {
        bool again = false;
        memset(child->report, 0, sizeof(*child->report));
        child->report->walls = refused;
        child->namespaces = ladder[i];
        local.text[0] = '\0';
        rc = attempt(child, process, &again, &local);
        if (rc == 0 || !again)
            break;
        if (ladder[i] & CLONE_NEWUSER)
            jail_walls_set(&refused, JAIL_WALL_USER, false, "%s", local.text);
        if (ladder[i] & CLONE_NEWPID)
            jail_walls_set(&refused, JAIL_WALL_PID, false, "%s", local.text);
    }
    if (rc < 0 && err)
        *err = local;
    return rc < 0 ? pv_error_prefix(err, "start the guest's jail") : 0;
}

int jail_guest_spawn(const struct jail_guest *config, struct jail_process *ret_process,
                     struct pv_error *err)
{
    struct jail_guest_child child = {
        .config = config,
        .uid = geteuid(),
        .gid = getegid(),
        .nproc_is_own = nproc_counts_per_namespace(),
    };
    int rc = check_config(config, err);
    if (rc == 0)
        rc = jail_decide_identity(config->uid, config->gid, &child.become, err);
    if (rc < 0)
        return rc;

    pv_auto_fd int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return pv_error_set(err, errno, "open /dev/null: %s", strerror(errno));
    child.null_fd = null_fd;
    child.report = mmap(NULL, sizeof(*child.report), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (child.report == MAP_FAILED)
        return pv_error_set(err, ENOMEM, "out of memory for a guest's jail");

    struct jail_process process = {.pidfd = -1};
    rc = attempt_all(&child, &process, err);
    munmap(child.report, sizeof(*child.report));
    if (rc == 0)
        *ret_process = process;
    return rc;
}
