/* SPDX-License-Identifier: Apache-2.0
 *
 * monitor.h: the monitor's own jail, entered once, after it opened everything and started the
 * guest, and before it starts any thread.
 *
 * After it, the monitor may still: use its open descriptors as its filter allows; connect to,
 * bind and remove sockets in its current directory, which is the run directory; create, write,
 * rename and remove plain files in the state directory through state_dir_fd; use the folders in
 * binds as far as each says; and, with keep_network, use the host's network. It may no longer:
 * reach any other path, gain a privilege, execute anything, be traced or dumped by its own user, or
 * make a call that no device asked for. Signals stay possible as far as the filter allows them.
 */
#ifndef JAIL_MONITOR_H
#define JAIL_MONITOR_H

#include "jail/filter.h"
#include "jail/walls.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define JAIL_MONITOR_BINDS_MAX 24

enum jail_bind_access {
    JAIL_BIND_READ,    /* files and folders below may be read */
    JAIL_BIND_WRITE,   /* and made, changed, moved within it and removed; nothing is executed */
    JAIL_BIND_SOCKETS, /* sockets may be bound, connected to and removed */
};

/* A folder of the host that stays reachable. */
struct jail_bind {
    const char
        *name; /* letters and digits, unique, not "run" or "state": "/name" in the new root */
    const char *path; /* absolute, an existing directory. What is mounted below it comes along */
    /* The caller's open descriptor of path (O_PATH is enough). The number stays, but what it stands
     * for is reopened, with O_PATH, inside the new root, so that ".." ends there. */
    int fd;
    /* NULL, or the name of one regular file in it that is all that shall be reachable. Where the
     * own root stands, fd then stands for a read-only directory with nothing but this file. */
    const char *only;
    enum jail_bind_access access;
};

struct jail_monitor {
    /* Absolute paths of existing directories; uid must be able to use them. They may be the same.
     * Nothing may be mounted below them that the monitor should not see. */
    const char *run_dir;
    const char *state_dir;
    /* The caller's open directory descriptor of state_dir. The number stays, but what it stands
     * for is reopened inside the new root, so that ".." ends there. */
    int state_dir_fd;
    uid_t uid; /* whom to become when started by root: never 0; else ignored */
    gid_t gid;
    const struct jail_bind *binds; /* borrowed */
    unsigned num_binds;            /* at most JAIL_MONITOR_BINDS_MAX */
    /* Capabilities (bits 1 << CAP_X) that root keeps although it becomes uid, for files in binds
     * that belong to others. Where nobody becomes anybody (plain users), none is ever kept. */
    uint64_t keep_capabilities;
    bool keep_network;    /* user-mode networking connects in the host's network namespace */
    uint64_t max_files;   /* RLIMIT_NOFILE, 0: leave it. Cut to the hard limit */
    uint64_t max_memlock; /* RLIMIT_MEMLOCK, cut to the hard limit: io_uring on kernels before 5.12
                             counts here */
    const struct jail_filter_program *filter; /* from the devices' and the monitor's own lists */
};

/* Enters the jail, in the calling process, for ever. Needs: exactly one thread (-EINVAL: our bug,
 * also when an io_uring worker lives), no open directory but state_dir_fd and those of binds
 * (-EINVAL), /proc. On failure the process is somewhere between and has to end: -ESTALE when a
 * folder was exchanged meanwhile. The current directory becomes run_dir.
 * A plain user who joined a user namespace keeps the same uid number inside; all other uids look
 * like 65534 (SO_PEERCRED!). walls: filled as far as it came. */
int jail_monitor_enter(const struct jail_monitor *config, struct jail_walls *walls,
                       struct pv_error *err);

#endif
