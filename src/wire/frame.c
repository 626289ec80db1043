/* SPDX-License-Identifier: Apache-2.0
 *
 * frame.c: headers and payloads in byte queues; cutting and joining of long messages.
 * Trust:   what peek and join read comes from the peer; every length is checked before its use.
 */
#include "wire/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

struct header {
    uint32_t len;
    uint16_t type;
    uint16_t flags;
};

_Static_assert(sizeof(struct header) == WIRE_FRAME_HEADER, "the header has no padding");

static int push_one(struct pv_bytes *out, uint16_t type, uint16_t flags, const uint8_t *payload,
                    size_t len)
{
    struct header h = {
        .len = htole32((uint32_t)len), .type = htole16(type), .flags = htole16(flags)};
    int rc = pv_bytes_push(out, &h, sizeof(h));
    return rc < 0 ? rc : pv_bytes_push(out, payload, len);
}

int wire_frame_push(struct pv_bytes *out, uint16_t type, const void *payload, size_t len)
{
    if (len > WIRE_MESSAGE_MAX)
        return -EMSGSIZE;
    size_t frames = len ? (len + WIRE_FRAME_MAX - 1) / WIRE_FRAME_MAX : 1;
    if (pv_bytes_room(out) < len + frames * WIRE_FRAME_HEADER)
        return -ENOBUFS;

    size_t before = out->len;
    const uint8_t *at = payload;
    for (size_t left = len;;) {
        size_t part = PV_MIN(left, (size_t)WIRE_FRAME_MAX);
        int rc = push_one(out, type, left > part ? WIRE_FRAME_MORE : 0, at, part);
        if (rc < 0) {
            out->len = before; /* half a message would garble the stream */
            return rc;
        }
        left -= part;
        if (!left)
            return 0;
        at += part;
    }
}

int wire_frame_peek(const struct pv_bytes *in, struct wire_frame *ret_frame)
{
    if (in->len < WIRE_FRAME_HEADER)
        return 0;
    struct header h;
    memcpy(&h, pv_bytes_head(in), sizeof(h));
    uint32_t len = le32toh(h.len);
    uint16_t flags = le16toh(h.flags);

    /* Checked before the payload arrives: a dead stream need not be waited for. */
    if (len > WIRE_FRAME_MAX || (flags & ~WIRE_FRAME_MORE))
        return -EPROTO;
    if (in->len - WIRE_FRAME_HEADER < len)
        return 0;
    *ret_frame = (struct wire_frame){.type = le16toh(h.type),
                                     .more = flags & WIRE_FRAME_MORE,
                                     .len = len,
                                     .payload = pv_bytes_head(in) + WIRE_FRAME_HEADER};
    return 1;
}

void wire_frame_drop(struct pv_bytes *in, const struct wire_frame *frame)
{
    pv_bytes_drop(in, WIRE_FRAME_HEADER + (size_t)frame->len);
}

int wire_frame_join(struct wire_frame_joiner *j, const struct wire_frame *frame,
                    struct wire_frame *ret_message)
{
    if (!j->under_way) {
        wire_frame_joiner_done(j); /* the message before, which the caller has used by now */
        if (!frame->more) {
            *ret_message = *frame;
            return 1;
        }
        pv_bytes_init(&j->parts, WIRE_MESSAGE_MAX);
        j->type = frame->type;
        j->under_way = true;
    }

    /* Empty parts are refused, since they could follow each other for ever. */
    if (frame->type != j->type || (frame->more && !frame->len))
        return -EPROTO;
    int rc = pv_bytes_push(&j->parts, frame->payload, frame->len);
    if (rc < 0)
        return rc == -ENOBUFS ? -EPROTO : rc;
    if (frame->more)
        return 0;

    j->under_way = false;
    *ret_message = (struct wire_frame){
        .type = j->type, .len = (uint32_t)j->parts.len, .payload = pv_bytes_head(&j->parts)};
    return 1;
}

void wire_frame_joiner_done(struct wire_frame_joiner *j)
{
    pv_bytes_done(&j->parts);
    j->under_way = false;
}
