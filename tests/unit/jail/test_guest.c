/* SPDX-License-Identifier: Apache-2.0
 *
 * test_guest.c: prisoners try to break out of the guest's jail, wall by wall.
 *
 * Every prisoner runs twice: with a strict filter, which alone has to stop everything, and with
 * one that allows every call, so that each of the other walls has to stop what it is there for.
 * Where a wall is missing in this situation, what it would stop must get through: that proves both
 * the list of walls and the attempt.
 */
#include "jail/guest.h"

#include "situation.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define LEAKED_FD 150
#define HIGH_LEAKED_FD 400
#define IMAGE_FD 10

/* What an attempt is stopped by, besides the filter. */
enum {
    BY_ROOT = 1,      /* the empty root */
    BY_LANDLOCK = 2,  /* any ABI */
    BY_LANDLOCK4 = 4, /* TCP */
    BY_LANDLOCK6 = 8, /* abstract sockets, signals */
    BY_NET = 16,
    BY_PID = 32,
    BY_UID = 64,     /* the guest has another uid than the monitor */
    BY_OTHERS = 128, /* maybe also by something that is not ours: cannot be proved missing */
    ALWAYS = 256,
    BY_FILTER = 512, /* by nothing else */
};

static const struct {
    const char *name;
    unsigned by;
    int filter_errno; /* the strict filter's answer; 0: the call is in its list */
} attempts[] = {
    {"open_passwd", BY_ROOT | BY_LANDLOCK, EPERM},
    {"open_upwards", BY_ROOT | BY_LANDLOCK, EPERM},
    {"open_proc", BY_ROOT | BY_LANDLOCK, EPERM},
    {"open_proc_monitor", BY_ROOT | BY_LANDLOCK, EPERM},
    {"list_root", BY_ROOT | BY_LANDLOCK, EPERM},
    {"tcp", BY_NET | BY_LANDLOCK4, EPERM},
    {"abstract_socket", BY_NET | BY_LANDLOCK6, EPERM},
    {"path_socket", BY_ROOT, EPERM},
    {"netlink", BY_FILTER, EPERM},
    {"kill_monitor", BY_PID | BY_LANDLOCK6 | BY_UID, EPERM},
    {"kill_parent", BY_PID | BY_LANDLOCK6 | BY_UID, 0}, /* maybe there is none to try */
    {"ptrace", BY_PID | BY_LANDLOCK | BY_UID | BY_OTHERS, EPERM},
    {"process_vm_readv", BY_PID | BY_LANDLOCK | BY_UID | BY_OTHERS, EPERM},
    {"exec", BY_ROOT | BY_LANDLOCK, EPERM},
    {"leaked", ALWAYS, 0},
    {"leaked_high", ALWAYS, 0},
    {"tiocsti", ALWAYS, EPERM},
    {"controlling_terminal", ALWAYS, EPERM},
    {"big_file", ALWAYS, 0},
    {"keyctl", BY_FILTER, EPERM},
    {"bpf", BY_FILTER, EPERM},
    {"userfaultfd", BY_FILTER, EPERM},
    {"io_uring", BY_FILTER, EPERM},
    {"perf", BY_FILTER, EPERM},
    {"unlisted", BY_FILTER, EPERM},
#ifdef __x86_64__
    {"int80", BY_FILTER, ENOSYS},
    {"x32", BY_FILTER, ENOSYS},
#endif
    {"mount", ALWAYS, EPERM},
    {"unshare_mount", ALWAYS, EPERM},
    {"chroot", ALWAYS, EPERM},
    {"setuid", ALWAYS, EPERM},
    {"setgid", ALWAYS, EPERM},
    {"setgroups", ALWAYS, EPERM},
    {"sethostname", ALWAYS, EPERM},
    {"raise_limit", ALWAYS, EPERM},
    {"mlock", ALWAYS, EPERM},
    {"capabilities", ALWAYS, EPERM},
    {"new_privileges", ALWAYS, 0},
    {"unshare_user", BY_FILTER, EPERM},
};

static const char *const guest_walls[] = {
    JAIL_WALL_USER,         JAIL_WALL_PID,      JAIL_WALL_NET,      JAIL_WALL_IPC,
    JAIL_WALL_UTS,          JAIL_WALL_CGROUP,   JAIL_WALL_ROOT,     JAIL_WALL_DESCRIPTORS,
    JAIL_WALL_RLIMITS,      JAIL_WALL_IDENTITY, JAIL_WALL_LANDLOCK, JAIL_WALL_CAPABILITIES,
    JAIL_WALL_NO_NEW_PRIVS, JAIL_WALL_PARENT,   JAIL_WALL_SECCOMP,  NULL,
};

/* What the prisoners try to reach. */
static struct {
    char dir[64], socket[128], abstract[128], port[32], monitor[32];
    int tcp_fd, unix_fd, abstract_fd;
} targets;

static int listen_on(int family, const void *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static int set_up_targets(void **state)
{
    situation_make_dir(targets.dir);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/socket", targets.dir);
    targets.unix_fd = listen_on(AF_UNIX, &un, sizeof(un));
    chmod(un.sun_path, 0777);
    snprintf(targets.socket, sizeof(targets.socket), "socket=%s", un.sun_path);

    memset(&un.sun_path, 0, sizeof(un.sun_path));
    int len = snprintf(un.sun_path + 1, 40, "paravane-test-%d", (int)getpid());
    targets.abstract_fd = listen_on(
        AF_UNIX, &un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) + (socklen_t)len);
    snprintf(targets.abstract, sizeof(targets.abstract), "abstract=%s", un.sun_path + 1);

    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t in_len = sizeof(in);
    targets.tcp_fd = listen_on(AF_INET, &in, sizeof(in));
    getsockname(targets.tcp_fd, (struct sockaddr *)&in, &in_len);
    snprintf(targets.port, sizeof(targets.port), "port=%u", ntohs(in.sin_port));
    snprintf(targets.monitor, sizeof(targets.monitor), "monitor=%d", (int)getpid());

    int null_fd = open("/dev/null", O_WRONLY);
    assert_int_equal(dup2(null_fd, LEAKED_FD), LEAKED_FD); /* not close-on-exec */
    assert_int_equal(dup2(null_fd, HIGH_LEAKED_FD), HIGH_LEAKED_FD);
    close(null_fd);
    return 0;
}

static int tear_down_targets(void **state)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/socket", targets.dir);
    unlink(path);
    rmdir(targets.dir);
    close(LEAKED_FD);
    close(HIGH_LEAKED_FD);
    close(targets.unix_fd);
    close(targets.abstract_fd);
    close(targets.tcp_fd);
    return 0;
}

/* All that the prisoner needs to say what became of its attempts. */
static struct jail_filter_program *strict_filter(void)
{
    static const int calls[] = {
        SYS_read,
        SYS_write,
        SYS_brk,
        SYS_mmap,
        SYS_mprotect,
        SYS_munmap,
        SYS_exit_group,
        SYS_execveat,
        SYS_wait4,
        SYS_memfd_create,
        SYS_ftruncate,
        SYS_fcntl,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_getpid,
        SYS_getuid,
        SYS_getgid,
        SYS_getgroups,
        SYS_getppid,
        SYS_set_tid_address,
        SYS_set_robust_list,
        SYS_rseq,
        SYS_getrandom,
        SYS_pause,
        SYS_uname,
#ifdef __x86_64__
        SYS_arch_prctl,
#endif
    };
    struct jail_filter *filter = jail_filter_new(JAIL_FILTER_REFUSE);
    assert_non_null(filter);
    for (size_t i = 0; i < PV_ARRAY_SIZE(calls); i++)
        assert_int_equal(jail_filter_allow(filter, calls[i], "test", NULL), 0);
    assert_int_equal(jail_filter_allow_clone(filter, "test", NULL), 0);
    static const uint64_t options[] = {PR_GET_PDEATHSIG, PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ};
    for (size_t i = 0; i < PV_ARRAY_SIZE(options); i++) {
        struct jail_filter_arg arg = {0, JAIL_ARG_MASKED_EQ, options[i], 0xffffffff};
        assert_int_equal(jail_filter_allow_args(filter, SYS_prctl, &arg, 1, "test", NULL), 0);
    }
    struct jail_filter_program *program = NULL;
    assert_int_equal(jail_filter_build(filter, &program, NULL), 0);
    jail_filter_free(filter);
    return program;
}

static struct jail_filter_program *open_filter(void)
{
    struct jail_filter *filter = jail_filter_new(JAIL_FILTER_LOG);
    struct jail_filter_program *program = NULL;
    assert_int_equal(jail_filter_build(filter, &program, NULL), 0);
    jail_filter_free(filter);
    return program;
}

/* A prisoner at work. */
struct prison {
    struct jail_process process;
    int out; /* its descriptor 1 */
    char text[8192];
};

/* Starts a prisoner; changes: what differs from the usual configuration. */
static int start(struct prison *prison, const struct jail_filter_program *filter,
                 const char *const *argv, const struct jail_guest *changes, struct pv_error *err)
{
    int out[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pv_auto_fd int image = situation_open_prisoner();
    pv_auto_fd int exec_fd = situation_open_prisoner();
    pv_auto_fd int terminal = situation_open_terminal();
    const struct jail_guest_fd fds[] = {{terminal, 0}, {out[1], 1}, {image, IMAGE_FD}};
    struct jail_guest config = changes ? *changes : (struct jail_guest){0};
    config.exec_fd = changes && changes->exec_fd ? changes->exec_fd : exec_fd;
    config.argv = argv;
    config.fds = fds;
    config.num_fds = PV_ARRAY_SIZE(fds);
    config.filter = filter;
    config.uid = config.gid = SITUATION_GUEST;
    memset(prison, 0, sizeof(*prison));
    int rc = jail_guest_spawn(&config, &prison->process, err);
    close(out[1]);
    if (rc < 0)
        close(out[0]);
    prison->out = out[0];
    return rc;
}

/* Reads what the prisoner says until all of its processes are gone, and returns its status. */
static int finish(struct prison *prison)
{
    ssize_t got = pv_fd_read_full(prison->out, prison->text, sizeof(prison->text) - 1);
    assert_true(got >= 0 && got < (ssize_t)sizeof(prison->text) - 1);
    prison->text[got] = '\0';
    close(prison->out);
    int status = -1;
    assert_int_equal(waitpid(prison->process.pid, &status, 0), prison->process.pid);
    close(prison->process.pidfd);
    return status;
}

static long said(const struct prison *prison, const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "\n%s=", name);
    const char *at = strstr(prison->text, key);
    if (!at && strncmp(prison->text, key + 1, strlen(key + 1)) == 0)
        at = prison->text - 1;
    if (!at)
        fail_msg("the prisoner did not say '%s': %s", name, prison->text);
    return strtol(at + strlen(key), NULL, 10);
}

static void run_all(struct prison *prison, const struct jail_filter_program *filter)
{
    const char *argv[] = {"prisoner",     "all",           targets.port, targets.abstract,
                          targets.socket, targets.monitor, NULL};
    struct pv_error err = PV_ERROR_INIT;
    if (start(prison, filter, argv, NULL, &err) < 0)
        fail_msg("%s", err.text);
    int status = finish(prison);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the prisoner ended with status 0x%x: %s", status, prison->text);
    assert_int_equal(said(prison, "end"), 0);
    situation_check_walls(&prison->process.walls, guest_walls);
}

static void check_state(const struct prison *prison)
{
    bool user_ns = !situation_lacks(JAIL_WALL_USER);
    long id = user_ns ? 65534 : situation_is_root() ? SITUATION_GUEST : (long)geteuid();
    assert_int_equal(said(prison, "env"), 0);
    assert_int_equal(said(prison, "open_fds"), 4); /* 0, 1, 2 and the image */
    assert_int_equal(said(prison, "blocked_signals"), 0);
    assert_int_equal(said(prison, "ignored_signals"), 0);
    assert_int_equal(said(prison, "uid"), id);
    assert_int_equal(said(prison, "pdeathsig"), SIGKILL);
    assert_int_equal(said(prison, "stub"), 0);
    if (situation_is_root())
        assert_int_equal(said(prison, "groups"), 0);
    if (!situation_lacks(JAIL_WALL_UTS))
        assert_int_equal(said(prison, "host_name"), 0);
    /* Only who may drop the bounding set can: root, also of a namespace. */
    if (user_ns || geteuid() == 0)
        assert_int_equal(said(prison, "bounding_set"), 0);
    else
        assert_true(said(prison, "bounding_set") > 0);
    if (situation_lacks(JAIL_WALL_PID))
        assert_int_equal(said(prison, "pid"), prison->process.pid);
    else
        assert_int_equal(said(prison, "pid"), 1);
}

static void test_strict_filter_stops_everything(void **state)
{
    struct prison prison;
    struct jail_filter_program *filter = strict_filter();
    run_all(&prison, filter);
    jail_filter_program_free(filter);
    check_state(&prison);
    for (size_t i = 0; i < PV_ARRAY_SIZE(attempts); i++) {
        long code = said(&prison, attempts[i].name);
        if (code == 0)
            fail_msg("'%s' got through the strict filter", attempts[i].name);
        if (attempts[i].filter_errno && code != attempts[i].filter_errno)
            fail_msg("'%s' was answered with errno %ld instead of %d", attempts[i].name, code,
                     attempts[i].filter_errno);
    }
}

/* Which of our walls stand here, by the situation and the kernel, not by what was recorded. */
static unsigned standing(void)
{
    unsigned by = ALWAYS;
    int abi = situation_landlock_abi();
    by |= situation_lacks(JAIL_WALL_ROOT) ? 0 : BY_ROOT;
    by |= situation_lacks(JAIL_WALL_NET) ? 0 : BY_NET;
    by |= situation_lacks(JAIL_WALL_PID) ? 0 : BY_PID;
    by |= situation_is_root() ? BY_UID : 0;
    by |= abi >= 1 ? BY_LANDLOCK : 0;
    by |= abi >= 4 ? BY_LANDLOCK4 : 0;
    by |= abi >= 6 ? BY_LANDLOCK6 : 0;
    return by;
}

static void test_each_other_wall_stops_its_attempts(void **state)
{
    struct prison prison;
    struct jail_filter_program *filter = open_filter();
    run_all(&prison, filter);
    jail_filter_program_free(filter);
    check_state(&prison);
    unsigned by = standing();
    for (size_t i = 0; i < PV_ARRAY_SIZE(attempts); i++) {
        long code = said(&prison, attempts[i].name);
        bool stopped = attempts[i].by & by;
        if (stopped && code == 0)
            fail_msg("'%s' got out", attempts[i].name);
        if (!stopped && code != 0 && !(attempts[i].by & (BY_OTHERS | BY_FILTER)))
            fail_msg("'%s' was stopped (%ld) although no wall is there", attempts[i].name, code);
    }
}

/* Starts a prisoner that waits, and waits until it does. */
static void start_sleeper(struct prison *prison, const struct jail_filter_program *filter)
{
    const char *argv[] = {"prisoner", "sleep", NULL};
    struct pv_error err = PV_ERROR_INIT;
    char line[16] = "";
    if (start(prison, filter, argv, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(read(prison->out, line, sizeof(line) - 1) > 0);
    assert_string_equal(line, "asleep=0\n");
}

static void test_guest_can_be_killed_and_seen_to_end(void **state)
{
    struct prison prison;
    struct jail_filter_program *filter = strict_filter();
    start_sleeper(&prison, filter);
    struct pollfd ended = {.fd = prison.process.pidfd, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 0), 0);
    assert_int_equal(syscall(SYS_pidfd_send_signal, prison.process.pidfd, SIGKILL, NULL, 0), 0);
    assert_int_equal(poll(&ended, 1, 5000), 1);
    int status = finish(&prison);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    jail_filter_program_free(filter);
}

static void test_guest_dies_with_its_monitor(void **state)
{
    struct jail_filter_program *filter = strict_filter();
    int alive[2];
    assert_int_equal(pipe(alive), 0);
    /* A monitor of its own, which hands its guest's output to us by inheritance. */
    pid_t monitor = fork();
    if (monitor == 0) {
        struct prison prison;
        start_sleeper(&prison, filter);
        /* Whoever holds the other end of the guest's pipe hears of its death. */
        char byte = 'x';
        if (write(alive[1], &byte, 1) != 1)
            _exit(1);
        while (read(prison.out, &byte, 1) > 0)
            continue;
        _exit(2); /* it would have died before its monitor */
    }
    char byte;
    assert_int_equal(read(alive[0], &byte, 1), 1);
    /* The guest's only descriptor that we can watch from here is its process. */
    char path[64], children[128] = "";
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)monitor, (int)monitor);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, children, sizeof(children) - 1) <= 0) {
        kill(monitor, SIGKILL);
        waitpid(monitor, NULL, 0);
        print_message("no list of children in /proc here\n");
        skip();
    }
    close(fd);
    int guest = (int)syscall(SYS_pidfd_open, atoi(children), 0);
    assert_true(guest >= 0);
    struct pollfd ended = {.fd = guest, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 0), 0);
    assert_int_equal(kill(monitor, SIGKILL), 0);
    assert_int_equal(poll(&ended, 1, 5000), 1);
    assert_int_equal(waitpid(monitor, NULL, 0), monitor);
    close(guest);
    close(alive[0]);
    close(alive[1]);
    jail_filter_program_free(filter);
}

static void test_process_limit_holds(void **state)
{
    const char *argv[] = {"prisoner", "fork", "40", NULL};
    struct jail_guest changes = {.max_processes = 10};
    struct jail_filter_program *filter = open_filter();
    struct prison prison;
    struct pv_error err = PV_ERROR_INIT;
    if (start(&prison, filter, argv, &changes, &err) < 0)
        fail_msg("%s", err.text);
    finish(&prison);
    jail_filter_program_free(filter);
    const struct jail_wall *wall = jail_walls_find(&prison.process.walls, JAIL_WALL_PROCESSES);
    assert_non_null(wall);
    assert_true(wall->stands || wall->detail[0]);
    assert_int_equal(said(&prison, "forks"), wall->stands ? 9 : 40);
    if (!situation_lacks(JAIL_WALL_USER))
        assert_true(wall->stands); /* any kernel that the tests are run on has it */
}

static void test_guest_is_in_its_cgroup_from_the_start(void **state)
{
    const char *argv[] = {"prisoner", "fork", "40", NULL};
    const struct jail_cgroup_limits limits = {.pids = {.value = 12}};
    char parent[40];
    snprintf(parent, sizeof(parent), "paravane-test-%d", (int)getpid());
    const struct jail_cgroup_host host = {.parent = parent};
    struct jail_walls walls = {.count = 0};
    struct jail_guest changes = {.cgroup = NULL};
    struct pv_error err = PV_ERROR_INIT;
    if (jail_cgroup_create(&host, "guest", &limits, &changes.cgroup, &walls, &err) < 0)
        fail_msg("%s", err.text);
    bool stands = jail_walls_stands(&walls, JAIL_WALL_LIMIT_PIDS);
    struct jail_filter_program *filter = open_filter();
    struct prison prison;
    int rc = stands ? start(&prison, filter, argv, &changes, &err) : 0;
    if (stands && rc == 0)
        finish(&prison);
    /* Before anything may fail: the host's cgroups are not the test's to litter. */
    assert_int_equal(jail_cgroup_remove(changes.cgroup, NULL), 0);
    jail_cgroup_close(changes.cgroup);
    jail_filter_program_free(filter);
    if (rc < 0)
        fail_msg("%s", err.text);
    if (stands)
        assert_int_equal(said(&prison, "forks"), 11);
    if (!stands) {
        print_message("%s\n", jail_walls_find(&walls, JAIL_WALL_LIMIT_PIDS)->detail);
        skip();
    }
}

static void test_failed_exec_is_reported_and_leaves_nobody(void **state)
{
    const char *argv[] = {"prisoner", NULL};
    struct jail_guest changes = {.exec_fd = pv_fd_memfd_with("text", "no program", 10)};
    assert_true(changes.exec_fd >= 0);
    struct jail_filter_program *filter = strict_filter();
    struct prison prison;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(start(&prison, filter, argv, &changes, &err), -ENOEXEC);
    assert_non_null(strstr(err.text, "execute the guest kernel"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    close(changes.exec_fd);
    jail_filter_program_free(filter);
}

static void test_filter_without_exec_is_an_error(void **state)
{
    const char *argv[] = {"prisoner", NULL};
    struct jail_filter *filter = jail_filter_new(JAIL_FILTER_REFUSE);
    struct jail_filter_program *program = NULL;
    assert_int_equal(jail_filter_allow(filter, SYS_exit_group, "end", NULL), 0);
    assert_int_equal(jail_filter_build(filter, &program, NULL), 0);
    struct prison prison;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(start(&prison, program, argv, NULL, &err), -EPERM);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    jail_filter_program_free(program);
    jail_filter_free(filter);
}

static void test_bad_configurations_are_refused(void **state)
{
    struct jail_filter_program *filter = strict_filter();
    const char *argv[] = {"prisoner", NULL};
    pv_auto_fd int directory = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    pv_auto_fd int image = situation_open_prisoner();
    const struct jail_guest_fd out_of_jail[] = {{directory, 5}};
    const struct jail_guest_fd twice[] = {{image, 7}, {image, 7}};
    const struct jail_guest_fd too_high[] = {{image, JAIL_GUEST_TARGET_MAX + 1}};
    const struct jail_guest_fd closed[] = {{999, 5}};
    const struct jail_guest base = {.exec_fd = image,
                                    .argv = argv,
                                    .filter = filter,
                                    .uid = SITUATION_GUEST,
                                    .gid = SITUATION_GUEST,
                                    .num_fds = 1};
    struct jail_guest configs[8];
    for (size_t i = 0; i < PV_ARRAY_SIZE(configs); i++)
        configs[i] = base;
    configs[0].fds = out_of_jail;
    configs[1].fds = twice;
    configs[1].num_fds = 2;
    configs[2].fds = too_high;
    configs[3].fds = closed;
    configs[4].exec_fd = directory;
    configs[5].filter = NULL;
    configs[6].num_fds = 0;
    configs[6].oom_score_adj = 1001;
    configs[7].num_fds = 0;
    configs[7].uid = 0; /* only root would become somebody */

    size_t count = situation_is_root() ? 8 : 7;
    for (size_t i = 0; i < count; i++) {
        struct jail_process process;
        struct pv_error err = PV_ERROR_INIT;
        assert_int_equal(jail_guest_spawn(&configs[i], &process, &err), -EINVAL);
        assert_true(err.text[0]);
    }
    jail_filter_program_free(filter);
}

static void test_highest_descriptor_and_signals_arrive(void **state)
{
    /* The monitor blocks and ignores signals; run_all saw that the guest does not. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    signal(SIGPIPE, SIG_IGN);
    struct jail_filter_program *filter = open_filter();
    struct prison prison;
    run_all(&prison, filter);
    check_state(&prison);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);

    const char *argv[] = {"prisoner", "exit", "7", NULL};
    pv_auto_fd int exec_fd = situation_open_prisoner();
    const struct jail_guest_fd fds[] = {{exec_fd, JAIL_GUEST_TARGET_MAX}};
    const struct jail_guest config = {.exec_fd = exec_fd,
                                      .argv = argv,
                                      .fds = fds,
                                      .num_fds = 1,
                                      .filter = filter,
                                      .uid = SITUATION_GUEST,
                                      .gid = SITUATION_GUEST,
                                      .oom_score_adj = 300};
    struct jail_process process;
    assert_int_equal(jail_guest_spawn(&config, &process, NULL), 0);
    assert_int_equal(jail_walls_stands(&process.walls, JAIL_WALL_OOM),
                     !situation_lacks(JAIL_WALL_OOM));
    int status;
    assert_int_equal(waitpid(process.pid, &status, 0), process.pid);
    assert_int_equal(WEXITSTATUS(status), 7);
    close(process.pidfd);
    jail_filter_program_free(filter);
}

int main(int argc, char **argv)
{
    situation_enter(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strict_filter_stops_everything),
        cmocka_unit_test(test_each_other_wall_stops_its_attempts),
        cmocka_unit_test(test_guest_can_be_killed_and_seen_to_end),
        cmocka_unit_test(test_guest_dies_with_its_monitor),
        cmocka_unit_test(test_process_limit_holds),
        cmocka_unit_test(test_guest_is_in_its_cgroup_from_the_start),
        cmocka_unit_test(test_failed_exec_is_reported_and_leaves_nobody),
        cmocka_unit_test(test_filter_without_exec_is_an_error),
        cmocka_unit_test(test_bad_configurations_are_refused),
        cmocka_unit_test(test_highest_descriptor_and_signals_arrive),
    };
    return cmocka_run_group_tests(tests, set_up_targets, tear_down_targets);
}
