/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_wire_frame.c: a stream of frames that arrives in pieces. The first byte of the input says
 * how large the pieces are. Each message that comes out is sent again and must come back equal.
 */
#include "wire/frame.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct wire_frame *message)
{
    struct pv_bytes b;
    struct wire_frame_joiner j = {0};
    struct wire_frame frame, again;
    int rc;
    pv_bytes_init(&b, 2 * WIRE_MESSAGE_MAX);
    if (wire_frame_push(&b, message->type, message->payload, message->len) < 0)
        abort();
    do {
        if (wire_frame_peek(&b, &frame) != 1)
            abort();
        rc = wire_frame_join(&j, &frame, &again);
        if (rc == 0)
            wire_frame_drop(&b, &frame);
    } while (rc == 0);
    assert(rc == 1 && again.type == message->type && again.len == message->len);
    assert(!again.len || memcmp(again.payload, message->payload, again.len) == 0);
    wire_frame_joiner_done(&j);
    pv_bytes_done(&b);
}

/* Takes all whole frames; < 0 when the stream is dead. */
static int take_frames(struct pv_bytes *in, struct wire_frame_joiner *j)
{
    for (;;) {
        struct wire_frame frame, message;
        int rc = wire_frame_peek(in, &frame);
        if (rc <= 0)
            return rc;
        rc = wire_frame_join(j, &frame, &message);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            assert(message.len <= WIRE_MESSAGE_MAX && !message.more);
            check_round_trip(&message);
        }
        wire_frame_drop(in, &frame);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    size_t piece = data[0] ? data[0] : WIRE_FRAME_MAX;
    struct pv_bytes in;
    struct wire_frame_joiner j = {0};
    pv_bytes_init(&in, 2 * (WIRE_FRAME_HEADER + WIRE_FRAME_MAX));
    for (size_t at = 1; at < size;) {
        size_t len = PV_MIN(piece, size - at);
        if (pv_bytes_push(&in, data + at, len) < 0 || take_frames(&in, &j) < 0)
            break;
        at += len;
    }
    wire_frame_joiner_done(&j);
    pv_bytes_done(&in);
    return 0;
}
