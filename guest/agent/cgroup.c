/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroup.c: the cgroup of the workload.   Format: Documentation/admin-guide/cgroup-v2.rst.
 *
 * Why a limit in a machine whose memory is limited anyway: when the last page is gone, the kernel
 * may need one itself where it must not start the OOM killer (to read a page of a program from a
 * squashfs image, for one), and then it waits for ever. A cgroup's limit is met by an allocation of
 * the workload, where the OOM killer may act, and the kernel and the agent keep something.
 */
#include "agent/cgroup.h"

#include "agent/log.h"
#include "agent/meminfo.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#define TOP "/sys/fs/cgroup"
#define RESERVE_MIN (8ull << 20)
#define RESERVE_MAX (64ull << 20)
#define RESERVE_PART 16 /* of the memory */
#define MEMMAP_PART 64
#define LOWER_SPARE (4ull << 20)
#define ADAPT_FIRST_NS (50ull * 1000000)
#define ADAPT_LAST_NS (3200ull * 1000000)
#define CPU_PERIOD_US 100000u
#define LOOK_AWAY_NS (200ull * 1000000)

/* memory.max, memory.events, memory.current, memory.stat */
static int max_fd = -1, events_fd = -1, current_fd = -1, stat_fd = -1;
static int cpu_max_fd = -1, reclaim_fd = -1;
static struct pv_loop_source *event_source, *event_timer, *adapt_timer;
static uint64_t adapt_pause_ns;
static uint64_t limit;
static uint64_t total_at_boot,
    used_at_boot; /* by the kernel and the agent, and kept free by the kernel */

uint64_t agent_cgroup_reserve(uint64_t total)
{
    uint64_t reserve = PV_MIN(total / RESERVE_PART, (uint64_t)RESERVE_MAX);
    return PV_MAX(reserve, (uint64_t)RESERVE_MIN);
}

uint64_t agent_cgroup_limit(uint64_t total, uint64_t used)
{
    uint64_t reserve = used + agent_cgroup_reserve(total);
    return reserve < total / 2 ? total - reserve : total / 2;
}

static uint64_t total_memory(void)
{
    struct sysinfo info;
    return sysinfo(&info) < 0 ? 0 : (uint64_t)info.totalram * info.mem_unit;
}

/* What a workload could not get even now, when nothing runs yet. */
static uint64_t unavailable_memory(void)
{
    pv_auto_free char *text = NULL;
    if (pv_fd_read_file(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL, NULL) < 0)
        return 0;
    uint64_t available = agent_meminfo_bytes(text, "MemAvailable");
    uint64_t total = total_memory();
    return available && available < total ? total - available : 0;
}

static uint64_t wanted_limit(void)
{
    uint64_t total = total_memory(), used = used_at_boot;
    /* Memory that was added needs its own page structures. */
    if (total > total_at_boot)
        used += (total - total_at_boot) / MEMMAP_PART;
    return agent_cgroup_limit(total, used);
}

static void write_limit(uint64_t wanted)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%" PRIu64, wanted);
    if (pwrite(max_fd, text, (size_t)len, 0) == len)
        limit = wanted;
    else
        agent_log_note("limit the workload's memory: %s", strerror(errno));
}

/* Only raises the limit: what is in use cannot be taken back just like that. */
static void raise_limit(void)
{
    uint64_t wanted = wanted_limit();
    if (wanted > limit && max_fd >= 0)
        write_limit(wanted);
}

static uint64_t number_of(const char *stat, const char *name)
{
    for (const char *line = stat; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (pv_str_starts_with(line, name))
            return strtoull(line + strlen(name), NULL, 10);
    }
    return 0;
}

uint64_t agent_cgroup_lower(uint64_t wanted, uint64_t current, const char *stat)
{
    uint64_t file = number_of(stat, "inactive_file ") + number_of(stat, "active_file ");
    uint64_t kept = current > file ? current - file : 0;
    return PV_MAX(wanted, kept + LOWER_SPARE);
}

static void adapt(void)
{
    static char stat[8192];
    char current[32];
    uint64_t wanted = wanted_limit();
    if (max_fd < 0)
        return;
    ssize_t n = pread(stat_fd, stat, sizeof(stat) - 1, 0);
    stat[n > 0 ? n : 0] = '\0';
    n = pread(current_fd, current, sizeof(current) - 1, 0);
    current[n > 0 ? n : 0] = '\0';
    if (wanted < limit)
        wanted = PV_MIN(agent_cgroup_lower(wanted, strtoull(current, NULL, 10), stat), limit);
    if (wanted != limit)
        write_limit(wanted);
}

/* The monitor tells of memory when it has given it; the kernel takes a moment to use it. */
static void on_adapt_again(void *data)
{
    adapt();
    if (adapt_pause_ns < ADAPT_LAST_NS)
        pv_loop_arm(adapt_timer, adapt_pause_ns *= 4);
}

void agent_cgroup_adapt(void)
{
    adapt();
    adapt_pause_ns = ADAPT_FIRST_NS;
    if (adapt_timer)
        pv_loop_arm(adapt_timer, adapt_pause_ns);
}

int agent_cgroup_cpu_text(uint32_t milli, char text[AGENT_CGROUP_CPU_TEXT])
{
    uint64_t quota = (uint64_t)milli * (CPU_PERIOD_US / 1000);
    return quota ? snprintf(text, AGENT_CGROUP_CPU_TEXT, "%" PRIu64 " %u", quota, CPU_PERIOD_US)
                 : snprintf(text, AGENT_CGROUP_CPU_TEXT, "max %u", CPU_PERIOD_US);
}

int agent_cgroup_set_cpu(uint32_t milli)
{
    char text[AGENT_CGROUP_CPU_TEXT];
    int len = agent_cgroup_cpu_text(milli, text);
    if (cpu_max_fd < 0)
        return -ENOENT;
    return pwrite(cpu_max_fd, text, (size_t)len, 0) == len ? 0 : -errno;
}

int agent_cgroup_make(void)
{
    static const char *const controllers[] = {"+cpu", "+memory", "+pids", "+io", "+cpuset"};
    pv_auto_fd int control = open(TOP "/cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; control >= 0 && i < PV_ARRAY_SIZE(controllers); i++)
        if (write(control, controllers[i], strlen(controllers[i])) < 0)
            agent_log_note("cgroup controller %s: %s", controllers[i] + 1, strerror(errno));
    if (mkdir(TOP "/workload", 0755) < 0 && errno != EEXIST)
        return -errno;

    /* By a copy of the mount: an open file would keep the workload from unmounting its own. */
    pv_auto_fd int tree = open_tree(AT_FDCWD, TOP, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return -errno;
    max_fd = openat(tree, "workload/memory.max", O_WRONLY | O_CLOEXEC);
    events_fd = openat(tree, "workload/memory.events", O_RDONLY | O_CLOEXEC);
    current_fd = openat(tree, "workload/memory.current", O_RDONLY | O_CLOEXEC);
    stat_fd = openat(tree, "workload/memory.stat", O_RDONLY | O_CLOEXEC);
    cpu_max_fd = openat(tree, "workload/cpu.max", O_WRONLY | O_CLOEXEC);
    reclaim_fd = openat(tree, "memory.reclaim", O_WRONLY | O_CLOEXEC); /* of all, not of a cgroup */
    total_at_boot = total_memory();
    used_at_boot = unavailable_memory();
    raise_limit();
    int procs_fd = openat(tree, "workload/cgroup.procs", O_WRONLY | O_CLOEXEC);
    return procs_fd < 0 ? -errno : procs_fd;
}

int agent_cgroup_get_reclaim(void)
{
    return reclaim_fd;
}

/* The workload met its limit (or something else happened to its memory). It may do so all the
 * time, so we look away for a while. */
static void on_memory_event(void *data, int fd, uint32_t events)
{
    raise_limit();
    pv_loop_set_events(event_source, 0);
    pv_loop_arm(event_timer, LOOK_AWAY_NS);
}

/* Reading arms the notification anew; it fails when the workload has removed its cgroup. */
static void on_look_again(void *data)
{
    char text[512];
    if (pread(events_fd, text, sizeof(text), 0) >= 0)
        pv_loop_set_events(event_source, EPOLLPRI);
}

int agent_cgroup_watch(struct pv_loop *loop)
{
    if (events_fd < 0)
        return -ENOENT;
    event_timer = pv_loop_add_timer(loop, on_look_again, NULL);
    adapt_timer = pv_loop_add_timer(loop, on_adapt_again, NULL);
    event_source = pv_loop_add_fd(loop, events_fd, 0, on_memory_event, NULL);
    if (!event_timer || !event_source)
        return -errno;
    on_look_again(NULL);
    return 0;
}
