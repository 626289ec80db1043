/* SPDX-License-Identifier: Apache-2.0
 *
 * workload.c: the main process: a session with the agent whose other side is the log and whoever
 * is attached.
 *
 * Back pressure: when an attached client is full, the session is not read until it has drained;
 * the agent's credit then stops the process itself. stdin flows from the one client that has it,
 * which obeys the agent's credit (WIRE_SESSION_STDIN_CREDIT is passed on).
 */
#include "monitor/internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "virtio/device/vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

/* How long the end of the guest may come after the end of the session. */
#define LOST_GRACE_NS (2ull * 1000000000)

static void on_output(struct monitor *m, const struct wire_frame *frame)
{
    monitor_log_add(m->log,
                    frame->type == WIRE_SESSION_STDERR ? MONITOR_LOG_STDERR : MONITOR_LOG_STDOUT,
                    frame->payload, frame->len);
    if (monitor_control_broadcast(m, frame->type, frame->payload, frame->len)) {
        m->session_paused = true;
        wire_stream_pause(m->session, true);
    }
}

static int on_started(struct monitor *m, const struct wire_frame *frame)
{
    if (m->started)
        return -EPROTO;
    m->started = true;
    m->started_ns = pv_time_realtime_ns();
    monitor_state_write(m);
    monitor_control_broadcast(m, frame->type, frame->payload, frame->len);
    if (m->pending_signal)
        monitor_workload_signal(m, m->pending_signal);
    return 0;
}

/* SESSION_EXITED or SESSION_FAILED: the code, and for the latter why. */
static int on_last_frame(struct monitor *m, const struct wire_frame *frame)
{
    uint32_t code;
    if (wire_get_u32(frame->payload, frame->len, &code) < 0 || code > 255)
        return -EPROTO;
    if (frame->type == WIRE_SESSION_FAILED && !m->start_failure[0]) {
        size_t len = PV_MIN((size_t)frame->len - 4, sizeof(m->start_failure) - 1);
        for (size_t i = 0; i < len; i++) {
            uint8_t c = frame->payload[4 + i];
            m->start_failure[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
        }
        m->start_failure[len] = '\0';
    }
    monitor_life_main_ended(m, (int)code);
    return 0;
}

static int on_frame(void *data, const struct wire_frame *frame)
{
    struct monitor *m = data;
    switch (frame->type) {
    case WIRE_SESSION_STARTED:
        return on_started(m, frame);
    case WIRE_SESSION_STDOUT:
    case WIRE_SESSION_STDERR:
        on_output(m, frame);
        return 0;
    case WIRE_SESSION_STDIN_CREDIT: {
        uint32_t more;
        if (wire_get_u32(frame->payload, frame->len, &more) < 0)
            return -EPROTO;
        monitor_control_credit(m, more);
        return 0;
    }
    case WIRE_SESSION_EXITED:
    case WIRE_SESSION_FAILED:
        return on_last_frame(m, frame);
    default:
        return -EPROTO;
    }
}

static void on_lost_timer(void *data)
{
    struct monitor *m = data;
    if (m->phase == MONITOR_RUNNING)
        monitor_life_fail(m, "agent: the main process's session ended without an exit code");
}

static void on_end(void *data, int error)
{
    struct monitor *m = data;
    wire_stream_free(pv_take_ptr(m->session));
    if (m->phase != MONITOR_RUNNING)
        return;
    if (error == -EPROTO)
        monitor_life_fail(m, "agent: the main process's session broke the protocol");
    else /* most likely the guest has ended and its end, about to be seen, tells why */
        pv_loop_arm(m->lost_timer, LOST_GRACE_NS);
}

/* The guest refused the connection, or accepted it (error 0). */
static void on_connected(void *data, int error)
{
    struct monitor *m = data;
    if (error < 0)
        monitor_life_fail(m, "agent: no answer on vsock port %u: %s", WIRE_AGENT_PORT,
                          strerror(-error));
}

static int connect_session(struct monitor *m)
{
    static const struct wire_stream_events events = {.on_frame = on_frame, .on_end = on_end};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pv_auto_fd int far = pair[1];
    m->session = wire_stream_new(m->loop, pair[0], &events, m);
    if (!m->session)
        return -errno;
    return virtio_vsock_connect(m->vsock, WIRE_AGENT_PORT, pv_take_fd(&far), on_connected, m);
}

static int send_start(struct monitor *m)
{
    pv_auto(pv_json) struct pv_json *json = wire_process_write(&m->spec.process);
    pv_auto_free char *text = json ? pv_json_print(json, false) : NULL;
    if (!text)
        return -ENOMEM;
    int rc = wire_stream_send(m->session, WIRE_SESSION_START, text, strlen(text));
    if (rc == 0 && m->has_early_size)
        rc = wire_stream_send(m->session, WIRE_SESSION_RESIZE, m->early_size, 4);
    if (rc == 0 && m->early.len)
        rc = wire_stream_send(m->session, WIRE_SESSION_STDIN, pv_bytes_head(&m->early),
                              m->early.len);
    pv_bytes_done(&m->early);
    if (rc == 0 && (!m->spec.stdin_open || m->early_eof))
        rc = wire_stream_send(m->session, WIRE_SESSION_STDIN_EOF, NULL, 0);
    return rc;
}

int monitor_workload_init(struct monitor *m, struct pv_error *err)
{
    /* A client may send that much before the agent gives it more credit. */
    pv_bytes_init(&m->early, WIRE_SESSION_STDIN_WINDOW);
    m->lost_timer = pv_loop_add_timer(m->loop, on_lost_timer, m);
    return m->lost_timer ? 0 : pv_error_set(err, errno, "timer: %s", strerror(errno));
}

void monitor_workload_start(struct monitor *m)
{
    pv_loop_arm(m->boot_timer, 0);
    m->phase = MONITOR_RUNNING;
    int rc = connect_session(m);
    if (rc == 0)
        rc = send_start(m);
    if (rc < 0)
        monitor_life_fail(m, "start the main process: %s", strerror(-rc));
}

void monitor_workload_signal(struct monitor *m, int signo)
{
    if (!m->session || !m->started) { /* not there yet: deliver it as soon as it is */
        m->pending_signal = signo;
        return;
    }
    m->pending_signal = 0;
    uint8_t payload[4];
    wire_put_u32(payload, (uint32_t)signo);
    wire_stream_send(m->session, WIRE_SESSION_SIGNAL, payload, sizeof(payload));
}

int monitor_workload_stdin(struct monitor *m, const void *bytes, size_t len)
{
    if (m->phase > MONITOR_RUNNING)
        return 0; /* nobody reads any more */
    if (m->phase < MONITOR_RUNNING)
        return pv_bytes_push(&m->early, bytes, len);
    return m->session ? wire_stream_send(m->session, WIRE_SESSION_STDIN, bytes, len) : 0;
}

void monitor_workload_stdin_eof(struct monitor *m)
{
    m->early_eof = true;
    if (m->session)
        wire_stream_send(m->session, WIRE_SESSION_STDIN_EOF, NULL, 0);
}

void monitor_workload_resize(struct monitor *m, const void *payload, size_t len)
{
    if (len != sizeof(m->early_size))
        return;
    memcpy(m->early_size, payload, len);
    m->has_early_size = true;
    if (m->session)
        wire_stream_send(m->session, WIRE_SESSION_RESIZE, payload, len);
}

void monitor_workload_resume(struct monitor *m)
{
    if (!m->session_paused || !m->session || monitor_control_any_full(m))
        return;
    m->session_paused = false;
    wire_stream_pause(m->session, false);
}
