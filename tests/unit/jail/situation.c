/* SPDX-License-Identifier: Apache-2.0
 *
 * situation.c: who starts a jail in a test. Asks the kernel itself, not the code under test.
 */
#include "situation.h"

#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *missing = "";
static int prisoner_fd;
static bool as_root;

static void skip_all(const char *reason)
{
    printf("skipped: %s\n", reason);
    exit(77);
}

static bool host_has_user_namespaces(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void become_user(void)
{
    if (geteuid() != 0)
        return;
    if (setgroups(0, NULL) < 0 || setresgid(SITUATION_USER, SITUATION_USER, SITUATION_USER) < 0 ||
        setresuid(SITUATION_USER, SITUATION_USER, SITUATION_USER) < 0)
        skip_all("root cannot become a plain user here");
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        skip_all("a user namespace cannot be set up by hand here");
    close(fd);
}

/* No seccomp filter forbids user namespaces here, but a limit, as on many hosts. */
static void become_namespace_root(void)
{
    char map[32];
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
    if (unshare(CLONE_NEWUSER) < 0)
        skip_all("this host forbids user namespaces");
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", map);
    write_file("/proc/self/gid_map", map);
    write_file("/proc/sys/user/max_user_namespaces", "0");
}

static void make_proc_read_only(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("/proc", "/proc", NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, "/proc", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        skip_all("/proc cannot be made read-only here");
}

/* A test must not hang on to the terminal of whoever started it, and must have one. */
static void take_terminal(void)
{
    setsid();
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        skip_all("no pseudo terminals here");
    int slave = open(ptsname(master), O_RDWR | O_CLOEXEC); /* becomes the controlling one */
    if (slave < 0)
        skip_all("no controlling terminal here");
    dup2(slave, 3 + 250);
    dup2(master, 3 + 251); /* stays open, else the terminal hangs up */
    close(slave);
    close(master);
}

void situation_enter(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s PRISONER root|user|ns-root[,ro-proc] [WALL,WALL,...]\n",
                argv[0]);
        exit(2);
    }
    /* A plain user may not be let into the folder that root builds in. */
    prisoner_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (prisoner_fd < 0 || chdir("/") < 0) {
        perror(argv[1]);
        exit(2);
    }
    as_root = strncmp(argv[2], "root", 4) == 0;
    missing = argc > 3 ? argv[3] : "";
    if (as_root && geteuid() != 0)
        skip_all("not started by root");

    pid_t pid = fork();
    if (pid != 0) {
        int status = 0;
        waitpid(pid, &status, 0);
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    take_terminal();
    if (strstr(argv[2], "ro-proc"))
        make_proc_read_only();
    if (as_root)
        (void)!setgroups(2, (gid_t[]){100, 12345}); /* to be dropped */
    else
        become_user();
    if (strncmp(argv[2], "ns-root", 7) == 0)
        become_namespace_root();
    if (!situation_lacks(JAIL_WALL_USER) && !host_has_user_namespaces())
        skip_all("this host forbids user namespaces");
}

bool situation_is_root(void)
{
    return as_root;
}

bool situation_lacks(const char *wall)
{
    size_t len = strlen(wall);
    for (const char *at = missing; at && *at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, wall, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return strcmp(wall, JAIL_WALL_LANDLOCK) == 0 && situation_landlock_abi() == 0;
}

int situation_open_prisoner(void)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", prisoner_fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* with an offset of its own */
    assert_true(fd >= 0);
    return fd;
}

int situation_open_terminal(void)
{
    int fd = fcntl(3 + 250, F_DUPFD_CLOEXEC, 3);
    assert_true(fd >= 0);
    return fd;
}

int situation_landlock_abi(void)
{
    long abi = syscall(444 /* landlock_create_ruleset */, NULL, 0, 1);
    return abi > 0 ? (int)abi : 0;
}

void situation_check_walls(const struct jail_walls *walls, const char *const *names)
{
    for (; *names; names++) {
        const struct jail_wall *wall = jail_walls_find(walls, *names);
        if (!wall)
            fail_msg("the wall '%s' is not recorded", *names);
        if (wall->stands == situation_lacks(*names))
            fail_msg("the wall '%s' %s: %s", *names, wall->stands ? "stands" : "is missing",
                     wall->detail);
        if (!wall->stands && !wall->detail[0])
            fail_msg("the wall '%s' is missing without a reason", *names);
    }
}

void situation_make_dir(char path[64])
{
    strcpy(path, "/tmp/paravane-jail-XXXXXX");
    assert_non_null(mkdtemp(path));
    assert_int_equal(chmod(path, 0777), 0);
}
