/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.c: the set-up connection with the agent, PID 1 of the machine.
 *
 * What the agent says is guest input: a frame out of turn ends the connection and the machine.
 */
#include "monitor/internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "virtio/device/vsock.h"

#include <errno.h>
#include <string.h>

/* From the exec of the guest kernel to SETUP_READY. Long: a loaded host must not fail a boot. */
#define BOOT_TIMEOUT_NS (60ull * 1000000000)

static int send_machine(struct monitor *m)
{
    pv_auto(pv_json) struct pv_json *json = wire_setup_write(&m->spec.setup);
    pv_auto_free char *text = json ? pv_json_print(json, false) : NULL;
    if (!text)
        return -ENOMEM;
    return wire_stream_send(m->setup, WIRE_SETUP_MACHINE, text, strlen(text));
}

static int on_hello(struct monitor *m, const struct wire_frame *frame)
{
    uint32_t version = 0;
    if (m->phase != MONITOR_BOOTING || wire_get_u32(frame->payload, frame->len, &version) < 0)
        return -EPROTO;
    if (version != WIRE_VERSION) {
        monitor_life_fail(m,
                          "agent: speaks protocol %u, this monitor speaks %u: use the initramfs "
                          "that belongs to it",
                          version, WIRE_VERSION);
        return 0;
    }
    m->agent_ns = pv_time_monotonic_ns();
    m->phase = MONITOR_SETUP;
    return send_machine(m);
}

/* Text from the guest, made printable. */
static void guest_text(const struct wire_frame *frame, char *buf, size_t size)
{
    size_t len = PV_MIN((size_t)frame->len, size - 1);
    for (size_t i = 0; i < len; i++)
        buf[i] =
            frame->payload[i] >= 0x20 && frame->payload[i] < 0x7f ? (char)frame->payload[i] : '?';
    buf[len] = '\0';
}

static int on_ready(struct monitor *m)
{
    if (m->phase != MONITOR_SETUP)
        return -EPROTO;
    pv_loop_arm(m->boot_timer, 0);
    m->phase = MONITOR_READY;
    if (!m->spec.wait_attach || m->primary_attached)
        monitor_workload_start(m);
    else
        pv_loop_arm(m->boot_timer, BOOT_TIMEOUT_NS);
    return 0;
}

static int on_cpu_set(struct monitor *m, const struct wire_frame *frame)
{
    uint32_t milli, code;
    if (frame->len != 8 || wire_get_u32(frame->payload, 4, &milli) < 0 ||
        wire_get_u32(frame->payload + 4, 4, &code) < 0 || code > INT32_MAX)
        return -EPROTO;
    monitor_cpu_answered(m, milli, -(int)code);
    return 0;
}

static int on_memory(struct monitor *m, const struct wire_frame *frame)
{
    struct wire_setup_memory memory;
    int rc = wire_setup_get_memory(frame->payload, frame->len, &memory);
    if (rc == 0)
        monitor_memory_told(m, &memory);
    return rc;
}

static int on_frame(void *data, const struct wire_frame *frame)
{
    struct monitor *m = data;
    char text[512];

    switch (frame->type) {
    case WIRE_SETUP_HELLO:
        return on_hello(m, frame);
    case WIRE_SETUP_READY:
        return on_ready(m);
    case WIRE_SETUP_FAILED:
        guest_text(frame, text, sizeof(text));
        monitor_life_fail(m, "the machine could not be set up: %s", text);
        return 0;
    case WIRE_SETUP_OOM:
        guest_text(frame, m->oom_text, sizeof(m->oom_text));
        if (!m->oom_killed) {
            m->oom_killed = true;
            monitor_state_write(m); /* once: how often the guest says so is its own choice */
        }
        pv_log(PV_LOG_WARNING, "out of memory in the guest: it killed %s", m->oom_text);
        return 0;
    case WIRE_SETUP_STATS:
        monitor_stats_arrived(m, frame->payload, frame->len);
        return 0;
    case WIRE_SETUP_MEMORY:
        return on_memory(m, frame);
    case WIRE_SETUP_CPU_SET:
        return on_cpu_set(m, frame);
    default:
        return -EPROTO;
    }
}

static void on_end(void *data, int error)
{
    struct monitor *m = data;
    wire_stream_free(pv_take_ptr(m->setup));
    if (m->phase < MONITOR_STOPPING && error == -EPROTO)
        monitor_life_fail(m, "agent: broke the protocol");
    /* Else the machine is going down by itself, and its end tells why. */
}

static void on_connect(void *data, int fd, uint32_t peer_port)
{
    static const struct wire_stream_events events = {.on_frame = on_frame, .on_end = on_end};
    struct monitor *m = data;
    pv_auto_fd int owned = fd;
    if (m->setup || m->phase != MONITOR_BOOTING)
        return; /* there is one agent: a second one is the guest's mistake */
    m->setup = wire_stream_new(m->loop, pv_take_fd(&owned), &events, m);
    if (!m->setup)
        monitor_life_fail(m, "agent: %s", strerror(errno));
}

static void on_boot_timeout(void *data)
{
    struct monitor *m = data;
    char tail[1024];
    if (m->phase == MONITOR_READY) {
        monitor_life_fail(m, "nobody attached to the main process within a minute");
        return;
    }
    size_t len = monitor_console_tail(m->console, 8, tail, sizeof(tail));
    monitor_life_fail(m, "the guest kernel did not boot within a minute%s%s",
                      len ? "; its last console lines:\n" : ", without a word on its console",
                      tail);
}

int monitor_agent_listen(struct monitor *m, struct pv_error *err)
{
    m->boot_timer = pv_loop_add_timer(m->loop, on_boot_timeout, m);
    if (!m->boot_timer)
        return pv_error_set(err, errno, "timer: %s", strerror(errno));
    pv_loop_arm(m->boot_timer, BOOT_TIMEOUT_NS);
    int rc = virtio_vsock_listen(m->vsock, WIRE_SETUP_PORT, on_connect, m);
    return rc < 0 ? pv_error_set(err, -rc, "vsock: %s", strerror(-rc)) : 0;
}

void monitor_agent_shutdown(struct monitor *m, uint32_t grace_ms)
{
    uint8_t payload[4];
    wire_put_u32(payload, grace_ms);
    if (!m->setup || wire_stream_send(m->setup, WIRE_SETUP_SHUTDOWN, payload, sizeof(payload)) < 0)
        monitor_life_kill(m);
}

void monitor_agent_resized(struct monitor *m)
{
    if (m->setup && m->phase >= MONITOR_READY)
        wire_stream_send(m->setup, WIRE_SETUP_RESIZED, NULL, 0);
}

int monitor_agent_limit_cpu(struct monitor *m, uint32_t milli)
{
    uint8_t payload[4];
    wire_put_u32(payload, milli);
    if (!m->setup || m->phase < MONITOR_READY)
        return -ENOTCONN;
    return wire_stream_send(m->setup, WIRE_SETUP_CPU, payload, sizeof(payload));
}

int monitor_agent_ask_stats(struct monitor *m)
{
    if (!m->setup || m->phase < MONITOR_READY)
        return -ENOTCONN;
    return wire_stream_send(m->setup, WIRE_SETUP_GET_STATS, NULL, 0);
}

int monitor_agent_reclaim(struct monitor *m, uint64_t bytes)
{
    uint8_t payload[4];
    wire_put_u32(payload, (uint32_t)(bytes / 1024));
    if (!m->setup || m->phase < MONITOR_READY)
        return -ENOTCONN;
    return wire_stream_send(m->setup, WIRE_SETUP_RECLAIM, payload, sizeof(payload));
}
