/* SPDX-License-Identifier: Apache-2.0
 *
 * build.c: from a description to a running machine.
 *
 * Order matters: everything that has a name is opened first; then the guest starts, in its own
 * jail; then our jail closes; only then threads start and the guest's bytes are looked at.
 */
#include "monitor/internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "virtio/device/vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int open_state_dir(struct monitor *m, struct pv_error *err)
{
    m->state_dirfd = open(m->spec.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->state_dirfd < 0)
        return pv_error_set(err, errno, "open '%s': %s", m->spec.state_dir, strerror(errno));
    if (chdir(m->spec.run_dir) < 0)
        return pv_error_set(err, errno, "enter '%s': %s", m->spec.run_dir, strerror(errno));
    /* Root gives up being root: the instance's directories then belong to who we become. EINVAL:
     * the root of a user namespace without these ids; the jail stays who we are, then. */
    if (geteuid() == 0 &&
        (fchown(m->state_dirfd, m->spec.uid, m->spec.gid) < 0 ||
         chown(".", m->spec.uid, m->spec.gid) < 0) &&
        errno != EINVAL)
        return pv_error_set(err, errno, "give '%s' to user %u: %s", m->spec.state_dir, m->spec.uid,
                            strerror(errno));
    return 0;
}

/* A listening unix socket in the current directory, which a dead monitor may have left there. */
static int listen_on(const char *name, int *ret_fd, struct pv_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
    unlink(name);
    pv_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(name, 0600) < 0 || listen(fd, 64) < 0)
        return pv_error_set(err, errno, "socket '%s': %s", name, strerror(errno));
    *ret_fd = pv_take_fd(&fd);
    return 0;
}

static int open_sockets(struct monitor *m, struct pv_error *err)
{
    int vsock_fd;
    int rc = listen_on(MONITOR_CONTROL_SOCKET, &m->control_fd, err);
    if (rc == 0)
        rc = listen_on(MONITOR_VSOCK_SOCKET, &vsock_fd, err);
    if (rc < 0)
        return rc;
    rc = virtio_vsock_serve(m->vsock, vsock_fd);
    return rc < 0 ? pv_error_set(err, -rc, "vsock: %s", strerror(-rc)) : 0;
}

static int open_file(const char *what, const char *path, int *ret_fd, struct pv_error *err)
{
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*ret_fd < 0)
        return pv_error_set(err, errno, "open %s '%s': %s", what, path, strerror(errno));
    return 0;
}

static void on_guest_text(void *data, const void *bytes, size_t len)
{
    struct monitor *m = data;
    monitor_console_add(m->console, bytes, len);
}

static int start_engine(struct monitor *m, const int *guest_ends, struct pv_error *err)
{
    pv_auto_fd int kernel_fd = -1;
    pv_auto_fd int initramfs_fd = -1;
    struct engine_device devices[MONITOR_DEVICES_MAX];
    int rc = open_file("guest kernel", m->spec.kernel, &kernel_fd, err);
    if (rc == 0)
        rc = open_file("initramfs", m->spec.initramfs, &initramfs_fd, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < m->num_devices; i++)
        devices[i] =
            (struct engine_device){.sock = guest_ends[i], .virtio_id = m->devices[i].virtio_id};

    struct engine_options options = {
        .loop = m->loop,
        .memory = m->memory,
        .kernel_fd = kernel_fd,
        .initramfs_fd = initramfs_fd,
        .cpus = m->spec.cpus,
        .strict = m->spec.strict_protection,
        .host_cpus = &m->spec.host_cpus,
        .devices = devices,
        .num_devices = m->num_devices,
        .cgroup = m->cgroup,
        .uid = m->spec.uid,
        .gid = m->spec.gid,
        .log_level = m->spec.guest_log_level,
        .extra_cmdline = m->spec.extra_cmdline,
        .on_console = on_guest_text,
        .on_end = monitor_life_guest_ended,
        .data = m,
    };
    return engine_start(&options, &m->engine, err);
}

/* Field 22 of /proc/PID/stat; 0 when it cannot be read. The name in field 2 may hold anything but
 * ends with the last ')'. */
static uint64_t start_time_of(pid_t pid)
{
    char path[64];
    pv_auto_free char *text = NULL;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (pv_fd_read_file(AT_FDCWD, path, 4096, &text, NULL, NULL) < 0)
        return 0;
    char *rest = strrchr(text, ')');
    unsigned long long value = 0;
    if (!rest || sscanf(rest + 1,
                        " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                        "%*d %llu",
                        &value) != 1)
        return 0;
    return value;
}

static int open_everything(struct monitor *m, int *guest_ends, struct pv_error *err)
{
    int rc = open_state_dir(m, err);
    if (rc == 0)
        rc = monitor_log_open(m->state_dirfd, m->spec.log_bytes_max, &m->log, err);
    if (rc == 0)
        rc = monitor_console_open(m->state_dirfd, &m->console, err);
    if (rc == 0)
        rc = monitor_memory_make(m, err);
    if (rc == 0)
        rc = monitor_grants_read(m, err);
    if (rc == 0)
        rc = monitor_net_resolve(m, err);
    if (rc == 0)
        rc = monitor_devices_make(m, guest_ends, err);
    if (rc == 0)
        rc = open_sockets(m, err);
    if (rc == 0)
        rc = monitor_life_init(m, err);
    if (rc == 0)
        rc = monitor_workload_init(m, err);
    if (rc == 0)
        rc = monitor_starter_watch(m, err);
    if (rc == 0)
        rc = monitor_agent_listen(m, err);
    if (rc == 0)
        rc = monitor_control_listen(m, err);
    if (rc == 0)
        rc = monitor_limits_make(m, err);
    if (rc == 0)
        monitor_cpu_init(m);
    return rc;
}

int monitor_build(struct monitor *m, struct pv_error *err)
{
    int guest_ends[MONITOR_DEVICES_MAX];
    for (size_t i = 0; i < PV_ARRAY_SIZE(guest_ends); i++)
        guest_ends[i] = -1;
    m->begin_ns = pv_time_monotonic_ns();
    m->pid = getpid();
    m->pid_start_time = start_time_of(m->pid);

    int rc = open_everything(m, guest_ends, err);
    if (rc == 0)
        rc = start_engine(m, guest_ends, err);
    for (size_t i = 0; i < PV_ARRAY_SIZE(guest_ends); i++)
        if (guest_ends[i] >= 0)
            close(guest_ends[i]);
    if (rc < 0)
        return rc;

    m->guest_start_time = start_time_of(engine_get_pid(m->engine));
    if (jail_cgroup_paths(m->cgroup, &m->cgroup_paths) < 0)
        return pv_error_set(err, ENOMEM, "cgroups: out of memory");
    monitor_state_reserve(m);
    monitor_state_write(m);
    rc = monitor_jail_enter(m, err);
    if (rc == 0)
        rc = monitor_devices_start(m, err);
    return rc;
}

void monitor_destroy(struct monitor *m)
{
    monitor_control_close(m);
    monitor_starter_forget(m);
    pv_bytes_done(&m->early);
    wire_stream_free(pv_take_ptr(m->session));
    wire_stream_free(pv_take_ptr(m->setup));
    engine_free(pv_take_ptr(m->engine)); /* before the devices: nobody is left who uses them */
    monitor_devices_free(m);
    memory_free(pv_take_ptr(m->memory));
    jail_cgroup_close(pv_take_ptr(m->cgroup));
    monitor_grants_done(m);
    monitor_log_free(pv_take_ptr(m->log));
    monitor_console_free(pv_take_ptr(m->console));
    pv_strv_done(&m->cgroup_paths);
    wire_machine_done(&m->spec);
}
