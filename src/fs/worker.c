/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c: the threads of a shared folder, for what could block.
 *
 * Requests go to them through a list under a mutex and come back through another one; an eventfd,
 * written once per batch, brings the second one to the loop. There are several, so that one request
 * that waits for a medium does not keep the others waiting. They handle no signals.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4u
#define STACK_BYTES (512u * 1024)
#define PATIENCE_SECONDS 3 /* for a thread to end */

struct list {
    struct fs_request *first, **end;
};

struct fs_worker {
    struct fs *fs;
    pthread_t threads[THREADS];
    unsigned num_threads;
    int event_fd;
    struct pv_loop_source *source;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct list waiting, done;
    bool stop;
};

static void push(struct list *l, struct fs_request *r)
{
    r->next = NULL;
    *l->end = r;
    l->end = &r->next;
}

static struct fs_request *pop(struct list *l)
{
    struct fs_request *r = l->first;
    if (r && !(l->first = r->next))
        l->end = &l->first;
    return r;
}

static struct fs_request *wait_for_request(struct fs_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->waiting.first && !w->stop)
        pthread_cond_wait(&w->wake, &w->mutex);
    struct fs_request *r = pop(&w->waiting);
    pthread_mutex_unlock(&w->mutex);
    return r; /* NULL: stop, and nothing is left */
}

static void *work(void *arg)
{
    struct fs_worker *w = arg;
    const uint64_t one = 1;
    struct fs_request *r;
    while ((r = wait_for_request(w))) {
        fs_serve(w->fs, r, false);
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

static void complete_all(struct fs_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    struct fs_request *r = w->done.first;
    w->done = (struct list){.end = &w->done.first};
    pthread_mutex_unlock(&w->mutex);
    while (r) { /* the callee may free it */
        struct fs_request *next = r->next;
        r->done(r);
        r = next;
    }
}

static void on_event(void *data, int fd, uint32_t events)
{
    uint64_t count;
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        complete_all(data);
}

static int start_threads(struct fs_worker *w)
{
    sigset_t all, before;
    pthread_attr_t attr;
    int rc = 0;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (rc == 0 && w->num_threads < THREADS)
        if ((rc = pthread_create(&w->threads[w->num_threads], &attr, work, w)) == 0)
            w->num_threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return w->num_threads ? 0 : -rc; /* one is enough */
}

int fs_worker_start(struct fs *fs, struct pv_loop *loop, struct fs_worker **ret_worker,
                    struct pv_error *err)
{
    struct fs_worker *w = calloc(1, sizeof(*w));
    if (!w)
        return pv_error_set(err, ENOMEM, "start a shared folder's threads: out of memory");
    *w = (struct fs_worker){.fs = fs};
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
        rc = start_threads(w);
    if (rc < 0) {
        fs_worker_stop(w);
        return pv_error_set(err, -rc, "start a shared folder's threads: %s", strerror(-rc));
    }
    *ret_worker = w;
    return 0;
}

void fs_worker_submit(struct fs_worker *w, struct fs_request *r)
{
    pthread_mutex_lock(&w->mutex);
    push(&w->waiting, r);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

static bool join_all(struct fs_worker *w)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    while (w->num_threads > 0) {
        if (pthread_timedjoin_np(w->threads[w->num_threads - 1], NULL, &until) != 0)
            return false;
        w->num_threads--;
    }
    return true;
}

bool fs_worker_stop(struct fs_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    if (!join_all(w))
        return false;
    complete_all(w);
    pv_loop_remove(w->source);
    if (w->event_fd >= 0)
        close(w->event_fd);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w);
    return true;
}
