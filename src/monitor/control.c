/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c: control.sock: requests, and clients that are attached to the main process.
 *
 * Clients are the instance's owner, so they are trusted with the machine, but not with the
 * monitor: what they send is checked like everything else.
 */
#include "monitor/internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "wire/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* How long a client may take to read its last frames. */
#define LAST_WORDS_NS (2ull * 1000000000)

struct monitor_client {
    struct monitor *m;
    struct wire_stream *stream;
    bool attached, primary, has_stdin, waiting;
};

static bool any_client(const struct monitor *m)
{
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        if (m->clients[i])
            return true;
    return false;
}

static void free_client(struct monitor_client *client)
{
    struct monitor *m = client->m;
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        if (m->clients[i] == client)
            m->clients[i] = NULL;
    monitor_stats_forget(m, client);
    monitor_update_forget(m, client);
    wire_stream_free(client->stream);
    free(client);
}

static int reply_ok(struct monitor_client *client)
{
    return wire_stream_send(client->stream, WIRE_CONTROL_OK, "{}", 2);
}

static int reply_error(struct monitor_client *client, int code, const char *text)
{
    uint8_t payload[4 + PV_ERROR_TEXT_MAX];
    size_t len = PV_MIN(strlen(text), sizeof(payload) - 4);
    wire_put_u32(payload, (uint32_t)code);
    memcpy(payload + 4, text, len);
    return wire_stream_send(client->stream, WIRE_CONTROL_ERROR, payload, 4 + len);
}

void monitor_control_reply_error(struct monitor_client *client, int code, const char *text)
{
    reply_error(client, code, text);
}

void monitor_control_reply_json(struct monitor_client *client, const struct pv_json *json)
{
    pv_auto_free char *text = json ? pv_json_print(json, false) : NULL;
    if (text)
        wire_stream_send(client->stream, WIRE_CONTROL_OK, text, strlen(text));
    else
        reply_error(client, ENOMEM, "out of memory");
}

static int on_status(struct monitor_client *client)
{
    pv_auto(pv_json) struct pv_json *json = monitor_state_json(client->m);
    monitor_control_reply_json(client, json);
    return 0;
}

static int on_attach(struct monitor_client *client, const struct wire_frame *frame)
{
    struct monitor *m = client->m;
    struct pv_error err = PV_ERROR_INIT;
    struct pv_json *json = NULL;
    bool want_stdin = false, primary = false;

    int rc = pv_json_parse((const char *)frame->payload, frame->len, &json, &err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "stdin", &want_stdin, &err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "primary", &primary, &err);
    pv_json_free(json);
    if (rc < 0)
        return reply_error(client, -rc, err.text);
    if (primary && m->primary_attached)
        return reply_error(client, EBUSY, "attach: the machine has its primary client already");
    if (want_stdin && !m->spec.stdin_open)
        return reply_error(client, EINVAL, "attach: the main process has no stdin: run it with -i");
    if (want_stdin && m->stdin_taken)
        return reply_error(client, EBUSY, "attach: another client has the stdin");

    client->attached = true;
    client->primary = primary;
    client->has_stdin = want_stdin;
    m->stdin_taken |= want_stdin;
    if (m->started)
        wire_stream_send(client->stream, WIRE_SESSION_STARTED, (uint8_t[4]){0}, 4);
    if (primary) {
        m->primary_attached = true;
        monitor_starter_forget(m);
        if (m->phase == MONITOR_READY)
            monitor_workload_start(m);
    }
    return 0;
}

static int on_number(struct monitor_client *client, const struct wire_frame *frame)
{
    uint32_t value;
    struct monitor *m = client->m;
    if (wire_get_u32(frame->payload, frame->len, &value) < 0)
        return reply_error(client, EINVAL, "the request lacks its number");

    if (frame->type == WIRE_CONTROL_SIGNAL) {
        if (value < 1 || value > 64)
            return reply_error(client, EINVAL, "no such signal");
        monitor_workload_signal(m, (int)value);
    } else {
        monitor_life_stop(m, SIGTERM, PV_MIN(value, 3600u * 24 * 365 / 1000) * 1000);
    }
    return reply_ok(client);
}

static int on_wait(struct monitor_client *client)
{
    client->waiting = true; /* monitor_control_ended answers */
    return 0;
}

static int on_attached_frame(struct monitor_client *client, const struct wire_frame *frame)
{
    struct monitor *m = client->m;
    uint32_t signo;
    switch (frame->type) {
    case WIRE_SESSION_STDIN:
        return client->has_stdin ? monitor_workload_stdin(m, frame->payload, frame->len) : -EPROTO;
    case WIRE_SESSION_STDIN_EOF:
        if (client->has_stdin)
            monitor_workload_stdin_eof(m);
        return 0;
    case WIRE_SESSION_RESIZE:
        monitor_workload_resize(m, frame->payload, frame->len);
        return 0;
    case WIRE_SESSION_SIGNAL:
        if (wire_get_u32(frame->payload, frame->len, &signo) < 0 || signo < 1 || signo > 64)
            return -EPROTO;
        monitor_workload_signal(m, (int)signo);
        return 0;
    case WIRE_CONTROL_DETACH:
        client->primary = false;
        return 0;
    default:
        return -EPROTO;
    }
}

static int on_frame(void *data, const struct wire_frame *frame)
{
    struct monitor_client *client = data;
    if (client->attached)
        return on_attached_frame(client, frame);
    switch (frame->type) {
    case WIRE_CONTROL_STATUS:
        return on_status(client);
    case WIRE_CONTROL_STATS:
        monitor_stats_request(client->m, client);
        return 0;
    case WIRE_CONTROL_ATTACH:
        return on_attach(client, frame);
    case WIRE_CONTROL_SIGNAL:
    case WIRE_CONTROL_STOP:
        return on_number(client, frame);
    case WIRE_CONTROL_KILL:
        monitor_life_kill(client->m);
        return reply_ok(client);
    case WIRE_CONTROL_UPDATE:
        monitor_update_request(client->m, client, frame->payload, frame->len);
        return 0;
    case WIRE_CONTROL_WAIT:
        return on_wait(client);
    default:
        return -EPROTO;
    }
}

static void on_drain(void *data)
{
    struct monitor_client *client = data;
    monitor_workload_resume(client->m);
}

static void on_end(void *data, int error)
{
    struct monitor_client *client = data;
    struct monitor *m = client->m;
    bool primary_lost = client->primary && m->phase < MONITOR_STOPPING;
    if (client->has_stdin)
        m->stdin_taken = false;
    free_client(client);
    monitor_workload_resume(m);
    /* A terminal that hangs up ends what was started from it; DETACH says otherwise. */
    if (primary_lost)
        monitor_life_stop(m, SIGHUP, 1000);
    if (m->phase == MONITOR_ENDED && !any_client(m))
        pv_loop_stop(m->loop, 0);
}

static void on_accept(void *data, int fd, uint32_t events)
{
    static const struct wire_stream_events stream_events = {
        .on_frame = on_frame, .on_drain = on_drain, .on_end = on_end};
    struct monitor *m = data;
    pv_auto_fd int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (conn < 0)
        return;

    size_t slot = 0;
    while (slot < MONITOR_CLIENTS_MAX && m->clients[slot])
        slot++;
    struct monitor_client *client = slot < MONITOR_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
    if (!client)
        return; /* closing tells the client */
    client->m = m;
    client->stream = wire_stream_new(m->loop, pv_take_fd(&conn), &stream_events, client);
    if (!client->stream) {
        free(client);
        return;
    }
    m->clients[slot] = client;
}

int monitor_control_listen(struct monitor *m, struct pv_error *err)
{
    m->control_source = pv_loop_add_fd(m->loop, m->control_fd, EPOLLIN, on_accept, m);
    return m->control_source ? 0 : pv_error_set(err, errno, "control.sock: %s", strerror(errno));
}

bool monitor_control_broadcast(struct monitor *m, uint16_t type, const void *payload, size_t len)
{
    bool full = false;
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++) {
        struct monitor_client *client = m->clients[i];
        if (!client || !client->attached)
            continue;
        /* A client that cannot be written to ends through on_end. */
        wire_stream_send(client->stream, type, payload, len);
        full |= wire_stream_is_full(client->stream);
    }
    return full;
}

void monitor_control_credit(struct monitor *m, uint32_t bytes)
{
    uint8_t payload[4];
    wire_put_u32(payload, bytes);
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        if (m->clients[i] && m->clients[i]->has_stdin)
            wire_stream_send(m->clients[i]->stream, WIRE_SESSION_STDIN_CREDIT, payload, 4);
}

bool monitor_control_any_full(const struct monitor *m)
{
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        if (m->clients[i] && m->clients[i]->attached && wire_stream_is_full(m->clients[i]->stream))
            return true;
    return false;
}

/* The last frame of an attached client: how the main process ended, or why it did not run. */
static void tell_attached(struct monitor_client *client)
{
    struct monitor *m = client->m;
    const char *why = m->failure[0] ? m->failure : m->start_failure;
    uint8_t payload[4 + sizeof(m->failure)];
    wire_put_u32(payload, (uint32_t)m->exit_code);
    memcpy(payload + 4, why, strlen(why));
    wire_stream_send(client->stream, why[0] ? WIRE_SESSION_FAILED : WIRE_SESSION_EXITED, payload,
                     4 + strlen(why));
}

static void tell_waiting(struct monitor_client *client)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "{\"exit_code\":%d}", client->m->exit_code);
    wire_stream_send(client->stream, WIRE_CONTROL_OK, text, (size_t)len);
}

static void on_last_words_timer(void *data)
{
    struct monitor *m = data;
    pv_loop_stop(m->loop, 0);
}

void monitor_control_ended(struct monitor *m)
{
    pv_loop_remove(pv_take_ptr(m->control_source));
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++) {
        struct monitor_client *client = m->clients[i];
        if (!client)
            continue;
        if (client->attached)
            tell_attached(client);
        else if (client->waiting)
            tell_waiting(client);
        else
            free_client(client);
    }
    /* A client closes when it has read its last frame (on_end); who does not is not waited for. */
    m->last_words_timer = pv_loop_add_timer(m->loop, on_last_words_timer, m);
    if (any_client(m) && m->last_words_timer)
        pv_loop_arm(m->last_words_timer, LAST_WORDS_NS);
    else
        pv_loop_stop(m->loop, 0);
}

void monitor_control_close(struct monitor *m)
{
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        if (m->clients[i])
            free_client(m->clients[i]);
}
