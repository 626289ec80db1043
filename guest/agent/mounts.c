/* SPDX-License-Identifier: Apache-2.0
 *
 * mounts.c: the kernel's own file systems.
 * Runs:     once, at boot, before the root is changed.
 *
 * The workload may mount over or unmount all of them later. So the agent holds descriptors of
 * detached copies (open_tree), which are nobody's mount points: they neither change nor make an
 * unmount of the workload fail as busy.
 */
#include "agent/mounts.h"

#include "agent/cgroup.h"
#include "agent/log.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct kernel_mount {
    const char *target, *type, *options;
    unsigned long flags;
    bool optional; /* not every kernel has it, and most workloads live without */
};

static const struct kernel_mount kernel_mounts[] = {
    {"/dev", "devtmpfs", "mode=755", MS_NOSUID, false},
    {"/dev/pts", "devpts", "newinstance,ptmxmode=666,mode=620,gid=5", MS_NOSUID | MS_NOEXEC, false},
    {"/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, false},
    {"/dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
    {"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
    {"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
    {"/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
};

/* What Docker sets for its containers: programs that are not root may use low ports and ping. */
static const struct {
    const char *path, *value;
} settings[] = {
    {"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
    {"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
    {"/proc/self/oom_score_adj", "-1000"}, /* the agent's end would be the machine's */
};

static int write_file(const char *path, const char *text)
{
    pv_auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return pv_fd_write_full(fd, text, strlen(text));
}

static int mount_all(struct pv_error *err)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(kernel_mounts); i++) {
        const struct kernel_mount *m = &kernel_mounts[i];
        mkdir(m->target, 0755); /* is there, or the mount says what is wrong */
        if (mount(m->type, m->target, m->type, m->flags, m->options) == 0)
            continue;
        if (!m->optional)
            return pv_error_set(err, errno, "mount %s on %s: %s", m->type, m->target,
                                strerror(errno));
        agent_log_note("mount %s on %s: %s", m->type, m->target, strerror(errno));
    }
    return 0;
}

static void make_links(void)
{
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},
        {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(links); i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            agent_log_note("link %s: %s", links[i][1], strerror(errno));
}

static int raise_loopback(void)
{
    pv_auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo"};
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo) < 0)
        return -errno;
    lo.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ? -errno : 0;
}

static int open_copy(const char *path, int *ret_fd, struct pv_error *err)
{
    int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return pv_error_set(err, errno, "copy the mount of %s: %s", path, strerror(errno));
    *ret_fd = fd;
    return 0;
}

int agent_mounts_make(struct agent_world *world, struct pv_error *err)
{
    int rc = mount_all(err);
    if (rc < 0)
        return rc;
    make_links();
    for (size_t i = 0; i < PV_ARRAY_SIZE(settings); i++)
        if ((rc = write_file(settings[i].path, settings[i].value)) < 0)
            agent_log_note("%s: %s", settings[i].path, strerror(-rc));
    rc = raise_loopback();
    if (rc < 0)
        agent_log_note("loopback: %s", strerror(-rc));

    world->cgroup_fd = agent_cgroup_make();
    if (world->cgroup_fd < 0)
        agent_log_note("no cgroup for the workload: %s", strerror(-world->cgroup_fd));
    rc = open_copy("/proc", &world->proc_fd, err);
    return rc < 0 ? rc : open_copy("/dev/pts", &world->devpts_fd, err);
}

/* A directory to mount on. An image may have a link of that name, which would lead elsewhere. */
static int make_mount_point(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return 0;
        if (unlink(path) < 0)
            return -errno;
    }
    return mkdir(path, 0755) < 0 ? -errno : 0;
}

int agent_mounts_move(const char *root, struct pv_error *err)
{
    static const char *const moved[] = {"/dev", "/proc", "/sys"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(moved); i++) {
        pv_auto_free char *target = pv_strf("%s%s", root, moved[i]);
        if (!target)
            return pv_error_set(err, ENOMEM, "move %s: out of memory", moved[i]);
        int rc = make_mount_point(target);
        if (rc == 0 && mount(moved[i], target, NULL, MS_MOVE, NULL) < 0)
            rc = -errno;
        if (rc < 0)
            return pv_error_set(err, -rc, "move %s into the root: %s", moved[i], strerror(-rc));
    }
    return 0;
}
