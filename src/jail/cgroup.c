/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroup.c: the cgroups of one machine.
 * Runs on: the monitor's loop thread (the handle), the CLI (removal).
 * Spec: cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel.
 *
 * Theory of operation
 *
 * Four controllers, each in the hierarchy where this host has it, become at most four directories
 * <base>/<parent>/<id>; controllers that share a hierarchy share the directory. The files that
 * limits are written to and usage is read from stay open in the handle: inside the monitor's jail
 * there is no path to them. The kernel reads such a file anew at each pread at offset 0.
 *
 * A controller that cannot be had is not an error by itself: the wall is recorded as not standing,
 * with the reason, unless the user asked for that limit.
 */
#include "jail/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "jail/cgroup_internal.h"

#define CPU_PERIOD_US 100000
#define CPU_MILLI_MIN 10 /* the kernel's smallest quota is 1 ms */

enum file {
    MEMORY_LIMIT,
    MEMORY_SWAP,
    MEMORY_USAGE,
    MEMORY_PEAK,
    MEMORY_EVENTS,
    CPU_LIMIT,
    CPU_USAGE,
    PIDS_LIMIT,
    PIDS_USAGE,
    FILES,
};

static const struct {
    enum jail_controller controller;
    const char *name[2]; /* v1, v2 */
    bool writable, optional;
} files[FILES] = {
    [MEMORY_LIMIT] = {JAIL_CONTROLLER_MEMORY, {"memory.limit_in_bytes", "memory.max"}, true, false},
    [MEMORY_SWAP] = {JAIL_CONTROLLER_MEMORY,
                     {"memory.memsw.limit_in_bytes", "memory.swap.max"},
                     true,
                     true},
    [MEMORY_USAGE] = {JAIL_CONTROLLER_MEMORY,
                      {"memory.usage_in_bytes", "memory.current"},
                      false,
                      false},
    [MEMORY_PEAK] = {JAIL_CONTROLLER_MEMORY,
                     {"memory.max_usage_in_bytes", "memory.peak"},
                     false,
                     true},
    [MEMORY_EVENTS] = {JAIL_CONTROLLER_MEMORY,
                       {"memory.oom_control", "memory.events"},
                       false,
                       true},
    [CPU_LIMIT] = {JAIL_CONTROLLER_CPU, {"cpu.cfs_quota_us", "cpu.max"}, true, false},
    [CPU_USAGE] = {JAIL_CONTROLLER_CPUACCT, {"cpuacct.usage", "cpu.stat"}, false, false},
    [PIDS_LIMIT] = {JAIL_CONTROLLER_PIDS, {"pids.max", "pids.max"}, true, false},
    [PIDS_USAGE] = {JAIL_CONTROLLER_PIDS, {"pids.current", "pids.current"}, false, false},
};

/* The three limits as users see them. */
static const struct {
    enum jail_controller controller;
    const char *wall, *name;
} limit_table[] = {
    {JAIL_CONTROLLER_MEMORY, JAIL_WALL_LIMIT_MEMORY, "memory limit"},
    {JAIL_CONTROLLER_CPU, JAIL_WALL_LIMIT_CPU, "CPU limit"},
    {JAIL_CONTROLLER_PIDS, JAIL_WALL_LIMIT_PIDS, "process limit"},
};

struct directory {
    char *path; /* owned */
    int version;
    int procs_fd;
};

struct jail_cgroup {
    struct directory dirs[JAIL_CONTROLLERS];
    size_t num_dirs;
    const struct directory *of[JAIL_CONTROLLERS]; /* into dirs; NULL: not had */
    char *reason[JAIL_CONTROLLERS];               /* owned: why not */
    int fds[FILES];                               /* -1: not there */
};

/* ---- Making the directories ---- */

/* v2: lets the children of dir have the controller. */
static int enable(const char *dir, const char *controller, char **ret_reason)
{
    if (jail_cgroup_lists(dir, "cgroup.subtree_control", controller))
        return 0;
    if (!jail_cgroup_lists(dir, "cgroup.controllers", controller)) {
        *ret_reason = pv_strf("controller %s is not available in cgroup %s", controller, dir);
        return -ENODEV;
    }
    char text[32];
    snprintf(text, sizeof(text), "+%s", controller);
    int rc = jail_cgroup_write(dir, "cgroup.subtree_control", text);
    if (rc == -EBUSY)
        *ret_reason = pv_strf("cgroup %s has processes of its own, so its children cannot have "
                              "controller %s",
                              dir, controller);
    else if (rc < 0)
        *ret_reason =
            pv_strf("enable controller %s in cgroup %s: %s", controller, dir, strerror(-rc));
    return rc;
}

/* Makes <base>/<parent>/<id> with the controller. Returns its path (the caller frees) or NULL with
 * the reason. Another machine's end may remove <parent> at any time: then again. */
static char *make_directory(const struct jail_hierarchy *h, const char *base, const char *parent,
                            const char *id, enum jail_controller c, char **ret_reason)
{
    /* v2 accounts CPU time in every cgroup: no controller to enable. */
    bool must_enable = h->version == 2 && c != JAIL_CONTROLLER_CPUACCT;
    pv_auto_free char *middle = pv_strf("%s/%s", base, parent);
    pv_auto_free char *path = pv_strf("%s/%s/%s", base, parent, id);
    if (!middle || !path)
        return NULL;
    if (must_enable && enable(base, jail_controller_names[c], ret_reason) < 0)
        return NULL;
    for (int tries = 0; tries < 8; tries++) {
        if (mkdir(middle, 0755) < 0 && errno != EEXIST) {
            *ret_reason = pv_strf("make cgroup %s: %s", middle, strerror(errno));
            return NULL;
        }
        if (must_enable && enable(middle, jail_controller_names[c], ret_reason) < 0) {
            if (access(middle, F_OK) == 0)
                return NULL;
            free(pv_take_ptr(*ret_reason));
            continue;
        }
        if (mkdir(path, 0755) == 0 || errno == EEXIST)
            return pv_take_ptr(path);
        if (errno != ENOENT)
            break;
    }
    *ret_reason = pv_strf("make cgroup %s: %s", path, strerror(errno));
    return NULL;
}

static bool has_processes(const char *dir)
{
    char byte;
    int fd = jail_cgroup_open(dir, "cgroup.procs", O_RDONLY);
    if (fd < 0)
        return false;
    bool some = read(fd, &byte, 1) == 1;
    close(fd);
    return some;
}

/* Remembers the directory, once, and opens its list of processes. */
static int add_directory(struct jail_cgroup *cgroup, enum jail_controller c, int version,
                         char *take_path, struct pv_error *err)
{
    pv_auto_free char *path = take_path;
    for (size_t i = 0; i < cgroup->num_dirs; i++)
        if (strcmp(cgroup->dirs[i].path, path) == 0) {
            cgroup->of[c] = &cgroup->dirs[i];
            return 0;
        }
    if (has_processes(path))
        return pv_error_set(err, EEXIST, "cgroup %s has processes already: is the machine running?",
                            path);
    int fd = jail_cgroup_open(path, "cgroup.procs", O_WRONLY);
    if (fd < 0) {
        cgroup->reason[c] = pv_strf("open %s/cgroup.procs: %s", path, strerror(-fd));
        rmdir(path);
        return 0;
    }
    struct directory *dir = &cgroup->dirs[cgroup->num_dirs++];
    *dir = (struct directory){pv_take_ptr(path), version, fd};
    cgroup->of[c] = dir;
    return 0;
}

static int add_controller(struct jail_cgroup *cgroup, const struct jail_hierarchies *hierarchies,
                          const struct jail_cgroup_host *host, const char *id,
                          enum jail_controller c, struct pv_error *err)
{
    const struct jail_hierarchy *h = jail_hierarchies_find(hierarchies, c);
    if (!h) {
        cgroup->reason[c] =
            pv_strf("no mounted cgroup hierarchy has the controller %s", jail_controller_names[c]);
        return 0;
    }
    for (unsigned i = 0; !cgroup->of[c]; i++) {
        char *reason = NULL;
        pv_auto_free char *base = jail_hierarchy_base(h, i, &reason);
        if (!base)
            break;
        char *path =
            reason ? NULL : make_directory(h, base, jail_cgroup_parent(host), id, c, &reason);
        if (path) {
            int rc = add_directory(cgroup, c, h->version, path, err);
            if (rc < 0)
                return rc;
        } else if (!cgroup->reason[c]) {
            cgroup->reason[c] = reason; /* of the best place */
        } else {
            free(reason);
        }
    }
    return 0;
}

/* Opens the controllers' files; a controller whose file is missing is as good as none. */
static void open_files(struct jail_cgroup *cgroup)
{
    for (int f = 0; f < FILES; f++) {
        enum jail_controller c = files[f].controller;
        const struct directory *dir = cgroup->of[c];
        if (!dir)
            continue;
        const char *name = files[f].name[dir->version - 1];
        int fd = jail_cgroup_open(dir->path, name, files[f].writable ? O_RDWR : O_RDONLY);
        if (fd >= 0) {
            cgroup->fds[f] = fd;
        } else if (!files[f].optional) {
            free(cgroup->reason[c]);
            cgroup->reason[c] = pv_strf("open %s/%s: %s", dir->path, name, strerror(-fd));
            cgroup->of[c] = NULL;
        }
    }
    const struct directory *memory = cgroup->of[JAIL_CONTROLLER_MEMORY];
    const struct directory *cpu = cgroup->of[JAIL_CONTROLLER_CPU];
    /* A machine is one thing: without its kernel or one of its processes it is of no use. Older
     * kernels do not know these, and the periods are what they are by default: no error matters. */
    if (memory && memory->version == 2)
        jail_cgroup_write(memory->path, "memory.oom.group", "1");
    if (cpu && cpu->version == 1)
        jail_cgroup_write(cpu->path, "cpu.cfs_period_us", "100000");
}

/* ---- Limits ---- */

static int write_file(struct jail_cgroup *cgroup, enum file f, const char *text)
{
    if (cgroup->fds[f] < 0)
        return files[f].optional ? 0 : -ENODEV;
    return pwrite(cgroup->fds[f], text, strlen(text), 0) < 0 ? -errno : 0;
}

static int write_number(struct jail_cgroup *cgroup, enum file f, uint64_t value)
{
    char text[32];
    const struct directory *dir = cgroup->of[files[f].controller];
    if (value)
        snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    else
        snprintf(text, sizeof(text), "%s", dir->version == 1 && f != PIDS_LIMIT ? "-1" : "max");
    return write_file(cgroup, f, text);
}

static int read_number(struct jail_cgroup *cgroup, enum file f, const char *key, uint64_t *ret);

static int set_memory(struct jail_cgroup *cgroup, uint64_t bytes)
{
    /* v2 would kill where v1 refuses. */
    uint64_t used;
    if (bytes && read_number(cgroup, MEMORY_USAGE, NULL, &used) == 0 && used > bytes)
        return -EBUSY;
    bool v1 = cgroup->of[JAIL_CONTROLLER_MEMORY]->version == 1;
    /* v1 limits memory and swap together and wants that above memory: out of the way first. */
    int rc = v1 ? write_number(cgroup, MEMORY_SWAP, 0) : 0;
    if (rc == 0)
        rc = write_number(cgroup, MEMORY_LIMIT, bytes);
    if (rc == 0)
        rc = write_number(cgroup, MEMORY_SWAP, v1 ? 2 * bytes : bytes);
    return rc;
}

static int set_cpu(struct jail_cgroup *cgroup, uint64_t milli)
{
    char text[48];
    uint64_t quota = milli * (CPU_PERIOD_US / 1000);
    if (cgroup->of[JAIL_CONTROLLER_CPU]->version == 1)
        return write_number(cgroup, CPU_LIMIT, quota);
    if (quota)
        snprintf(text, sizeof(text), "%llu %d", (unsigned long long)quota, CPU_PERIOD_US);
    else
        snprintf(text, sizeof(text), "max %d", CPU_PERIOD_US);
    return write_file(cgroup, CPU_LIMIT, text);
}

static int set_limit(struct jail_cgroup *cgroup, enum jail_controller c, uint64_t value)
{
    switch (c) {
    case JAIL_CONTROLLER_MEMORY:
        return set_memory(cgroup, value);
    case JAIL_CONTROLLER_CPU:
        return set_cpu(cgroup, value);
    default:
        return write_number(cgroup, PIDS_LIMIT, value);
    }
}

static int refuse_limit(const char *name, const char *reason, int code, struct pv_error *err)
{
    return pv_error_set(err, code,
                        "the %s cannot be set: %s: start it as root, or in a cgroup of your own "
                        "(`systemd-run --user --scope`), or leave the limit out",
                        name, reason);
}

/* Sets (or lifts) one limit and records its wall. */
static int apply_limit(struct jail_cgroup *cgroup, size_t l, const struct jail_cgroup_limit *limit,
                       struct jail_walls *walls, struct pv_error *err)
{
    enum jail_controller c = limit_table[l].controller;
    const char *wall = limit_table[l].wall, *name = limit_table[l].name;
    const struct directory *dir = cgroup->of[c];
    if (!dir) {
        const char *reason = cgroup->reason[c] ? cgroup->reason[c] : "out of memory";
        if (limit->value && limit->required)
            return refuse_limit(name, reason, EOPNOTSUPP, err);
        jail_walls_set(walls, wall, false, "not set: %s", limit->value ? reason : "none asked for");
        return 0;
    }
    int rc = set_limit(cgroup, c, limit->value);
    if (rc < 0 && (limit->required || rc == -EBUSY))
        return rc == -EBUSY
                   ? pv_error_set(err, EBUSY, "the %s cannot be %llu: the machine uses more", name,
                                  (unsigned long long)limit->value)
                   : refuse_limit(name, strerror(-rc), -rc, err);
    if (rc < 0)
        jail_walls_set(walls, wall, false, "not set: %s: %s", dir->path, strerror(-rc));
    else if (!limit->value)
        jail_walls_set(walls, wall, false, "not set: none asked for");
    else
        jail_walls_set(walls, wall, true, "%llu, v%d %s", (unsigned long long)limit->value,
                       dir->version, dir->path);
    return 0;
}

int jail_cgroup_update(struct jail_cgroup *cgroup, const struct jail_cgroup_limits *limits,
                       struct jail_walls *walls, struct pv_error *err)
{
    const struct jail_cgroup_limit *list[] = {&limits->memory_bytes, &limits->cpu_milli,
                                              &limits->pids};
    if (limits->cpu_milli.value && limits->cpu_milli.value < CPU_MILLI_MIN)
        return pv_error_set(err, EINVAL, "the CPU limit is below 0.01 CPUs");
    for (size_t i = 0; i < PV_ARRAY_SIZE(list); i++) {
        int rc = apply_limit(cgroup, i, list[i], walls, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- Life of the handle ---- */

static void free_cgroup(struct jail_cgroup *cgroup)
{
    for (int f = 0; f < FILES; f++)
        pv_cleanup_fd(&cgroup->fds[f]);
    for (size_t i = 0; i < cgroup->num_dirs; i++) {
        close(cgroup->dirs[i].procs_fd);
        free(cgroup->dirs[i].path);
    }
    for (int c = 0; c < JAIL_CONTROLLERS; c++)
        free(cgroup->reason[c]);
    free(cgroup);
}

void jail_cgroup_close(struct jail_cgroup *cgroup)
{
    if (cgroup)
        free_cgroup(cgroup);
}

int jail_cgroup_create(const struct jail_cgroup_host *host, const char *id,
                       const struct jail_cgroup_limits *limits, struct jail_cgroup **ret_cgroup,
                       struct jail_walls *walls, struct pv_error *err)
{
    if (!pv_str_is_name(id))
        return pv_error_set(err, EINVAL, "'%s' is no name for a cgroup", id);
    struct jail_hierarchies hierarchies __attribute__((cleanup(jail_hierarchies_done)));
    int rc = jail_hierarchies_read(host, &hierarchies, err);
    if (rc < 0)
        return rc;

    struct jail_cgroup *cgroup = calloc(1, sizeof(*cgroup));
    if (!cgroup)
        return pv_error_set(err, ENOMEM, "out of memory for a cgroup");
    memset(cgroup->fds, 0xff, sizeof(cgroup->fds));
    for (int c = 0; rc == 0 && c < JAIL_CONTROLLERS; c++)
        rc = add_controller(cgroup, &hierarchies, host, id, (enum jail_controller)c, err);
    if (rc == 0) {
        open_files(cgroup);
        rc = jail_cgroup_update(cgroup, limits, walls, err);
    }
    if (rc < 0) {
        /* What another machine of this id uses is busy and stays. */
        for (size_t i = 0; i < cgroup->num_dirs; i++)
            rmdir(cgroup->dirs[i].path);
        free_cgroup(cgroup);
        return rc;
    }
    *ret_cgroup = cgroup;
    return 0;
}

int jail_cgroup_attach(struct jail_cgroup *cgroup, pid_t pid, struct pv_error *err)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d", (int)pid);
    for (size_t i = 0; i < cgroup->num_dirs; i++)
        if (pwrite(cgroup->dirs[i].procs_fd, text, (size_t)len, 0) < 0)
            return pv_error_set(err, errno, "move process %d into cgroup %s: %s", (int)pid,
                                cgroup->dirs[i].path, strerror(errno));
    return 0;
}

int jail_cgroup_grant(const struct jail_cgroup *cgroup, struct jail_filter *filter,
                      struct pv_error *err)
{
    for (int f = 0; f < FILES; f++) {
        if (cgroup->fds[f] < 0)
            continue;
        int rc =
            jail_filter_allow_fd(filter, SYS_pread64, cgroup->fds[f], "cgroup: read usage", err);
        if (rc == 0 && files[f].writable)
            rc = jail_filter_allow_fd(filter, SYS_pwrite64, cgroup->fds[f], "cgroup: change limits",
                                      err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int jail_cgroup_paths(const struct jail_cgroup *cgroup, struct pv_strv *paths)
{
    for (size_t i = 0; i < cgroup->num_dirs; i++) {
        int rc = pv_strv_add(paths, cgroup->dirs[i].path);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- Usage ---- */

/* Reads the number in the file, or the one that follows key at the start of a line. */
static int read_number(struct jail_cgroup *cgroup, enum file f, const char *key, uint64_t *ret)
{
    char text[4096];
    if (cgroup->fds[f] < 0)
        return -ENODEV;
    ssize_t got = pread(cgroup->fds[f], text, sizeof(text) - 1, 0);
    if (got < 0)
        return -errno;
    text[got] = '\0';

    const char *at = text;
    size_t len = key ? strlen(key) : 0;
    while (len && (strncmp(at, key, len) != 0 || at[len] != ' ')) {
        at = strchr(at, '\n');
        if (!at)
            return -ENODATA;
        at++;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(at + len, &end, 10);
    if (end == at + len || errno)
        return -EBADMSG;
    *ret = value;
    return 0;
}

int jail_cgroup_usage(struct jail_cgroup *cgroup, struct jail_cgroup_usage *ret_usage,
                      struct pv_error *err)
{
    struct jail_cgroup_usage usage = {
        .has_memory = cgroup->of[JAIL_CONTROLLER_MEMORY],
        .has_cpu = cgroup->of[JAIL_CONTROLLER_CPUACCT],
        .has_pids = cgroup->of[JAIL_CONTROLLER_PIDS],
    };
    int rc = 0;
    if (usage.has_memory) {
        rc = read_number(cgroup, MEMORY_USAGE, NULL, &usage.memory_bytes);
        /* Both are missing on older kernels. */
        (void)read_number(cgroup, MEMORY_PEAK, NULL, &usage.memory_peak_bytes);
        (void)read_number(cgroup, MEMORY_EVENTS, "oom_kill", &usage.oom_kills);
    }
    if (rc == 0 && usage.has_cpu) {
        bool v1 = cgroup->of[JAIL_CONTROLLER_CPUACCT]->version == 1;
        rc = read_number(cgroup, CPU_USAGE, v1 ? NULL : "usage_usec", &usage.cpu_ns);
        usage.cpu_ns *= v1 ? 1 : 1000;
    }
    if (rc == 0 && usage.has_pids)
        rc = read_number(cgroup, PIDS_USAGE, NULL, &usage.pids);
    if (rc < 0)
        return pv_error_set(err, -rc, "read the machine's usage: %s", strerror(-rc));
    *ret_usage = usage;
    return 0;
}
