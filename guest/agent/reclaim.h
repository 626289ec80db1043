/* SPDX-License-Identifier: Apache-2.0
 *
 * reclaim.h: makes memory of the machine free, before it is taken away (SETUP_RECLAIM in
 * wire/setup.h).
 */
#ifndef AGENT_RECLAIM_H
#define AGENT_RECLAIM_H

#include "base/loop.h"

#include <stdint.h>

/* Numbers of /proc/meminfo, in bytes. */
struct agent_reclaim_numbers {
    uint64_t total, free, available;
};

/* Opens meminfo below proc_fd, and keeps reclaim_fd (borrowed): a memory.reclaim. Without one, -1,
 * nothing can be made free, only told. 0 or -errno. */
int agent_reclaim_open(int proc_fd, int reclaim_fd);

/* Gives up file pages and the like until `wanted` bytes are free, or no more can be had, or that
 * takes too long. on_done is called once with what is so then: at once when so much is free
 * already, or when another request is still under way. */
void agent_reclaim_request(struct pv_loop *loop, uint64_t wanted,
                           void (*on_done)(void *data, const struct agent_reclaim_numbers *now),
                           void *data);

#endif
