/* SPDX-License-Identifier: Apache-2.0
 *
 * drop.c: giving up identity, capabilities and resources.
 * Runs on: the jailed thread, after fork too. Raw system calls where the C library would signal
 * the other threads, which do not exist after fork.
 */
#include "jail/drop_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *jail_errno_text(int code)
{
    const char *text = strerrordesc_np(code);
    return text ? text : "unknown error";
}

bool jail_is_refusal(int code)
{
    switch (code) {
    case EPERM:  /* forbidden by privilege, sysctl, seccomp */
    case EACCES: /* by a security module */
    case ENOSPC: /* by user.max_*_namespaces, or nested too deeply */
    case EUSERS: /* the same, on older kernels */
    case ENOSYS: /* by a seccomp filter, or not built in */
    case ENODEV: /* file system not built in */
    case EROFS:  /* by a container that shows us a read-only /proc */
    case EOPNOTSUPP:
        return true;
    default:
        return false;
    }
}

int jail_write_text(const char *path, const char *text)
{
    pv_auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t len = strlen(text);
    ssize_t written = write(fd, text, len);
    if (written < 0)
        return -errno;
    return (size_t)written == len ? 0 : -EIO;
}

int jail_write_id_map(const char *map, uint32_t inner, uint32_t outer)
{
    char text[64];
    snprintf(text, sizeof(text), "%u %u 1\n", inner, outer);
    return jail_write_text(map, text);
}

/* Whether `id` exists in the user namespace of `map`. ret_root: whether our 0 is its parent's 0.
 * 1, 0 or -errno. */
static int find_id(const char *map, uint32_t id, bool *ret_root)
{
    FILE *file = fopen(map, "re");
    if (!file)
        return -errno;
    unsigned long inner, outer, count;
    bool found = false, root = false;
    while (!found && fscanf(file, "%lu %lu %lu", &inner, &outer, &count) == 3) {
        found = id >= inner && id - inner < count;
        root = root || (inner == 0 && outer == 0);
    }
    fclose(file);
    *ret_root = root;
    return found;
}

int jail_decide_identity(uid_t uid, gid_t gid, bool *ret_become, struct pv_error *err)
{
    *ret_become = false;
    if (geteuid() != 0)
        return 0;
    if (uid == 0 || gid == 0)
        return pv_error_set(err, EINVAL, "root must name an unprivileged uid and gid");

    bool uid_is_root, gid_is_root;
    int has_uid = find_id("/proc/self/uid_map", uid, &uid_is_root);
    int has_gid = find_id("/proc/self/gid_map", gid, &gid_is_root);
    if (has_uid < 0 || has_gid < 0)
        return pv_error_set(err, has_uid < 0 ? -has_uid : -has_gid,
                            "read the id maps in /proc/self: is /proc mounted?");
    *ret_become = has_uid && has_gid;
    if (!*ret_become && (uid_is_root || gid_is_root))
        return pv_error_set(err, EPERM,
                            "this is the host's root in a user namespace without uid %u and gid "
                            "%u: map them there, or start as a plain user",
                            uid, gid);
    return 0;
}

bool jail_drop_bounding(void)
{
    /* No magic for uid 0, on exec or on a change of uid, and no way to raise ambient ones. */
    const int bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                     SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    bool done = prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) == 0;
    for (unsigned cap = 0; cap < 64; cap++) {
        int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (has < 0)
            break; /* past the last capability of this kernel */
        if (has && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            done = false;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return done;
}

int jail_drop_identity(uid_t uid, gid_t gid, bool groups, struct pv_error *err)
{
    if (groups && syscall(SYS_setgroups, 0, NULL) < 0)
        return pv_error_set(err, errno, "drop supplementary groups: %s", jail_errno_text(errno));
    if (syscall(SYS_setresgid, gid, gid, gid) < 0)
        return pv_error_set(err, errno, "become gid %u: %s", gid, jail_errno_text(errno));
    if (syscall(SYS_setresuid, uid, uid, uid) < 0)
        return pv_error_set(err, errno, "become uid %u: %s", uid, jail_errno_text(errno));

    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    getresuid(&ruid, &euid, &suid);
    getresgid(&rgid, &egid, &sgid);
    if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid || sgid != gid)
        return pv_error_set(err, EPERM, "became uid %u but an old identity remained", uid);
    return 0;
}

int jail_drop_capabilities(bool bounding_dropped, uint64_t keep, struct jail_walls *walls,
                           struct pv_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    for (unsigned i = 0; i < PV_ARRAY_SIZE(sets); i++)
        sets[i].effective = sets[i].permitted = (uint32_t)(keep >> 32 * i);
    if (syscall(SYS_capset, &header, sets) < 0)
        return pv_error_set(err, errno, "drop capabilities: %s", jail_errno_text(errno));
    if (syscall(SYS_capget, &header, sets) < 0)
        return pv_error_set(err, errno, "read capabilities: %s", jail_errno_text(errno));
    for (unsigned i = 0; i < PV_ARRAY_SIZE(sets); i++)
        if ((sets[i].effective | sets[i].permitted) & ~(uint32_t)(keep >> 32 * i) ||
            sets[i].inheritable)
            return pv_error_set(err, EPERM, "capabilities remained after dropping them all");

    if (keep) {
        jail_walls_set(walls, JAIL_WALL_CAPABILITIES, false,
                       "%d kept for the owners and modes of shared folders",
                       __builtin_popcountll(keep));
        return 0;
    }
    jail_walls_set(walls, JAIL_WALL_CAPABILITIES, true, "%s",
                   bounding_dropped ? "bounding set too"
                                    : "bounding set stays, a plain user cannot drop it; without "
                                      "new privileges it gives nothing");
    return 0;
}

int jail_set_no_new_privs(struct jail_walls *walls, struct pv_error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return pv_error_set(err, errno, "set no_new_privs: %s", jail_errno_text(errno));
    jail_walls_set(walls, JAIL_WALL_NO_NEW_PRIVS, true, "%s", "");
    return 0;
}

int jail_set_rlimit(int resource, uint64_t value, struct pv_error *err)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0)
        return pv_error_set(err, errno, "read limit %d: %s", resource, jail_errno_text(errno));
    if (value < limit.rlim_max)
        limit.rlim_max = value;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(resource, &limit) < 0)
        return pv_error_set(err, errno, "set limit %d to %llu: %s", resource,
                            (unsigned long long)limit.rlim_max, jail_errno_text(errno));
    return 0;
}

int jail_set_common_rlimits(uint64_t memlock, struct pv_error *err)
{
    const struct {
        int resource;
        uint64_t value;
    } limits[] = {
        {RLIMIT_CORE, 0},   {RLIMIT_MSGQUEUE, 0},      {RLIMIT_NICE, 0},
        {RLIMIT_RTPRIO, 0}, {RLIMIT_MEMLOCK, memlock},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(limits); i++) {
        int rc = jail_set_rlimit(limits[i].resource, limits[i].value, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Closes what one pass over the list of descriptors shows. Returns how many, or -errno. */
static int close_listed(unsigned first)
{
    pv_auto_fd int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    int closed = 0;
    char buf[4096] __attribute__((aligned(8)));
    long got;
    while ((got = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < got;) {
            const struct dirent64 *entry = (const struct dirent64 *)(buf + at);
            at += entry->d_reclen;
            unsigned fd = 0;
            const char *c = entry->d_name;
            while (*c >= '0' && *c <= '9')
                fd = 10 * fd + (unsigned)(*c++ - '0');
            if (*c || fd < first || fd == (unsigned)dir) /* "." and ".." too */
                continue;
            close((int)fd);
            closed++;
        }
    }
    return got < 0 ? -errno : closed;
}

int jail_close_from(unsigned first)
{
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return 0;
    int closed;
    do /* closing while reading the list may skip entries */
        closed = close_listed(first);
    while (closed > 0);
    return closed;
}
