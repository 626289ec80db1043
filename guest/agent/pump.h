/* SPDX-License-Identifier: Apache-2.0
 *
 * pump.h: the bytes between a session's stream and its process's pipes or terminal.
 */
#ifndef AGENT_PUMP_H
#define AGENT_PUMP_H

#include "agent/process.h"
#include "base/bytes.h"
#include "base/loop.h"
#include "wire/stream.h"

#include <stdbool.h>

struct agent_output {
    struct agent_pump *io;
    int fd; /* -1: closed */
    struct pv_loop_source *source;
    uint16_t type;     /* of its frames */
    size_t drain_left; /* while draining: bytes that may still be taken */
};

/* Embedded in a session. */
struct agent_pump {
    struct pv_loop *loop;
    struct wire_stream *stream; /* borrowed */
    struct agent_output outputs[2];
    int in_fd; /* -1: closed, input is thrown away */
    struct pv_loop_source *in_source;
    struct pv_bytes in;
    bool in_eof;          /* the client has said so; in_fd closes when `in` is empty */
    bool terminal;        /* the end of input is a character, and in_fd stays */
    bool unfinished_line; /* the last byte written was no newline */
    bool draining;        /* the process is gone: what is there is taken, nothing is waited for */
    uint32_t window;      /* bytes that the client may send */
    uint32_t owed;        /* bytes consumed and not yet granted again */
    void (*on_closed)(void *data);
    void *data;
};

/* on_closed: both outputs are at their end and everything was handed to the stream; called last
 * thing in a callback, so it may free the object. */
void agent_pump_init(struct agent_pump *io, struct pv_loop *loop, struct wire_stream *stream,
                     void (*on_closed)(void *data), void *data);
/* Takes the descriptors of the process (also on failure) and begins. 0 or -errno. */
int agent_pump_attach(struct agent_pump *io, struct agent_process *process, bool terminal);
/* Closes everything; accepts an object that is zero or done. */
void agent_pump_done(struct agent_pump *io);

/* Input from the client. -EPROTO when it sends more than it was granted. */
int agent_pump_push(struct agent_pump *io, const void *bytes, size_t len);
void agent_pump_push_eof(struct agent_pump *io);
int agent_pump_resize(struct agent_pump *io, uint16_t rows, uint16_t columns);

/* The stream takes bytes again. May call on_closed. */
void agent_pump_resume(struct agent_pump *io);
/* The process has ended but descendants may hold its outputs: takes what is in them now, and ends.
 * May call on_closed. */
void agent_pump_drain(struct agent_pump *io);
bool agent_pump_is_closed(const struct agent_pump *io);

#endif
