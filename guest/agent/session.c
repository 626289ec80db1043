/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c: sessions.   Spec: wire/session.h.
 *
 * The life of a session:
 *   accept -> START: fork -> the child's word (runs, or why not): STARTED or FAILED
 *   -> frames both ways -> the process was reaped and its outputs are at their end: EXITED.
 *
 * A descendant may hold the outputs after the process has ended. They then get DRAIN_NS to close;
 * after that what is in them is sent, and the session ends without them.
 *
 * The client may leave at any time. The process lives on: with a terminal it is hung up (the
 * master closes), with pipes its input ends and its output breaks. The session stays until its
 * process was reaped, but counts no more.
 */
#include "agent/session.h"

#include "agent/process.h"
#include "agent/pump.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define DRAIN_NS (100ull * 1000000)
#define GOOD_BYE_NS (5000ull * 1000000)

struct agent_sessions {
    struct pv_loop *loop;
    struct agent_reaper *reaper;
    const struct agent_world *world;
    struct session *first;
    unsigned connected;
    bool refuse;
};

struct session {
    struct agent_sessions *all;
    struct session *prev, *next;
    struct wire_stream *stream; /* NULL: the client has gone, or was told everything */
    struct wire_process process;
    struct agent_reap_child child;
    struct agent_pump io;
    int failure_fd; /* -1: the start's result is known */
    struct pv_loop_source *failure_source, *drain_timer;
    pid_t pid; /* as told to the client; the process itself is in child */
    bool asked, started, exited;
    int code;
};

static void unlink_session(struct session *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        s->all->first = s->next;
    if (s->next)
        s->next->prev = s->prev;
}

static void free_session(struct session *s)
{
    unlink_session(s);
    agent_reap_unwatch(s->all->reaper, &s->child);
    pv_loop_remove(s->failure_source);
    pv_loop_remove(s->drain_timer);
    if (s->failure_fd >= 0)
        close(s->failure_fd);
    agent_pump_done(&s->io);
    wire_process_done(&s->process);
    if (s->stream) {
        s->all->connected--;
        wire_stream_free(s->stream);
    }
    free(s);
}

/* Frees the session when neither a client nor a process needs it. The last thing that a callback
 * does. */
static void settle(struct session *s)
{
    if (!s->stream && !s->child.pid)
        free_session(s);
}

/* Lets the client go, who has got or will get nothing more. */
static void part(struct session *s, bool politely)
{
    struct wire_stream *stream = pv_take_ptr(s->stream);
    if (!stream)
        return;
    s->all->connected--;
    pv_loop_remove(pv_take_ptr(s->drain_timer));
    agent_pump_done(&s->io);
    if (politely)
        wire_stream_finish(stream, GOOD_BYE_NS);
    else
        wire_stream_free(stream);
}

static void send_failure(struct wire_stream *stream, uint32_t code, const char *text)
{
    uint8_t payload[4 + PV_ERROR_TEXT_MAX];
    size_t len = strnlen(text, PV_ERROR_TEXT_MAX);
    wire_put_u32(payload, code);
    memcpy(payload + 4, text, len);
    wire_stream_send(stream, WIRE_SESSION_FAILED, payload, 4 + len);
}

static void fail(struct session *s, uint32_t code, const char *text)
{
    if (s->stream)
        send_failure(s->stream, code, text);
    part(s, true);
}

/* Sends the exit code when there is nothing else left to send. */
static void conclude(struct session *s)
{
    if (!s->stream || !s->started || !s->exited || !agent_pump_is_closed(&s->io))
        return;
    uint8_t payload[4];
    wire_put_u32(payload, (uint32_t)s->code);
    wire_stream_send(s->stream, WIRE_SESSION_EXITED, payload, sizeof(payload));
    part(s, true);
}

static void on_outputs_closed(void *data)
{
    struct session *s = data;
    conclude(s);
    settle(s);
}

/* Takes the word of the child about its start, if it is there. */
static void take_result(struct session *s)
{
    struct agent_exec_failure failure;
    int rc = s->failure_fd < 0 ? 0 : agent_process_get_result(s->failure_fd, &failure);
    if (rc == 0)
        return;
    pv_loop_remove(pv_take_ptr(s->failure_source));
    close(pv_take_fd(&s->failure_fd));
    if (rc < 0) {
        fail(s, failure.code, failure.text);
        return;
    }
    s->started = true;
    if (!s->stream)
        return;
    uint8_t payload[4];
    wire_put_u32(payload, (uint32_t)s->pid);
    wire_stream_send(s->stream, WIRE_SESSION_STARTED, payload, sizeof(payload));
}

static void on_result(void *data, int fd, uint32_t events)
{
    struct session *s = data;
    take_result(s);
    conclude(s);
    settle(s);
}

static void on_drain_timeout(void *data)
{
    struct session *s = data;
    agent_pump_drain(&s->io); /* calls on_outputs_closed, now or when the client has read */
}

static void on_exit_code(void *data, int code)
{
    struct session *s = data;
    s->exited = true;
    s->code = code;
    take_result(s);
    if (s->stream && !agent_pump_is_closed(&s->io))
        pv_loop_arm(s->drain_timer, DRAIN_NS);
    conclude(s);
    settle(s);
}

/* Starts the process of a read and validated description. */
static int start_process(struct session *s, struct pv_error *err)
{
    struct agent_process process;
    struct pv_loop *loop = s->all->loop;
    s->drain_timer = pv_loop_add_timer(loop, on_drain_timeout, s);
    if (!s->drain_timer)
        return pv_error_set(err, errno, "timer: %s", strerror(errno));
    int rc = agent_process_start(s->all->world, &s->process, &process, err);
    if (rc < 0)
        return rc;

    s->child = (struct agent_reap_child){.pid = process.pid, .on_exit = on_exit_code, .data = s};
    agent_reap_watch(s->all->reaper, &s->child);
    s->pid = process.pid;
    s->failure_fd = process.failure_fd;
    s->failure_source = pv_loop_add_fd(loop, s->failure_fd, EPOLLIN, on_result, s);
    rc = s->failure_source ? 0 : -errno;
    int attached = agent_pump_attach(&s->io, &process, s->process.terminal);
    rc = rc < 0 ? rc : attached;
    if (rc == 0)
        return 0;
    kill(s->child.pid, SIGKILL);
    return pv_error_set(err, -rc, "watch the process: %s", strerror(-rc));
}

static void on_start(struct session *s, const struct wire_frame *frame)
{
    struct pv_error err = PV_ERROR_INIT;
    pv_auto(pv_json) struct pv_json *json = NULL;
    s->asked = true;
    int rc = pv_json_parse((const char *)frame->payload, frame->len, &json, &err);
    if (rc == 0)
        rc = wire_process_read(json, &s->process, &err);
    if (rc == 0)
        rc = start_process(s, &err);
    if (rc < 0)
        fail(s, AGENT_EXEC_FAILED, err.text);
}

static int on_resize(struct session *s, const struct wire_frame *frame)
{
    if (frame->len != 4)
        return -EPROTO;
    const uint8_t *p = frame->payload;
    agent_pump_resize(&s->io, (uint16_t)(p[0] | p[1] << 8), (uint16_t)(p[2] | p[3] << 8));
    return 0;
}

static int on_signal(struct session *s, const struct wire_frame *frame)
{
    uint32_t signo;
    if (wire_get_u32(frame->payload, frame->len, &signo) < 0)
        return -EPROTO;
    if (s->child.pid && signo > 0 && signo < NSIG)
        kill(s->child.pid, (int)signo);
    return 0;
}

static int dispatch(struct session *s, const struct wire_frame *frame)
{
    if (s->asked != (frame->type != WIRE_SESSION_START))
        return -EPROTO;
    switch (frame->type) {
    case WIRE_SESSION_START:
        on_start(s, frame);
        return 0;
    case WIRE_SESSION_STDIN:
        return agent_pump_push(&s->io, frame->payload, frame->len);
    case WIRE_SESSION_STDIN_EOF:
        agent_pump_push_eof(&s->io);
        return 0;
    case WIRE_SESSION_RESIZE:
        return on_resize(s, frame);
    case WIRE_SESSION_SIGNAL:
        return on_signal(s, frame);
    default:
        return -EPROTO;
    }
}

static int on_frame(void *data, const struct wire_frame *frame)
{
    struct session *s = data;
    int rc = dispatch(s, frame);
    if (rc < 0)
        return rc; /* on_end comes */
    settle(s);
    return 0;
}

static void on_drain(void *data)
{
    struct session *s = data;
    agent_pump_resume(&s->io);
}

static void on_end(void *data, int error)
{
    struct session *s = data;
    part(s, false);
    settle(s);
}

static const struct wire_stream_events stream_events = {on_frame, on_drain, on_end};

struct agent_sessions *agent_session_new(struct pv_loop *loop, struct agent_reaper *reaper,
                                         const struct agent_world *world)
{
    struct agent_sessions *all = calloc(1, sizeof(*all));
    if (!all)
        return NULL;
    *all = (struct agent_sessions){.loop = loop, .reaper = reaper, .world = world};
    signal(SIGPIPE, SIG_IGN); /* a process that closed its stdin is an error of write(2) */
    return all;
}

void agent_session_free(struct agent_sessions *all)
{
    if (!all)
        return;
    while (all->first)
        free_session(all->first);
    free(all);
}

/* Tells the client why there is no session for it, without keeping one. */
static void refuse(struct agent_sessions *all, int fd, const char *why)
{
    static const struct wire_stream_events none = {0}; /* finish makes no calls */
    struct wire_stream *stream = wire_stream_new(all->loop, fd, &none, NULL);
    if (!stream)
        return;
    send_failure(stream, AGENT_EXEC_FAILED, why);
    wire_stream_finish(stream, GOOD_BYE_NS);
}

void agent_session_accept(struct agent_sessions *all, int fd)
{
    if (all->refuse) {
        refuse(all, fd, "the machine is going down");
        return;
    }
    if (all->connected >= AGENT_SESSION_MAX) {
        char why[64];
        snprintf(why, sizeof(why), "too many sessions: %u at a time", AGENT_SESSION_MAX);
        refuse(all, fd, why);
        return;
    }
    struct session *s = calloc(1, sizeof(*s));
    if (!s) {
        close(fd);
        return;
    }
    s->stream = wire_stream_new(all->loop, fd, &stream_events, s);
    if (!s->stream) {
        free(s);
        return;
    }
    s->all = all;
    s->failure_fd = -1;
    agent_pump_init(&s->io, all->loop, s->stream, on_outputs_closed, s);
    s->next = all->first;
    if (s->next)
        s->next->prev = s;
    all->first = s;
    all->connected++;
}

void agent_session_refuse(struct agent_sessions *all)
{
    all->refuse = true;
}

unsigned agent_session_count(const struct agent_sessions *all)
{
    return all->connected;
}
