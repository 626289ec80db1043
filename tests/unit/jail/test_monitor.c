/* SPDX-License-Identifier: Apache-2.0
 *
 * test_monitor.c: what a monitor may still and may no longer do in its jail. A child of the test
 * enters it and tries; as with the guest, what a missing wall would stop has to get through.
 */
#include "jail/monitor.h"

#include "situation.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    BY_ROOT = 1, /* the own root */
    BY_LANDLOCK = 2,
    BY_LANDLOCK4 = 4,
    BY_LANDLOCK6 = 8,
    BY_NET = 16,
    ALWAYS = 32,
    NEVER = 0, /* it may still */
};

static const char *const monitor_walls[] = {
    JAIL_WALL_IPC,
    JAIL_WALL_UTS,
    JAIL_WALL_OWN_ROOT,
    JAIL_WALL_RLIMITS,
    JAIL_WALL_CAPABILITIES,
    JAIL_WALL_IDENTITY,
    JAIL_WALL_NO_NEW_PRIVS,
    JAIL_WALL_NO_DUMP,
    JAIL_WALL_LANDLOCK,
    JAIL_WALL_SECCOMP,
    NULL,
};

/* What the jailed child says, in memory that it shares with the test. */
struct report {
    int rc;
    struct pv_error err;
    struct jail_walls walls;
    int results[40]; /* by attempt: errno, 0 when it got through, -1 when it was not made */
    unsigned uid;
    int dumpable;
};

static struct {
    char top[64], run[80], state[80], share[80], files[80], file[80], sockets[80];
    struct sockaddr_un outside, abstract;
    socklen_t abstract_len;
    struct sockaddr_in tcp;
    int listeners[4];
    struct report *report;
    int state_fd;
    int write_fd, read_fd, one_fd, sockets_fd; /* binds */
    pid_t guest;                               /* a process of the monitor's */
} t;

/* ---- Attempts, in the child ---- */

static int result(long rc)
{
    return rc < 0 ? errno : 0;
}

static int try_passwd(void)
{
    return result(open("/etc/passwd", O_RDONLY));
}

static int try_upwards(void)
{
    return result(openat(t.state_fd, "../../../../../../etc/passwd", O_RDONLY));
}

static int try_upwards_from_run(void)
{
    return result(open("../../../../../../etc/passwd", O_RDONLY));
}

static int try_state_file(void)
{
    char text[8] = "";
    int fd = openat(t.state_fd, "state.new", O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd < 0 || write(fd, "hello", 5) != 5 || close(fd) < 0 ||
        renameat(t.state_fd, "state.new", t.state_fd, "state") < 0)
        return errno;
    fd = openat(t.state_fd, "state", O_RDONLY);
    if (fd < 0 || read(fd, text, 5) != 5 || strcmp(text, "hello") != 0)
        return errno ? errno : EIO;
    return 0;
}

/* The program is a static one: it needs nothing but to be executed. */
static int try_exec_state_file(void)
{
    char name[] = "program", what[] = "exit";
    char *const argv[] = {name, what, NULL}, *const envp[] = {NULL};
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        syscall(SYS_execveat, t.state_fd, name, argv, envp, 0);
        _exit(errno);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}

static int try_run_file(void)
{
    return result(open("file", O_CREAT | O_WRONLY, 0600));
}

static int connect_to(int family, const void *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? errno : result(connect(fd, address, len));
}

static int try_run_socket(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "agent"};
    return connect_to(AF_UNIX, &un, sizeof(un));
}

static int try_bind_run_socket(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "mine"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
        return errno;
    return result(unlink("mine"));
}

static int try_outside_socket(void)
{
    return connect_to(AF_UNIX, &t.outside, sizeof(t.outside));
}

static int try_abstract_socket(void)
{
    return connect_to(AF_UNIX, &t.abstract, t.abstract_len);
}

static int try_tcp(void)
{
    return connect_to(AF_INET, &t.tcp, sizeof(t.tcp));
}

static int try_exec(void)
{
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(errno);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}

static int try_kill_guest(void)
{
    return result(kill(t.guest, SIGKILL));
}

static int try_mount(void)
{
    return result(mount("none", "/", "tmpfs", 0, NULL));
}

static int try_chroot(void)
{
    return result(chroot("."));
}

static int try_setuid(void)
{
    return result(
        syscall(SYS_setuid, geteuid() == 0)); /* or another, for the root of a namespace */
}

static int try_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {0};
    if (syscall(SYS_capget, &header, sets) < 0)
        return errno;
    return sets[0].effective || sets[0].permitted || sets[1].permitted ? 0 : EPERM;
}

static int try_new_privileges(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? EPERM : 0;
}

static int try_core(void)
{
    struct rlimit core = {1, 1};
    return result(setrlimit(RLIMIT_CORE, &core));
}

static int make_in(int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return result(unlinkat(dirfd, name, 0));
}

static int try_bind_write(void)
{
    if (mkdirat(t.write_fd, "a", 0700) < 0 || mkdirat(t.write_fd, "b", 0700) < 0 ||
        symlinkat("/etc", t.write_fd, "a/link") < 0 || mkfifoat(t.write_fd, "a/fifo", 0600) < 0)
        return errno;
    int abi = situation_landlock_abi();
    const char *now = "b/fifo";
    if (renameat(t.write_fd, "a/fifo", t.write_fd, now) < 0) {
        if (abi != 1 || errno != EXDEV) /* the first Landlock allows no move between folders */
            return errno;
        now = "a/fifo";
    }
    if (unlinkat(t.write_fd, now, 0) < 0 || unlinkat(t.write_fd, "a/link", 0) < 0 ||
        unlinkat(t.write_fd, "a", AT_REMOVEDIR) < 0 || unlinkat(t.write_fd, "b", AT_REMOVEDIR) < 0)
        return errno;
    return make_in(t.write_fd, "file");
}

static int try_bind_upwards(void)
{
    return result(openat(t.write_fd, "../../../../../../etc/passwd", O_RDONLY));
}

static int try_bind_exec(void)
{
    char name[] = "program", what[] = "exit";
    char *const argv[] = {name, what, NULL}, *const envp[] = {NULL};
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        syscall(SYS_execveat, t.write_fd, name, argv, envp, 0);
        _exit(errno);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}

static int try_bind_read(void)
{
    char byte;
    int fd = openat(t.read_fd, "one", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? errno : result(read(fd, &byte, 1));
}

static int try_bind_write_to_read(void)
{
    return make_in(t.read_fd, "file");
}

static int try_bind_one(void)
{
    int fd = openat(t.one_fd, "one", O_WRONLY | O_APPEND | O_CLOEXEC);
    return fd < 0 ? errno : result(write(fd, "x", 1));
}

static int try_bind_beside_one(void)
{
    return result(openat(t.one_fd, "two", O_RDONLY | O_CLOEXEC));
}

static int try_bind_sockets(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "mine"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fchdir(t.sockets_fd) < 0)
        return errno;
    int rc = bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 || listen(fd, 1) < 0 ? errno : 0;
    if (rc == 0)
        rc = connect_to(AF_UNIX, &un, sizeof(un));
    if (rc == 0)
        rc = result(unlink("mine"));
    return fchdir(back) < 0 ? errno : rc;
}

static int try_make_in_sockets(void)
{
    return make_in(t.sockets_fd, "file");
}

static const struct {
    const char *name;
    int (*attempt)(void);
    unsigned by;
} attempts[] = {
    {"open /etc/passwd", try_passwd, BY_ROOT | BY_LANDLOCK},
    {"open upwards from the state directory", try_upwards, BY_ROOT | BY_LANDLOCK},
    {"open upwards from the run directory", try_upwards_from_run, BY_ROOT | BY_LANDLOCK},
    {"write a state file", try_state_file, NEVER},
    {"create a file in the run directory", try_run_file, BY_LANDLOCK},
    {"connect in the run directory", try_run_socket, NEVER},
    {"bind in the run directory", try_bind_run_socket, NEVER},
    {"connect outside", try_outside_socket, BY_ROOT},
    {"connect to an abstract socket", try_abstract_socket, BY_NET | BY_LANDLOCK6},
    {"connect by TCP", try_tcp, BY_NET | BY_LANDLOCK4},
    {"execute /bin/true", try_exec, BY_ROOT | BY_LANDLOCK},
    {"execute a state file", try_exec_state_file, BY_ROOT | BY_LANDLOCK},
    {"kill the guest", try_kill_guest, NEVER},
    {"mount", try_mount, ALWAYS},
    {"chroot", try_chroot, ALWAYS},
    {"become somebody else", try_setuid, ALWAYS},
    {"have capabilities", try_capabilities, ALWAYS},
    {"gain privileges", try_new_privileges, ALWAYS},
    {"dump core", try_core, ALWAYS},
    {"change a shared folder", try_bind_write, NEVER},
    {"open upwards from a shared folder", try_bind_upwards, BY_ROOT | BY_LANDLOCK},
    {"execute a file of a shared folder", try_bind_exec, BY_ROOT | BY_LANDLOCK},
    {"read a read-only folder", try_bind_read, NEVER},
    {"write to a read-only folder", try_bind_write_to_read, BY_ROOT | BY_LANDLOCK},
    {"write to a shared file", try_bind_one, NEVER},
    {"open what is beside a shared file", try_bind_beside_one, BY_ROOT | BY_LANDLOCK},
    {"use sockets in a folder for them", try_bind_sockets, NEVER},
    {"make a file in a folder for sockets", try_make_in_sockets, BY_LANDLOCK},
};

/* ---- Setting up ---- */

static int listen_on(int family, const void *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void make_socket(struct sockaddr_un *address, const char *dir, const char *name, int *ret_fd)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s", dir, name);
    *ret_fd = listen_on(AF_UNIX, address, sizeof(*address));
    assert_int_equal(chmod(address->sun_path, 0777), 0);
}

static void copy_program(const char *dir)
{
    char path[128], block[4096];
    ssize_t got;
    snprintf(path, sizeof(path), "%s/program", dir);
    pv_auto_fd int from = situation_open_prisoner();
    pv_auto_fd int to = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    assert_true(to >= 0);
    while ((got = read(from, block, sizeof(block))) > 0)
        assert_int_equal(write(to, block, (size_t)got), got);
    assert_int_equal(got, 0);
}

static void make_file(const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    pv_auto_fd int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "text", 4), 4);
    if (situation_is_root())
        assert_int_equal(chown(path, SITUATION_GUEST, SITUATION_GUEST), 0);
}

/* Folders for the binds, and in one of them a file beside another. */
static void make_shares(void)
{
    snprintf(t.share, sizeof(t.share), "%s/share", t.top);
    snprintf(t.files, sizeof(t.files), "%s/files", t.top);
    snprintf(t.file, sizeof(t.file), "%s/file", t.top);
    snprintf(t.sockets, sizeof(t.sockets), "%s/sockets", t.top);
    const char *const folders[] = {t.share, t.files, t.file, t.sockets};
    for (size_t i = 0; i < PV_ARRAY_SIZE(folders); i++) {
        assert_int_equal(mkdir(folders[i], 0700), 0);
        if (situation_is_root())
            assert_int_equal(chown(folders[i], SITUATION_GUEST, SITUATION_GUEST), 0);
    }
    copy_program(t.share);
    make_file(t.files, "one");
    make_file(t.file, "one");
    make_file(t.file, "two");
}

static int set_up(void **state)
{
    situation_make_dir(t.top);
    snprintf(t.run, sizeof(t.run), "%s/run", t.top);
    snprintf(t.state, sizeof(t.state), "%s/state", t.top);
    assert_int_equal(mkdir(t.run, 0700), 0);
    assert_int_equal(mkdir(t.state, 0700), 0);
    copy_program(t.state);
    make_shares();
    if (situation_is_root()) {
        assert_int_equal(chown(t.run, SITUATION_GUEST, SITUATION_GUEST), 0);
        assert_int_equal(chown(t.state, SITUATION_GUEST, SITUATION_GUEST), 0);
    }
    struct sockaddr_un agent;
    make_socket(&t.outside, t.top, "outside", &t.listeners[0]);
    make_socket(&agent, t.run, "agent", &t.listeners[1]);

    static int turn; /* a dying process of the last turn may still hold its name */
    t.abstract = (struct sockaddr_un){.sun_family = AF_UNIX};
    int len = snprintf(t.abstract.sun_path + 1, 60, "paravane-test-%d-%d", (int)getpid(), turn++);
    t.abstract_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) + (socklen_t)len;
    t.listeners[2] = listen_on(AF_UNIX, &t.abstract, t.abstract_len);

    t.tcp = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t tcp_len = sizeof(t.tcp);
    t.listeners[3] = listen_on(AF_INET, &t.tcp, sizeof(t.tcp));
    getsockname(t.listeners[3], (struct sockaddr *)&t.tcp, &tcp_len);

    t.report =
        mmap(NULL, sizeof(*t.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t.report != MAP_FAILED);
    memset(t.report->results, 0xff, sizeof(t.report->results));
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"run/agent",     "run/file",   "run",       "state/state",
                                        "state/program", "state",      "files/one", "files/file",
                                        "files",         "file/one",   "file/two",  "file",
                                        "share/program", "share/file", "share",     "sockets/mine",
                                        "sockets/file",  "sockets",    "outside",   ""};
    for (size_t i = 0; i < PV_ARRAY_SIZE(t.listeners); i++)
        close(t.listeners[i]);
    for (size_t i = 0; i < PV_ARRAY_SIZE(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", t.top, names[i]);
        remove(path);
    }
    munmap(t.report, sizeof(*t.report));
    return 0;
}

static struct jail_filter_program *make_filter(enum jail_filter_default otherwise)
{
    struct jail_filter *filter = jail_filter_new(otherwise);
    struct jail_filter_program *program = NULL;
    assert_int_equal(jail_filter_allow(filter, SYS_exit_group, "end", NULL), 0);
    assert_int_equal(jail_filter_build(filter, &program, NULL), 0);
    jail_filter_free(filter);
    return program;
}

static struct jail_monitor usual(const struct jail_filter_program *filter)
{
    return (struct jail_monitor){
        .run_dir = t.run,
        .state_dir = t.state,
        .state_dir_fd = t.state_fd,
        .uid = SITUATION_GUEST,
        .gid = SITUATION_GUEST,
        .max_files = 256,
        .filter = filter,
    };
}

static int open_path(const char *path)
{
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Fills binds and returns how many. */
static unsigned open_binds(struct jail_bind *binds)
{
    t.write_fd = open_path(t.share);
    t.read_fd = open_path(t.files);
    t.one_fd = open_path(t.file);
    t.sockets_fd = open_path(t.sockets);
    binds[0] = (struct jail_bind){"write", t.share, t.write_fd, NULL, JAIL_BIND_WRITE};
    binds[1] = (struct jail_bind){"read", t.files, t.read_fd, NULL, JAIL_BIND_READ};
    binds[2] = (struct jail_bind){"one", t.file, t.one_fd, "one", JAIL_BIND_WRITE};
    binds[3] = (struct jail_bind){"sockets", t.sockets, t.sockets_fd, NULL, JAIL_BIND_SOCKETS};
    return 4;
}

static void open_state(void)
{
    t.state_fd = open(t.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A process with the uid of the guest, once this returns. */
static void start_guest(void)
{
    int ready[2];
    char byte = 0;
    if (pipe(ready) < 0 || (t.guest = fork()) < 0)
        _exit(1);
    if (t.guest == 0) {
        if (situation_is_root())
            syscall(SYS_setresuid, SITUATION_GUEST, SITUATION_GUEST, SITUATION_GUEST);
        if (write(ready[1], &byte, 1) == 1)
            for (;;)
                pause();
    }
    if (read(ready[0], &byte, 1) != 1)
        _exit(1);
    close(ready[0]);
    close(ready[1]);
}

static void live(const struct jail_filter_program *filter, bool keep_network)
{
    struct report *r = t.report;
    start_guest();
    open_state();
    struct jail_monitor config = usual(filter);
    config.keep_network = keep_network;
    struct jail_bind binds[4];
    config.num_binds = open_binds(binds);
    config.binds = binds;
    r->rc = jail_monitor_enter(&config, &r->walls, &r->err);
    if (r->rc < 0)
        _exit(1);
    for (size_t i = 0; i < PV_ARRAY_SIZE(attempts); i++) {
        errno = 0;
        r->results[i] = attempts[i].attempt();
    }
    r->uid = geteuid();
    r->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    _exit(0);
}

/* ---- Tests ---- */

static void check(bool keep_network)
{
    int abi = situation_landlock_abi();
    bool net = !keep_network && !situation_lacks(JAIL_WALL_NET);
    unsigned by = ALWAYS | (situation_lacks(JAIL_WALL_OWN_ROOT) ? 0 : BY_ROOT) |
                  (net ? BY_NET : 0) | (abi >= 1 ? BY_LANDLOCK : 0) |
                  (abi >= 4 && !keep_network ? BY_LANDLOCK4 : 0) | (abi >= 6 ? BY_LANDLOCK6 : 0);
    for (size_t i = 0; i < PV_ARRAY_SIZE(attempts); i++) {
        int code = t.report->results[i];
        if (code < 0)
            fail_msg("'%s' was not tried", attempts[i].name);
        if ((attempts[i].by & by) && code == 0)
            fail_msg("'%s' got out", attempts[i].name);
        if (!(attempts[i].by & by) && code != 0)
            fail_msg("'%s' failed (%s) although nothing should stop it", attempts[i].name,
                     strerror(code));
    }
}

static void run(bool keep_network)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_LOG);
    pid_t pid = fork();
    if (pid == 0)
        live(filter, keep_network);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    jail_filter_program_free(filter);
    if (t.report->rc < 0)
        fail_msg("%s", t.report->err.text);
    /* Executing something would have replaced the child. */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check(keep_network);
    situation_check_walls(&t.report->walls, monitor_walls);
    assert_int_equal(t.report->dumpable, 0);
    assert_int_equal(t.report->uid, situation_is_root() ? SITUATION_GUEST : geteuid());
    bool user_ns = !situation_is_root() && !situation_lacks(JAIL_WALL_USER);
    assert_int_equal(jail_walls_stands(&t.report->walls, JAIL_WALL_USER), user_ns);
    assert_int_equal(jail_walls_stands(&t.report->walls, JAIL_WALL_NET),
                     !keep_network && !situation_lacks(JAIL_WALL_NET));
}

static void test_monitor_does_its_work_and_no_more(void **state)
{
    run(false);
}

static void test_network_can_be_kept(void **state)
{
    run(true);
}

static void keep_powers(const struct jail_filter_program *filter)
{
    struct report *r = t.report;
    struct stat st;
    open_state();
    struct jail_monitor config = usual(filter);
    struct jail_bind binds[4];
    config.num_binds = open_binds(binds);
    config.binds = binds;
    config.keep_capabilities = 1ull << CAP_CHOWN;
    r->rc = jail_monitor_enter(&config, &r->walls, &r->err);
    if (r->rc < 0)
        _exit(1);
    int rc = fchownat(t.write_fd, "program", 12, 34, 0);
    r->results[0] = rc < 0 ? errno : 0;
    r->results[1] = fstatat(t.write_fd, "program", &st, 0) == 0 && st.st_uid == 12;
    r->results[2] = try_setuid();
    r->results[3] = try_mount();
    _exit(0);
}

static void test_root_keeps_what_shared_folders_need(void **state)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_LOG);
    pid_t pid = fork();
    if (pid == 0)
        keep_powers(filter);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    jail_filter_program_free(filter);
    if (t.report->rc < 0)
        fail_msg("%s", t.report->err.text);
    bool root = situation_is_root();
    assert_int_equal(t.report->results[0] == 0, root); /* unmapped ids are EINVAL to a namespace */
    assert_int_equal(t.report->results[1], root);
    assert_int_not_equal(t.report->results[2], 0);
    assert_int_not_equal(t.report->results[3], 0);
    assert_int_equal(jail_walls_stands(&t.report->walls, JAIL_WALL_CAPABILITIES), !root);
}

static void test_unlisted_call_ends_the_monitor(void **state)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_KILL);
    pid_t pid = fork();
    if (pid == 0) {
        open_state();
        struct jail_monitor config = usual(filter);
        t.report->rc = jail_monitor_enter(&config, &t.report->walls, &t.report->err);
        syscall(SYS_getuid);
        syscall(SYS_exit_group, 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    jail_filter_program_free(filter);
    assert_int_equal(t.report->rc, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    assert_string_equal(jail_walls_find(&t.report->walls, JAIL_WALL_SECCOMP)->detail, "1 calls");
}

static void *wait_for_ever(void *data)
{
    for (;;)
        pause();
    return NULL;
}

/* Enters with something wrong and reports; 0: nothing wrong. */
enum wrong { A_THREAD, A_DIRECTORY, ANOTHER_STATE, A_RELATIVE_PATH, A_BIND_UPWARDS, ROOT_STAYS };

static void enter_wrongly(enum wrong wrong, const struct jail_filter_program *filter)
{
    open_state();
    struct jail_monitor config = usual(filter);
    const struct jail_bind bind = {"../up", t.share, t.state_fd, NULL, JAIL_BIND_READ};
    pthread_t thread;
    if (wrong == A_THREAD)
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    else if (wrong == A_DIRECTORY)
        (void)!open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    else if (wrong == ANOTHER_STATE)
        config.state_dir = t.run;
    else if (wrong == A_RELATIVE_PATH)
        config.run_dir = "run";
    else if (wrong == A_BIND_UPWARDS) {
        config.binds = &bind;
        config.num_binds = 1;
    } else
        config.uid = 0;
    t.report->rc = jail_monitor_enter(&config, &t.report->walls, &t.report->err);
    _exit(0);
}

static void test_our_bugs_are_refused(void **state)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_LOG);
    for (int wrong = A_THREAD; wrong <= (situation_is_root() ? ROOT_STAYS : A_BIND_UPWARDS);
         wrong++) {
        t.report->rc = 1;
        pid_t pid = fork();
        if (pid == 0)
            enter_wrongly((enum wrong)wrong, filter);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (t.report->rc != -EINVAL || !t.report->err.text[0])
            fail_msg("case %d: %d", wrong, t.report->rc);
    }
    jail_filter_program_free(filter);
}

int main(int argc, char **argv)
{
    situation_enter(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_monitor_does_its_work_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_network_can_be_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_root_keeps_what_shared_folders_need, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_unlisted_call_ends_the_monitor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_our_bugs_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
