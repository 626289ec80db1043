/* SPDX-License-Identifier: Apache-2.0
 *
 * monitor.c: the monitor's own jail.
 * Runs on: the monitor's only thread, once, before it serves the guest.
 *
 * Theory of operation
 *
 * The monitor reads what the guest writes: rings, messages, the agent's bytes. If a bug lets the
 * guest take it over, this jail is what is left. Everything that the monitor needs is open by now.
 *
 *   stage        may still                                  may no longer
 *   checks       everything; refused unless there is one thread and no stray open directory
 *   namespaces   see the host's files                       use the host's network (unless kept),
 *                                                           ipc and names
 *   root         reach its two directories                  reach any other path, also by ".."
 *   limits       ...                                        dump core, lock more memory
 *   powers       be an unprivileged process                 mount, change identity, gain privileges
 *   landlock     make sockets in one directory and plain    the rest, also where the root is the
 *                files in the other                         host's
 *   filter       what its list says                         make any other system call
 *
 * Namespaces: a plain user lends itself the privileges by a user namespace, with its own uid inside
 * too, because sockets compare uids. Root has them, makes the others without one, and becomes an
 * unprivileged uid for good. There is no pid namespace: the guest is a child outside of one.
 *
 * Credentials, Landlock and (without TSYNC) seccomp belong to a thread, not to a process; a worker
 * that started earlier would stay outside the jail. Hence "exactly one thread", io_uring's
 * included.
 */
#include "jail/monitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "jail/drop_internal.h"
#include "jail/landlock_internal.h"
#include "jail/userns_internal.h"

/* The new root is built over a directory that surely exists and is needed by nobody any more. */
#define SITE "/proc"

static int check_threads(struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    int rc = pv_fd_read_file(AT_FDCWD, "/proc/self/status", 1 << 16, &text, NULL, err);
    if (rc < 0)
        return rc;
    const char *line = strstr(text, "\nThreads:");
    int threads = line ? atoi(line + strlen("\nThreads:")) : 0;
    if (threads != 1)
        return pv_error_set(err, EINVAL,
                            "our bug: the monitor enters its jail with %d threads instead of one",
                            threads);
    return 0;
}

/* An open directory leads to all its parents, whatever the root is. */
static int check_directories(int allowed_fd, struct pv_error *err)
{
    DIR *list = opendir("/proc/self/fd");
    if (!list)
        return pv_error_set(err, errno, "list open descriptors: %s", strerror(errno));
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(list));) {
        uint64_t fd;
        struct stat st;
        if (pv_str_to_u64(entry->d_name, 0, INT32_MAX, &fd) < 0)
            continue;
        if ((int)fd == allowed_fd || (int)fd == dirfd(list) || fstat((int)fd, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            rc = pv_error_set(err, EINVAL,
                              "our bug: the monitor enters its jail with directory %d open",
                              (int)fd);
    }
    closedir(list);
    return rc;
}

static int check(const struct jail_monitor *config, bool *ret_become, struct pv_error *err)
{
    struct stat path, open;
    if (!config->filter || config->run_dir[0] != '/' || config->state_dir[0] != '/')
        return pv_error_set(err, EINVAL, "our bug: the monitor's jail lacks a filter or a path");
    if (stat(config->state_dir, &path) < 0 || fstat(config->state_dir_fd, &open) < 0)
        return pv_error_set(err, errno, "state directory %s: %s", config->state_dir,
                            strerror(errno));
    if (path.st_dev != open.st_dev || path.st_ino != open.st_ino)
        return pv_error_set(err, EINVAL, "our bug: descriptor %d is not %s", config->state_dir_fd,
                            config->state_dir);
    int rc = check_threads(err);
    if (rc == 0)
        rc = check_directories(config->state_dir_fd, err);
    if (rc == 0)
        rc = jail_decide_identity(config->uid, config->gid, ret_become, err);
    return rc;
}

/* Lends a plain user the privileges for the other namespaces. */
static int enter_user_namespace(bool become, struct jail_walls *walls, struct pv_error *err)
{
    if (become) {
        jail_walls_set(walls, JAIL_WALL_USER, false,
                       "not needed: root makes the others without one and then gives itself up");
        return 0;
    }
    const char *step;
    int rc = jail_userns_try(false, &step);
    if (rc < 0) {
        if (rc != -EINVAL && !jail_is_refusal(-rc))
            return pv_error_set(err, -rc, "%s: %s", step, strerror(-rc));
        jail_walls_set(walls, JAIL_WALL_USER, false, "%s: %s", step, strerror(-rc));
        return 0;
    }
    unsigned uid = geteuid(), gid = getegid();
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else our files in /proc would be root's */
    rc = unshare(CLONE_NEWUSER) < 0 ? -errno : jail_userns_map_self(uid, gid);
    if (rc < 0)
        return pv_error_set(err, -rc, "enter a user namespace: %s", strerror(-rc));
    jail_walls_set(walls, JAIL_WALL_USER, true, "one id, uid %u inside too", uid);
    return 0;
}

static int unshare_namespaces(const struct jail_monitor *config, struct jail_walls *walls,
                              struct pv_error *err)
{
    const struct {
        int flag;
        const char *wall, *kept;
    } list[] = {
        {CLONE_NEWNET, JAIL_WALL_NET,
         config->keep_network ? "the host's is kept for user-mode networking" : NULL},
        {CLONE_NEWIPC, JAIL_WALL_IPC, NULL},
        {CLONE_NEWUTS, JAIL_WALL_UTS, NULL},
        {CLONE_NEWNS, JAIL_WALL_OWN_ROOT, NULL}, /* stands only once the root is there */
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(list); i++) {
        if (list[i].kept) {
            jail_walls_set(walls, list[i].wall, false, "%s", list[i].kept);
            continue;
        }
        int code = unshare(list[i].flag) < 0 ? errno : 0;
        if (code && code != EINVAL && !jail_is_refusal(code))
            return pv_error_set(err, code, "make a %s: %s", list[i].wall, strerror(code));
        jail_walls_set(walls, list[i].wall, code == 0, "%s", code ? strerror(code) : "");
    }
    return 0;
}

/* Remounts the bind mount at path without programs and devices. A user namespace may not drop the
 * flags that the host's mount had, so they are all repeated. */
static int restrict_mount(const char *path)
{
    static const struct {
        unsigned long seen, flag;
    } keep[] = {
        {ST_RDONLY, MS_RDONLY},
        {ST_NOATIME, MS_NOATIME},
        {ST_NODIRATIME, MS_NODIRATIME},
        {ST_RELATIME, MS_RELATIME},
    };
    struct statvfs now;
    if (statvfs(path, &now) < 0)
        return -errno;
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    for (size_t i = 0; i < PV_ARRAY_SIZE(keep); i++)
        if (now.f_flag & keep[i].seen)
            flags |= keep[i].flag;
    return mount(NULL, path, NULL, flags, NULL) < 0 ? -errno : 0;
}

static int bind_directory(const char *from, const char *to)
{
    if (mkdir(to, 0755) < 0 || mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
        return -errno;
    return restrict_mount(to);
}

/* Builds the new root and moves into it; ret_step names what failed. 0 or -errno. */
static int enter_root(const struct jail_monitor *config, const char **ret_step)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    *ret_step = "keep mounts private";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    *ret_step = "mount a tmpfs";
    if (mount("monitor", SITE, "tmpfs", flags, "size=4k,nr_inodes=3,mode=0755") < 0)
        return -errno;
    *ret_step = "show the run directory";
    int rc = bind_directory(config->run_dir, SITE "/run");
    if (rc == 0) {
        *ret_step = "show the state directory";
        rc = bind_directory(config->state_dir, SITE "/state");
    }
    if (rc < 0)
        return rc;
    *ret_step = "make the root read-only";
    if (mount(NULL, SITE, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
        return -errno;
    *ret_step = "enter the root";
    if (chdir(SITE) < 0)
        return -errno;
    if (syscall(SYS_pivot_root, ".", ".") == 0)
        return umount2(".", MNT_DETACH) < 0 ? -errno : 0;
    /* The host's root is its initramfs, which cannot be pivoted away: cover it. */
    if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        return -errno;
    return 0;
}

/* Goes to the run directory and makes state_dir_fd stand for the state directory in the new root.*/
static int settle(const struct jail_monitor *config, const char *run, const char *state,
                  struct pv_error *err)
{
    if (chdir(run) < 0)
        return pv_error_set(err, errno, "enter run directory %s: %s", run, strerror(errno));
    pv_auto_fd int fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat now, before;
    if (fd < 0 || fstat(fd, &now) < 0 || fstat(config->state_dir_fd, &before) < 0)
        return pv_error_set(err, errno, "open state directory %s: %s", state, strerror(errno));
    if (now.st_dev != before.st_dev || now.st_ino != before.st_ino)
        return pv_error_set(err, ESTALE, "state directory %s was exchanged", config->state_dir);
    if (dup3(fd, config->state_dir_fd, O_CLOEXEC) < 0)
        return pv_error_set(err, errno, "replace the state directory: %s", strerror(errno));
    return 0;
}

static int own_root(const struct jail_monitor *config, struct jail_walls *walls,
                    struct pv_error *err)
{
    if (!jail_walls_stands(walls, JAIL_WALL_OWN_ROOT))
        return settle(config, config->run_dir, config->state_dir, err);
    const char *step;
    int rc = enter_root(config, &step);
    if (rc < 0 && !jail_is_refusal(-rc))
        return pv_error_set(err, -rc, "%s: %s", step, strerror(-rc));
    if (rc < 0) {
        jail_walls_set(walls, JAIL_WALL_OWN_ROOT, false, "%s: %s", step, strerror(-rc));
        return settle(config, config->run_dir, config->state_dir, err);
    }
    jail_walls_set(walls, JAIL_WALL_OWN_ROOT, true, "the run and the state directory");
    return settle(config, "/run", "/state", err);
}

static int limit_resources(const struct jail_monitor *config, struct jail_walls *walls,
                           struct pv_error *err)
{
    int rc = jail_set_common_rlimits(config->max_memlock, err);
    if (rc == 0 && config->max_files)
        rc = jail_set_rlimit(RLIMIT_NOFILE, config->max_files, err);
    if (rc == 0)
        jail_walls_set(walls, JAIL_WALL_RLIMITS, true, "no cores, %llu bytes of locked memory",
                       (unsigned long long)config->max_memlock);
    return rc;
}

static int drop_powers(const struct jail_monitor *config, bool become, struct jail_walls *walls,
                       struct pv_error *err)
{
    bool bounding_dropped = jail_drop_bounding();
    int rc = become ? jail_drop_identity(config->uid, config->gid, true, err) : 0;
    if (rc == 0)
        rc = jail_drop_capabilities(bounding_dropped, walls, err);
    if (rc == 0)
        rc = jail_set_no_new_privs(walls, err);
    if (rc < 0)
        return rc;
    jail_walls_set(walls, JAIL_WALL_IDENTITY, true, "uid %u gid %u%s", (unsigned)geteuid(),
                   (unsigned)getegid(), become ? ", no other groups" : ", which started it");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return pv_error_set(err, errno, "forbid tracing and dumping: %s", strerror(errno));
    jail_walls_set(walls, JAIL_WALL_NO_DUMP, true, "%s", "");
    return 0;
}

static int close_with_landlock(const struct jail_monitor *config, struct jail_walls *walls,
                               struct pv_error *err)
{
    pv_auto_fd int run = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (run < 0)
        return pv_error_set(err, errno, "open the run directory: %s", strerror(errno));
    const struct jail_landlock_rule rules[] = {
        {run, JAIL_LANDLOCK_SOCKETS},
        {config->state_dir_fd, JAIL_LANDLOCK_FILES},
    };
    const struct jail_landlock landlock = {
        .rules = rules,
        .num_rules = PV_ARRAY_SIZE(rules),
        .keep_network = config->keep_network,
        .keep_signals = true, /* the guest is outside of this domain */
    };
    return jail_landlock_enter(&landlock, walls, err);
}

static int close_with_filter(const struct jail_monitor *config, struct jail_walls *walls,
                             struct pv_error *err)
{
    /* Recorded first: after it, only listed calls are left. */
    jail_walls_set(walls, JAIL_WALL_SECCOMP, true, "%u calls", config->filter->calls);
    int rc = jail_filter_program_install(config->filter, true);
    if (rc < 0) {
        jail_walls_set(walls, JAIL_WALL_SECCOMP, false, "%s", jail_errno_text(-rc));
        return pv_error_set(err, -rc, "install the seccomp filter: %s", jail_errno_text(-rc));
    }
    return 0;
}

int jail_monitor_enter(const struct jail_monitor *config, struct jail_walls *walls,
                       struct pv_error *err)
{
    bool become;
    int rc = check(config, &become, err);
    if (rc == 0)
        rc = enter_user_namespace(become, walls, err);
    if (rc == 0)
        rc = unshare_namespaces(config, walls, err);
    if (rc == 0)
        rc = own_root(config, walls, err);
    if (rc == 0)
        rc = limit_resources(config, walls, err);
    if (rc == 0)
        rc = drop_powers(config, become, walls, err);
    if (rc == 0)
        rc = close_with_landlock(config, walls, err);
    if (rc == 0)
        rc = close_with_filter(config, walls, err);
    return rc < 0 ? pv_error_prefix(err, "enter the monitor's jail") : 0;
}
