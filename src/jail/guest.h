/* SPDX-License-Identifier: Apache-2.0
 *
 * guest.h: starts the guest kernel in its jail.
 *
 * The guest kernel is assumed to belong to an attacker from its first instruction. What it may
 * still do is use the descriptors it was given and the calls in its filter; guest.c lists the
 * stages and their walls. Which of them this host allows is reported wall by wall:
 *   started by root            all of them; the process becomes uid and gid below
 *   by a user, user namespaces all of them; the process keeps the user's uid, unseen from inside
 *   by a user, without         no namespaces and no empty root: Landlock, seccomp, limits, no
 *                              capabilities, death with the monitor
 */
#ifndef JAIL_GUEST_H
#define JAIL_GUEST_H

#include "jail/cgroup.h"
#include "jail/filter.h"
#include "jail/walls.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The highest number that a descriptor may have in the guest. */
#define JAIL_GUEST_TARGET_MAX 255
#define JAIL_GUEST_FDS_MAX 128

struct jail_guest_fd {
    int fd;     /* in the caller; borrowed. Never a directory: it would lead out of the jail */
    int target; /* its number in the guest, 0..JAIL_GUEST_TARGET_MAX, each at most once */
};

/* Everything is borrowed and may be released once jail_guest_spawn returned. */
struct jail_guest {
    int exec_fd;             /* the guest kernel: a static executable; a memfd or a file that uid
                                may execute. Its descriptor is not passed on */
    const char *const *argv; /* NULL-terminated; the environment is empty */
    const struct jail_guest_fd *fds; /* all that it holds; 0, 1 and 2 become /dev/null if absent */
    size_t num_fds;
    /* Installed before the exec, so it must allow execveat; fd rules use the target numbers. */
    const struct jail_filter_program *filter;
    uid_t uid; /* whom to become when started by root (effective uid 0): never 0; else ignored */
    gid_t gid;
    struct jail_cgroup *cgroup; /* entered before the exec; NULL: none */
    uint64_t max_files;         /* RLIMIT_NOFILE, at least 64; 0: 4096. Cut to the hard limit */
    uint64_t max_file_bytes;    /* RLIMIT_FSIZE: what it may write or truncate to, also in a memfd
                                   and in inherited ones; 0: 16 MiB */
    uint64_t max_processes;     /* tasks, threads included; 0: only the cgroup's limit. By
                                   RLIMIT_NPROC, where that counts this jail alone (a user namespace
                                   on Linux 5.14) */
    int oom_score_adj;          /* 0..1000; 0: leave it */
};

struct jail_process {
    pid_t pid; /* to be reaped by the caller (pidfd, or SIGCHLD) */
    int pidfd; /* close-on-exec; the caller owns it; readable when the process ended */
    struct jail_walls walls;
};

/* Starts the guest kernel. When it returns 0 the exec has happened. The calling thread must be the
 * one that lives as long as the machine: the guest dies with that thread. Blocks for some
 * milliseconds. A wall that the host refuses is recorded in ret_process->walls, a wall that fails
 * for another reason ends the attempt with an error. A refused attempt leaves no process behind,
 * but may leave a SIGCHLD pending.
 * -EINVAL: the configuration; -EPERM...: the host, see err. */
int jail_guest_spawn(const struct jail_guest *config, struct jail_process *ret_process,
                     struct pv_error *err);

#endif
