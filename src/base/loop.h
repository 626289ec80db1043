/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.h: the event loop of a process: one epoll instance, single-threaded. Sources are
 * level-triggered, unless EPOLLET is among the events that their owner asks for.
 *
 * A source belongs to whoever added it and is removed with pv_loop_remove, from any callback, its
 * own included. Callbacks never block. The loop owns no descriptor that it did not create.
 */
#ifndef PV_BASE_LOOP_H
#define PV_BASE_LOOP_H

#include "base/clock.h"
#include "base/error.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct pv_loop;
struct pv_loop_source;

/* events: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as they arrived. */
typedef void pv_loop_fd_fn(void *data, int fd, uint32_t events);
typedef void pv_loop_timer_fn(void *data);
typedef void pv_loop_signal_fn(void *data, const siginfo_t *info);

/* Returns the loop (caller frees with pv_loop_free) or NULL with errno set. */
struct pv_loop *pv_loop_new(void);
void pv_loop_free(struct pv_loop *loop); /* removes all sources; accepts NULL */

/* Watches fd (borrowed, it must stay open until removed). Returns NULL with errno set on failure.*/
struct pv_loop_source *pv_loop_add_fd(struct pv_loop *loop, int fd, uint32_t events,
                                      pv_loop_fd_fn *fn, void *data);
/* Changes the events of a descriptor's source; 0 events keep it but silence it (EPOLLHUP and
 * EPOLLERR excepted: the source is taken out of epoll while events are 0). */
int pv_loop_set_events(struct pv_loop_source *source, uint32_t events);
/* A one-shot timer, not armed. */
struct pv_loop_source *pv_loop_add_timer(struct pv_loop *loop, pv_loop_timer_fn *fn, void *data);
/* Arms the timer to run once after ns nanoseconds of CLOCK_MONOTONIC; 0 disarms it. */
int pv_loop_arm(struct pv_loop_source *timer, uint64_t ns);
/* Blocks signo for the process and delivers it here instead. */
struct pv_loop_source *pv_loop_add_signal(struct pv_loop *loop, int signo, pv_loop_signal_fn *fn,
                                          void *data);
/* Runs once after the current callbacks, on the next turn. Removed by itself. */
int pv_loop_defer(struct pv_loop *loop, pv_loop_timer_fn *fn, void *data);
/* A source that runs at the end of a turn: once, however often it was woken during the turn. For
 * work that is cheaper for many events together. */
struct pv_loop_source *pv_loop_add_after(struct pv_loop *loop, pv_loop_timer_fn *fn, void *data);
/* At the end of this turn; woken at the end of a turn: at the end of the next one. */
void pv_loop_wake(struct pv_loop_source *after);
void pv_loop_remove(struct pv_loop_source *source); /* accepts NULL */

/* Runs until pv_loop_stop. Returns the code given to it, or -errno when epoll failed. */
int pv_loop_run(struct pv_loop *loop);
void pv_loop_stop(struct pv_loop *loop, int code);

#endif
