/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c: the client's side of control.sock and vsock.sock.
 *
 * Socket paths are limited to 107 bytes and folders are not, so a socket is named through a
 * descriptor of its folder: /proc/self/fd/N/control.sock.
 */
#include "instance/control.h"

#include "base/clock.h"
#include "base/fd.h"
#include "wire/control.h"
#include "wire/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONTROL_SOCKET "control.sock"
#define VSOCK_SOCKET "vsock.sock"
#define CONNECT_TIMEOUT_NS (10ull * 1000000000)

static int connect_to(const struct instance *instance, const char *name, struct pv_error *err)
{
    const char *folder = instance->config.machine.run_dir;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int rc = instance_check(instance, err);
    if (rc < 0)
        return rc;
    pv_auto_fd int dirfd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return pv_error_set(err, errno == ENOENT ? ENOENT : errno, "instance %s does not run",
                            instance_name(instance));
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dirfd, name);

    pv_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return pv_error_set(err, errno, "socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return pv_error_set(err, errno, "instance %s does not run (%s: %s)",
                            instance_name(instance), name, strerror(errno));
    return pv_take_fd(&fd);
}

/* Waits for events on fd until the deadline: 0, -ETIMEDOUT, -errno. */
static int wait_for(int fd, short events, uint64_t deadline)
{
    for (;;) {
        uint64_t now = pv_time_monotonic_ns();
        if (now >= deadline)
            return -ETIMEDOUT;
        struct pollfd pfd = {.fd = fd, .events = events};
        int n = poll(&pfd, 1, (int)PV_MIN((deadline - now) / 1000000 + 1, (uint64_t)60000));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int send_message(int fd, uint16_t type, const void *payload, size_t len, uint64_t deadline)
{
    struct pv_bytes out;
    pv_bytes_init(&out, WIRE_MESSAGE_MAX * 2);
    int rc = wire_frame_push(&out, type, payload, len);
    while (rc == 0 && out.len > 0) {
        ssize_t n = send(fd, pv_bytes_head(&out), out.len, MSG_NOSIGNAL);
        if (n > 0)
            pv_bytes_drop(&out, (size_t)n);
        else if (errno == EAGAIN)
            rc = wait_for(fd, POLLOUT, deadline);
        else if (errno != EINTR)
            rc = -errno;
    }
    pv_bytes_done(&out);
    return rc;
}

/* A reply: its JSON (ret_reply may be NULL), or the error that it carries. */
static int judge_reply(const struct wire_frame *message, struct pv_json **ret_reply,
                       struct pv_error *err)
{
    uint32_t code;
    if (message->type == WIRE_CONTROL_OK)
        return ret_reply
                   ? pv_json_parse((const char *)message->payload, message->len, ret_reply, err)
                   : 0;
    if (message->type != WIRE_CONTROL_ERROR ||
        wire_get_u32(message->payload, message->len, &code) < 0 || code == 0 || code > 4095)
        return pv_error_set(err, EPROTO, "the monitor's reply makes no sense");
    return pv_error_set(err, (int)code, "%.*s", (int)PV_MIN(message->len - 4, 512u),
                        (const char *)message->payload + 4);
}

static int read_reply(int fd, uint64_t deadline, struct pv_json **ret_reply, struct pv_error *err)
{
    struct pv_bytes in;
    struct wire_frame_joiner joiner = {0};
    struct wire_frame frame, message;
    int rc = 0;
    pv_bytes_init(&in, 2 * (WIRE_FRAME_HEADER + WIRE_FRAME_MAX));
    while (rc == 0) {
        rc = wire_frame_peek(&in, &frame);
        if (rc == 1) {
            rc = wire_frame_join(&joiner, &frame, &message);
            if (rc == 1) {
                rc = judge_reply(&message, ret_reply, err);
                goto out;
            }
            wire_frame_drop(&in, &frame);
            continue;
        }
        if (rc == 0)
            rc = wait_for(fd, POLLIN, deadline);
        if (rc < 0)
            break;
        ssize_t n = pv_bytes_read_from(&in, fd, WIRE_FRAME_MAX);
        if (n == 0)
            rc = -ECONNRESET;
        else if (n < 0 && n != -EAGAIN && n != -EINTR)
            rc = (int)n;
    }
    if (rc < 0)
        pv_error_set(err, -rc, rc == -ETIMEDOUT ? "the monitor does not answer" : "monitor: %s",
                     strerror(-rc));
out:
    wire_frame_joiner_done(&joiner);
    pv_bytes_done(&in);
    return rc;
}

int instance_control_send(const struct instance *instance, uint16_t type, const void *payload,
                          size_t len, uint64_t timeout_ns, struct pv_json **ret_reply,
                          struct pv_error *err)
{
    uint64_t deadline = pv_time_monotonic_ns() + timeout_ns;
    pv_auto_fd int fd = connect_to(instance, CONTROL_SOCKET, err);
    if (fd < 0)
        return fd;
    int rc = send_message(fd, type, payload, len, deadline);
    if (rc < 0)
        return pv_error_set(err, -rc, "monitor: %s", strerror(-rc));
    return read_reply(fd, deadline, ret_reply, err);
}

int instance_control_request(const struct instance *instance, uint16_t type, const uint32_t *number,
                             uint64_t timeout_ns, struct pv_json **ret_reply, struct pv_error *err)
{
    uint8_t payload[4];
    if (number)
        wire_put_u32(payload, *number);
    int rc = instance_control_send(instance, type, payload, number ? sizeof(payload) : 0,
                                   timeout_ns, ret_reply, err);
    if (rc < 0)
        pv_error_prefix(err, "instance %s", instance_name(instance));
    return rc;
}

int instance_control_attach(const struct instance *instance, bool with_stdin, bool primary,
                            struct pv_error *err)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "{\"stdin\":%s,\"primary\":%s}",
                       with_stdin ? "true" : "false", primary ? "true" : "false");
    pv_auto_fd int fd = connect_to(instance, CONTROL_SOCKET, err);
    if (fd < 0)
        return fd;
    int rc = send_message(fd, WIRE_CONTROL_ATTACH, text, (size_t)len,
                          pv_time_monotonic_ns() + CONNECT_TIMEOUT_NS);
    if (rc < 0)
        return pv_error_set(err, -rc, "attach to instance %s: %s", instance_name(instance),
                            strerror(-rc));
    return pv_take_fd(&fd);
}

/* The line that asks for a port, and its answer "OK <number>", read byte by byte so that nothing
 * that follows is lost. */
static int open_port(int fd, unsigned port, uint64_t deadline)
{
    char line[32];
    int len = snprintf(line, sizeof(line), "CONNECT %u\n", port);
    if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
        return -ECONNRESET;
    for (size_t have = 0; have < sizeof(line) - 1;) {
        ssize_t n = read(fd, line + have, 1);
        if (n == 1 && line[have] == '\n')
            return strncmp(line, "OK ", 3) == 0 ? 0 : -EPROTO;
        if (n == 0)
            return -ECONNREFUSED;
        int rc = n < 0 && errno == EAGAIN ? wait_for(fd, POLLIN, deadline) : 0;
        if (rc < 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return rc < 0 ? rc : -errno;
        have += n == 1;
    }
    return -EPROTO;
}

int instance_control_exec(const struct instance *instance, const struct wire_process *process,
                          struct pv_error *err)
{
    uint64_t deadline = pv_time_monotonic_ns() + CONNECT_TIMEOUT_NS;
    pv_auto_fd int fd = connect_to(instance, VSOCK_SOCKET, err);
    if (fd < 0)
        return fd;
    int rc = open_port(fd, WIRE_AGENT_PORT, deadline);
    if (rc < 0)
        return pv_error_set(err, -rc,
                            "instance %s: its agent does not answer (%s); is it still "
                            "starting?",
                            instance_name(instance), strerror(-rc));
    pv_auto(pv_json) struct pv_json *json = wire_process_write(process);
    pv_auto_free char *text = json ? pv_json_print(json, false) : NULL;
    rc = text ? send_message(fd, WIRE_SESSION_START, text, strlen(text), deadline) : -ENOMEM;
    if (rc < 0)
        return pv_error_set(err, -rc, "instance %s: start a process: %s", instance_name(instance),
                            strerror(-rc));
    return pv_take_fd(&fd);
}
