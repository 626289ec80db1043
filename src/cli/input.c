/* SPDX-License-Identifier: Apache-2.0
 *
 * input.c: reads terminals, pipes and sockets when there is something, and files, which epoll(7)
 * refuses, one piece per turn of the loop. The descriptor stays in blocking mode, because it is
 * shared: a read after EPOLLIN does not block.
 */
#include "cli/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PIECE (32u * 1024)
#define NEXT_TURN_NS 1 /* as soon as the others had their turn */
#define CTRL_P 16
#define CTRL_Q 17

struct cli_input {
    struct pv_loop *loop;
    const struct cli_input_events *events;
    void *data;
    struct pv_loop_source *source;          /* NULL: a file, or ended */
    bool is_file, ended, detach_keys, held; /* held: a ctrl-p that may begin the detach keys */
    bool deferred, freed;
    size_t allowed;
};

static void end(struct cli_input *in)
{
    pv_loop_remove(pv_take_ptr(in->source));
    in->events->on_end(in->data);
}

/* Passes bytes on without the detach keys. Returns true when these were complete. */
static bool pass_on(struct cli_input *in, const uint8_t *bytes, size_t len)
{
    uint8_t out[PIECE + 1];
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (in->held && bytes[i] == CTRL_Q)
            return true;
        if (in->held)
            out[n++] = CTRL_P;
        in->held = bytes[i] == CTRL_P;
        if (!in->held)
            out[n++] = bytes[i];
    }
    if (n > 0)
        in->events->on_bytes(in->data, out, n);
    return false;
}

static void read_piece(struct cli_input *in)
{
    uint8_t bytes[PIECE];
    if (in->allowed == 0) {
        cli_input_allow(in, 0);
        return;
    }
    /* One byte less: a ctrl-p that was held back may come with them. */
    size_t len = PV_MIN(in->allowed, (size_t)PIECE);
    if (in->held)
        len = len > 1 ? len - 1 : 1;
    ssize_t n = read(0, bytes, len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        end(in);
        return;
    }
    in->allowed -= PV_MIN(in->allowed, (size_t)n);
    if (!in->detach_keys)
        in->events->on_bytes(in->data, bytes, (size_t)n);
    else if (pass_on(in, bytes, (size_t)n))
        in->events->on_detach(in->data);
}

static void on_readable(void *data, int fd, uint32_t events)
{
    read_piece(data);
}

static void on_turn(void *data)
{
    struct cli_input *in = data;
    read_piece(in);
    if (in->source && in->allowed > 0)
        pv_loop_arm(in->source, NEXT_TURN_NS);
}

struct cli_input *cli_input_new(struct pv_loop *loop, bool detach_keys,
                                const struct cli_input_events *events, void *data)
{
    struct cli_input *in = calloc(1, sizeof(*in));
    if (!in)
        return NULL;
    in->loop = loop;
    in->events = events;
    in->data = data;
    in->detach_keys = detach_keys;
    in->source = pv_loop_add_fd(loop, 0, EPOLLIN, on_readable, in);
    if (in->source) {
        pv_loop_set_events(in->source, 0);
    } else if (errno == EPERM) {
        in->is_file = true;
        in->source = pv_loop_add_timer(loop, on_turn, in);
    }
    if (in->source)
        return in;
    free(in);
    return NULL;
}

void cli_input_free(struct cli_input *in)
{
    if (!in)
        return;
    pv_loop_remove(in->source);
    free(in);
}

void cli_input_allow(struct cli_input *in, size_t bytes)
{
    in->allowed = bytes;
    if (!in->source)
        return;
    if (in->is_file)
        pv_loop_arm(in->source, bytes > 0 ? NEXT_TURN_NS : 0);
    else
        pv_loop_set_events(in->source, bytes > 0 ? EPOLLIN : 0);
}
