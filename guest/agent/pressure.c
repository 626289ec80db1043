/* SPDX-License-Identifier: Apache-2.0
 *
 * pressure.c: calls the OOM killer when the kernel does not.
 * Format: Documentation/accounting/psi.rst, proc(5).
 *
 * Without swap, a machine that is nearly out of memory drops pages of the very programs that run,
 * reads them from the image again, and drops them again. As each read is progress, the kernel's OOM
 * killer may stay away for ever. So when there is some pressure the agent looks twice, WINDOW_US
 * apart; and when there is no memory to speak of and nothing but such reading goes on, it asks the
 * kernel to choose a victim (SysRq f).
 *
 * A workload that reads more files than fit into memory reads anew too, but its memory is full of
 * file pages: it is slow, not stuck, and is left alone. So is one that fills its memory and works
 * in it.
 */
#include "agent/pressure.h"

#include "agent/cgroup.h"
#include "agent/log.h"
#include "agent/meminfo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

/* Microseconds in which something waited for memory, of a window: a hundredth. */
#define TRIGGER "some 10000 1000000"
#define WINDOW_US 1000000ull
#define TURNS 4 /* the cache is read anew so many times in a window */

static struct {
    struct pv_loop_source *source, *timer;
    int trigger_fd, meminfo_fd, vmstat_fd, pressure_fd, sysrq_fd;
    struct agent_pressure_sample before;
} watch;

/* The number behind the first "name" in the text; 0 when it is not there. */
static uint64_t number_behind(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

void agent_pressure_parse(const char *meminfo, const char *vmstat, const char *pressure,
                          struct agent_pressure_sample *ret_sample)
{
    const char *full = strstr(pressure, "full ");
    *ret_sample = (struct agent_pressure_sample){
        .total_bytes = agent_meminfo_bytes(meminfo, "MemTotal"),
        .available_bytes = agent_meminfo_bytes(meminfo, "MemAvailable"),
        .file_bytes = agent_meminfo_bytes(meminfo, "Active(file)") +
                      agent_meminfo_bytes(meminfo, "Inactive(file)"),
        .refault_bytes =
            number_behind(vmstat, "workingset_refault_file ") * (uint64_t)sysconf(_SC_PAGESIZE),
        .stalled_us = full ? number_behind(full, "total=") : 0,
    };
}

static bool is_full(const struct agent_pressure_sample *s)
{
    uint64_t reserve = agent_cgroup_reserve(s->total_bytes);
    return s->available_bytes < 2 * reserve && s->file_bytes < reserve;
}

bool agent_pressure_is_hopeless(const struct agent_pressure_sample *before,
                                const struct agent_pressure_sample *after, uint64_t window_us)
{
    if (!is_full(before) || !is_full(after))
        return false;
    uint64_t cached = PV_MAX(before->file_bytes, after->file_bytes);
    return after->refault_bytes - before->refault_bytes > TURNS * cached ||
           after->stalled_us - before->stalled_us > window_us / 2;
}

static const char *read_text(int fd, char *buf, size_t size)
{
    ssize_t n = pread(fd, buf, size - 1, 0);
    buf[n > 0 ? n : 0] = '\0';
    return buf;
}

static void take_sample(struct agent_pressure_sample *ret_sample)
{
    static char meminfo[8192], vmstat[16384], pressure[512];
    agent_pressure_parse(read_text(watch.meminfo_fd, meminfo, sizeof(meminfo)),
                         read_text(watch.vmstat_fd, vmstat, sizeof(vmstat)),
                         read_text(watch.pressure_fd, pressure, sizeof(pressure)), ret_sample);
}

static void on_window_end(void *data)
{
    struct agent_pressure_sample after;
    take_sample(&after);
    pv_loop_set_events(watch.source, EPOLLPRI);
    if (!agent_pressure_is_hopeless(&watch.before, &after, WINDOW_US))
        return;
    agent_log_note("the machine stands still for want of memory");
    if (write(watch.sysrq_fd, "f", 1) < 0)
        agent_log_note("call the OOM killer: %s", strerror(errno));
}

static void on_pressure(void *data, int fd, uint32_t events)
{
    if (events & EPOLLERR) { /* the trigger is gone */
        pv_loop_remove(pv_take_ptr(watch.source));
        return;
    }
    take_sample(&watch.before);
    pv_loop_set_events(watch.source, 0);
    pv_loop_arm(watch.timer, WINDOW_US * 1000);
}

int agent_pressure_watch(struct pv_loop *loop, int proc_fd)
{
    watch.trigger_fd = openat(proc_fd, "pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    watch.pressure_fd = openat(proc_fd, "pressure/memory", O_RDONLY | O_CLOEXEC);
    watch.meminfo_fd = openat(proc_fd, "meminfo", O_RDONLY | O_CLOEXEC);
    watch.vmstat_fd = openat(proc_fd, "vmstat", O_RDONLY | O_CLOEXEC);
    watch.sysrq_fd = openat(proc_fd, "sysrq-trigger", O_WRONLY | O_CLOEXEC);
    if (watch.trigger_fd < 0 || watch.pressure_fd < 0 || watch.meminfo_fd < 0 ||
        watch.vmstat_fd < 0 || watch.sysrq_fd < 0 ||
        write(watch.trigger_fd, TRIGGER, sizeof(TRIGGER)) < 0)
        return -errno;
    watch.timer = pv_loop_add_timer(loop, on_window_end, NULL);
    watch.source = pv_loop_add_fd(loop, watch.trigger_fd, EPOLLPRI, on_pressure, NULL);
    return watch.timer && watch.source ? 0 : -errno;
}
