/* SPDX-License-Identifier: Apache-2.0
 *
 * devices.c: the devices of a machine, in the order in which the guest sees them: console, rng,
 * vsock, balloon, mem, then the disks (vda, vdb, ...), then the network cards (eth0, ...), then the
 * shared folders.
 */
#include "monitor/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "virtio/device/balloon.h"
#include "virtio/device/blk.h"
#include "virtio/device/console.h"
#include "virtio/device/mem.h"
#include "virtio/device/rng.h"
#include "virtio/device/vsock.h"
#include "virtio/transport/vhost_user.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ERROR_PAUSE_NS (10ull * 1000000000)

static void on_console_output(void *data, const void *bytes, size_t len)
{
    struct monitor *m = data;
    monitor_console_add(m->console, bytes, len);
}

static void on_broken(void *data, const char *reason)
{
    struct monitor_device *d = data;
    pv_log(PV_LOG_WARNING, "device %s: the guest broke it: %s", d->name, reason);
}

/* The guest connects to a port of the host: a unix socket "vsock.sock_<port>" beside ours, which is
 * the current directory. */
static int connect_host(void *data, uint32_t port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!monitor_grants_may_vsock(data, port))
        return -ECONNREFUSED;
    snprintf(address.sun_path, sizeof(address.sun_path), MONITOR_VSOCK_SOCKET "_%u", port);
    pv_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return pv_take_fd(&fd);
}

/* Takes dev into the machine and gives it a transport. */
static int add(struct monitor *m, struct monitor_device *d, int *ret_guest_end,
               struct pv_error *err)
{
    int pair[2];
    d->virtio_id = virtio_device_get_class(d->device)->virtio_id;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return pv_error_set(err, errno, "device %s: socketpair: %s", d->name, strerror(errno));
    *ret_guest_end = pair[1];

    struct virtio_vhost_user_options options = {
        .loop = m->loop,
        .memory = m->memory,
        .device = d->device,
        .on_broken = on_broken,
        .data = d,
    };
    return virtio_vhost_user_new(&options, pair[0], &d->transport, err);
}

static int make_console(struct monitor *m, struct monitor_device *d, struct pv_error *err)
{
    struct virtio_console_options options = {.output = on_console_output, .data = m};
    snprintf(d->name, sizeof(d->name), "console0");
    return virtio_console_new(&options, m->loop, &d->device, err);
}

static int make_rng(struct monitor *m, struct monitor_device *d, struct pv_error *err)
{
    snprintf(d->name, sizeof(d->name), "rng0");
    return virtio_rng_new(&(struct virtio_rng_options){0}, m->loop, &d->device, err);
}

static int make_vsock(struct monitor *m, struct monitor_device *d, struct pv_error *err)
{
    struct virtio_vsock_options options = {
        .guest_cid = WIRE_GUEST_CID, .connect_host = connect_host, .data = m};
    snprintf(d->name, sizeof(d->name), "vsock0");
    int rc = virtio_vsock_new(&options, m->loop, &d->device, err);
    if (rc == 0)
        m->vsock = d->device;
    return rc;
}

static void on_balloon_stats(void *data, const struct virtio_balloon_stats *stats)
{
    struct monitor *m = data;
    monitor_memory_kernel_told(m, stats);
    monitor_stats_kernel_told(m, stats);
}

static int make_balloon(struct monitor *m, struct monitor_device *d, struct pv_error *err)
{
    struct virtio_balloon_options options = {.memory = m->memory,
                                             .on_change = monitor_memory_moved,
                                             .on_stats = on_balloon_stats,
                                             .data = m};
    snprintf(d->name, sizeof(d->name), "balloon0");
    int rc = virtio_balloon_new(&options, m->loop, &d->device, err);
    if (rc == 0)
        m->balloon = d->device;
    return rc;
}

static int make_mem(struct monitor *m, struct monitor_device *d, struct pv_error *err)
{
    struct virtio_mem_options options = {
        .memory = m->memory, .on_change = monitor_memory_moved, .data = m};
    monitor_memory_region(m, &options.start, &options.size);
    snprintf(d->name, sizeof(d->name), "mem0");
    int rc = virtio_mem_new(&options, m->loop, &d->device, err);
    if (rc == 0)
        m->mem = d->device;
    return rc;
}

/* The disks of the root come first. More queues than one are worth it for writes of several vCPUs
 * at once, and cost a little of the boot each. */
static uint32_t first_user_disk(const struct monitor *m)
{
    return (m->spec.setup.image_device != NULL) + (m->spec.setup.layer_device != NULL);
}

bool monitor_devices_may_tell(struct monitor_device *d)
{
    uint64_t now = pv_time_monotonic_ns();
    if (d->error_ns && now - d->error_ns < ERROR_PAUSE_NS)
        return false;
    d->error_ns = now;
    return true;
}

static void on_disk_error(void *data, enum disk_op op, uint64_t offset, int error)
{
    static const char *const names[] = {
        [DISK_READ] = "read",
        [DISK_WRITE] = "write",
        [DISK_FLUSH] = "flush",
        [DISK_DISCARD] = "discard",
        [DISK_WRITE_ZEROES] = "write zeroes",
        [DISK_UNMAP_ZEROES] = "write zeroes",
    };
    struct monitor_device *d = data;
    if (!monitor_devices_may_tell(d))
        return;
    pv_log(PV_LOG_WARNING,
           "device %s: disk '%s': %s at byte %" PRIu64 ": %s: the guest sees an "
           "I/O error; stats counts them",
           d->name, d->spec->path, names[op], offset, strerror(-error));
}

/* Somebody else serves the disk: the guest speaks with him alone. */
static int connect_disk(const struct wire_disk *spec, int *ret_guest_end, struct pv_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(spec->path);
    if (len >= sizeof(address.sun_path))
        return pv_error_set(err, ENAMETOOLONG,
                            "disk '%s': the name of a socket has at most %zu bytes", spec->path,
                            sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, spec->path, len);
    pv_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return pv_error_set(err, errno, "connect to disk '%s': %s: is its storage daemon there?",
                            spec->path, strerror(errno));
    *ret_guest_end = pv_take_fd(&fd);
    return 0;
}

static void tell_repair(const struct monitor_device *d)
{
    struct disk_repair repair = disk_get_repair(d->disk);
    if (repair.done)
        pv_log(PV_LOG_WARNING,
               "device %s: disk '%s' was not closed cleanly: its reference counts were checked in "
               "%" PRIu64 " ms, and those of %" PRIu64 " clusters set right",
               d->name, d->spec->path, repair.ns / 1000000, repair.clusters);
}

static int make_disk(struct monitor *m, struct monitor_device *d, uint32_t index,
                     int *ret_guest_end, struct pv_error *err)
{
    const struct wire_disk *spec = &m->spec.disks[index];
    snprintf(d->name, sizeof(d->name), "blk%u", index);
    d->spec = spec;
    d->virtio_id = VIRTIO_ID_BLOCK;
    if (spec->format && strcmp(spec->format, "vhost-user") == 0)
        return connect_disk(spec, ret_guest_end, err);
    /* The format is never found by looking: a guest may write what it likes to a raw disk. */
    const struct disk_options disk_options = {.format = spec->format ? spec->format : "raw",
                                              .read_only = spec->read_only};
    int rc = disk_open(spec->path, &disk_options, &d->disk, err);
    if (rc < 0)
        return rc;
    tell_repair(d);
    struct virtio_blk_options options = {
        .disk = d->disk,
        .read_only = spec->read_only,
        .serial = spec->serial,
        .num_queues = index < first_user_disk(m) ? 1 : PV_MIN(m->spec.cpus, VIRTIO_BLK_QUEUES_MAX),
        .bytes = spec->bytes,
        .operations = spec->operations,
        .on_error = on_disk_error,
        .data = d,
    };
    return virtio_blk_new(&options, m->loop, &d->device, err);
}

int monitor_devices_make(struct monitor *m, int guest_ends[MONITOR_DEVICES_MAX],
                         struct pv_error *err)
{
    static int (*const first[])(struct monitor * m, struct monitor_device * d,
                                struct pv_error * err) = {make_console, make_rng, make_vsock,
                                                          make_balloon, make_mem};
    uint64_t start, size;
    monitor_memory_region(m, &start, &size);
    size_t disks = PV_ARRAY_SIZE(first) - (size == 0); /* nowhere to plug memory into */
    size_t nets = disks + m->spec.num_disks;
    size_t volumes = nets + m->spec.num_nets, total = volumes + m->spec.volumes.count;

    for (size_t i = 0; i < total; i++) {
        struct monitor_device *d = &m->devices[i];
        d->m = m;
        int rc = i < disks     ? first[i](m, d, err)
                 : i < nets    ? make_disk(m, d, (uint32_t)(i - disks), &guest_ends[i], err)
                 : i < volumes ? monitor_net_make(m, d, (uint32_t)(i - nets), err)
                               : monitor_volumes_make(m, d, (uint32_t)(i - volumes), err);
        m->num_devices = i + 1; /* so that monitor_devices_free sees it */
        if (rc == 0 && d->device)
            rc = add(m, d, &guest_ends[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int monitor_devices_start(struct monitor *m, struct pv_error *err)
{
    for (size_t i = 0; i < m->num_devices; i++) {
        int rc = m->devices[i].disk ? disk_start(m->devices[i].disk, m->loop, err) : 0;
        if (rc < 0)
            return rc;
    }
    int rc = monitor_net_start(m, err);
    return rc == 0 ? monitor_volumes_start(m, err) : rc;
}

void monitor_devices_free(struct monitor *m)
{
    bool stopped = true;
    for (size_t i = 0; i < m->num_devices; i++)
        stopped &= monitor_volumes_stop(&m->devices[i]);
    if (!stopped) { /* a thread may still write into the guest's memory: the process ends soon */
        m->memory = NULL;
        return;
    }
    for (size_t i = 0; i < m->num_devices; i++) {
        struct monitor_device *d = &m->devices[i];
        virtio_vhost_user_free(pv_take_ptr(d->transport));
        virtio_device_free(pv_take_ptr(d->device));
        disk_close(pv_take_ptr(d->disk));
        net_link_free(pv_take_ptr(d->link));
        d->fence = NULL;
        monitor_volumes_free(d);
    }
    m->num_devices = 0;
    m->vsock = m->balloon = m->mem = NULL;
}
