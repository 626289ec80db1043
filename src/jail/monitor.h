/* SPDX-License-Identifier: Apache-2.0
 *
 * monitor.h: the monitor's own jail, entered once, after it opened everything and started the
 * guest, and before it starts any thread.
 *
 * After it, the monitor may still: use its open descriptors as its filter allows; connect to,
 * bind and remove sockets in its current directory, which is the run directory; create, write,
 * rename and remove plain files in the state directory through state_dir_fd; and, with
 * keep_network, use the host's network. It may no longer: reach any other path, gain a
 * privilege, execute anything, be traced or dumped by its own user, or make a call that no
 * device asked for. Signals stay possible as far as the filter allows them.
 */
#ifndef JAIL_MONITOR_H
#define JAIL_MONITOR_H

#include "jail/filter.h"
#include "jail/walls.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

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
    bool keep_network;    /* user-mode networking connects in the host's network namespace */
    uint64_t max_files;   /* RLIMIT_NOFILE, 0: leave it. Cut to the hard limit */
    uint64_t max_memlock; /* RLIMIT_MEMLOCK, cut to the hard limit: io_uring on kernels before 5.12
                             counts here */
    const struct jail_filter_program *filter; /* from the devices' and the monitor's own lists */
};

/* Enters the jail, in the calling process, for ever. Needs: exactly one thread (-EINVAL: our bug,
 * also when an io_uring worker lives), no open directory but state_dir_fd (-EINVAL), /proc. On
 * failure the process is somewhere between and has to end. The current directory becomes run_dir.
 * A plain user who joined a user namespace keeps the same uid number inside; all other uids look
 * like 65534 (SO_PEERCRED!). walls: filled as far as it came. */
int jail_monitor_enter(const struct jail_monitor *config, struct jail_walls *walls,
                       struct pv_error *err);

#endif
