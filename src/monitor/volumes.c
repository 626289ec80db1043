/* SPDX-License-Identifier: Apache-2.0
 *
 * volumes.c: shared folders of the host, each a virtio-fs device.
 *
 * A folder is opened before the jail closes, bound into the jail's root, and served from there by
 * whoever the monitor has become: who started as root keeps the capabilities that other people's
 * files need, and only these; a plain user keeps none and shows its own files as the guest's
 * root's.
 */
#include "monitor/internal.h"

#include "base/log.h"
#include "jail/monitor.h"
#include "virtio/device/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX (1u << 20)
#define FILES_FOR_OTHERS 256u
#define CAP(name) (1ull << CAP_##name)

static enum fs_cache cache_of(const struct wire_volume *v)
{
    if (v->cache && strcmp(v->cache, "none") == 0)
        return FS_CACHE_NONE;
    return v->cache && strcmp(v->cache, "always") == 0 ? FS_CACHE_ALWAYS : FS_CACHE_AUTO;
}

static void on_gone(void *data)
{
    struct monitor_device *d = data;
    pv_log(PV_LOG_WARNING,
           "device %s: the shared folder '%s' was removed on the host: the guest finds nothing in "
           "it any more",
           d->name, d->volume->path);
}

static void on_error(void *data, int error)
{
    struct monitor_device *d = data;
    if (monitor_devices_may_tell(d))
        pv_log(PV_LOG_WARNING,
               "device %s: volume '%s': %s: the guest sees the error; stats counts them", d->name,
               d->volume->path, strerror(-error));
}

int monitor_volumes_make(struct monitor *m, struct monitor_device *d, uint32_t index,
                         struct pv_error *err)
{
    const struct wire_volume *v = &m->spec.volumes.items[index];
    snprintf(d->name, sizeof(d->name), "fs%u", index);
    d->volume = v;
    d->virtio_id = VIRTIO_ID_FS;
    d->folder_fd = open(v->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (d->folder_fd < 0)
        return pv_error_set(err, errno, "volume '%s': %s", v->path, strerror(errno));
    const struct fs_options fs_options = {
        .root_fd = d->folder_fd,
        .only = v->only,
        .read_only = v->read_only,
        .cache = cache_of(v),
    };
    int rc = fs_new(&fs_options, &d->fs, err);
    if (rc < 0)
        return pv_error_prefix(err, "volume '%s'", v->path);
    const struct virtio_fs_options options = {
        .fs = d->fs, .tag = v->tag, .on_gone = on_gone, .on_error = on_error, .data = d};
    return virtio_fs_new(&options, m->loop, &d->device, err);
}

unsigned monitor_volumes_bind(const struct monitor *m, struct jail_bind *binds)
{
    unsigned count = 0;
    for (size_t i = 0; i < m->num_devices; i++) {
        const struct monitor_device *d = &m->devices[i];
        if (d->fs)
            binds[count++] = (struct jail_bind){
                .name = d->volume->tag,
                .path = d->volume->path,
                .fd = d->folder_fd,
                .only = d->volume->only,
                .access = d->volume->read_only ? JAIL_BIND_READ : JAIL_BIND_WRITE,
            };
    }
    return count;
}

uint64_t monitor_volumes_capabilities(const struct monitor *m)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < m->spec.volumes.count; i++)
        bits |= m->spec.volumes.items[i].read_only
                    ? CAP(DAC_READ_SEARCH)
                    : CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID);
    return bits;
}

uint64_t monitor_volumes_files(const struct monitor *m)
{
    return m->spec.volumes.count ? FILES_MAX : 0;
}

/* The share of each folder in the descriptors that we may have. */
static unsigned files_of_one(const struct monitor *m)
{
    struct rlimit limit = {1024, 1024};
    getrlimit(RLIMIT_NOFILE, &limit);
    uint64_t all = PV_MIN((uint64_t)limit.rlim_cur, (uint64_t)FILES_MAX);
    all = all > 2 * FILES_FOR_OTHERS ? all - FILES_FOR_OTHERS : all / 2;
    return (unsigned)(all / m->spec.volumes.count);
}

const struct virtio_syscall monitor_volumes_syscalls[] = {
    {"geteuid", "volumes: whose files are the guest's"},
    {"getegid", "volumes: whose files are the guest's"},
    {"prlimit64", "volumes: how many files may be open"},
    {"umask", "volumes: modes are the guest's"},
    {NULL, NULL},
};

int monitor_volumes_start(struct monitor *m, struct pv_error *err)
{
    int rc = 0;
    if (!m->spec.volumes.count)
        return 0;
    umask(0); /* files get the modes that the guest asks for; ours name theirs */
    const struct fs_situation situation = {
        .contained = jail_walls_stands(&m->monitor_walls, JAIL_WALL_OWN_ROOT),
        .map_owners = !(m->started_as_root && geteuid() != 0),
        .owner_uid = geteuid(),
        .owner_gid = getegid(),
        .max_files = files_of_one(m),
    };
    for (size_t i = 0; rc == 0 && i < m->num_devices; i++) {
        struct fs *fs = m->devices[i].fs;
        if (!fs)
            continue;
        rc = fs_settle(fs, &situation, err);
        if (rc == 0)
            rc = fs_start(fs, m->loop, err);
    }
    return rc;
}

bool monitor_volumes_stop(struct monitor_device *d)
{
    if (!d->fs || fs_stop(d->fs))
        return true;
    pv_log(PV_LOG_WARNING, "device %s: '%s' does not answer: left as it is", d->name,
           d->volume->path);
    return false;
}

void monitor_volumes_free(struct monitor_device *d)
{
    if (!d->fs)
        return;
    fs_free(pv_take_ptr(d->fs));
    close(d->folder_fd);
}
