/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.c: the event loop.
 *
 * Theory of operation: each source owns at most one descriptor of its own (timerfd, signalfd). A
 * removed source is unlinked from epoll at once but freed only at the end of the turn, since an
 * event for it may already stand in the batch that epoll_wait returned.
 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>

enum source_kind { SOURCE_FD, SOURCE_TIMER, SOURCE_SIGNAL, SOURCE_DEFER, SOURCE_AFTER };

struct pv_loop_source {
    struct pv_loop *loop;
    struct pv_loop_source *prev, *next;
    enum source_kind kind;
    int fd;
    struct pv_loop_source *next_woken;
    bool owns_fd, dead, woken;
    uint32_t events;
    union {
        pv_loop_fd_fn *on_fd;
        pv_loop_timer_fn *on_timer;
        pv_loop_signal_fn *on_signal;
    };
    void *data;
};

struct pv_loop {
    int epoll_fd;
    bool stopped;
    int code;
    struct pv_loop_source *sources; /* alive */
    struct pv_loop_source *dead;    /* removed in this turn */
    struct pv_loop_source *deferred;
    struct pv_loop_source *woken; /* by next_woken; the dead ones are in no other list */
};

static void list_push(struct pv_loop_source **head, struct pv_loop_source *s)
{
    s->prev = NULL;
    s->next = *head;
    if (*head)
        (*head)->prev = s;
    *head = s;
}

static void list_drop(struct pv_loop_source **head, struct pv_loop_source *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        *head = s->next;
    if (s->next)
        s->next->prev = s->prev;
}

struct pv_loop *pv_loop_new(void)
{
    struct pv_loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return NULL;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        int saved = errno;
        free(loop);
        errno = saved;
        return NULL;
    }
    return loop;
}

static void free_list(struct pv_loop_source **head)
{
    while (*head) {
        struct pv_loop_source *s = *head;
        *head = s->next;
        if (s->owns_fd)
            close(s->fd);
        free(s);
    }
}

void pv_loop_free(struct pv_loop *loop)
{
    if (!loop)
        return;
    while (loop->woken) {
        struct pv_loop_source *s = loop->woken;
        loop->woken = s->next_woken;
        if (s->dead)
            free(s);
    }
    free_list(&loop->sources);
    free_list(&loop->deferred);
    free_list(&loop->dead);
    close(loop->epoll_fd);
    free(loop);
}

/* Makes a source for fd; takes fd when owns_fd. */
static struct pv_loop_source *add_source(struct pv_loop *loop, enum source_kind kind, int fd,
                                         bool owns_fd, uint32_t events, void *data)
{
    struct pv_loop_source *s = fd < 0 ? NULL : calloc(1, sizeof(*s));
    if (!s) {
        if (fd >= 0 && owns_fd)
            close(fd);
        return NULL;
    }
    *s = (struct pv_loop_source){
        .loop = loop, .kind = kind, .fd = fd, .owns_fd = owns_fd, .events = events, .data = data};

    struct epoll_event ev = {.events = events, .data.ptr = s};
    if (events && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int saved = errno;
        if (owns_fd)
            close(fd);
        free(s);
        errno = saved;
        return NULL;
    }
    list_push(&loop->sources, s);
    return s;
}

struct pv_loop_source *pv_loop_add_fd(struct pv_loop *loop, int fd, uint32_t events,
                                      pv_loop_fd_fn *fn, void *data)
{
    struct pv_loop_source *s = add_source(loop, SOURCE_FD, fd, false, events, data);
    if (s)
        s->on_fd = fn;
    return s;
}

int pv_loop_set_events(struct pv_loop_source *s, uint32_t events)
{
    if (s->dead || events == s->events)
        return 0;
    int op = !s->events ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    struct epoll_event ev = {.events = events, .data.ptr = s};
    if (epoll_ctl(s->loop->epoll_fd, op, s->fd, &ev) < 0)
        return -errno;
    s->events = events;
    return 0;
}

struct pv_loop_source *pv_loop_add_timer(struct pv_loop *loop, pv_loop_timer_fn *fn, void *data)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct pv_loop_source *s = add_source(loop, SOURCE_TIMER, fd, true, EPOLLIN, data);
    if (s)
        s->on_timer = fn;
    return s;
}

int pv_loop_arm(struct pv_loop_source *timer, uint64_t ns)
{
    assert(timer->kind == SOURCE_TIMER);
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)}};
    return timerfd_settime(timer->fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

struct pv_loop_source *pv_loop_add_signal(struct pv_loop *loop, int signo, pv_loop_signal_fn *fn,
                                          void *data)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return NULL;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    struct pv_loop_source *s = add_source(loop, SOURCE_SIGNAL, fd, true, EPOLLIN, data);
    if (s)
        s->on_signal = fn;
    return s;
}

int pv_loop_defer(struct pv_loop *loop, pv_loop_timer_fn *fn, void *data)
{
    struct pv_loop_source *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct pv_loop_source){.loop = loop, .kind = SOURCE_DEFER, .fd = -1, .data = data};
    s->on_timer = fn;

    struct pv_loop_source **last = &loop->deferred; /* in the order in which they were asked for */
    while (*last)
        last = &(*last)->next;
    *last = s;
    return 0;
}

struct pv_loop_source *pv_loop_add_after(struct pv_loop *loop, pv_loop_timer_fn *fn, void *data)
{
    struct pv_loop_source *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    *s = (struct pv_loop_source){.loop = loop, .kind = SOURCE_AFTER, .fd = -1, .data = data};
    s->on_timer = fn;
    list_push(&loop->sources, s);
    return s;
}

void pv_loop_wake(struct pv_loop_source *s)
{
    assert(s->kind == SOURCE_AFTER);
    if (s->woken || s->dead)
        return;
    s->woken = true;
    s->next_woken = s->loop->woken;
    s->loop->woken = s;
}

void pv_loop_remove(struct pv_loop_source *s)
{
    if (!s || s->dead)
        return;
    s->dead = true;
    if (s->events)
        epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    if (s->owns_fd)
        close(s->fd);
    s->owns_fd = false;
    list_drop(&s->loop->sources, s);
    if (!s->woken) /* else run_woken comes upon it */
        list_push(&s->loop->dead, s);
}

static void dispatch_signals(struct pv_loop_source *s)
{
    struct signalfd_siginfo in;
    while (!s->dead && read(s->fd, &in, sizeof(in)) == (ssize_t)sizeof(in)) {
        siginfo_t info = {0};
        info.si_signo = (int)in.ssi_signo;
        info.si_code = in.ssi_code;
        info.si_pid = (pid_t)in.ssi_pid;
        info.si_uid = in.ssi_uid;
        info.si_status = in.ssi_status;
        s->on_signal(s->data, &info);
    }
}

static void dispatch(struct pv_loop_source *s, uint32_t events)
{
    uint64_t expirations;

    switch (s->kind) {
    case SOURCE_FD:
        s->on_fd(s->data, s->fd, events);
        break;
    case SOURCE_TIMER: /* disarmed meanwhile: nothing to read */
        if (read(s->fd, &expirations, sizeof(expirations)) == (ssize_t)sizeof(expirations))
            s->on_timer(s->data);
        break;
    case SOURCE_SIGNAL:
        dispatch_signals(s);
        break;
    case SOURCE_DEFER:
    case SOURCE_AFTER:
        break;
    }
}

static void run_deferred(struct pv_loop *loop)
{
    struct pv_loop_source *batch = loop->deferred;
    loop->deferred = NULL;
    while (batch) {
        struct pv_loop_source *s = batch;
        batch = s->next;
        s->on_timer(s->data);
        free(s);
    }
}

static void run_woken(struct pv_loop *loop)
{
    struct pv_loop_source *batch = pv_take_ptr(loop->woken);
    while (batch) {
        struct pv_loop_source *s = batch;
        batch = s->next_woken;
        s->woken = false;
        if (s->dead)
            list_push(&loop->dead, s);
        else
            s->on_timer(s->data);
    }
}

int pv_loop_run(struct pv_loop *loop)
{
    loop->stopped = false;
    while (!loop->stopped) {
        struct epoll_event batch[32];
        int timeout = loop->deferred || loop->woken ? 0 : -1;
        int n = epoll_wait(loop->epoll_fd, batch, (int)PV_ARRAY_SIZE(batch), timeout);
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++) {
            struct pv_loop_source *s = batch[i].data.ptr;
            if (!s->dead)
                dispatch(s, batch[i].events);
        }
        run_deferred(loop);
        run_woken(loop);
        free_list(&loop->dead);
    }
    return loop->code;
}

void pv_loop_stop(struct pv_loop *loop, int code)
{
    loop->stopped = true;
    loop->code = code;
}
