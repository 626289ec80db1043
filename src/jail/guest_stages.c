/* SPDX-License-Identifier: Apache-2.0
 *
 * guest_stages.c: what happens between fork and the guest kernel's first instruction.
 * Runs on: the only thread of the child. System calls only: no allocation, no locks.
 *
 * Theory of operation
 *
 * Each stage takes something away, in an order in which the later stages still have what they
 * need. After the last one the process may use its descriptors by the calls in its filter.
 *
 *   stage        may still                                  may no longer
 *   signals      everything of the monitor                  run the monitor's handlers
 *   wait         (the monitor puts it into its cgroup and   outlive the monitor
 *                maps its ids)
 *   descriptors  use those it was given                     use any other of the monitor
 *   session      ...                                        reach the user's terminal
 *   identity     act as root of its own user namespace      be seen with a host uid from inside
 *   namespaces   see the host's files                       see host processes, network, ipc, names
 *   limits       ...                                        use more than its share
 *   root         open nothing: the root is empty            open, connect to or execute any path
 *   powers       be an unprivileged process                 mount, change identity, gain privileges
 *   landlock     execute the guest kernel                   open, connect, bind or signal outside,
 *                                                           also where the root is not empty
 *   filter       what its list says                         make any other system call
 *
 * A stage that the host refuses is recorded as a missing wall; the walls behind it still stand.
 * The order has four knots. Namespaces need the mapped identity. The empty root needs the
 * capabilities, and Landlock forbids mounting, so it comes after both. The death signal is cleared
 * by the kernel when the identity changes, so it is set again after that. no_new_privs is
 * what lets an unprivileged process have Landlock and seccomp.
 *
 * The kernel executes by descriptor: the empty, noexec root does not matter to it. Address
 * randomization is off for the guest kernel, whose layout is fixed. "Not dumpable" is no stage: the
 * exec resets it, and what it would keep away, tracing by the same uid, the filter, Landlock and
 * the pid namespace keep inside; from outside, the user may look at what the user owns.
 */
#include "jail/guest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/drop_internal.h"
#include "jail/landlock_internal.h"

/* While descriptors move, all sources are above all targets, /dev/null, exec and control. */
#define SAFE_FD (JAIL_GUEST_TARGET_MAX + 3)
/* The limit of the stack, as Linux has it by default. */
#define STACK_BYTES (8U << 20)

/* The child's state between stages. */
struct stages {
    const struct jail_guest_child *child;
    const struct jail_guest *config;
    struct jail_walls *walls;
    struct pv_error *err;
    int exec_fd, control; /* as they are numbered now */
    bool bounding_dropped;
};

static int fail(struct stages *s, int code, const char *what)
{
    return pv_error_set(s->err, code, "%s: %s", what, jail_errno_text(code));
}

static int reset_signals(struct stages *s)
{
    /* Ignored signals would stay ignored over the exec. The numbers of the C library's own signals
     * are refused, and 9 and 19 cannot be changed: no error matters here. */
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        signal(signo, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return fail(s, errno, "unblock signals");
    return 0;
}

/* Dies with the monitor, from now on and if it is dead already. */
static int follow_parent(struct stages *s)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fail(s, errno, "set the parent death signal");
    /* getppid() says 0 in a pid namespace, dead or alive; the socket tells. */
    struct pollfd poll_control = {.fd = s->control};
    if (poll(&poll_control, 1, 0) < 0)
        return fail(s, errno, "look for the monitor");
    if (poll_control.revents & (POLLHUP | POLLERR))
        _exit(0); /* nobody is left to be told */
    jail_walls_set(s->walls, JAIL_WALL_PARENT, true, "%s", "");
    return 0;
}

static int wait_for_monitor(struct stages *s)
{
    int rc = follow_parent(s);
    if (rc < 0)
        return rc;
    /* So that this process may write its own files in /proc whatever the monitor was. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    char byte;
    ssize_t got;
    do
        got = read(s->control, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1)
        _exit(0);
    return 0;
}

/* Descriptors move through numbers that a small soft limit would not allow. */
static int make_room(struct stages *s)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fail(s, errno, "read the descriptor limit");
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? fail(s, errno, "raise the descriptor limit") : 0;
}

/* Copies fd above all targets. */
static int lift(struct stages *s, int fd, int *ret_fd)
{
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, SAFE_FD);
    return *ret_fd < 0 ? fail(s, errno, "move a descriptor") : 0;
}

static int place(struct stages *s, int fd, int target, int flags)
{
    return dup3(fd, target, flags) < 0 ? fail(s, errno, "place a descriptor") : 0;
}

static int settle_descriptors(struct stages *s)
{
    const struct jail_guest *config = s->config;
    int lifted[JAIL_GUEST_FDS_MAX], null_fd = -1, exec_fd = -1, control = -1;
    int rc = make_room(s);
    if (rc == 0)
        rc = lift(s, s->child->null_fd, &null_fd);
    for (size_t i = 0; rc == 0 && i < config->num_fds; i++)
        rc = lift(s, config->fds[i].fd, &lifted[i]);
    if (rc == 0)
        rc = lift(s, config->exec_fd, &exec_fd);
    if (rc == 0)
        rc = lift(s, s->control, &control);
    if (rc < 0)
        return rc;

    for (int fd = 0; fd < SAFE_FD; fd++)
        close(fd);
    for (int fd = 0; rc == 0 && fd < 3; fd++)
        rc = place(s, null_fd, fd, 0);
    for (size_t i = 0; rc == 0 && i < config->num_fds; i++)
        rc = place(s, lifted[i], config->fds[i].target, 0);
    s->exec_fd = SAFE_FD - 2;
    s->control = SAFE_FD - 1;
    if (rc == 0)
        rc = place(s, exec_fd, s->exec_fd, O_CLOEXEC);
    if (rc == 0)
        rc = place(s, control, s->control, O_CLOEXEC);
    if (rc < 0)
        return rc;
    rc = jail_close_from(SAFE_FD);
    if (rc < 0)
        return fail(s, -rc, "close the monitor's descriptors");
    jail_walls_set(s->walls, JAIL_WALL_DESCRIPTORS, true, "%zu given, no other open",
                   config->num_fds);
    return 0;
}

static int leave_session(struct stages *s)
{
    if (setsid() < 0)
        return fail(s, errno, "leave the session");
    umask(0077);
    personality(ADDR_NO_RANDOMIZE); /* a wish, no wall: containers may refuse it */
    if (s->config->oom_score_adj) {
        char text[16];
        snprintf(text, sizeof(text), "%d", s->config->oom_score_adj);
        int rc = jail_write_text("/proc/self/oom_score_adj", text);
        jail_walls_set(s->walls, JAIL_WALL_OOM, rc == 0, "%s",
                       rc == 0 ? text : jail_errno_text(-rc));
    }
    return 0;
}

/* A plain user maps its own uid and gid; for root, the monitor did it before it let us go on. */
static int map_own_identity(struct stages *s)
{
    if (!(s->child->namespaces & CLONE_NEWUSER) || s->child->become)
        return 0;
    int rc = jail_write_text("/proc/self/setgroups", "deny");
    if (rc == 0)
        rc = jail_write_id_map("/proc/self/uid_map", JAIL_INNER_ID, s->child->uid);
    if (rc == 0)
        rc = jail_write_id_map("/proc/self/gid_map", JAIL_INNER_ID, s->child->gid);
    if (rc == 0)
        return 0;
    s->child->report->user_ns_refused = jail_is_refusal(-rc);
    return fail(s, -rc, "map the user in its user namespace");
}

static void record_identity(struct stages *s)
{
    bool user_ns = s->child->namespaces & CLONE_NEWUSER;
    if (user_ns)
        jail_walls_set(s->walls, JAIL_WALL_USER, true, "one id, seen inside as %u", JAIL_INNER_ID);
    if (s->child->become)
        jail_walls_set(s->walls, JAIL_WALL_IDENTITY, true, "uid %u gid %u, no other groups",
                       s->config->uid, s->config->gid);
    else
        jail_walls_set(s->walls, JAIL_WALL_IDENTITY, true,
                       "uid %u, which started it; its supplementary groups stay", s->child->uid);
}

static int unshare_namespaces(struct stages *s)
{
    static const struct {
        int flag;
        const char *wall;
    } list[] = {
        {CLONE_NEWNET, JAIL_WALL_NET},
        {CLONE_NEWIPC, JAIL_WALL_IPC},
        {CLONE_NEWUTS, JAIL_WALL_UTS},
        {CLONE_NEWCGROUP, JAIL_WALL_CGROUP}, /* after the monitor put us into the cgroup */
        {CLONE_NEWNS, JAIL_WALL_ROOT},       /* stands only when the root is empty: empty_root */
    };
    if (s->child->namespaces & CLONE_NEWPID)
        jail_walls_set(s->walls, JAIL_WALL_PID, true, "%s", "");
    for (size_t i = 0; i < PV_ARRAY_SIZE(list); i++) {
        bool done = unshare(list[i].flag) == 0;
        if (!done && errno != EINVAL && !jail_is_refusal(errno))
            return fail(s, errno, list[i].wall);
        jail_walls_set(s->walls, list[i].wall, done, "%s", done ? "" : jail_errno_text(errno));
    }
    if (!jail_walls_stands(s->walls, JAIL_WALL_UTS))
        return 0;
    if (sethostname("", 0) < 0 || setdomainname("", 0) < 0)
        return fail(s, errno, "blank the host name");
    return 0;
}

static int limit_resources(struct stages *s)
{
    const struct jail_guest *config = s->config;
    uint64_t files = config->max_files ? PV_MAX(config->max_files, (uint64_t)64) : 4096;
    uint64_t bytes = config->max_file_bytes ? config->max_file_bytes : 16 << 20;
    int rc = jail_set_common_rlimits(0, s->err);
    if (rc == 0)
        rc = jail_set_rlimit(RLIMIT_NOFILE, files, s->err);
    if (rc == 0)
        rc = jail_set_rlimit(RLIMIT_FSIZE, bytes, s->err);
    /* Without a limit the host lays out addresses the old way, with its vDSO among the guest's. */
    if (rc == 0)
        rc = jail_set_rlimit(RLIMIT_STACK, STACK_BYTES, s->err);
    if (rc < 0)
        return rc;
    jail_walls_set(s->walls, JAIL_WALL_RLIMITS, true,
                   "%llu descriptors, files of %llu bytes, no cores, no locked memory",
                   (unsigned long long)files, (unsigned long long)bytes);

    if (!config->max_processes)
        return 0;
    if (!s->child->nproc_is_own || !(s->child->namespaces & CLONE_NEWUSER)) {
        jail_walls_set(s->walls, JAIL_WALL_PROCESSES, false,
                       "it would count all processes of the uid: needs a user namespace on Linux "
                       "5.14, or the cgroup's limit");
        return 0;
    }
    jail_walls_set(s->walls, JAIL_WALL_PROCESSES, true, "%llu tasks",
                   (unsigned long long)config->max_processes);
    return jail_set_rlimit(RLIMIT_NPROC, config->max_processes, s->err);
}

/* Makes an empty tmpfs the root. Returns 0 or -errno; ret_step names what failed. */
static int enter_empty_root(const char **ret_step)
{
    const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    /* Any directory that surely exists; /proc is needed by nobody any more. */
    const char *dir = "/proc";

    *ret_step = "keep mounts private";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    *ret_step = "mount a tmpfs";
    if (mount("empty", dir, "tmpfs", flags, "size=4k,nr_inodes=1,mode=0555") < 0)
        return -errno;
    *ret_step = "enter the tmpfs";
    if (chdir(dir) < 0)
        return -errno;
    *ret_step = "pivot_root";
    if (syscall(SYS_pivot_root, ".", ".") == 0) {
        *ret_step = "detach the old root"; /* it lies on top of the new one */
        if (umount2(".", MNT_DETACH) < 0)
            return -errno;
    } else if (errno == EINVAL) {
        /* The host's root is its initramfs, which cannot be pivoted away: cover it. Leaving the
         * chroot would take a capability or an open directory, and there is neither. */
        *ret_step = "move the tmpfs to the root";
        if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
            return -errno;
    } else {
        return -errno;
    }
    *ret_step = "enter the empty root";
    return chdir("/") < 0 ? -errno : 0;
}

static int empty_root(struct stages *s)
{
    if (!jail_walls_stands(s->walls, JAIL_WALL_ROOT))
        return 0;
    const char *step;
    int rc = enter_empty_root(&step);
    if (rc < 0 && !jail_is_refusal(-rc))
        return fail(s, -rc, step);
    jail_walls_set(s->walls, JAIL_WALL_ROOT, rc == 0, "%s%s%s", rc == 0 ? "read-only" : step,
                   rc == 0 ? "" : ": ", rc == 0 ? "" : jail_errno_text(-rc));
    return 0;
}

static int drop_powers(struct stages *s)
{
    s->bounding_dropped = jail_drop_bounding();
    if (s->child->become) {
        bool user_ns = s->child->namespaces & CLONE_NEWUSER;
        int rc = jail_drop_identity(user_ns ? JAIL_INNER_ID : s->config->uid,
                                    user_ns ? JAIL_INNER_ID : s->config->gid, true, s->err);
        if (rc < 0)
            return rc;
    }
    record_identity(s);
    int rc = jail_drop_capabilities(s->bounding_dropped, 0, s->walls, s->err);
    if (rc == 0)
        rc = jail_set_no_new_privs(s->walls, s->err);
    if (rc == 0)
        rc = follow_parent(s);
    return rc;
}

static int close_with_landlock(struct stages *s)
{
    const struct jail_landlock_rule exec = {s->exec_fd, JAIL_LANDLOCK_EXEC};
    return jail_landlock_enter(&(struct jail_landlock){.rules = &exec, .num_rules = 1}, s->walls,
                               s->err);
}

static int close_with_filter(struct stages *s)
{
    int rc = jail_filter_program_install(s->config->filter, false);
    if (rc < 0)
        return pv_error_set(s->err, -rc,
                            "install the seccomp filter: %s: the guest kernel is not started "
                            "without one; a kernel with CONFIG_SECCOMP_FILTER has it",
                            jail_errno_text(-rc));
    jail_walls_set(s->walls, JAIL_WALL_SECCOMP, true, "%u calls", s->config->filter->calls);
    return 0;
}

_Noreturn void jail_guest_enter(const struct jail_guest_child *child)
{
    static int (*const stages[])(struct stages *) = {
        reset_signals,    wait_for_monitor,    settle_descriptors, leave_session,
        map_own_identity, unshare_namespaces,  limit_resources,    empty_root,
        drop_powers,      close_with_landlock, close_with_filter,
    };
    struct jail_guest_report *report = child->report;
    struct stages s = {
        .child = child,
        .config = child->config,
        .walls = &report->walls,
        .err = &report->error,
        .exec_fd = child->config->exec_fd,
        .control = child->control,
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(stages); i++)
        if (stages[i](&s) < 0)
            _exit(127);

    report->executing = true;
    static char *const no_environment[] = {NULL};
    syscall(SYS_execveat, s.exec_fd, "", child->config->argv, no_environment, AT_EMPTY_PATH);
    fail(&s, errno, "execute the guest kernel");
    _exit(127);
}
