/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.c: one framed connection on an event loop.
 * Runs on:  the loop's thread.
 * Trust:    every byte that is read is the peer's; frame.c checks it.
 *
 * Theory of operation: `in` holds less than one frame between turns, unless the owner paused.
 * Callbacks may free the stream, so it is kept until the outermost one has returned (busy). What
 * must not happen inside a caller's call (the end after a failed send, frames that waited through
 * a pause) happens on the timer `turn`, armed to fire at once.
 */
#include "wire/stream.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READ_SIZE (64u * 1024)
#define AT_ONCE_NS 1

struct wire_stream {
    struct pv_loop *loop;
    int fd;
    struct pv_loop_source *source, *turn;
    const struct wire_stream_events *events;
    void *data;
    struct pv_bytes in, out;
    struct wire_frame_joiner joiner;
    unsigned busy;   /* callbacks under way */
    bool freed;      /* by the owner, released when not busy */
    bool paused;     /* by the owner */
    bool was_full;   /* the owner waits for on_drain */
    bool ended;      /* on_end was called */
    bool finishing;  /* the owner has left */
    bool shut;       /* finishing: our end was shown to the peer */
    int write_error; /* -errno: sends fail, nothing is written any more */
    int end_error;   /* -errno: to end with on the next turn */
};

static void release_unless_busy(struct wire_stream *s)
{
    if (!s->freed || s->busy)
        return;
    pv_bytes_done(&s->in);
    pv_bytes_done(&s->out);
    wire_frame_joiner_done(&s->joiner);
    free(s);
}

void wire_stream_free(struct wire_stream *s)
{
    if (!s || s->freed)
        return;
    s->freed = true;
    pv_loop_remove(s->source);
    pv_loop_remove(s->turn);
    close(s->fd);
    release_unless_busy(s);
}

static void update_events(struct wire_stream *s)
{
    if (s->freed)
        return;
    uint32_t events = 0;
    if (!s->ended && (!s->paused || s->finishing))
        events |= EPOLLIN;
    if (!s->ended && s->out.len)
        events |= EPOLLOUT;
    if (pv_loop_set_events(s->source, events) < 0 && !s->end_error) {
        s->end_error = -ENOMEM;
        pv_loop_arm(s->turn, AT_ONCE_NS);
    }
}

static void end(struct wire_stream *s, int error)
{
    if (s->freed || s->ended)
        return;
    if (s->finishing) {
        wire_stream_free(s);
        return;
    }
    s->ended = true;
    update_events(s);
    s->events->on_end(s->data, error);
}

/* Hands the whole messages of `in` to the owner. */
static void deliver(struct wire_stream *s)
{
    while (!s->freed && !s->paused && !s->ended && !s->finishing) {
        struct wire_frame frame, message;
        int rc = wire_frame_peek(&s->in, &frame);
        if (rc == 0)
            return;
        if (rc > 0)
            rc = wire_frame_join(&s->joiner, &frame, &message);
        if (rc > 0)
            rc = s->events->on_frame(s->data, &message);
        if (rc < 0) {
            end(s, rc);
            return;
        }
        wire_frame_drop(&s->in, &frame);
    }
}

static void take_input(struct wire_stream *s)
{
    if (!s->finishing)
        deliver(s); /* after a pause `in` may be full of frames */
    if (s->freed || s->ended || (s->paused && !s->finishing))
        return;
    if (s->finishing)
        pv_bytes_drop(&s->in, s->in.len);
    ssize_t n = pv_bytes_read_from(&s->in, s->fd, READ_SIZE);
    if (n == -EAGAIN)
        return;
    if (n > 0) {
        if (!s->finishing)
            deliver(s);
        return;
    }
    bool cut = s->in.len || s->joiner.under_way;
    end(s, n < 0 ? (int)n : cut ? -ECONNRESET : s->write_error);
}

/* Writes what the peer takes. After a failure nothing is written any more; what the peer sent
 * before it left is still read. */
static void flush(struct wire_stream *s)
{
    while (s->out.len && !s->write_error) {
        ssize_t n = send(s->fd, pv_bytes_head(&s->out), s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            pv_bytes_drop(&s->out, (size_t)n);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            s->write_error = -errno;
    }
    if (s->write_error)
        pv_bytes_drop(&s->out, s->out.len);
    if (s->write_error && s->write_error != -EPIPE && s->write_error != -ECONNRESET &&
        !s->end_error) {
        s->end_error = s->write_error;
        pv_loop_arm(s->turn, AT_ONCE_NS);
    }
    if (s->finishing && !s->out.len && !s->shut) {
        s->shut = true;
        shutdown(s->fd, SHUT_WR);
    }
    update_events(s);
}

static void on_fd(void *data, int fd, uint32_t events)
{
    struct wire_stream *s = data;
    s->busy++;
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        flush(s);
    if (s->was_full && !s->ended && !wire_stream_is_full(s)) {
        s->was_full = false;
        if (s->events->on_drain && !s->finishing)
            s->events->on_drain(s->data);
    }
    if (!s->freed && !s->ended && (events & ~EPOLLOUT) && (!s->paused || s->finishing))
        take_input(s);
    s->busy--;
    release_unless_busy(s);
}

static void on_turn(void *data)
{
    struct wire_stream *s = data;
    s->busy++;
    if (s->finishing)
        wire_stream_free(s);
    else if (s->end_error)
        end(s, s->end_error);
    else
        deliver(s);
    s->busy--;
    release_unless_busy(s);
}

struct wire_stream *wire_stream_new(struct pv_loop *loop, int fd,
                                    const struct wire_stream_events *events, void *data)
{
    struct wire_stream *s = calloc(1, sizeof(*s));
    if (!s) {
        close(fd);
        errno = ENOMEM;
        return NULL;
    }
    *s = (struct wire_stream){.loop = loop, .fd = fd, .events = events, .data = data};
    pv_bytes_init(&s->in, WIRE_FRAME_HEADER + WIRE_FRAME_MAX);
    pv_bytes_init(&s->out, WIRE_STREAM_MAX);
    s->source = pv_loop_add_fd(loop, fd, EPOLLIN, on_fd, s);
    s->turn = s->source ? pv_loop_add_timer(loop, on_turn, s) : NULL;
    if (!s->turn) {
        int saved = errno;
        wire_stream_free(s);
        errno = saved;
        return NULL;
    }
    return s;
}

int wire_stream_send(struct wire_stream *s, uint16_t type, const void *payload, size_t len)
{
    if (s->write_error || s->end_error)
        return s->write_error ? s->write_error : s->end_error;
    if (s->ended || s->finishing)
        return -EPIPE;

    int rc = wire_frame_push(&s->out, type, payload, len);
    if (rc < 0) { /* a message is missing: nothing after it would make sense */
        s->end_error = rc;
        pv_loop_arm(s->turn, AT_ONCE_NS);
        return rc;
    }
    flush(s);
    if (wire_stream_is_full(s))
        s->was_full = true;
    return s->write_error;
}

bool wire_stream_is_full(const struct wire_stream *s)
{
    return s->out.len > WIRE_STREAM_HIGH;
}

void wire_stream_pause(struct wire_stream *s, bool paused)
{
    if (s->paused == paused)
        return;
    s->paused = paused;
    update_events(s);
    /* Whole frames may wait in `in`, for which no event comes. */
    if (!paused && s->in.len)
        pv_loop_arm(s->turn, AT_ONCE_NS);
}

void wire_stream_finish(struct wire_stream *s, uint64_t timeout_ns)
{
    if (s->ended || s->end_error || s->write_error) {
        wire_stream_free(s);
        return;
    }
    s->finishing = true;
    pv_loop_arm(s->turn, PV_MAX(timeout_ns, (uint64_t)AT_ONCE_NS));
    flush(s);
}
