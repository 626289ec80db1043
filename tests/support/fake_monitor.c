/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_monitor.c: a paravane-monitor without a machine: commands run on the host as our children.
 *
 * It keeps the real one's side of every contract (description on 3, ready line on 4, life lock on
 * 5, state.json, log.jsonl, control.sock, vsock.sock, session frames), so the command line, the
 * instances' life and the clean-up are tested in milliseconds, without a guest kernel. FAKE_MONITOR
 * in the environment makes it misbehave:
 *   refuse     answers "error" on the ready pipe        die     ends without a word
 *   mute       never says that it is ready              noboot  fails when a client has attached
 *   vanish     is killed while the command runs (at its first output)
 */
#include "support/fake_monitor.h"

#include "base/clock.h"
#include "base/fd.h"
#include "wire/control.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define CLIENTS_MAX 16
#define SECOND_NS 1000000000ull
#define LOG_BYTES_MAX 65536u

struct client {
    struct wire_stream *stream;
    struct fake_task *task; /* an exec's own; NULL for the control socket */
    bool attached, primary, has_stdin, waiting;
};

static struct {
    struct pv_loop *loop;
    struct wire_machine machine;
    const char *mode;
    int state_dirfd, control_fd, vsock_fd, log_fd;
    struct client *clients[CLIENTS_MAX];
    struct fake_task *main_task;
    struct pv_loop_source *stop_timer;
    bool ended, started, stdin_taken;
    int exit_code;
    size_t logged;
    char started_at[PV_TIME_TEXT_MAX];
} fake;

static uint64_t own_start_time(void)
{
    pv_auto_free char *text = NULL;
    unsigned long long ticks = 0;
    if (pv_fd_read_file(AT_FDCWD, "/proc/self/stat", 4096, &text, NULL, NULL) < 0)
        return 0;
    const char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p && sscanf(p, " %llu", &ticks) == 1 ? ticks : 0;
}

static void write_state(const char *status, const char *error)
{
    char now[PV_TIME_TEXT_MAX];
    pv_auto_free char *text = pv_strf(
        "{\"status\":\"%s\",\"exit_code\":%d,%s%s%s\"oom_killed\":false,"
        "\"monitor\":{\"pid\":%d,\"start_time\":%llu},\"started_at\":\"%s\"%s%s%s,"
        "\"walls\":{\"guest\":[],\"monitor\":[],\"limits\":[]},\"cgroups\":[]}",
        status, fake.ended ? fake.exit_code : 0, error ? "\"error\":\"" : "", error ? error : "",
        error ? "\"," : "", (int)getpid(), (unsigned long long)own_start_time(), fake.started_at,
        fake.ended ? ",\"finished_at\":\"" : "",
        fake.ended ? pv_time_text(pv_time_realtime_ns(), now) : "", fake.ended ? "\"" : "");
    pv_fd_replace_file(fake.state_dirfd, "state.json", text, strlen(text), 0600, NULL);
}

/* An entry for each line, and for what stands behind the last one of a piece of output, and no more
 * than the first 64 KiB: enough for a test, not for a log. */
static void write_log(const char *stream, const uint8_t *bytes, size_t len)
{
    while (len > 0 && fake.logged < LOG_BYTES_MAX) {
        char now[PV_TIME_TEXT_MAX];
        const uint8_t *end = memchr(bytes, '\n', len);
        size_t piece = end ? (size_t)(end - bytes) + 1 : len;
        pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
        pv_json_add_string_len(o, "log", (const char *)bytes, piece);
        pv_json_add_string(o, "stream", stream);
        pv_json_add_string(o, "time", pv_time_text(pv_time_realtime_ns(), now));
        pv_auto_free char *text = pv_json_print(o, false);
        dprintf(fake.log_fd, "%s\n", text);
        fake.logged += piece;
        bytes += piece;
        len -= piece;
    }
}

static void stop_when_alone(void)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (fake.clients[i])
            return;
    if (fake.ended)
        pv_loop_stop(fake.loop, 0);
}

static void free_client(struct client *client)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (fake.clients[i] == client)
            fake.clients[i] = NULL;
    if (client->has_stdin)
        fake.stdin_taken = false;
    wire_stream_free(client->stream);
    fake_task_free(client->task);
    free(client);
    stop_when_alone();
}

static void send_number(struct client *client, uint16_t type, uint32_t number, const char *text)
{
    uint8_t payload[1024];
    size_t len = text ? strlen(text) : 0;
    wire_put_u32(payload, number);
    memcpy(payload + 4, text ? text : "", len);
    wire_stream_send(client->stream, type, payload, 4 + len);
}

static void send_exit_code(struct client *client)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "{\"exit_code\":%d}", fake.exit_code);
    wire_stream_send(client->stream, WIRE_CONTROL_OK, text, (size_t)len);
}

/* The machine is over: everybody learns it. failure: why it did not work; NULL: it did. */
static void end_machine(int exit_code, const char *failure)
{
    if (fake.ended)
        return;
    fake.ended = true;
    fake.exit_code = exit_code;
    write_state(failure && exit_code == 125 ? "failed" : "exited", failure);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = fake.clients[i];
        if (client && client->attached)
            send_number(client, failure ? WIRE_SESSION_FAILED : WIRE_SESSION_EXITED,
                        (uint32_t)exit_code, failure);
        else if (client && client->waiting)
            send_exit_code(client);
        else if (client)
            free_client(client);
    }
    stop_when_alone();
}

/* --- the main process ------------------------------------------------------------------------ */

static void on_main_output(void *data, bool is_stderr, const uint8_t *bytes, size_t len)
{
    bool full = false;
    write_log(is_stderr ? "stderr" : "stdout", bytes, len);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = fake.clients[i];
        if (!client || !client->attached)
            continue;
        wire_stream_send(client->stream, is_stderr ? WIRE_SESSION_STDERR : WIRE_SESSION_STDOUT,
                         bytes, len);
        full |= wire_stream_is_full(client->stream);
    }
    fake_task_pause(fake.main_task, full);
    if (strcmp(fake.mode, "vanish") == 0)
        raise(SIGKILL);
}

static void on_main_credit(void *data, uint32_t bytes)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (fake.clients[i] && fake.clients[i]->has_stdin)
            send_number(fake.clients[i], WIRE_SESSION_STDIN_CREDIT, bytes, NULL);
}

static void on_main_exit(void *data, int code, const char *failure)
{
    end_machine(code, failure);
}

static const struct fake_task_events main_events = {
    .on_output = on_main_output, .on_credit = on_main_credit, .on_exit = on_main_exit};

static void start_main(void)
{
    if (fake.started)
        return;
    fake.started = true;
    if (strcmp(fake.mode, "noboot") == 0) {
        dprintf(openat(fake.state_dirfd, "console.log", O_CREAT | O_WRONLY | O_CLOEXEC, 0600),
                "Linux version fake\nKernel panic - not syncing: no root\n");
        end_machine(125, "the guest kernel did not boot");
        return;
    }
    pv_time_text(pv_time_realtime_ns(), fake.started_at);
    write_state("running", NULL);
    fake.main_task = fake_task_new(fake.loop, &fake.machine.process, !fake.machine.stdin_open,
                                   &main_events, NULL);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (fake.clients[i] && fake.clients[i]->attached)
            send_number(fake.clients[i], WIRE_SESSION_STARTED, 1, NULL);
}

static void kill_main(int signo)
{
    if (fake.main_task)
        fake_task_signal(fake.main_task, signo);
    else if (!fake.ended)
        end_machine(128 + signo, NULL);
}

/* --- clients --------------------------------------------------------------------------------- */

static int on_attach(struct client *client, const struct wire_frame *frame)
{
    struct pv_json *json = NULL;
    bool with_stdin = false;
    if (pv_json_parse((const char *)frame->payload, frame->len, &json, NULL) < 0)
        return -EPROTO;
    pv_json_get_bool(json, "stdin", &with_stdin, NULL);
    pv_json_get_bool(json, "primary", &client->primary, NULL);
    pv_json_free(json);
    if (with_stdin && fake.stdin_taken) {
        send_number(client, WIRE_CONTROL_ERROR, EBUSY, "attach: another client has the stdin");
        return 0;
    }
    client->attached = true;
    client->has_stdin = with_stdin;
    fake.stdin_taken |= with_stdin;
    if (fake.started)
        send_number(client, WIRE_SESSION_STARTED, 1, NULL);
    if (client->primary || !fake.machine.wait_attach)
        start_main();
    return 0;
}

static void on_stop_timer(void *data)
{
    kill_main(SIGKILL);
}

static int on_request(struct client *client, const struct wire_frame *frame)
{
    static const char stats[] = "{\"memory_bytes\":536870912,\"memory_used_bytes\":12345678,"
                                "\"cpu_ns\":5000000,\"guest\":{\"processes\":[{\"pid\":1}]}}";
    uint32_t number = 0;
    wire_get_u32(frame->payload, frame->len, &number);
    switch (frame->type) {
    case WIRE_CONTROL_ATTACH:
        return on_attach(client, frame);
    case WIRE_CONTROL_UPDATE: /* it can do everything */
        return wire_stream_send(client->stream, WIRE_CONTROL_OK, frame->payload, frame->len);
    case WIRE_CONTROL_STATS:
        return wire_stream_send(client->stream, WIRE_CONTROL_OK, stats, strlen(stats));
    case WIRE_CONTROL_SIGNAL:
        kill_main((int)number);
        break;
    case WIRE_CONTROL_STOP:
        kill_main(SIGTERM);
        pv_loop_arm(fake.stop_timer, number * SECOND_NS + 1);
        break;
    case WIRE_CONTROL_WAIT:
        client->waiting = true;
        return 0;
    case WIRE_CONTROL_KILL:
        wire_stream_send(client->stream, WIRE_CONTROL_OK, "{}", 2);
        kill_main(SIGKILL);
        return 0;
    default:
        return -EPROTO;
    }
    return wire_stream_send(client->stream, WIRE_CONTROL_OK, "{}", 2);
}

static int on_session(struct client *client, const struct wire_frame *frame)
{
    struct fake_task *task = client->task ? client->task : fake.main_task;
    uint32_t number = 0;
    switch (frame->type) {
    case WIRE_SESSION_STDIN:
        return task ? fake_task_write(task, frame->payload, frame->len) : 0;
    case WIRE_SESSION_STDIN_EOF:
        if (task)
            fake_task_write_end(task);
        return 0;
    case WIRE_SESSION_RESIZE:
        if (task && frame->len == 4)
            fake_task_resize(task, frame->payload);
        return 0;
    case WIRE_SESSION_SIGNAL:
        wire_get_u32(frame->payload, frame->len, &number);
        if (task)
            fake_task_signal(task, (int)number);
        return 0;
    case WIRE_CONTROL_DETACH:
        client->primary = false;
        return 0;
    default:
        return -EPROTO;
    }
}

static int on_control_frame(void *data, const struct wire_frame *frame)
{
    struct client *client = data;
    return client->attached ? on_session(client, frame) : on_request(client, frame);
}

static void on_drain(void *data)
{
    struct client *client = data;
    if (client->task || fake.main_task)
        fake_task_pause(client->task ? client->task : fake.main_task, false);
}

static void on_client_end(void *data, int error)
{
    struct client *client = data;
    bool lost = client->primary && !fake.ended;
    if (client->task)
        fake_task_signal(client->task, SIGHUP);
    free_client(client);
    if (lost)
        kill_main(SIGHUP);
}

static struct client *add_client(int listen_fd, const struct wire_stream_events *events)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (size_t i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
        if (fake.clients[i])
            continue;
        if (events == NULL) {
            /* vsock.sock: "CONNECT port\n" first; the client waits for the answer. */
            char line[64];
            pv_fd_set_nonblocking(fd, false);
            ssize_t n = read(fd, line, sizeof(line));
            pv_fd_set_nonblocking(fd, true);
            if (n < 8 || strncmp(line, "CONNECT ", 8) != 0)
                break;
            dprintf(fd, "OK 4711\n");
        }
        struct client *client = calloc(1, sizeof(*client));
        fake.clients[i] = client;
        client->stream =
            wire_stream_new(fake.loop, fd, events ? events : fake_exec_events(), client);
        return client;
    }
    pv_cleanup_fd(&fd);
    return NULL;
}

static void on_control(void *data, int fd, uint32_t events)
{
    static const struct wire_stream_events stream_events = {
        .on_frame = on_control_frame, .on_drain = on_drain, .on_end = on_client_end};
    add_client(fd, &stream_events);
}

/* --- exec ------------------------------------------------------------------------------------ */

static void on_exec_output(void *data, bool is_stderr, const uint8_t *bytes, size_t len)
{
    struct client *client = data;
    wire_stream_send(client->stream, is_stderr ? WIRE_SESSION_STDERR : WIRE_SESSION_STDOUT, bytes,
                     len);
    fake_task_pause(client->task, wire_stream_is_full(client->stream));
}

static void on_exec_credit(void *data, uint32_t bytes)
{
    send_number(data, WIRE_SESSION_STDIN_CREDIT, bytes, NULL);
}

static void on_exec_exit(void *data, int code, const char *failure)
{
    send_number(data, failure ? WIRE_SESSION_FAILED : WIRE_SESSION_EXITED, (uint32_t)code, failure);
}

static int on_exec_frame(void *data, const struct wire_frame *frame)
{
    static const struct fake_task_events task_events = {
        .on_output = on_exec_output, .on_credit = on_exec_credit, .on_exit = on_exec_exit};
    struct client *client = data;
    struct wire_process process = {0};
    struct pv_json *json = NULL;
    if (client->task)
        return on_session(client, frame);
    int rc = frame->type == WIRE_SESSION_START
                 ? pv_json_parse((const char *)frame->payload, frame->len, &json, NULL)
                 : -EPROTO;
    if (rc == 0)
        rc = wire_process_read(json, &process, NULL);
    pv_json_free(json);
    if (rc < 0)
        return rc;
    send_number(client, WIRE_SESSION_STARTED, 2, NULL);
    client->task = fake_task_new(fake.loop, &process, false, &task_events, client);
    wire_process_done(&process);
    return 0;
}

const struct wire_stream_events *fake_exec_events(void)
{
    static const struct wire_stream_events events = {
        .on_frame = on_exec_frame, .on_drain = on_drain, .on_end = on_client_end};
    return &events;
}

static void on_vsock(void *data, int fd, uint32_t events)
{
    add_client(fd, NULL);
}

/* --- begin and end --------------------------------------------------------------------------- */

static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", name); /* in the run folder */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
        return -errno;
    return fd;
}

static int read_machine(void)
{
    pv_auto_free char *text = NULL;
    pv_auto(pv_json) struct pv_json *json = NULL;
    struct pv_error err = PV_ERROR_INIT;
    size_t len;
    int rc = pv_fd_read_file(AT_FDCWD, "/proc/self/fd/3", 1 << 20, &text, &len, &err);
    if (rc == 0)
        rc = pv_json_parse(text, len, &json, &err);
    if (rc == 0)
        rc = wire_machine_read(json, &fake.machine, &err);
    if (rc < 0)
        dprintf(4, "error %d %s\n", -rc, err.text);
    return rc;
}

static int open_folders(void)
{
    fake.state_dirfd = open(fake.machine.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fake.log_fd =
        openat(fake.state_dirfd, "log.jsonl", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (chdir(fake.machine.run_dir) < 0)
        return -errno;
    fake.control_fd = listen_at("control.sock");
    fake.vsock_fd = listen_at("vsock.sock");
    fake.loop = pv_loop_new();
    fake.stop_timer = pv_loop_add_timer(fake.loop, on_stop_timer, NULL);
    pv_loop_add_fd(fake.loop, fake.control_fd, EPOLLIN, on_control, NULL);
    pv_loop_add_fd(fake.loop, fake.vsock_fd, EPOLLIN, on_vsock, NULL);
    return fake.state_dirfd < 0 || fake.control_fd < 0 ? -EIO : 0;
}

int main(void)
{
    fake.mode = getenv("FAKE_MONITOR") ? getenv("FAKE_MONITOR") : "";
    for (int fd = 3; fd <= 5; fd++)
        pv_fd_set_cloexec(fd, true);
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(fake.mode, "die") == 0)
        return 125;
    if (strcmp(fake.mode, "refuse") == 0)
        dprintf(4, "error %d disk '/no/disk': it is on fire\n", EIO);
    if (strcmp(fake.mode, "refuse") == 0 || read_machine() < 0 || open_folders() < 0)
        return 125;
    write_state("starting", NULL);
    if (strcmp(fake.mode, "mute") != 0) {
        dprintf(4, "ok\n");
        close(4);
    }
    if (!fake.machine.wait_attach)
        start_main();
    pv_loop_run(fake.loop);
    fake_task_free(fake.main_task);
    unlink("control.sock");
    unlink("vsock.sock");
    pv_loop_free(fake.loop);
    wire_machine_done(&fake.machine);
    return 0;
}
