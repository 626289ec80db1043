/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: a few threads beside an event loop, for what could block.
 *
 * Runs on: all calls come from the loop's thread; run() is called by the threads.
 */
#ifndef PV_BASE_POOL_H
#define PV_BASE_POOL_H

#include "base/error.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pv_pool;

/* One piece of work, embedded in whatever it is about; the pool's from submit to completed(). */
struct pv_pool_work {
    struct pv_pool_work *next;
};

#define PV_POOL_THREADS_MAX 8u

struct pv_pool_options {
    const char *name;                                   /* whose threads, for errors */
    unsigned threads;                                   /* at most, 1 to PV_POOL_THREADS_MAX */
    size_t stack_bytes;                                 /* of each; 0: the system's */
    void (*run)(void *data, struct pv_pool_work *work); /* on any thread, in any order */
    void (*completed)(void *data, struct pv_pool_work *work); /* then, on the loop's */
    void *data;
};

/* Starts the first thread; the others come when all are busy. They handle no signals. `loop`
 * (borrowed, must outlive the pool) brings the completions. The caller owns *ret_pool. */
int pv_pool_start(const struct pv_pool_options *options, struct pv_loop *loop,
                  struct pv_pool **ret_pool, struct pv_error *err);
void pv_pool_submit(struct pv_pool *pool, struct pv_pool_work *work);
/* Lets everything run that was submitted, calls completed() for it, ends the threads, frees.
 * patience_ns: how long that may take; 0: any time. False: it took longer. Then a thread is still
 * at work, so nothing was freed, nor may be that a run() could touch. Accepts NULL. */
bool pv_pool_stop(struct pv_pool *pool, uint64_t patience_ns);

#endif
