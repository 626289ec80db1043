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
 *   root         reach its two directories and the binds    reach any other path, also by ".."
 *   limits       ...                                        dump core, lock more memory
 *   powers       be an unprivileged process                 mount, change identity, gain privileges
 *   landlock     make sockets in one directory and plain    the rest, also where the root is the
 *                files in the other; use the binds          host's
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

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#define BIND_NAME_MAX 31

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
/* MOUNT_ATTR_*, which the C library and the kernel both define, but not in one translation unit. */
#define ATTR_RDONLY 1u
#define ATTR_NOSUID 2u
#define ATTR_NODEV 4u
#define ATTR_NOEXEC 8u
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

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

static bool may_stay_open(const struct jail_monitor *config, int fd)
{
    bool allowed = fd == config->state_dir_fd;
    for (unsigned i = 0; i < config->num_binds; i++)
        allowed |= fd == config->binds[i].fd;
    return allowed;
}

/* An open directory leads to all its parents, whatever the root is. */
static int check_directories(const struct jail_monitor *config, struct pv_error *err)
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
        if (may_stay_open(config, (int)fd) || (int)fd == dirfd(list) || fstat((int)fd, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            rc = pv_error_set(err, EINVAL,
                              "our bug: the monitor enters its jail with directory %d open",
                              (int)fd);
    }
    closedir(list);
    return rc;
}

static int check_binds(const struct jail_monitor *config, struct pv_error *err)
{
    if (config->num_binds > JAIL_MONITOR_BINDS_MAX)
        return pv_error_set(err, EINVAL, "our bug: %u binds in the monitor's jail",
                            config->num_binds);
    for (unsigned i = 0; i < config->num_binds; i++) {
        const struct jail_bind *b = &config->binds[i];
        struct stat st;
        bool plain = b->name[0] && strlen(b->name) <= BIND_NAME_MAX &&
                     strcmp(b->name, "run") != 0 && strcmp(b->name, "state") != 0;
        for (const char *c = b->name; plain && *c; c++)
            plain = isalnum((unsigned char)*c);
        if (!plain || b->path[0] != '/' || (b->only && strchr(b->only, '/')) ||
            fstat(b->fd, &st) < 0 || !S_ISDIR(st.st_mode))
            return pv_error_set(err, EINVAL, "our bug: bind '%s' of the monitor's jail", b->name);
    }
    return 0;
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
    int rc = check_binds(config, err);
    if (rc == 0)
        rc = check_threads(err);
    if (rc == 0)
        rc = check_directories(config, err);
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
static int restrict_mount(const char *path, bool read_only)
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
    unsigned long flags =
        MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC | (read_only ? MS_RDONLY : 0);
    for (size_t i = 0; i < PV_ARRAY_SIZE(keep); i++)
        if (now.f_flag & keep[i].seen)
            flags |= keep[i].flag;
    return mount(NULL, path, NULL, flags, NULL) < 0 ? -errno : 0;
}

static int bind_directory(const char *from, const char *to)
{
    if (mkdir(to, 0755) < 0 || mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
        return -errno;
    return restrict_mount(to, false);
}

/* The same for a folder, and for what is mounted below it where the host can do that. */
static int restrict_tree(const char *path, bool read_only)
{
    struct mount_attr {
        uint64_t set, clear, propagation, userns_fd;
    } attr = {.set = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | (read_only ? ATTR_RDONLY : 0)};
    if (syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attr, sizeof(attr)) == 0)
        return 0;
    return restrict_mount(path, read_only);
}

/* Shows a folder, or one file of it in a folder of its own. */
static int show_bind(const struct jail_bind *b)
{
    char from[PATH_MAX], to[sizeof(SITE) + BIND_NAME_MAX + NAME_MAX + 2];
    snprintf(to, sizeof(to), SITE "/%s", b->name);
    if (mkdir(to, 0755) < 0)
        return -errno;
    if (b->only) {
        if (snprintf(from, sizeof(from), "%s/%s", b->path, b->only) >= (int)sizeof(from))
            return -ENAMETOOLONG;
        snprintf(to, sizeof(to), SITE "/%s/%s", b->name, b->only);
        if (mknod(to, S_IFREG | 0600, 0) < 0)
            return -errno;
    }
    if (mount(b->only ? from : b->path, to, NULL, MS_BIND | MS_REC, NULL) < 0)
        return -errno;
    return restrict_tree(to, b->access == JAIL_BIND_READ);
}

static int show_binds(const struct jail_monitor *config, const char **ret_step)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < config->num_binds; i++) {
        *ret_step = config->binds[i].path;
        rc = show_bind(&config->binds[i]);
    }
    return rc;
}

/* Builds the new root and moves into it; ret_step names what failed. 0 or -errno. */
static int enter_root(const struct jail_monitor *config, const char **ret_step)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    *ret_step = "keep mounts private";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    *ret_step = "mount a tmpfs";
    /* Inodes: the root, run, state, and for each bind a directory and perhaps a file. */
    char options[64];
    snprintf(options, sizeof(options), "size=4k,nr_inodes=%u,mode=0755", 3 + 2 * config->num_binds);
    if (mount("monitor", SITE, "tmpfs", flags, options) < 0)
        return -errno;
    *ret_step = "show the run directory";
    int rc = bind_directory(config->run_dir, SITE "/run");
    if (rc == 0) {
        *ret_step = "show the state directory";
        rc = bind_directory(config->state_dir, SITE "/state");
    }
    if (rc == 0)
        rc = show_binds(config, ret_step);
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

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Makes a bind's descriptor stand for the folder at path, which must be the one that it was. */
static int settle_bind(const struct jail_bind *b, const char *path, struct pv_error *err)
{
    struct stat now, before;
    const char *file = b->only ? b->only : "";
    pv_auto_fd int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstatat(fd, file, &now, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(b->fd, file, &before, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return pv_error_set(err, errno, "open folder %s: %s", b->path, strerror(errno));
    if (!same_file(&now, &before))
        return pv_error_set(err, ESTALE, "folder %s was exchanged: start again", b->path);
    if (dup3(fd, b->fd, O_CLOEXEC) < 0)
        return pv_error_set(err, errno, "replace folder %s: %s", b->path, strerror(errno));
    return 0;
}

static int settle_binds(const struct jail_monitor *config, bool own_root, struct pv_error *err)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < config->num_binds; i++) {
        char path[BIND_NAME_MAX + 2];
        snprintf(path, sizeof(path), "/%s", config->binds[i].name);
        rc = settle_bind(&config->binds[i], own_root ? path : config->binds[i].path, err);
    }
    return rc;
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
    if (!same_file(&now, &before))
        return pv_error_set(err, ESTALE, "state directory %s was exchanged", config->state_dir);
    if (dup3(fd, config->state_dir_fd, O_CLOEXEC) < 0)
        return pv_error_set(err, errno, "replace the state directory: %s", strerror(errno));
    return settle_binds(config, state != config->state_dir, err);
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
    jail_walls_set(walls, JAIL_WALL_OWN_ROOT, true, "the run and the state directory%s",
                   config->num_binds ? ", shared folders" : "");
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
        rc = jail_drop_capabilities(bounding_dropped, become ? config->keep_capabilities : 0, walls,
                                    err);
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

/* One rule for each bind. ret_files: descriptors to be closed afterwards, or -1; always filled. */
static int add_bind_rules(const struct jail_monitor *config, struct jail_landlock_rule *rules,
                          int *ret_files, struct pv_error *err)
{
    static const enum jail_landlock_access access[] = {
        [JAIL_BIND_READ] = JAIL_LANDLOCK_READ,
        [JAIL_BIND_WRITE] = JAIL_LANDLOCK_WRITE,
        [JAIL_BIND_SOCKETS] = JAIL_LANDLOCK_SOCKETS,
    };
    int rc = 0;
    for (unsigned i = 0; i < config->num_binds; i++) {
        const struct jail_bind *b = &config->binds[i];
        ret_files[i] = b->only ? openat(b->fd, b->only, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (b->only && ret_files[i] < 0)
            rc = pv_error_set(err, errno, "open '%s' in %s: %s", b->only, b->path, strerror(errno));
        rules[i] = (struct jail_landlock_rule){b->only ? ret_files[i] : b->fd, access[b->access]};
    }
    return rc;
}

static int close_with_landlock(const struct jail_monitor *config, struct jail_walls *walls,
                               struct pv_error *err)
{
    pv_auto_fd int run = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (run < 0)
        return pv_error_set(err, errno, "open the run directory: %s", strerror(errno));
    struct jail_landlock_rule rules[2 + JAIL_MONITOR_BINDS_MAX] = {
        {run, JAIL_LANDLOCK_SOCKETS},
        {config->state_dir_fd, JAIL_LANDLOCK_FILES},
    };
    int files[JAIL_MONITOR_BINDS_MAX];
    int rc = add_bind_rules(config, rules + 2, files, err);
    const struct jail_landlock landlock = {
        .rules = rules,
        .num_rules = 2 + config->num_binds,
        .keep_network = config->keep_network,
        .keep_signals = true, /* the guest is outside of this domain */
    };
    if (rc == 0)
        rc = jail_landlock_enter(&landlock, walls, err);
    for (unsigned i = 0; i < config->num_binds; i++)
        if (files[i] >= 0)
            close(files[i]);
    return rc;
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
