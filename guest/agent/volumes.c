/* SPDX-License-Identifier: Apache-2.0
 *
 * volumes.c: shared folders of the host, mounted by virtio-fs.
 * Runs:      once, at boot, in the workload's root, before it may become read-only.
 *
 * A link in the image leads to where the image says, as for any program: all of it is the guest's.
 * A single file is seen in a folder first and then bound over its target.
 */
#include "agent/volumes.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE_TIMEOUT_NS (5ull * 1000000000)
#define DEVICE_POLL_US 1000
#define ASIDE "/dev/.volume"

int agent_volumes_mount_tag(const char *tag, const char *target, bool read_only,
                            struct pv_error *err)
{
    uint64_t end = pv_time_monotonic_ns() + DEVICE_TIMEOUT_NS;
    unsigned long flags = read_only ? MS_RDONLY : 0;
    while (mount(tag, target, "virtiofs", flags, NULL) < 0) {
        /* EINVAL: no such device, yet. */
        if (errno != EINVAL || pv_time_monotonic_ns() >= end)
            return pv_error_set(
                err, errno, "mount the shared folder on %s: %s%s", target, strerror(errno),
                errno == ENODEV ? ": the guest kernel does not know virtio-fs" : "");
        usleep(DEVICE_POLL_US);
    }
    return 0;
}

/* Makes the folders above path, and path itself if it is to be a folder. */
static int make_folders(char *path, bool all)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
        *slash = '/';
        if (rc < 0)
            return rc;
    }
    return all && mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_file(const char *path)
{
    pv_auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd < 0 && errno != EEXIST ? -errno : 0;
}

/* Binds one file of the mount at ASIDE over its target. */
static int bind_file(const struct wire_mount *m, struct pv_error *err)
{
    pv_auto_free char *from = pv_strf(ASIDE "/%s", m->only);
    if (!from)
        return pv_error_set(err, ENOMEM, "mount a shared file: out of memory");
    if (mount(from, m->target, NULL, MS_BIND, NULL) < 0)
        return pv_error_set(err, errno, "mount the shared file on %s: %s", m->target,
                            strerror(errno));
    if (m->read_only && mount(NULL, m->target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
        return pv_error_set(err, errno, "make %s read-only: %s", m->target, strerror(errno));
    return 0;
}

static int mount_file(const struct wire_mount *m, struct pv_error *err)
{
    if (mkdir(ASIDE, 0700) < 0 && errno != EEXIST)
        return pv_error_set(err, errno, "make " ASIDE ": %s", strerror(errno));
    int rc = agent_volumes_mount_tag(m->tag, ASIDE, m->read_only, err);
    if (rc < 0)
        return rc;
    rc = bind_file(m, err);
    umount2(ASIDE, MNT_DETACH);
    rmdir(ASIDE);
    return rc;
}

static int mount_one(const struct wire_mount *m, struct pv_error *err)
{
    int rc = make_folders(m->target, !m->only);
    if (rc == 0 && m->only)
        rc = make_file(m->target);
    if (rc < 0)
        return pv_error_set(err, -rc, "make the mount point %s: %s", m->target, strerror(-rc));
    return m->only ? mount_file(m, err)
                   : agent_volumes_mount_tag(m->tag, m->target, m->read_only, err);
}

int agent_volumes_mount(const struct wire_mounts *mounts, struct pv_error *err)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < mounts->count; i++)
        rc = mount_one(&mounts->items[i], err);
    return rc;
}
