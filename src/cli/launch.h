/* SPDX-License-Identifier: Apache-2.0
 *
 * launch.h: what `run` and `start` share: start an instance, stay with it or not, exit like it.
 */
#ifndef CLI_LAUNCH_H
#define CLI_LAUNCH_H

#include "instance/instance.h"

struct cli_launch {
    bool detach;          /* leave when the command has started */
    const char *announce; /* what to print then */
    bool proxy;           /* pass signals on */
    bool is_new;          /* on failure before the command started nothing is kept */
    int cancel_fd;        /* a signalfd: readable when the user wants out */
};

/* Blocks the signals that a session proxies, so that from here on none interrupts half-done work.
 * Returns a signalfd that tells when one is pending, or -errno. */
int cli_launch_block_signals(struct pv_error *err);
/* Starts the instance whose life lock is lock_fd (taken) and sees it through. Returns the exit
 * code. */
int cli_launch_run(const struct instance_store *store, struct instance *instance, int lock_fd,
                   const struct cli_launch *launch);

#endif
