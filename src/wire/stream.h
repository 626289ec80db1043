/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.h: one framed connection on an event loop: buffers, back pressure, end.
 *
 * Reads while the owner takes messages, writes as the peer takes bytes. Bounded: when more than
 * WIRE_STREAM_HIGH bytes wait to be written, wire_stream_is_full() says so and the owner should
 * stop producing (on_drain tells when to go on); a push above WIRE_STREAM_MAX fails.
 *
 * When the peer closed its end, what it had sent before is still delivered: a failed write makes
 * later sends fail, but on_end comes only after the last message.
 */
#ifndef WIRE_STREAM_H
#define WIRE_STREAM_H

#include "base/loop.h"
#include "wire/frame.h"

#include <stdbool.h>

#define WIRE_STREAM_HIGH (256u * 1024)
#define WIRE_STREAM_MAX (4u * 1024 * 1024)

struct wire_stream;

struct wire_stream_events {
    /* A whole message arrived (frame.h). Returning < 0 ends the stream with that error. */
    int (*on_frame)(void *data, const struct wire_frame *frame);
    /* The write queue fell below WIRE_STREAM_HIGH after it was full. May be NULL. */
    void (*on_drain)(void *data);
    /* The peer closed (error 0) or the stream failed (-errno; -ECONNRESET when it closed within a
     * message). The last call; the owner frees. Never called from within wire_stream_send. */
    void (*on_end)(void *data, int error);
};

/* fd: a connected non-blocking stream socket; taken (closed by free), also on failure.
 * Returns NULL with errno set. */
struct wire_stream *wire_stream_new(struct pv_loop *loop, int fd,
                                    const struct wire_stream_events *events, void *data);
void wire_stream_free(struct wire_stream *s); /* accepts NULL; safe inside the callbacks */
/* Queues a message of at most WIRE_MESSAGE_MAX bytes and tries to send at once. 0 or -errno; after
 * an error on_end follows later. */
int wire_stream_send(struct wire_stream *s, uint16_t type, const void *payload, size_t len);
bool wire_stream_is_full(const struct wire_stream *s);
/* Stops or resumes reading, for back pressure towards the peer. The end of the peer is not seen
 * while paused. */
void wire_stream_pause(struct wire_stream *s, bool paused);
/* Says good-bye: takes the stream, makes no more calls, writes what is queued, shows the peer the
 * end of the data, and frees when the peer has closed too or after timeout_ns. */
void wire_stream_finish(struct wire_stream *s, uint64_t timeout_ns);

#endif
