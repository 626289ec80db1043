/* SPDX-License-Identifier: Apache-2.0
 *
 * jail.c: what this monitor may still do once its machine runs: the list of system calls, from the
 * devices' own lists and ours, each with its reason.
 */
#include "monitor/internal.h"

#include "jail/monitor.h"
#include "virtio/transport/vhost_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct virtio_syscall own_syscalls[] = {
    {"epoll_wait", "loop: wait for events"},
    {"epoll_ctl", "loop: add, change and remove sources"},
    {"timerfd_create", "loop: timers"},
    {"timerfd_settime", "loop: timers"},
    {"read", "loop: timers, signals; streams"},
    {"write", "log, console, streams"},
    {"recvmsg", "streams"},
    {"recvfrom", "streams"},
    {"sendmsg", "streams"},
    {"sendto", "streams"},
    {"shutdown", "streams: half of a connection"},
    {"accept4", "control socket: clients"},
    {"socketpair", "agent: sessions"},
    {"socket", "vsock: connections of the guest to the run directory's sockets"},
    {"connect", "vsock: connections of the guest to the run directory's sockets"},
    {"close", "streams, files"},
    {"fcntl", "streams: non-blocking mode"},
    {"openat", "state and log files"},
    {"newfstatat", "log: how much is there"},
    {"fstat", "memory: how much is in use"},
    {"renameat", "state and log files"},
    {"renameat2", "state and log files"},
    {"unlinkat", "state: a temporary file; sockets at the end"},
    {"unlink", "sockets at the end"},
    {"ftruncate", "console: starts again at its limit"},
    {"lseek", "console: starts again at its limit; cgroup files"},
    {"pread64", "cgroup: usage"},
    {"pwrite64", "cgroup: limits"},
    {"poll", "a write that must wait"},
    {"getpid", "state: the temporary file's name"},
    {"clock_gettime", "time, where the vDSO cannot tell it"},
    {"getrandom", "the C library's allocator"},
    {"brk", "heap"},
    {"mmap", "heap, thread stacks"},
    {"munmap", "heap, thread stacks"},
    {"mremap", "heap"},
    {"mprotect", "heap, thread stacks"},
    {"madvise", "heap, thread stacks"},
    {"futex", "threads"},
    {"set_robust_list", "threads"},
    {"rseq", "threads"},
    {"sched_yield", "threads"},
    {"eventfd2", "disk: its worker's completions"},
    {"gettid", "threads, abort"},
    {"tgkill", "abort"},
    {"rt_sigprocmask", "threads, abort"},
    {"rt_sigaction", "abort"},
    {"rt_sigreturn", "return from a signal handler"},
    {"restart_syscall", "a stopped and continued wait"},
    {"exit", "threads"},
    {"exit_group", "the end"},
    {NULL, NULL},
};

/* All three kinds of lists have the same two members. */
static int allow_list(struct jail_filter *filter, const struct virtio_syscall *list,
                      struct pv_error *err)
{
    int rc = 0;
    for (; list && list->name && rc == 0; list++)
        rc = jail_filter_allow_name(filter, list->name, list->reason, err);
    return rc;
}

static int allow_everything(struct monitor *m, struct jail_filter *filter, struct pv_error *err)
{
    int rc = allow_list(filter, own_syscalls, err);
    if (rc == 0)
        rc = allow_list(filter, virtio_vhost_user_syscalls, err);
    for (size_t i = 0; i < m->num_devices && rc == 0; i++)
        if (m->devices[i].device)
            rc = allow_list(filter, virtio_device_get_class(m->devices[i].device)->syscalls, err);
    if (rc == 0)
        rc = monitor_net_allow(m, filter, err);
    for (const struct disk_syscall *s = disk_syscalls; s->name && rc == 0; s++)
        rc = jail_filter_allow_name(filter, s->name, s->reason, err);
    for (const struct engine_syscall *s = engine_syscalls; s->name && rc == 0; s++)
        rc = jail_filter_allow_name(filter, s->name, s->reason, err);
    if (rc == 0 && m->spec.volumes.count)
        rc = allow_list(filter, monitor_volumes_syscalls, err);
    for (const struct fs_syscall *s = fs_syscalls; m->spec.volumes.count && s->name && rc == 0; s++)
        rc = jail_filter_allow_name(filter, s->name, s->reason, err);
    /* The disks' worker threads, but no namespace, in which a hijacked monitor would be root. */
    if (rc == 0)
        rc = jail_filter_allow_clone(filter, "disk: its worker thread", err);
    if (rc == 0)
        rc = jail_filter_refuse(filter, SYS_clone3, ENOSYS, "the C library falls back to clone",
                                err);
    return rc < 0 ? rc : jail_cgroup_grant(m->cgroup, filter, err);
}

int monitor_jail_enter(struct monitor *m, struct pv_error *err)
{
    pv_auto(jail_filter) struct jail_filter *filter = jail_filter_new(JAIL_FILTER_KILL);
    pv_auto(jail_filter_program) struct jail_filter_program *program = NULL;
    if (!filter)
        return pv_error_set(err, ENOMEM, "monitor's jail: out of memory");
    int rc = allow_everything(m, filter, err);
    if (rc == 0)
        rc = jail_filter_build(filter, &program, err);
    if (rc < 0)
        return pv_error_prefix(err, "monitor's jail");

    struct jail_bind binds[JAIL_MONITOR_BINDS_MAX];
    m->started_as_root = geteuid() == 0;
    unsigned num_binds = monitor_volumes_bind(m, binds);
    num_binds += monitor_net_bind(m, binds + num_binds);
    struct jail_monitor config = {
        .run_dir = m->spec.run_dir,
        .state_dir = m->spec.state_dir,
        .state_dir_fd = m->state_dirfd,
        .uid = m->spec.uid,
        .gid = m->spec.gid,
        .filter = program,
        .keep_network = monitor_net_needs_host(m),
        .binds = binds,
        .num_binds = num_binds,
        .keep_capabilities = monitor_volumes_capabilities(m),
        .max_files = monitor_volumes_files(m),
    };
    rc = jail_monitor_enter(&config, &m->monitor_walls, err);
    return rc < 0 ? pv_error_prefix(err, "monitor's jail") : 0;
}
