/* SPDX-License-Identifier: Apache-2.0
 *
 * probe.c: finds out what this host allows a jail to be, by trying where trying leaves no trace.
 * Runs on: any thread outside the jail.
 */
#include "jail/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "jail/cgroup_internal.h"
#include "jail/landlock_internal.h"
#include "jail/userns_internal.h"

/*
 * With less, a guest program with some GiB of scattered memory is slower, as the host holds only a
 * part of its mappings at a time; distributions set 1048576.
 */
#define MAP_COUNT_WANTED 262144

static const char *const names[JAIL_PROBE_COUNT] = {
    [JAIL_PROBE_USER_NAMESPACES] = "user namespaces",
    [JAIL_PROBE_APPARMOR_USERNS] = "AppArmor restricts user namespaces",
    [JAIL_PROBE_LANDLOCK] = "landlock",
    [JAIL_PROBE_SECCOMP] = "seccomp filters",
    [JAIL_PROBE_CGROUP_V1] = "cgroup v1",
    [JAIL_PROBE_CGROUP_V2] = "cgroup v2",
    [JAIL_PROBE_LIMIT_MEMORY] = "memory limits",
    [JAIL_PROBE_LIMIT_CPU] = "cpu limits",
    [JAIL_PROBE_LIMIT_PIDS] = "process limits",
    [JAIL_PROBE_CPUS] = "cpus",
    [JAIL_PROBE_MAX_MAP_COUNT] = "memory mappings per process",
};

static void set(struct jail_probe *probe, enum jail_probe_fact which, bool yes, int64_t number,
                const char *fmt, ...) PV_PRINTF(5, 6);

static void set(struct jail_probe *probe, enum jail_probe_fact which, bool yes, int64_t number,
                const char *fmt, ...)
{
    struct jail_fact *fact = &probe->facts[which];
    fact->name = names[which];
    fact->yes = yes;
    fact->number = number;
    va_list args;
    va_start(args, fmt);
    vsnprintf(fact->evidence, sizeof(fact->evidence), fmt, args);
    va_end(args);
}

/* The number in a sysctl file; 0 or -errno. */
static int read_sysctl(const char *path, int64_t *ret)
{
    pv_auto_free char *text = NULL;
    int rc = pv_fd_read_file(AT_FDCWD, path, 64, &text, NULL, NULL);
    if (rc < 0)
        return rc;
    *ret = strtoll(text, NULL, 10);
    return 0;
}

static void probe_namespaces(struct jail_probe *probe)
{
    const char *step;
    int rc = jail_userns_try(true, &step);
    if (rc == 0)
        set(probe, JAIL_PROBE_USER_NAMESPACES, true, 0,
            "made one, mapped uid %u, mounted an empty root", (unsigned)geteuid());
    else
        set(probe, JAIL_PROBE_USER_NAMESPACES, false, 0, "%s: %s", step, strerror(-rc));

    const char *path = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    int64_t value;
    rc = read_sysctl(path, &value);
    if (rc == 0)
        set(probe, JAIL_PROBE_APPARMOR_USERNS, value != 0, value, "%s is %lld", path,
            (long long)value);
    else
        set(probe, JAIL_PROBE_APPARMOR_USERNS, false, 0, "%s: %s", path, strerror(-rc));
}

static void probe_kernel(struct jail_probe *probe)
{
    int abi = jail_landlock_abi();
    if (abi > 0)
        set(probe, JAIL_PROBE_LANDLOCK, true, abi, "landlock_create_ruleset: abi %d", abi);
    else
        set(probe, JAIL_PROBE_LANDLOCK, false, 0, "landlock_create_ruleset: %s", strerror(-abi));

    uint32_t action = SECCOMP_RET_ERRNO;
    bool filters = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    set(probe, JAIL_PROBE_SECCOMP, filters, 0, "seccomp(SECCOMP_GET_ACTION_AVAIL): %s",
        filters ? "yes" : strerror(errno));

    cpu_set_t cpus;
    bool got = sched_getaffinity(0, sizeof(cpus), &cpus) == 0;
    set(probe, JAIL_PROBE_CPUS, got, got ? CPU_COUNT(&cpus) : 0, "sched_getaffinity: %s",
        got ? "allowed to this process" : strerror(errno));

    const char *path = "/proc/sys/vm/max_map_count";
    int64_t count = 0;
    int rc = read_sysctl(path, &count);
    if (rc == 0)
        set(probe, JAIL_PROBE_MAX_MAP_COUNT, count >= MAP_COUNT_WANTED, count,
            "%s is %lld; %d is enough for guest processes of several GiB at full speed", path,
            (long long)count, MAP_COUNT_WANTED);
    else
        set(probe, JAIL_PROBE_MAX_MAP_COUNT, false, 0, "%s: %s", path, strerror(-rc));
}

static void probe_version(struct jail_probe *probe, const struct jail_hierarchies *list,
                          int version)
{
    enum jail_probe_fact fact = version == 1 ? JAIL_PROBE_CGROUP_V1 : JAIL_PROBE_CGROUP_V2;
    struct pv_str text __attribute__((cleanup(pv_str_auto))) = {0};
    int64_t controllers = 0;
    for (int c = 0; c < JAIL_CONTROLLERS; c++) {
        const struct jail_hierarchy *h = jail_hierarchies_find(list, (enum jail_controller)c);
        if (!h || h->version != version || (version == 2 && c == JAIL_CONTROLLER_CPUACCT))
            continue;
        controllers++;
        (void)pv_str_addf(&text, "%s%s in %s", controllers > 1 ? ", " : "",
                          jail_controller_names[c], h->own);
    }
    set(probe, fact, controllers > 0, controllers, "%s",
        controllers ? text.text : "no controller that limits a machine is in it");
}

/* Whether this user could make a cgroup with the controller, judging by access rights. */
static void probe_limit(struct jail_probe *probe, const struct jail_hierarchies *list,
                        enum jail_controller c, enum jail_probe_fact fact)
{
    const struct jail_hierarchy *h = jail_hierarchies_find(list, c);
    if (!h) {
        set(probe, fact, false, 0, "no mounted cgroup hierarchy has the controller %s",
            jail_controller_names[c]);
        return;
    }
    for (unsigned i = 0;; i++) {
        pv_auto_free char *reason = NULL;
        pv_auto_free char *base = jail_hierarchy_base(h, i, &reason);
        if (!base)
            return;
        if (!reason && h->version == 2 &&
            !jail_cgroup_lists(base, "cgroup.controllers", jail_controller_names[c]))
            reason = pv_strf("controller %s is not available in cgroup %s",
                             jail_controller_names[c], base);
        if (!reason) {
            set(probe, fact, true, h->version, "v%d, below %s", h->version, base);
            return;
        }
        if (i == 0)
            set(probe, fact, false, 0, "%s", reason);
    }
}

static void probe_cgroups(struct jail_probe *probe)
{
    struct jail_hierarchies list __attribute__((cleanup(jail_hierarchies_done)));
    struct pv_error err = PV_ERROR_INIT;
    if (jail_hierarchies_read(NULL, &list, &err) < 0) {
        for (int f = JAIL_PROBE_CGROUP_V1; f <= JAIL_PROBE_LIMIT_PIDS; f++)
            set(probe, (enum jail_probe_fact)f, false, 0, "%s", err.text);
        return;
    }
    probe_version(probe, &list, 1);
    probe_version(probe, &list, 2);
    probe_limit(probe, &list, JAIL_CONTROLLER_MEMORY, JAIL_PROBE_LIMIT_MEMORY);
    probe_limit(probe, &list, JAIL_CONTROLLER_CPU, JAIL_PROBE_LIMIT_CPU);
    probe_limit(probe, &list, JAIL_CONTROLLER_PIDS, JAIL_PROBE_LIMIT_PIDS);
}

void jail_probe_run(struct jail_probe *ret_probe)
{
    memset(ret_probe, 0, sizeof(*ret_probe));
    probe_namespaces(ret_probe);
    probe_kernel(ret_probe);
    probe_cgroups(ret_probe);
}
