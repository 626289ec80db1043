/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: a few threads beside an event loop.
 *
 * Work goes to them through a list under a mutex and comes back through another one; an eventfd,
 * written once per batch, brings the second one to the loop. A thread is started when something
 * finds all others busy: an owner that does one thing at a time has one, and what waits for a
 * medium keeps nothing else waiting.
 */
#include "base/pool.h"

#include "base/attr.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct list {
    struct pv_pool_work *first, **end;
};

struct pv_pool {
    struct pv_pool_options options;
    pthread_t threads[PV_POOL_THREADS_MAX];
    unsigned num_threads;
    int event_fd;
    struct pv_loop_source *source;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct list waiting, done;
    unsigned num_waiting, num_idle;
    bool stop;
};

static void push(struct list *l, struct pv_pool_work *w)
{
    w->next = NULL;
    *l->end = w;
    l->end = &w->next;
}

static struct pv_pool_work *pop(struct list *l)
{
    struct pv_pool_work *w = l->first;
    if (w && !(l->first = w->next))
        l->end = &l->first;
    return w;
}

static struct pv_pool_work *wait_for_work(struct pv_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->num_idle++;
    while (!p->waiting.first && !p->stop)
        pthread_cond_wait(&p->wake, &p->mutex);
    p->num_idle--;
    struct pv_pool_work *w = pop(&p->waiting);
    if (w)
        p->num_waiting--;
    pthread_mutex_unlock(&p->mutex);
    return w; /* NULL: stop, and nothing is left */
}

static void *work(void *arg)
{
    struct pv_pool *p = arg;
    const uint64_t one = 1;
    struct pv_pool_work *w;
    while ((w = wait_for_work(p))) {
        p->options.run(p->options.data, w);
        pthread_mutex_lock(&p->mutex);
        bool first = !p->done.first;
        push(&p->done, w);
        pthread_mutex_unlock(&p->mutex);
        /* Cannot fail: the count stays far from its limit. */
        if (first && write(p->event_fd, &one, sizeof(one)) < 0)
            continue;
    }
    return NULL;
}

static void complete_all(struct pv_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    struct pv_pool_work *w = p->done.first;
    p->done = (struct list){.end = &p->done.first};
    pthread_mutex_unlock(&p->mutex);
    while (w) { /* the callee may free it */
        struct pv_pool_work *next = w->next;
        p->options.completed(p->options.data, w);
        w = next;
    }
}

static void on_event(void *data, int fd, uint32_t events)
{
    uint64_t count;
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        complete_all(data);
}

static int start_thread(struct pv_pool *p)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    int rc = p->options.stack_bytes ? pthread_attr_setstacksize(&attr, p->options.stack_bytes) : 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (rc == 0)
        rc = pthread_create(&p->threads[p->num_threads], &attr, work, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc == 0)
        p->num_threads++;
    return -rc;
}

int pv_pool_start(const struct pv_pool_options *options, struct pv_loop *loop,
                  struct pv_pool **ret_pool, struct pv_error *err)
{
    assert(options->threads >= 1 && options->threads <= PV_POOL_THREADS_MAX);
    struct pv_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return pv_error_set(err, ENOMEM, "start the threads of %s: out of memory", options->name);
    p->options = *options;
    p->waiting.end = &p->waiting.first;
    p->done.end = &p->done.first;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);

    int rc = 0;
    p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->event_fd >= 0)
        p->source = pv_loop_add_fd(loop, p->event_fd, EPOLLIN, on_event, p);
    if (!p->source)
        rc = -errno;
    if (rc == 0)
        rc = start_thread(p);
    if (rc < 0) {
        pv_pool_stop(p, 0);
        return pv_error_set(err, -rc, "start the threads of %s: %s", options->name, strerror(-rc));
    }
    *ret_pool = p;
    return 0;
}

void pv_pool_submit(struct pv_pool *p, struct pv_pool_work *w)
{
    pthread_mutex_lock(&p->mutex);
    push(&p->waiting, w);
    bool busy = ++p->num_waiting > p->num_idle;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    /* Without another thread it waits a little longer, no more. */
    if (busy && p->num_threads < p->options.threads && start_thread(p) < 0)
        return;
}

static bool join_all(struct pv_pool *p, uint64_t patience_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(patience_ns / 1000000000u);
    until.tv_nsec += (long)(patience_ns % 1000000000u);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    for (; p->num_threads > 0; p->num_threads--) {
        pthread_t thread = p->threads[p->num_threads - 1];
        if (patience_ns == 0)
            pthread_join(thread, NULL);
        else if (pthread_timedjoin_np(thread, NULL, &until) != 0)
            return false;
    }
    return true;
}

bool pv_pool_stop(struct pv_pool *p, uint64_t patience_ns)
{
    if (!p)
        return true;
    pthread_mutex_lock(&p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    if (!join_all(p, patience_ns))
        return false;
    complete_all(p);
    pv_loop_remove(p->source);
    if (p->event_fd >= 0)
        close(p->event_fd);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p);
    return true;
}
