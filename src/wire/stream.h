/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.h: one framed connection on an event loop: buffers, back pressure, end.
 *
 * Reads while the owner takes frames, writes as the peer takes bytes. Bounded: when more than
 * WIRE_STREAM_HIGH bytes wait to be written, wire_stream_is_full() says so and the owner should
 * stop producing (on_drain tells when to go on); a push above WIRE_STREAM_MAX fails.
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
    /* A frame arrived. Returning < 0 ends the stream with that error. */
    int (*on_frame)(void *data, const struct wire_frame *frame);
    /* The write queue fell below WIRE_STREAM_HIGH after it was full. May be NULL. */
    void (*on_drain)(void *data);
    /* The peer closed (error 0) or the stream failed (-errno). The last call; the owner frees. */
    void (*on_end)(void *data, int error);
};

/* fd: a connected non-blocking stream socket; taken (closed by free), also on failure. */
struct wire_stream *wire_stream_new(struct pv_loop *loop, int fd,
                                    const struct wire_stream_events *events, void *data);
void wire_stream_free(struct wire_stream *s); /* accepts NULL; safe inside the callbacks */
/* Queues a frame and tries to send at once. 0 or -errno; after an error on_end follows later. */
int wire_stream_send(struct wire_stream *s, uint16_t type, const void *payload, size_t len);
bool wire_stream_is_full(const struct wire_stream *s);
/* Stops or resumes reading, for back pressure towards the peer. */
void wire_stream_pause(struct wire_stream *s, bool paused);
/* Frees the stream when all queued bytes were written or after timeout_ns. */
void wire_stream_finish(struct wire_stream *s, uint64_t timeout_ns);

#endif
