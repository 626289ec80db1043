/* SPDX-License-Identifier: Apache-2.0
 *
 * pump.c: pumps between a stream and pipes or a terminal.
 *
 * Back pressure: while the stream is full the outputs are not read, so the process blocks on its
 * own pipe. Input is bounded by the window that the client was granted; what the process took is
 * granted again.
 */
#include "agent/pump.h"

#include "agent/terminal.h"

#include <errno.h>
#include <sys/epoll.h>

#define READ_SIZE (32u * 1024)
#define READS_PER_TURN 4 /* then the other sessions have their turn */
/* After the end of the process an output may still hold as much as the largest pipe. */
#define DRAIN_MAX (1024u * 1024)
/* Credit goes out in pieces of this size, or when all input was taken. */
#define CREDIT_SIZE (WIRE_SESSION_STDIN_WINDOW / 4)

void agent_pump_init(struct agent_pump *io, struct pv_loop *loop, struct wire_stream *stream,
                     void (*on_closed)(void *data), void *data)
{
    *io = (struct agent_pump){.loop = loop,
                              .stream = stream,
                              .in_fd = -1,
                              .window = WIRE_SESSION_STDIN_WINDOW,
                              .on_closed = on_closed,
                              .data = data};
    io->outputs[0] = (struct agent_output){.io = io, .fd = -1, .type = WIRE_SESSION_STDOUT};
    io->outputs[1] = (struct agent_output){.io = io, .fd = -1, .type = WIRE_SESSION_STDERR};
    pv_bytes_init(&io->in, WIRE_SESSION_STDIN_WINDOW);
}

static void close_fd(int *fd, struct pv_loop_source **source)
{
    pv_loop_remove(pv_take_ptr(*source));
    pv_cleanup_fd(fd);
    *fd = -1;
}

static void close_input(struct agent_pump *io)
{
    close_fd(&io->in_fd, &io->in_source);
}

static void close_output(struct agent_output *o)
{
    close_fd(&o->fd, &o->source);
}

void agent_pump_done(struct agent_pump *io)
{
    if (!io->loop)
        return;
    close_input(io);
    close_output(&io->outputs[0]);
    close_output(&io->outputs[1]);
    pv_bytes_done(&io->in);
    io->stream = NULL;
}

bool agent_pump_is_closed(const struct agent_pump *io)
{
    return io->outputs[0].fd < 0 && io->outputs[1].fd < 0;
}

static void call_if_closed(struct agent_pump *io)
{
    if (agent_pump_is_closed(io))
        io->on_closed(io->data);
}

/* Moves bytes from one output to the stream; silences the source while the stream is full. */
static void pump_output(struct agent_output *o)
{
    struct agent_pump *io = o->io;
    static uint8_t buf[READ_SIZE];

    for (int i = 0; o->fd >= 0 && io->stream && (io->draining || i < READS_PER_TURN); i++) {
        if (wire_stream_is_full(io->stream)) {
            pv_loop_set_events(o->source, 0);
            return;
        }
        ssize_t n = read(o->fd, buf, sizeof(buf));
        if (n > 0) {
            wire_stream_send(io->stream, o->type, buf, (size_t)n);
            if (!io->draining)
                continue;
            o->drain_left -= PV_MIN((size_t)n, o->drain_left);
            if (!o->drain_left)
                close_output(o);
        } else if (n < 0 && errno == EAGAIN) {
            if (!io->draining)
                break;
            close_output(o);
        } else if (n == 0 || errno != EINTR) {
            close_output(o); /* its end; EIO is how a terminal says it */
        }
    }
    if (o->fd >= 0)
        pv_loop_set_events(o->source, EPOLLIN);
}

static void on_output(void *data, int fd, uint32_t events)
{
    struct agent_output *o = data;
    pump_output(o);
    call_if_closed(o->io);
}

static void pump_outputs(struct agent_pump *io)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(io->outputs); i++)
        if (io->outputs[i].fd >= 0)
            pump_output(&io->outputs[i]);
    call_if_closed(io);
}

static void grant_credit(struct agent_pump *io)
{
    if (!io->stream || !io->owed || wire_stream_is_full(io->stream) ||
        (io->owed < CREDIT_SIZE && io->in.len))
        return;
    uint8_t payload[4];
    wire_put_u32(payload, io->owed);
    io->window += io->owed;
    io->owed = 0;
    wire_stream_send(io->stream, WIRE_SESSION_STDIN_CREDIT, payload, sizeof(payload));
}

/* Counts and drops the first len bytes of the input. */
static void consume(struct agent_pump *io, size_t len)
{
    pv_bytes_drop(&io->in, len);
    io->owed += (uint32_t)len;
}

/* Hands the end of the input on, once all of it was written. */
static void finish_input(struct agent_pump *io)
{
    if (!io->terminal) {
        close_input(io);
        return;
    }
    if (agent_terminal_send_eof(io->in_fd, io->unfinished_line) == 0)
        io->in_eof = false;
}

static void pump_input(struct agent_pump *io)
{
    while (io->in.len && io->in_fd >= 0) {
        ssize_t n = write(io->in_fd, pv_bytes_head(&io->in), io->in.len);
        if (n >= 0) {
            if (n > 0)
                io->unfinished_line = pv_bytes_head(&io->in)[n - 1] != '\n';
            consume(io, (size_t)n);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            close_input(io); /* the process reads no more */
        }
    }
    if (io->in_fd < 0)
        consume(io, io->in.len);
    else if (io->in_eof && !io->in.len)
        finish_input(io);
    if (io->in_fd >= 0)
        pv_loop_set_events(io->in_source, io->in.len || io->in_eof ? EPOLLOUT : 0);
    grant_credit(io);
}

static void on_input(void *data, int fd, uint32_t events)
{
    struct agent_pump *io = data;
    if (events & EPOLLERR && !io->terminal)
        close_input(io); /* nobody reads the pipe any more */
    pump_input(io);
}

int agent_pump_attach(struct agent_pump *io, struct agent_process *process, bool terminal)
{
    io->terminal = terminal;
    io->in_fd = pv_take_fd(&process->in);
    io->outputs[0].fd = pv_take_fd(&process->out);
    io->outputs[1].fd = pv_take_fd(&process->err);

    io->in_source = pv_loop_add_fd(io->loop, io->in_fd, 0, on_input, io);
    if (!io->in_source)
        return -errno;
    for (size_t i = 0; i < PV_ARRAY_SIZE(io->outputs); i++) {
        struct agent_output *o = &io->outputs[i];
        if (o->fd < 0)
            continue;
        o->source = pv_loop_add_fd(io->loop, o->fd, EPOLLIN, on_output, o);
        if (!o->source)
            return -errno;
    }
    return 0;
}

int agent_pump_push(struct agent_pump *io, const void *bytes, size_t len)
{
    if (len > io->window)
        return -EPROTO;
    io->window -= (uint32_t)len;
    if (io->in_eof)
        len = 0; /* after the end: nobody will read it, and no credit is due */
    int rc = pv_bytes_push(&io->in, bytes, len);
    if (rc < 0)
        return rc;
    pump_input(io);
    return 0;
}

void agent_pump_push_eof(struct agent_pump *io)
{
    io->in_eof = true;
    pump_input(io);
}

int agent_pump_resize(struct agent_pump *io, uint16_t rows, uint16_t columns)
{
    if (!io->terminal || io->outputs[0].fd < 0)
        return 0;
    return agent_terminal_resize(io->outputs[0].fd, rows, columns);
}

void agent_pump_resume(struct agent_pump *io)
{
    grant_credit(io);
    pump_outputs(io);
}

void agent_pump_drain(struct agent_pump *io)
{
    io->draining = true;
    io->outputs[0].drain_left = io->outputs[1].drain_left = DRAIN_MAX;
    pump_outputs(io);
}
