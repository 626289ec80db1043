/* SPDX-License-Identifier: Apache-2.0
 *
 * reap.h: the end of processes: our own children's owners hear of it, orphans are only reaped.
 */
#ifndef AGENT_REAP_H
#define AGENT_REAP_H

#include "base/loop.h"

#include <sys/types.h>

struct agent_reaper;

/* One child, embedded in its owner. */
struct agent_reap_child {
    pid_t pid; /* 0 while not watched: then no signal may be sent to it */
    /* The process ended and was reaped: exit code 0..255, or 128 + signal. Called once. */
    void (*on_exit)(void *data, int code);
    void *data;
    struct agent_reap_child *next;
};

/* Reaps from now on, on the loop. Returns NULL with errno set. */
struct agent_reaper *agent_reap_new(struct pv_loop *loop);
void agent_reap_free(struct agent_reaper *r); /* accepts NULL */
/* Called each time after reaping when no child is left. */
void agent_reap_on_last(struct agent_reaper *r, void (*fn)(void *data), void *data);
/* Watches a child that was just forked, before the loop runs again. */
void agent_reap_watch(struct agent_reaper *r, struct agent_reap_child *child);
/* Forgets a child: it will be reaped all the same. */
void agent_reap_unwatch(struct agent_reaper *r, struct agent_reap_child *child);

#endif
