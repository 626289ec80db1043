/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c: the loop between our own descriptors and one session.
 *
 * Back pressure in both directions: when an output waits for its reader, the stream is not read;
 * stdin is read only as far as the other side gave credit and the stream has room. A reader that
 * goes away is what it is for any command: SIGPIPE to the process.
 */
#include "cli/session.h"

#include "base/log.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "wire/control.h"
#include "wire/session.h"
#include "wire/stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull
/* The proxied signals; of the others some mean this process (job control, its child, a timer), and
 * some cannot be caught. */
static const int proxied[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};

struct session {
    const struct cli_session_config *config;
    struct cli_session_result result;
    struct pv_loop *loop;
    struct wire_stream *stream;
    struct cli_output *out, *error;
    struct cli_input *input;
    uint64_t credit; /* stdin bytes that the other side takes */
    bool ended;      /* the result is known; what is left is to write */
};

static void stop_when_written(struct session *s)
{
    if (s->ended && cli_output_is_empty(s->out) && cli_output_is_empty(s->error))
        pv_loop_stop(s->loop, 0);
}

static void end_session(struct session *s, enum cli_session_end end, int code)
{
    if (s->ended)
        return;
    s->ended = true;
    s->result.end = end;
    s->result.code = code;
    if (s->input)
        cli_input_allow(s->input, 0);
    if (end == CLI_SESSION_DETACHED || end == CLI_SESSION_CANCELED)
        pv_loop_stop(s->loop, 0);
    stop_when_written(s);
}

/* Reads as much stdin as can be sent now. */
static void allow_input(struct session *s)
{
    if (!s->input || s->ended)
        return;
    bool may = s->result.started && s->stream && !wire_stream_is_full(s->stream);
    cli_input_allow(s->input, may ? (size_t)s->credit : 0);
}

static void on_input_bytes(void *data, const uint8_t *bytes, size_t len)
{
    struct session *s = data;
    s->credit -= PV_MIN(s->credit, (uint64_t)len);
    wire_stream_send(s->stream, WIRE_SESSION_STDIN, bytes, len);
    allow_input(s);
}

static void on_input_end(void *data)
{
    struct session *s = data;
    wire_stream_send(s->stream, WIRE_SESSION_STDIN_EOF, NULL, 0);
}

static void send_detach(struct session *s)
{
    if (s->config->tell_detach)
        wire_stream_send(s->stream, WIRE_CONTROL_DETACH, NULL, 0);
    end_session(s, CLI_SESSION_DETACHED, 0);
}

static void on_input_detach(void *data)
{
    send_detach(data);
}

static void send_signal(struct session *s, int signo)
{
    uint8_t payload[4];
    wire_put_u32(payload, (uint32_t)signo);
    wire_stream_send(s->stream, WIRE_SESSION_SIGNAL, payload, sizeof(payload));
}

static void send_size(struct session *s)
{
    uint16_t rows, columns;
    cli_terminal_size(&rows, &columns);
    uint8_t payload[4] = {(uint8_t)rows, (uint8_t)(rows >> 8), (uint8_t)columns,
                          (uint8_t)(columns >> 8)};
    if (rows && columns)
        wire_stream_send(s->stream, WIRE_SESSION_RESIZE, payload, sizeof(payload));
}

static void on_output_drain(void *data)
{
    struct session *s = data;
    if (s->stream && !cli_output_is_full(s->out) && !cli_output_is_full(s->error))
        wire_stream_pause(s->stream, false);
}

static void on_output_written(void *data)
{
    stop_when_written(data);
}

/* Both outputs share it: whoever loses its reader ends the process, as in a pipeline. */
static void on_output_broken(void *data)
{
    struct session *s = data;
    if (s->stream && !s->ended && s->config->is_primary)
        send_signal(s, SIGPIPE);
    else if (s->stream && !s->ended)
        send_detach(s);
    stop_when_written(s);
}

static void on_data(struct session *s, const struct wire_frame *frame)
{
    struct cli_output *to = frame->type == WIRE_SESSION_STDERR ? s->error : s->out;
    cli_output_write(to, frame->payload, frame->len);
    if (s->stream && cli_output_is_full(to))
        wire_stream_pause(s->stream, true);
}

static void on_started(struct session *s)
{
    s->result.started = true;
    if (s->config->until_started) {
        send_detach(s);
        return;
    }
    if (s->config->terminal)
        send_size(s); /* it may have changed while the machine came up */
    allow_input(s);
}

static int on_last(struct session *s, const struct wire_frame *frame)
{
    uint32_t code;
    if (wire_get_u32(frame->payload, frame->len, &code) < 0 || code > 255)
        return -EPROTO;
    if (frame->type == WIRE_SESSION_FAILED)
        pv_error_set(&s->result.why, EIO, "%.*s", (int)(frame->len - 4),
                     (const char *)frame->payload + 4);
    end_session(s, frame->type == WIRE_SESSION_FAILED ? CLI_SESSION_FAILED : CLI_SESSION_EXITED,
                (int)code);
    return 0;
}

static int on_refused(struct session *s, const struct wire_frame *frame)
{
    uint32_t code;
    if (wire_get_u32(frame->payload, frame->len, &code) < 0)
        return -EPROTO;
    pv_error_set(&s->result.why, EIO, "%.*s", (int)(frame->len - 4),
                 (const char *)frame->payload + 4);
    end_session(s, CLI_SESSION_FAILED, 125);
    return 0;
}

static int on_frame(void *data, const struct wire_frame *frame)
{
    struct session *s = data;
    uint32_t more;
    if (s->ended) /* what comes behind the end (of -d: the first output) is for the log */
        return 0;
    switch (frame->type) {
    case WIRE_SESSION_STDOUT:
    case WIRE_SESSION_STDERR:
        on_data(s, frame);
        return 0;
    case WIRE_SESSION_STARTED:
        on_started(s);
        return 0;
    case WIRE_SESSION_STDIN_CREDIT:
        if (wire_get_u32(frame->payload, frame->len, &more) < 0)
            return -EPROTO;
        s->credit += more;
        allow_input(s);
        return 0;
    case WIRE_SESSION_EXITED:
    case WIRE_SESSION_FAILED:
        return on_last(s, frame);
    case WIRE_CONTROL_ERROR:
        return on_refused(s, frame);
    default:
        return -EPROTO;
    }
}

static void on_stream_drain(void *data)
{
    allow_input(data);
}

static void on_stream_end(void *data, int error)
{
    struct session *s = data;
    if (!s->ended)
        pv_error_set(&s->result.why, error < 0 ? -error : EPIPE, "the connection was lost (%s)",
                     error < 0 ? strerror(-error) : "closed by the other side");
    end_session(s, CLI_SESSION_LOST, 125);
    wire_stream_free(pv_take_ptr(s->stream));
}

/* Our terminal is gone: so is this end of the connection. The other side knows what that means for
 * its process (a hang-up, then its end), whatever that makes of a mere SIGHUP. */
static void on_hang_up(struct session *s)
{
    pv_error_set(&s->result.why, EIO, "the terminal hung up");
    end_session(s, CLI_SESSION_LOST, 128 + SIGHUP);
    pv_loop_stop(s->loop, 0);
}

static void on_signal(void *data, const siginfo_t *info)
{
    struct session *s = data;
    int signo = (int)info->si_signo;
    if (s->ended || !s->stream)
        return;
    if (signo == SIGHUP && s->config->terminal && !isatty(0))
        on_hang_up(s);
    else if (!s->result.started && signo != SIGUSR1 && signo != SIGUSR2)
        end_session(s, CLI_SESSION_CANCELED, 128 + signo);
    else
        send_signal(s, signo);
}

static void on_resize(void *data, const siginfo_t *info)
{
    struct session *s = data;
    if (!s->ended && s->result.started)
        send_size(s);
}

static void on_continue(void *data, const siginfo_t *info)
{
    cli_terminal_reenter();
    on_resize(data, info);
}

void cli_session_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    for (size_t i = 0; i < PV_ARRAY_SIZE(proxied); i++)
        sigaddset(ret_set, proxied[i]);
}

static int watch_signals(struct session *s, struct pv_error *err)
{
    bool ok = true;
    for (size_t i = 0; s->config->proxy && i < PV_ARRAY_SIZE(proxied); i++)
        ok = ok && pv_loop_add_signal(s->loop, proxied[i], on_signal, s);
    if (s->config->terminal)
        ok = ok && pv_loop_add_signal(s->loop, SIGWINCH, on_resize, s) &&
             pv_loop_add_signal(s->loop, SIGCONT, on_continue, s);
    return ok ? 0 : pv_error_set(err, errno, "watch signals: %s", strerror(errno));
}

static int open_outputs(struct session *s, struct pv_error *err)
{
    static const struct cli_output_events events = {.on_drain = on_output_drain,
                                                    .on_written = on_output_written,
                                                    .on_broken = on_output_broken};
    s->out = cli_output_new(s->loop, 1, &events, s);
    s->error = s->out ? cli_output_new(s->loop, 2, &events, s) : NULL;
    return s->error ? 0 : pv_error_set(err, errno, "standard output: %s", strerror(errno));
}

static int open_input(struct session *s, struct pv_error *err)
{
    static const struct cli_input_events events = {
        .on_bytes = on_input_bytes, .on_end = on_input_end, .on_detach = on_input_detach};
    if (!s->config->with_stdin) {
        if (s->config->ends_stdin)
            wire_stream_send(s->stream, WIRE_SESSION_STDIN_EOF, NULL, 0);
        return 0;
    }
    s->input = cli_input_new(s->loop, s->config->detach_keys, &events, s);
    if (!s->input)
        return pv_error_set(err, errno, "standard input: %s", strerror(errno));
    if (s->config->terminal && isatty(0))
        return cli_terminal_enter(err);
    return 0;
}

static int begin(struct session *s, int fd, struct pv_error *err)
{
    static const struct wire_stream_events events = {
        .on_frame = on_frame, .on_drain = on_stream_drain, .on_end = on_stream_end};
    s->loop = pv_loop_new();
    if (!s->loop) {
        close(fd);
        return pv_error_set(err, errno, "event loop: %s", strerror(errno));
    }
    s->stream = wire_stream_new(s->loop, fd, &events, s);
    if (!s->stream)
        return pv_error_set(err, errno, "stream: %s", strerror(errno));
    s->credit = WIRE_SESSION_STDIN_WINDOW;
    int rc = watch_signals(s, err);
    if (rc == 0)
        rc = open_outputs(s, err);
    return rc == 0 ? open_input(s, err) : rc;
}

static void on_finish_timer(void *data)
{
    struct session *s = data;
    pv_loop_stop(s->loop, 0);
}

/* Closes the stream. A DETACH that waits behind a lot of stdin gets some time to leave, because
 * without it the monitor would end the machine. */
static void finish_stream(struct session *s)
{
    if (!s->stream)
        return;
    struct pv_loop_source *timer = NULL;
    if (s->result.end == CLI_SESSION_DETACHED && wire_stream_is_full(s->stream))
        timer = pv_loop_add_timer(s->loop, on_finish_timer, s);
    if (!timer) {
        wire_stream_free(pv_take_ptr(s->stream));
        return;
    }
    wire_stream_finish(pv_take_ptr(s->stream), SECOND_NS);
    pv_loop_arm(timer, SECOND_NS);
    pv_loop_run(s->loop);
    pv_loop_remove(timer);
}

int cli_session_run(const struct cli_session_config *config, struct cli_session_result *ret_result,
                    struct pv_error *err)
{
    struct session s = {.config = config};
    int rc = begin(&s, config->fd, err);
    if (rc == 0)
        rc = pv_loop_run(s.loop);
    cli_terminal_leave();
    finish_stream(&s);
    cli_input_free(s.input);
    cli_output_free(s.out);
    cli_output_free(s.error);
    pv_loop_free(s.loop);
    if (rc == 0)
        *ret_result = s.result;
    return rc;
}
