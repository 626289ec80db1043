/* SPDX-License-Identifier: Apache-2.0
 *
 * prisoner.c: a guest kernel that tries to break out.
 *
 *   prisoner all KEY=VALUE ...   tries everything, one line "name=errno" each on descriptor 1;
 *                                0 means that it got through
 *   prisoner stub                what `all` executes from a memfd, as the guest kernel its stubs
 *   prisoner sleep               stays until it is killed
 *   prisoner exit N              ends with N
 *   prisoner fork N              has up to N children at once, says how many it got
 *
 * Linked statically, without sanitizers. Uses nothing but system calls that may be refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAKED_FD 150      /* open in the monitor, not given */
#define HIGH_LEAKED_FD 400 /* the same, above all numbers that can be given */
#define IMAGE_FD 10        /* given: this program's own image */

static int port, monitor_pid;
static const char *abstract_name = "", *socket_path = "";

static void say(const char *name, long value)
{
    char line[128];
    int len = snprintf(line, sizeof(line), "%s=%ld\n", name, value);
    if (syscall(SYS_write, 1, line, len) != len)
        syscall(SYS_exit_group, 99);
}

/* Reports a system call's result: 0 when it got through. */
static void tell(const char *name, long result)
{
    say(name, result < 0 ? errno : 0);
}

static void try_open(const char *name, const char *path)
{
    char byte;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    tell(name, fd < 0 ? fd : syscall(SYS_read, fd, &byte, 1));
}

/* Gets through when the root shows anything. */
static void try_list_root(void)
{
    char buf[4096];
    long fd = syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY);
    long got = fd < 0 ? fd : syscall(SYS_getdents64, fd, buf, sizeof(buf));
    if (got >= 0 && got <= 48) { /* just "." and ".." */
        errno = ENOENT;
        got = -1;
    }
    tell("list_root", got);
}

static void try_connect(const char *name, const void *address, socklen_t len, int family)
{
    long fd = syscall(SYS_socket, family, SOCK_STREAM, 0);
    tell(name, fd < 0 ? fd : syscall(SYS_connect, fd, address, len));
}

static void try_network(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    try_connect("tcp", &in, sizeof(in), AF_INET);

    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(abstract_name);
    memcpy(un.sun_path + 1, abstract_name, len);
    try_connect("abstract_socket", &un,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len), AF_UNIX);

    un = (struct sockaddr_un){.sun_family = AF_UNIX};
    strncpy(un.sun_path, socket_path, sizeof(un.sun_path) - 1);
    try_connect("path_socket", &un, sizeof(un), AF_UNIX);
    tell("netlink", syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0));
}

static void try_processes(void)
{
    char buf[16];
    struct iovec local = {buf, sizeof(buf)}, remote = {(void *)0x10000, sizeof(buf)};
    tell("kill_monitor", syscall(SYS_kill, monitor_pid, 0));
    /* Its parent, whatever number it has here; 0 is a parent out of sight. */
    long parent = syscall(SYS_getppid);
    errno = parent < 0 ? errno : ESRCH;
    tell("kill_parent", parent > 0 ? syscall(SYS_kill, parent, 0) : -1);
    tell("ptrace", syscall(SYS_ptrace, PTRACE_SEIZE, monitor_pid, 0, 0));
    /* Nothing is mapped there: EFAULT means that the kernel let us look. */
    long got = syscall(SYS_process_vm_readv, monitor_pid, &local, 1, &remote, 1, 0);
    tell("process_vm_readv", got < 0 && errno == EFAULT ? 0 : got);
}

static void try_privileges(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {0};
    struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
    tell("mount", syscall(SYS_mount, "none", "/", "tmpfs", 0, 0));
    tell("unshare_mount", syscall(SYS_unshare, CLONE_NEWNS));
    tell("chroot", syscall(SYS_chroot, "/"));
    /* Somebody else: root, or another than the root of its namespace. */
    tell("setuid", syscall(SYS_setuid, syscall(SYS_getuid) == 0));
    tell("setgid", syscall(SYS_setgid, syscall(SYS_getgid) == 0));
    tell("setgroups", syscall(SYS_setgroups, 0, NULL));
    tell("sethostname", syscall(SYS_sethostname, "mine", 4));
    tell("raise_limit", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &more, NULL));
    tell("mlock", syscall(SYS_mlock, sets, 1));
    long rc = syscall(SYS_capget, &header, sets);
    errno = rc < 0 ? errno : EPERM;
    bool any = sets[0].effective || sets[0].permitted || sets[0].inheritable || sets[1].effective ||
               sets[1].permitted || sets[1].inheritable;
    tell("capabilities", any ? 0 : -1);
    rc = syscall(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    errno = rc < 0 ? errno : EPERM;
    tell("new_privileges", rc == 0 ? 0 : -1);
}

static void try_kernel(void)
{
    char params[256] = {0};
    tell("keyctl", syscall(SYS_keyctl, 0, -3, 0)); /* the session keyring's id */
    tell("bpf", syscall(SYS_bpf, 0, params, 64));
    tell("userfaultfd", syscall(SYS_userfaultfd, 1));
    tell("io_uring", syscall(SYS_io_uring_setup, 1, params));
    tell("perf", syscall(SYS_perf_event_open, params, 0, -1, -1, 0));
    tell("unlisted", syscall(SYS_sysinfo, params));
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory"); /* i386: getpid */
    say("int80", result < 0 ? -result : 0);
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(0x40000000 | SYS_getppid)
                     : "rcx", "r11", "memory"); /* x32 */
    say("x32", result < 0 ? -result : 0);
#endif
}

static void try_descriptors(void)
{
    char letter = 'x';
    tell("leaked", syscall(SYS_write, LEAKED_FD, &letter, 1));
    tell("leaked_high", syscall(SYS_write, HIGH_LEAKED_FD, &letter, 1));
    tell("tiocsti", syscall(SYS_ioctl, 0, TIOCSTI, &letter));
    try_open("controlling_terminal", "/dev/tty");
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, NULL);
    long fd = syscall(SYS_memfd_create, "big", 0);
    tell("big_file", fd < 0 ? fd : syscall(SYS_ftruncate, fd, 1ULL << 40));
}

/* What is no attempt, but the state that it finds. */
static void describe(char **envp)
{
    sigset_t mask;
    long open = 0;
    for (int fd = 0; fd < 1024; fd++)
        open += syscall(SYS_fcntl, fd, F_GETFD) >= 0;
    int blocked = 0, ignored = 0;
    sigemptyset(&mask);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int signo = 1; signo < 32; signo++) {
        struct sigaction now = {0};
        blocked += sigismember(&mask, signo) == 1;
        ignored += sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
    }
    say("env", envp[0] != NULL);
    say("open_fds", open);
    say("blocked_signals", blocked);
    say("ignored_signals", ignored);
    say("pid", syscall(SYS_getpid));
    say("uid", syscall(SYS_getuid));
    say("gid", syscall(SYS_getgid));
    say("groups", syscall(SYS_getgroups, 0, NULL));
    int bounding = 0;
    for (int cap = 0; cap < 64; cap++)
        bounding += syscall(SYS_prctl, PR_CAPBSET_READ, cap, 0, 0, 0) == 1;
    say("bounding_set", bounding);
    struct utsname names;
    say("host_name", syscall(SYS_uname, &names) == 0 ? (long)strlen(names.nodename) : -1);
    int signo = 0;
    syscall(SYS_prctl, PR_GET_PDEATHSIG, &signo, 0, 0, 0);
    say("pdeathsig", signo);
}

/* As the guest kernel starts its stubs: a child in the same address space executes a memfd. */
static void try_stub(void)
{
    static const char *argv[] = {"prisoner", "stub", NULL}, *envp[] = {NULL};
    char block[4096];
    long memfd = syscall(SYS_memfd_create, "stub", 0);
    long got;
    while (memfd >= 0 && (got = syscall(SYS_read, IMAGE_FD, block, sizeof(block))) > 0)
        if (syscall(SYS_write, memfd, block, got) != got)
            break;
    if (memfd < 0) {
        tell("stub", -1);
        return;
    }
    int status = -1;
    long pid = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        syscall(SYS_execveat, memfd, "", argv, envp, AT_EMPTY_PATH);
        syscall(SYS_exit_group, errno);
    }
    if (pid > 0 && syscall(SYS_wait4, pid, &status, __WALL, NULL) == pid && WIFEXITED(status))
        say("stub", WEXITSTATUS(status) == 42 ? 0 : WEXITSTATUS(status));
    else
        tell("stub", -1);
}

static void try_exec(void)
{
    static const char *argv[] = {"true", NULL}, *envp[] = {NULL};
    int status = -1;
    long pid = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        syscall(SYS_execve, "/bin/true", argv, envp);
        syscall(SYS_exit_group, errno);
    }
    if (pid > 0 && syscall(SYS_wait4, pid, &status, __WALL, NULL) == pid && WIFEXITED(status))
        say("exec", WEXITSTATUS(status));
    else
        tell("exec", -1);
}

static void try_forks(int wanted)
{
    int got = 0;
    while (got < wanted) {
        long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            for (;;)
                syscall(SYS_pause);
        if (pid < 0)
            break;
        got++;
    }
    say("forks", got);
    syscall(SYS_kill, 0, SIGKILL); /* its group, the session is its own; PID 1 survives this */
}

static void read_argument(const char *arg)
{
    if (strncmp(arg, "port=", 5) == 0)
        port = atoi(arg + 5);
    else if (strncmp(arg, "monitor=", 8) == 0)
        monitor_pid = atoi(arg + 8);
    else if (strncmp(arg, "abstract=", 9) == 0)
        abstract_name = arg + 9;
    else if (strncmp(arg, "socket=", 7) == 0)
        socket_path = arg + 7;
}

static void try_all(char **envp)
{
    /* Outside of a jail, root's attempts would do to the host what they try. */
    if (syscall(SYS_getuid) == 0 && syscall(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
        say("root", 0);
        return;
    }
    describe(envp);
    try_stub();
    try_open("open_passwd", "/etc/passwd");
    try_open("open_upwards", "../../../../../../etc/passwd");
    try_open("open_proc", "/proc/self/status");
    try_open("open_proc_monitor", "/proc/1/cmdline");
    try_list_root();
    try_network();
    try_processes();
    try_exec();
    try_descriptors();
    try_kernel();
    try_privileges();
    tell("unshare_user", syscall(SYS_unshare, CLONE_NEWUSER)); /* last: it would lend powers */
    say("end", 0);
}

int main(int argc, char **argv, char **envp)
{
    const char *what = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i++)
        read_argument(argv[i]);
    if (strcmp(what, "all") == 0)
        try_all(envp);
    else if (strcmp(what, "stub") == 0)
        syscall(SYS_exit_group, 42);
    else if (strcmp(what, "exit") == 0)
        syscall(SYS_exit_group, argc > 2 ? atoi(argv[2]) : 0);
    else if (strcmp(what, "fork") == 0)
        try_forks(argc > 2 ? atoi(argv[2]) : 10);
    else if (strcmp(what, "sleep") == 0) {
        say("asleep", 0);
        for (;;)
            syscall(SYS_pause);
    }
    syscall(SYS_exit_group, 0);
    return 0;
}
