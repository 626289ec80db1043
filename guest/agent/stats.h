/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.h: what runs in the machine and what it uses (SETUP_STATS in wire/setup.h).
 */
#ifndef AGENT_STATS_H
#define AGENT_STATS_H

#include "base/json.h"
#include "base/loop.h"

#define AGENT_STATS_PROCESSES_MAX 512

/* Reads it all from a proc file system. Returns NULL when out of memory. May block for as long as a
 * process of the workload likes: use agent_stats_request in the agent. */
struct pv_json *agent_stats_collect(int proc_fd);

/* Lets a child collect; on_done gets the JSON text, or NULL when it took too long or failed. One
 * request at a time: -EBUSY. on_done is called later, once, unless the request failed. */
int agent_stats_request(struct pv_loop *loop, int proc_fd,
                        void (*on_done)(void *data, const char *text, size_t len), void *data);

#endif
