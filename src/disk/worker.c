/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c: the thread of a disk, for what could block.
 *
 * Requests go to it through a list under a mutex and come back through another one; an eventfd,
 * written once per batch, brings the second one to the loop. The thread handles no signals.
 */
#include "disk/disk_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct list {
    struct disk_request *first, **end;
};

struct disk_worker {
    void (*run)(void *data, struct disk_request *request);
    void (*completed)(void *data, struct disk_request *request);
    void *data;
    pthread_t thread;
    bool started;
    int event_fd;
    struct pv_loop_source *source;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct list waiting, done;
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
    while (!w->waiting.first && !w->stop)
        pthread_cond_wait(&w->wake, &w->mutex);
    struct disk_request *r = pop(&w->waiting);
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
    int rc = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->started = rc == 0;
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
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

void disk_worker_stop(struct disk_worker *w)
{
    if (!w)
        return;
    if (w->started) {
        pthread_mutex_lock(&w->mutex);
        w->stop = true;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->mutex);
        pthread_join(w->thread, NULL);
        complete_all(w);
    }
    pv_loop_remove(w->source);
    if (w->event_fd >= 0)
        close(w->event_fd);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
