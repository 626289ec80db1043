/* SPDX-License-Identifier: Apache-2.0
 *
 * userns.c: tries what this host's user namespaces are good for.
 * Runs on: a thread outside the jail; the trial itself in a child, by system calls only.
 *
 * A host may forbid the namespace itself (sysctl, seccomp, limits), or allow it and forbid what one
 * needs it for (AppArmor). So the trial goes as far as we would.
 */
#include "jail/userns_internal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail/drop_internal.h"

struct trial {
    unsigned uid, gid;
    bool mount;
    int code; /* errno, 0 while nothing failed */
    const char *step;
};

int jail_userns_map_self(unsigned uid, unsigned gid)
{
    int rc = jail_write_text("/proc/self/setgroups", "deny");
    if (rc == 0)
        rc = jail_write_id_map("/proc/self/uid_map", uid, uid);
    if (rc == 0)
        rc = jail_write_id_map("/proc/self/gid_map", gid, gid);
    return rc;
}

static int run_trial(struct trial *t)
{
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else its files in /proc would be root's */
    t->step = "make a user namespace";
    if (unshare(CLONE_NEWUSER) < 0)
        return -errno;
    t->step = "map the own id in it";
    int rc = jail_userns_map_self(t->uid, t->gid);
    if (rc < 0 || !t->mount)
        return rc;
    t->step = "make a mount namespace in it";
    if (unshare(CLONE_NEWNS) < 0)
        return -errno;
    t->step = "mount a tmpfs in it";
    return mount("trial", "/proc", "tmpfs", MS_RDONLY, "size=4k") < 0 ? -errno : 0;
}

int jail_userns_try(bool mount, const char **ret_step)
{
    struct trial *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *ret_step = "start a trial";
    if (t == MAP_FAILED)
        return -errno;
    *t = (struct trial){geteuid(), getegid(), mount, EIO, "end the trial"};

    long pid = syscall(SYS_clone, 0, NULL, NULL, NULL, NULL); /* no signal at its end */
    if (pid == 0) {
        t->code = -run_trial(t);
        _exit(0);
    }
    int rc = pid < 0 ? -errno : 0;
    if (rc == 0) {
        while (waitpid((pid_t)pid, NULL, __WALL) < 0 && errno == EINTR)
            continue;
        rc = -t->code;
        *ret_step = t->step;
    }
    munmap(t, sizeof(*t));
    return rc;
}
