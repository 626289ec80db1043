/* SPDX-License-Identifier: Apache-2.0
 *
 * setup.c: the channel to the monitor, agent's side.
 */
#include "agent/setup.h"

#include "wire/session.h"
#include "wire/stream.h"

#include <errno.h>
#include <string.h>

struct agent_setup {
    struct wire_stream *stream;
    const struct agent_setup_events *events;
    void *data;
    bool has_machine;
};

static int on_machine(struct agent_setup *s, const struct wire_frame *frame)
{
    struct wire_setup setup;
    struct pv_error err = PV_ERROR_INIT;
    pv_auto(pv_json) struct pv_json *json = NULL;
    if (s->has_machine)
        return -EPROTO;
    s->has_machine = true;
    int rc = pv_json_parse((const char *)frame->payload, frame->len, &json, &err);
    if (rc == 0)
        rc = wire_setup_read(json, &setup, &err);
    if (rc < 0) {
        s->events->on_refused(s->data, err.text);
        return 0;
    }
    s->events->on_machine(s->data, &setup);
    wire_setup_done(&setup);
    return 0;
}

static int on_frame(void *data, const struct wire_frame *frame)
{
    struct agent_setup *s = data;
    uint32_t grace_ms, milli, kib;

    switch (frame->type) {
    case WIRE_SETUP_MACHINE:
        return on_machine(s, frame);
    case WIRE_SETUP_SHUTDOWN:
        if (wire_get_u32(frame->payload, frame->len, &grace_ms) < 0)
            return -EPROTO;
        s->events->on_shutdown(s->data, grace_ms);
        return 0;
    case WIRE_SETUP_RECLAIM:
        if (wire_get_u32(frame->payload, frame->len, &kib) < 0)
            return -EPROTO;
        s->events->on_reclaim(s->data, kib * 1024ull);
        return 0;
    case WIRE_SETUP_RESIZED:
        s->events->on_resized(s->data);
        return 0;
    case WIRE_SETUP_CPU:
        if (wire_get_u32(frame->payload, frame->len, &milli) < 0)
            return -EPROTO;
        s->events->on_cpu(s->data, milli);
        return 0;
    case WIRE_SETUP_GET_STATS:
        s->events->on_get_stats(s->data);
        return 0;
    default:
        return -EPROTO;
    }
}

static void on_end(void *data, int error)
{
    struct agent_setup *s = data;
    s->events->on_lost(s->data, error);
}

struct agent_setup *agent_setup_new(struct pv_loop *loop, int fd,
                                    const struct agent_setup_events *events, void *data)
{
    static const struct wire_stream_events stream_events = {.on_frame = on_frame, .on_end = on_end};
    uint8_t version[4];
    pv_auto_fd int owned = fd;
    struct agent_setup *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    *s = (struct agent_setup){.events = events, .data = data};
    s->stream = wire_stream_new(loop, pv_take_fd(&owned), &stream_events, s);
    if (!s->stream) {
        free(s);
        return NULL;
    }
    wire_put_u32(version, WIRE_VERSION);
    wire_stream_send(s->stream, WIRE_SETUP_HELLO, version, sizeof(version));
    return s;
}

void agent_setup_free(struct agent_setup *s)
{
    if (!s)
        return;
    wire_stream_free(s->stream);
    free(s);
}

void agent_setup_ready(struct agent_setup *s)
{
    wire_stream_send(s->stream, WIRE_SETUP_READY, NULL, 0);
}

void agent_setup_failed(struct agent_setup *s, const char *text)
{
    wire_stream_send(s->stream, WIRE_SETUP_FAILED, text, strlen(text));
}

void agent_setup_oom(struct agent_setup *s, const char *name)
{
    wire_stream_send(s->stream, WIRE_SETUP_OOM, name, strlen(name));
}

void agent_setup_stats(struct agent_setup *s, const char *json, size_t len)
{
    wire_stream_send(s->stream, WIRE_SETUP_STATS, json, len);
}

void agent_setup_memory(struct agent_setup *s, const struct wire_setup_memory *memory)
{
    uint8_t payload[WIRE_SETUP_MEMORY_BYTES];
    wire_setup_put_memory(payload, memory);
    wire_stream_send(s->stream, WIRE_SETUP_MEMORY, payload, sizeof(payload));
}

void agent_setup_cpu_set(struct agent_setup *s, uint32_t milli, int rc)
{
    uint8_t payload[8];
    wire_put_u32(payload, milli);
    wire_put_u32(payload + 4, (uint32_t)-rc);
    wire_stream_send(s->stream, WIRE_SETUP_CPU_SET, payload, sizeof(payload));
}
