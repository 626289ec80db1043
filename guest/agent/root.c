/* SPDX-License-Identifier: Apache-2.0
 *
 * root.c: the workload's root.
 *
 * The image is mounted read-only, the layer (a disk, or a tmpfs) above it by overlayfs. A read-only
 * root is the same, made read-only at the end: so mount points and files of /etc can be made in
 * either case. A layer that will be thrown away is mounted without any care for crashes.
 *
 * /image and /layer stay mounted in the initial root file system, which the workload cannot reach
 * once the new root is moved over it.
 */
#include "agent/root.h"

#include "agent/disks.h"
#include "agent/etc.h"
#include "agent/log.h"
#include "agent/mounts.h"
#include "agent/volumes.h"
#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE_TIMEOUT_NS (5ull * 1000000000)
#define DEVICE_POLL_US 1000
#define IMAGE "/image"
#define LAYER "/layer"
#define ROOT "/root"
#define ASIDE "/dev/.etc" /* on a file system of the machine's own */
#define MOUNTS_MAX 1024
#define SYSLOG_ACTION_CONSOLE_OFF 6             /* syslog(2); no header has it */
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, __u32) /* nor these */
#define EXT4_GOING_FLAGS_NOLOGFLUSH 2u

/* Devices are probed while we run. */
static int wait_for_device(const char *what, const char *path, struct pv_error *err)
{
    uint64_t end = pv_time_monotonic_ns() + DEVICE_TIMEOUT_NS;
    struct stat st;
    while (stat(path, &st) < 0 || !S_ISBLK(st.st_mode)) {
        if (pv_time_monotonic_ns() >= end)
            return pv_error_set(err, ENXIO, "%s %s: the machine has no such disk", what, path);
        usleep(DEVICE_POLL_US);
    }
    return 0;
}

static int make_dir(const char *path, struct pv_error *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return pv_error_set(err, errno, "make %s: %s", path, strerror(errno));
    return 0;
}

static int mount_image(const struct wire_setup *s, struct pv_error *err)
{
    int rc = make_dir(IMAGE, err);
    if (rc == 0 && strcmp(s->image_type, "virtiofs") == 0)
        return agent_volumes_mount_tag(s->image_device, IMAGE, true, err);
    if (rc == 0)
        rc = wait_for_device("image", s->image_device, err);
    if (rc < 0)
        return rc;
    /* noload: an image that was not unmounted cleanly is used as it is, never written. */
    const char *options = strcmp(s->image_type, "ext4") == 0 ? "noload" : NULL;
    if (mount(s->image_device, IMAGE, s->image_type, MS_RDONLY, options) < 0)
        return pv_error_set(err, errno, "mount the image %s as %s: %s%s", s->image_device,
                            s->image_type, strerror(errno),
                            errno == EINVAL   ? ": it is no such file system"
                            : errno == ENODEV ? ": the guest kernel does not know it"
                                              : "");
    return 0;
}

static int mount_layer(const struct wire_setup *s, struct pv_error *err)
{
    int rc = make_dir(LAYER, err);
    if (rc < 0)
        return rc;
    if (!s->layer_device) {
        if (mount("layer", LAYER, "tmpfs", 0, "mode=755") < 0)
            return pv_error_set(err, errno, "mount a tmpfs layer: %s", strerror(errno));
        return 0;
    }
    rc = wait_for_device("layer", s->layer_device, err);
    if (rc < 0)
        return rc;
    const char *options =
        s->discard_layer ? "barrier=0,noinit_itable,discard" : "noinit_itable,discard";
    if (mount(s->layer_device, LAYER, "ext4", MS_NOATIME, options) < 0)
        return pv_error_set(err, errno, "mount the layer %s as ext4: %s%s", s->layer_device,
                            strerror(errno), errno == EINVAL ? ": it is no such file system" : "");
    return 0;
}

/* The root's own owner and mode are those of the upper directory: take the image's over. */
static int make_upper(struct pv_error *err)
{
    struct stat st;
    if (mkdir(LAYER "/upper", 0755) == 0) {
        if (stat(IMAGE, &st) < 0 || chown(LAYER "/upper", st.st_uid, st.st_gid) < 0 ||
            chmod(LAYER "/upper", st.st_mode & 07777) < 0)
            return pv_error_set(err, errno, "prepare the layer: %s", strerror(errno));
    } else if (errno != EEXIST) {
        return pv_error_set(err, errno, "prepare the layer: %s", strerror(errno));
    }
    return make_dir(LAYER "/work", err);
}

static int mount_overlay(const struct wire_setup *s, struct pv_error *err)
{
    int rc = make_upper(err);
    if (rc == 0)
        rc = make_dir(ROOT, err);
    if (rc < 0)
        return rc;
    bool discard = s->discard_layer || !s->layer_device;
    /* Left by a machine that was killed; the kernel refuses the layer while it is there. */
    if (discard)
        rmdir(LAYER "/work/work/incompat/volatile");
    if (mount("overlay", ROOT, "overlay", 0,
              discard ? "lowerdir=" IMAGE ",upperdir=" LAYER "/upper,workdir=" LAYER
                        "/work,volatile"
                      : "lowerdir=" IMAGE ",upperdir=" LAYER "/upper,workdir=" LAYER "/work") < 0)
        return pv_error_set(err, errno, "mount the layer over the image: %s", strerror(errno));
    return 0;
}

/* Like switch_root: the new root is moved over the old one. */
static int switch_root(struct pv_error *err)
{
    unlink("/init"); /* its pages go when the agent does */
    if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return pv_error_set(err, errno, "change the root: %s", strerror(errno));
    return 0;
}

static int mount_layered(const struct wire_setup *s, struct pv_error *err)
{
    int rc = mount_image(s, err);
    if (rc == 0)
        rc = mount_layer(s, err);
    return rc == 0 ? mount_overlay(s, err) : rc;
}

/* A folder of the host, itself. */
static int mount_direct(const struct wire_setup *s, struct pv_error *err)
{
    int rc = make_dir(ROOT, err);
    return rc == 0 ? agent_volumes_mount_tag(s->image_device, ROOT, false, err) : rc;
}

/* The folder's own files of /etc stay what they are: ours are bound over them. */
static int write_etc_aside(const struct wire_setup *s, struct pv_error *err)
{
    static const char *const names[] = {"hostname", "hosts", "resolv.conf"};
    int rc = make_dir(ASIDE, err);
    pv_auto_fd int aside_fd = rc == 0 ? open(ASIDE, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (rc == 0)
        rc = agent_etc_write(aside_fd, s, err);
    if (rc == 0)
        rc = make_dir("/etc", err);
    for (size_t i = 0; rc == 0 && i < PV_ARRAY_SIZE(names); i++) {
        char from[64], to[64];
        snprintf(from, sizeof(from), ASIDE "/etc/%s", names[i]);
        snprintf(to, sizeof(to), "/etc/%s", names[i]);
        if (access(from, F_OK) < 0)
            continue; /* none was asked for */
        pv_auto_fd int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (mount(from, to, NULL, MS_BIND, NULL) < 0)
            agent_log_note("%s stays the folder's own: %s", to, strerror(errno));
    }
    return rc;
}

int agent_root_enter(const struct wire_setup *s, int *ret_layer_fd, struct pv_error *err)
{
    int rc = s->direct_root ? mount_direct(s, err) : mount_layered(s, err);
    if (rc == 0)
        rc = agent_mounts_move(ROOT, err);
    agent_disks_link(ROOT "/sys/block", ROOT "/dev");
    if (rc < 0)
        return rc;

    pv_auto_fd int layer_fd = s->direct_root ? -1 : open(LAYER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = switch_root(err);
    if (rc < 0)
        return rc;
    pv_auto_fd int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return pv_error_set(err, errno, "open the root: %s", strerror(errno));
    rc = s->direct_root ? write_etc_aside(s, err) : agent_etc_write(root_fd, s, err);
    if (rc == 0)
        rc = agent_volumes_mount(&s->mounts, err);
    if (rc < 0)
        return rc;
    if (s->read_only && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return pv_error_set(err, errno, "make the root read-only: %s", strerror(errno));
    *ret_layer_fd = pv_take_fd(&layer_fd);
    return 0;
}

/* Unmounts, or at least makes read-only, one mount of a disk. line: of /proc/self/mounts. */
static void close_mount(char *line)
{
    char *source = strtok_r(line, " ", &line);
    char *target = strtok_r(NULL, " ", &line);
    if (!source || !target || strncmp(source, "/dev/", 5) != 0 || strcmp(target, "/") == 0)
        return;
    if (umount2(target, UMOUNT_NOFOLLOW) < 0)
        mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/* What the workload mounted from disks, the last one first. */
static void close_mounts(int proc_fd)
{
    pv_auto_free char *text = NULL;
    if (pv_fd_read_file(proc_fd, "self/mounts", 1 << 20, &text, NULL, NULL) < 0)
        return;
    char *lines[MOUNTS_MAX], *rest = text;
    size_t count = 0;
    for (char *line; count < MOUNTS_MAX && (line = strtok_r(rest, "\n", &rest));)
        lines[count++] = line;
    while (count > 0)
        close_mount(lines[--count]);
}

/* Makes the file system of fd read-only: its journal ends empty. */
static int set_read_only(int fd)
{
    pv_auto_fd int context = fspick(fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
    if (context < 0 || fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
        return -errno;
    return 0;
}

void agent_root_close(int proc_fd, int layer_fd)
{
    close_mounts(proc_fd);
    sync();
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
        agent_log_note("make the root read-only: %s", strerror(errno));
    int rc = layer_fd < 0 ? 0 : set_read_only(layer_fd);
    if (rc < 0)
        agent_log_note("make the layer read-only: %s", strerror(-rc));
}

void agent_root_discard(int layer_fd)
{
    /* Else the kernel would try to write at the very end, when the disk is gone already, and put
     * long complaints on the console. */
    klogctl(SYSLOG_ACTION_CONSOLE_OFF, NULL, 0);
    __u32 flags = EXT4_GOING_FLAGS_NOLOGFLUSH;
    if (layer_fd >= 0)
        ioctl(layer_fd, EXT4_IOC_SHUTDOWN, &flags);
}
