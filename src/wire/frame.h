/* SPDX-License-Identifier: Apache-2.0
 *
 * frame.h: frames over a byte stream, the unit of every protocol of the house.
 *
 * A frame is an 8-byte little-endian header (u32 payload length, u16 type, u16 flags) and the
 * payload, of at most WIRE_FRAME_MAX bytes. A longer length or an unknown flag is a protocol error
 * (-EPROTO) and the stream is dead. Both ends may be hostile.
 *
 * A message is what the protocols speak of. Most fit into one frame. A longer one (the environment
 * of a process may pass 64 KiB) is cut into frames of one type that follow each other directly,
 * all but the last with WIRE_FRAME_MORE and none of these empty; it holds at most
 * WIRE_MESSAGE_MAX bytes. wire/stream.h cuts and joins, so its users see whole messages only.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include "base/bytes.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define WIRE_FRAME_HEADER 8
#define WIRE_FRAME_MAX (64u * 1024)
#define WIRE_FRAME_MORE 1u /* flag: the message goes on in the next frame */
#define WIRE_MESSAGE_MAX (2u * 1024 * 1024)

struct wire_frame {
    uint16_t type;
    bool more;    /* the message goes on in the next frame; never set in wire_stream's on_frame */
    uint32_t len; /* up to WIRE_FRAME_MAX; of a joined message up to WIRE_MESSAGE_MAX */
    const uint8_t *payload; /* borrowed from the reader's buffer until the next call */
};

/* Appends a message to out, as one frame or several: 0, or nothing is appended and -ENOBUFS,
 * -ENOMEM, or -EMSGSIZE when len > WIRE_MESSAGE_MAX. */
int wire_frame_push(struct pv_bytes *out, uint16_t type, const void *payload, size_t len);

/* Takes the first whole frame of in: 1 and *ret_frame (its payload stays valid until the next
 * call that changes `in`; drop it with wire_frame_drop), 0 when more bytes are needed, -EPROTO. */
int wire_frame_peek(const struct pv_bytes *in, struct wire_frame *ret_frame);
void wire_frame_drop(struct pv_bytes *in, const struct wire_frame *frame);

/* Joins the frames of messages. Zero is a valid start. */
struct wire_frame_joiner {
    struct pv_bytes parts; /* of the message under way */
    uint16_t type;
    bool under_way;
};

/* Adds a frame: 1 and *ret_message when it completes a message (which is the frame itself when it
 * is a whole one; borrowed until the next call), 0 when the message goes on, or -EPROTO (another
 * type within a message, an empty part, too long a message), -ENOMEM. */
int wire_frame_join(struct wire_frame_joiner *j, const struct wire_frame *frame,
                    struct wire_frame *ret_message);
void wire_frame_joiner_done(struct wire_frame_joiner *j);

#endif
