/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include "agent/session.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void on_connection(void *data, int fd, uint32_t events)
{
    int connection = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection >= 0)
        agent_session_accept(data, connection);
}

/* How long the server goes on after SIGTERM, so that it sees the connections that were closed
 * before: a stream that says good-bye lives until its peer has closed, too. */
#define LAST_TURNS_NS (100ull * 1000000)

static void on_last_turn(void *data)
{
    pv_loop_stop(data, 0);
}

static void on_terminate(void *data, const siginfo_t *info)
{
    pv_loop_arm(data, LAST_TURNS_NS);
}

static int serve(int listener)
{
    static const struct agent_world world = {
        .proc_fd = -1, .devpts_fd = -1, .cgroup_fd = -1, .hostname = "box"};
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct pv_loop *loop = pv_loop_new();
    struct agent_reaper *reaper = agent_reap_new(loop);
    struct agent_sessions *all = agent_session_new(loop, reaper, &world);
    struct pv_loop_source *last = pv_loop_add_timer(loop, on_last_turn, loop);
    if (!all || !last || !pv_loop_add_fd(loop, listener, EPOLLIN, on_connection, all) ||
        !pv_loop_add_signal(loop, SIGTERM, on_terminate, last))
        return 1;
    int rc = pv_loop_run(loop);
    agent_session_free(all);
    agent_reap_free(reaper);
    pv_loop_free(loop);
    close(listener);
    return rc < 0;
}

void server_start(struct server *s)
{
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    /* Only the family: the kernel chooses an abstract name. */
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof(any.sun_family)), 0);
    assert_int_equal(listen(listener, 512), 0);
    s->address_len = sizeof(s->address);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&s->address, &s->address_len), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        exit(serve(listener));
    close(listener);
}

void server_stop(struct server *s)
{
    int status;
    kill(s->pid, SIGTERM);
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

void client_connect(struct client *c, const struct server *s)
{
    *c = (struct client){.credit = WIRE_SESSION_STDIN_WINDOW};
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pv_bytes_init(&c->in, 2 * (WIRE_FRAME_HEADER + WIRE_FRAME_MAX));
    assert_int_equal(connect(c->fd, (const struct sockaddr *)&s->address, s->address_len), 0);
}

void client_close(struct client *c)
{
    close(c->fd);
    pv_bytes_done(&c->in);
    wire_frame_joiner_done(&c->joiner);
}

void client_send(struct client *c, uint16_t type, const void *payload, size_t len)
{
    struct pv_bytes out;
    pv_bytes_init(&out, 2 * WIRE_MESSAGE_MAX);
    assert_int_equal(wire_frame_push(&out, type, payload, len), 0);
    pv_fd_write_full(c->fd, pv_bytes_head(&out), out.len);
    pv_bytes_done(&out);
    if (type == WIRE_SESSION_STDIN)
        c->credit -= (uint32_t)PV_MIN(len, (size_t)c->credit);
}

void client_start(struct client *c, const char *json)
{
    client_send(c, WIRE_SESSION_START, json, strlen(json));
}

void client_signal(struct client *c, uint32_t signo)
{
    uint8_t payload[4];
    wire_put_u32(payload, signo);
    client_send(c, WIRE_SESSION_SIGNAL, payload, sizeof(payload));
}

void client_resize(struct client *c, uint16_t rows, uint16_t columns)
{
    uint8_t payload[4] = {(uint8_t)rows, (uint8_t)(rows >> 8), (uint8_t)columns,
                          (uint8_t)(columns >> 8)};
    client_send(c, WIRE_SESSION_RESIZE, payload, sizeof(payload));
}

/* One read, within the limit. false at the end. */
static bool fill(struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, CLIENT_TIMEOUT_MS) != 1)
        fail_msg("the agent says nothing");
    ssize_t n = pv_bytes_read_from(&c->in, c->fd, WIRE_FRAME_MAX);
    assert_true(n >= 0 || n == -ECONNRESET);
    return n > 0;
}

bool client_next(struct client *c, struct wire_frame *ret_frame)
{
    for (;;) {
        if (c->holds)
            wire_frame_drop(&c->in, &c->held);
        c->holds = false;
        int rc;
        while ((rc = wire_frame_peek(&c->in, &c->held)) == 0)
            if (!fill(c))
                return false;
        assert_int_equal(rc, 1);
        c->holds = true;
        rc = wire_frame_join(&c->joiner, &c->held, ret_frame);
        assert_true(rc >= 0);
        if (rc == 0)
            continue;
        if (ret_frame->type != WIRE_SESSION_STDIN_CREDIT)
            return true;
        uint32_t more;
        assert_int_equal(wire_get_u32(ret_frame->payload, ret_frame->len, &more), 0);
        c->credit += more;
        assert_true(c->credit <= WIRE_SESSION_STDIN_WINDOW);
    }
}

static bool take(struct outcome *o, const struct wire_frame *frame)
{
    assert_false(o->exited || o->failed); /* each is the last frame */
    switch (frame->type) {
    case WIRE_SESSION_STARTED:
        assert_false(o->started);
        o->started = true;
        assert_int_equal(wire_get_u32(frame->payload, frame->len, &o->pid), 0);
        return true;
    case WIRE_SESSION_STDOUT:
        pv_str_add_bytes(&o->out, frame->payload, frame->len);
        return true;
    case WIRE_SESSION_STDERR:
        pv_str_add_bytes(&o->err, frame->payload, frame->len);
        return true;
    case WIRE_SESSION_EXITED:
        o->exited = true;
        assert_int_equal(wire_get_u32(frame->payload, frame->len, &o->code), 0);
        return true;
    case WIRE_SESSION_FAILED:
        o->failed = true;
        assert_int_equal(wire_get_u32(frame->payload, frame->len, &o->code), 0);
        o->failure = strndup((const char *)frame->payload + 4, frame->len - 4);
        return true;
    default:
        fail_msg("frame of type %u", frame->type);
        return false;
    }
}

void client_collect(struct client *c, struct outcome *o)
{
    struct wire_frame frame;
    while (client_next(c, &frame))
        take(o, &frame);
}

void client_wait_for(struct client *c, struct outcome *o, const char *text)
{
    struct wire_frame frame;
    while (!o->out.text || !strstr(o->out.text, text)) {
        if (!client_next(c, &frame))
            fail_msg("the session ended without '%s': %s", text, o->out.text ? o->out.text : "");
        take(o, &frame);
    }
}

void client_run(const struct server *s, const char *json, const char *input, struct outcome *o)
{
    struct client c;
    *o = (struct outcome){0};
    client_connect(&c, s);
    client_start(&c, json);
    if (input)
        client_send(&c, WIRE_SESSION_STDIN, input, strlen(input));
    client_send(&c, WIRE_SESSION_STDIN_EOF, NULL, 0);
    client_collect(&c, o);
    client_close(&c);
    pv_str_add(&o->out, "");
    pv_str_add(&o->err, "");
}

void outcome_done(struct outcome *o)
{
    pv_str_done(&o->out);
    pv_str_done(&o->err);
    free(o->failure);
    *o = (struct outcome){0};
}

const char *client_shell(const char *script, const char *more)
{
    static char json[4096];
    snprintf(json, sizeof(json), "{\"args\": [\"sh\", \"-c\", \"%s\"]%s}", script, more);
    return json;
}
