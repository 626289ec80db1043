/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c: the threads of a disk, for what could block.
 *
 * Requests go to them through a list under a mutex and come back through another one; an eventfd,
 * written once per batch, brings the second one to the loop. A thread is started when a request
 * finds all others busy: a disk that does one thing at a time has one, and a slow flush does not
 * keep a read from the medium. They handle no signals.
 */
#include "disk/disk_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define THREADS_MAX 4u

struct list {
    struct disk_request *first, **end;
};

struct disk_worker {
    void (*run)(void *data, struct disk_request *request);
    void (*completed)(void *data, struct disk_request *request);
    void *data;
    pthread_t threads[THREADS_MAX];
    unsigned num_threads;
    int event_fd;
    struct pv_loop_source *source;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct list waiting, done;
    unsigned num_waiting, num_idle;
    bool stop;
};

static void push(struct list *l, struct disk_request *r)
{
    r->next = NULL;
    *l->end = r;
    l->end = &r->next;
}

static struct disk_request *pop(struct list *l)
{
    struct disk_request *r = l->first;
    if (r && !(l->first = r->next))
        l->end = &l->first;
    return r;
}

static struct disk_request *wait_for_request(struct disk_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    w->num_idle++;
    while (!w->waiting.first && !w->stop)
        pthread_cond_wait(&w->wake, &w->mutex);
    w->num_idle--;
    struct disk_request *r = pop(&w->waiting);
    if (r)
        w->num_waiting--;
    pthread_mutex_unlock(&w->mutex);
    return r; /* NULL: stop, and nothing is left */
}

static void *work(void *arg)
{
    struct disk_worker *w = arg;
    const uint64_t one = 1;
    struct disk_request *r;
    while ((r = wait_for_request(w))) {
        w->run(w->data, r);
        pthread_mutex_lock(&w->mutex);
        bool first = !w->done.first;
        push(&w->done, r);
        pthread_mutex_unlock(&w->mutex);
        /* Cannot fail: the count stays far from its limit. */
        if (first && write(w->event_fd, &one, sizeof(one)) < 0)
            continue;
    }
    return NULL;
}

static void complete_all(struct disk_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    struct disk_request *r = w->done.first;
    w->done = (struct list){.end = &w->done.first};
    pthread_mutex_unlock(&w->mutex);
    while (r) { /* the callee may free it */
        struct disk_request *next = r->next;
        w->completed(w->data, r);
        r = next;
    }
}

static void on_event(void *data, int fd, uint32_t events)
{
    uint64_t count;
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        complete_all(data);
}

static int start_thread(struct disk_worker *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->threads[w->num_threads], NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        w->num_threads++;
    return -rc;
}

int disk_worker_start(struct pv_loop *loop, void (*run)(void *data, struct disk_request *request),
                      void (*completed)(void *data, struct disk_request *request), void *data,
                      struct disk_worker **ret_worker, struct pv_error *err)
{
    struct disk_worker *w = calloc(1, sizeof(*w));
    if (!w)
        return pv_error_set(err, ENOMEM, "start disk worker: out of memory");
    *w = (struct disk_worker){.run = run, .completed = completed, .data = data};
    w->waiting.end = &w->waiting.first;
    w->done.end = &w->done.first;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);

    int rc = 0;
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->event_fd >= 0)
        w->source = pv_loop_add_fd(loop, w->event_fd, EPOLLIN, on_event, w);
    if (!w->source)
        rc = -errno;
    if (rc == 0)
        rc = start_thread(w);
    if (rc < 0) {
        disk_worker_stop(w);
        return pv_error_set(err, -rc, "start disk worker: %s", strerror(-rc));
    }
    *ret_worker = w;
    return 0;
}

void disk_worker_submit(struct disk_worker *w, struct disk_request *r)
{
    pthread_mutex_lock(&w->mutex);
    push(&w->waiting, r);
    bool busy = ++w->num_waiting > w->num_idle;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    /* Without another thread the request waits a little longer, no more. */
    if (busy && w->num_threads < THREADS_MAX && start_thread(w) < 0)
        return;
}

void disk_worker_stop(struct disk_worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    for (unsigned i = 0; i < w->num_threads; i++)
        pthread_join(w->threads[i], NULL);
    complete_all(w);
    pv_loop_remove(w->source);
    if (w->event_fd >= 0)
        close(w->event_fd);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
