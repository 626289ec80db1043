/* SPDX-License-Identifier: Apache-2.0
 *
 * frame.h: frames over a byte stream, the unit of every protocol of the house.
 *
 * A frame is an 8-byte little-endian header (u32 payload length, u16 type, u16 zero) and the
 * payload, of at most WIRE_FRAME_MAX bytes. A longer length, or a header whose last field is not
 * zero, is a protocol error (-EPROTO) and the stream is dead. Both ends may be hostile.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include "base/bytes.h"
#include "base/error.h"

#include <stdint.h>

#define WIRE_FRAME_HEADER 8
#define WIRE_FRAME_MAX (64u * 1024)

struct wire_frame {
    uint16_t type;
    uint32_t len;
    const uint8_t *payload; /* borrowed from the reader's buffer until the next call */
};

/* Appends a frame to out. 0, -ENOBUFS, -ENOMEM, or -EMSGSIZE when len > WIRE_FRAME_MAX. */
int wire_frame_push(struct pv_bytes *out, uint16_t type, const void *payload, size_t len);

/* Takes the first whole frame of in: 1 and *ret_frame (its payload stays valid until the next
 * call that changes `in`; drop it with wire_frame_drop), 0 when more bytes are needed, -EPROTO. */
int wire_frame_peek(const struct pv_bytes *in, struct wire_frame *ret_frame);
void wire_frame_drop(struct pv_bytes *in, const struct wire_frame *frame);

#endif
