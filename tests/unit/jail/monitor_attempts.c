/* SPDX-License-Identifier: Apache-2.0
 *
 * monitor_attempts.c: runs in the child that entered the jail.
 */
#include "monitor_attempts.h"

#include "base/attr.h"
#include "base/fd.h"
#include "situation.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct prey t;

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

int try_mount(void)
{
    return result(mount("none", "/", "tmpfs", 0, NULL));
}

static int try_chroot(void)
{
    return result(chroot("."));
}

int try_setuid(void)
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

const struct attempt attempts[] = {
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
_Static_assert(PV_ARRAY_SIZE(attempts) <= ATTEMPTS_MAX, "a result for each");
const size_t num_attempts = PV_ARRAY_SIZE(attempts);
