/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "support/unit.h"
#include "wire/stream.h"

#include <errno.h>
#include <sys/socket.h>

#define SECOND_NS 1000000000ull

/* Both ends of a connection: a stream, and a plain socket that plays the peer. */
struct pair {
    struct pv_loop *loop;
    struct pv_loop_source *timeout;
    struct wire_stream *stream;
    int peer;
    unsigned frames, drains, ends;
    uint16_t last_type;
    size_t last_len;
    int end_error;
    unsigned stop_after;  /* frames */
    int frame_rc;         /* what on_frame returns */
    bool free_in_frame;   /* on_frame frees the stream */
    bool pause_in_frame;  /* on_frame pauses it */
    bool finish_in_frame; /* on_frame says good-bye */
};

static int on_frame(void *data, const struct wire_frame *frame)
{
    struct pair *p = data;
    p->frames++;
    p->last_type = frame->type;
    p->last_len = frame->len;
    assert_false(frame->more);
    if (p->pause_in_frame)
        wire_stream_pause(p->stream, true);
    if (p->free_in_frame) {
        wire_stream_free(p->stream);
        p->stream = NULL;
    }
    if (p->finish_in_frame) {
        wire_stream_finish(p->stream, SECOND_NS);
        p->stream = NULL;
    }
    if (p->frames == p->stop_after)
        pv_loop_stop(p->loop, 1);
    return p->frame_rc;
}

static void on_drain(void *data)
{
    struct pair *p = data;
    p->drains++;
    pv_loop_stop(p->loop, 2);
}

static void on_end(void *data, int error)
{
    struct pair *p = data;
    p->ends++;
    p->end_error = error;
    pv_loop_stop(p->loop, 3);
}

static void on_timeout(void *data)
{
    struct pair *p = data;
    pv_loop_stop(p->loop, 4);
}

static const struct wire_stream_events events = {on_frame, on_drain, on_end};

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    int fds[2];
    if (!p || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    pv_fd_set_nonblocking(fds[0], true);
    p->loop = pv_loop_new();
    p->timeout = pv_loop_add_timer(p->loop, on_timeout, p);
    p->stream = wire_stream_new(p->loop, fds[0], &events, p);
    p->peer = fds[1];
    *state = p;
    return p->stream ? 0 : -1;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    wire_stream_free(p->stream);
    pv_loop_free(p->loop);
    if (p->peer >= 0)
        close(p->peer);
    free(p);
    return 0;
}

static int run(struct pair *p, uint64_t ms)
{
    pv_loop_arm(p->timeout, ms * 1000000);
    return pv_loop_run(p->loop);
}

static void peer_sends(struct pair *p, uint16_t type, size_t len)
{
    struct pv_bytes b;
    pv_bytes_init(&b, WIRE_STREAM_MAX);
    pv_auto_free uint8_t *zeros = calloc(1, len + 1);
    assert_int_equal(wire_frame_push(&b, type, zeros, len), 0);
    assert_int_equal(pv_fd_write_full(p->peer, pv_bytes_head(&b), b.len), 0);
    pv_bytes_done(&b);
}

static void peer_closes(struct pair *p)
{
    close(p->peer);
    p->peer = -1;
}

static void test_frames_arrive_and_then_the_end(void **state)
{
    struct pair *p = *state;
    peer_sends(p, 5, 10);
    peer_sends(p, 6, 0);
    peer_closes(p);
    assert_int_equal(run(p, 2000), 3);
    assert_int_equal(p->frames, 2);
    assert_int_equal(p->last_type, 6);
    assert_int_equal(p->ends, 1);
    assert_int_equal(p->end_error, 0);
}

static void test_a_cut_frame_is_a_reset(void **state)
{
    struct pair *p = *state;
    assert_int_equal(write(p->peer, "\4\0\0\0\1\0\0\0ab", 10), 10);
    peer_closes(p);
    assert_int_equal(run(p, 2000), 3);
    assert_int_equal(p->frames, 0);
    assert_int_equal(p->end_error, -ECONNRESET);
}

static void test_a_cut_message_is_a_reset(void **state)
{
    struct pair *p = *state;
    assert_int_equal(write(p->peer, "\1\0\0\0\1\0\1\0a", 9), 9);
    peer_closes(p);
    assert_int_equal(run(p, 2000), 3);
    assert_int_equal(p->end_error, -ECONNRESET);
}

static void test_garbage_ends_the_stream(void **state)
{
    struct pair *p = *state;
    assert_int_equal(write(p->peer, "\1\0\0\1\1\0\0\0", 8), 8);
    assert_int_equal(run(p, 2000), 3);
    assert_int_equal(p->end_error, -EPROTO);
    assert_int_equal(wire_stream_send(p->stream, 1, NULL, 0), -EPIPE);
}

static void test_the_owner_can_refuse_a_frame(void **state)
{
    struct pair *p = *state;
    p->frame_rc = -EPERM;
    peer_sends(p, 1, 1);
    peer_sends(p, 1, 1);
    assert_int_equal(run(p, 2000), 3);
    assert_int_equal(p->frames, 1);
    assert_int_equal(p->end_error, -EPERM);
}

static void test_the_owner_can_free_in_a_callback(void **state)
{
    struct pair *p = *state;
    p->free_in_frame = true;
    p->stop_after = 1;
    peer_sends(p, 1, 100);
    peer_sends(p, 1, 100);
    assert_int_equal(run(p, 2000), 1);
    assert_int_equal(run(p, 20), 4);
    assert_int_equal(p->frames, 1);
    assert_int_equal(p->ends, 0);
}

static void test_a_pause_holds_frames_back(void **state)
{
    struct pair *p = *state;
    p->pause_in_frame = true;
    for (int i = 0; i < 3; i++)
        peer_sends(p, 1, 100);
    assert_int_equal(run(p, 30), 4);
    assert_int_equal(p->frames, 1);

    p->pause_in_frame = false;
    p->stop_after = 3;
    wire_stream_pause(p->stream, false);
    assert_int_equal(run(p, 2000), 1);
    assert_int_equal(p->frames, 3);
}

static void test_full_and_drain(void **state)
{
    struct pair *p = *state;
    char chunk[32768] = {0};
    size_t sent = 0;
    while (!wire_stream_is_full(p->stream)) {
        assert_int_equal(wire_stream_send(p->stream, 17, chunk, sizeof(chunk)), 0);
        sent += sizeof(chunk);
        assert_true(sent < 64 << 20);
    }
    assert_int_equal(run(p, 20), 4); /* the peer takes nothing */
    assert_int_equal(p->drains, 0);

    int size = 0;
    while (p->drains == 0) {
        char taken[65536];
        ssize_t n = recv(p->peer, taken, sizeof(taken), MSG_DONTWAIT);
        size += n > 0 ? (int)n : 0;
        run(p, 5);
    }
    assert_false(wire_stream_is_full(p->stream));
    assert_int_equal(p->drains, 1);
    assert_true(size > 0);
}

static void test_overflow_ends_later(void **state)
{
    struct pair *p = *state;
    char chunk[65536] = {0};
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < 2 * WIRE_STREAM_MAX / sizeof(chunk); i++)
        rc = wire_stream_send(p->stream, 17, chunk, sizeof(chunk));
    assert_int_equal(rc, -ENOBUFS);
    assert_int_equal(p->ends, 0);
    assert_int_equal(wire_stream_send(p->stream, 17, chunk, 1), -ENOBUFS);
    assert_int_equal(run(p, 2000), 3);
    assert_int_equal(p->end_error, -ENOBUFS);
}

static void test_last_words_are_heard_after_a_failed_send(void **state)
{
    struct pair *p = *state;
    peer_sends(p, 19, 4);
    peer_closes(p);
    assert_true(wire_stream_send(p->stream, 2, "x", 1) < 0);
    assert_int_equal(p->ends, 0);
    assert_int_equal(run(p, 2000), 3);
    assert_int_equal(p->frames, 1);
    assert_int_equal(p->last_type, 19);
    assert_int_equal(p->end_error, -EPIPE);
}

static void test_a_long_message_crosses_whole(void **state)
{
    struct pair *p = *state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    struct wire_stream *from = wire_stream_new(p->loop, fds[0], &events, p);
    struct wire_stream *to = wire_stream_new(p->loop, fds[1], &events, p);
    pv_auto_free uint8_t *data = calloc(1, WIRE_MESSAGE_MAX);
    p->stop_after = 1;
    assert_int_equal(wire_stream_send(from, 80, data, WIRE_MESSAGE_MAX), 0);
    while (p->frames == 0 && run(p, 5000) == 2)
        ;
    assert_int_equal(p->frames, 1);
    assert_int_equal(p->last_type, 80);
    assert_int_equal(p->last_len, WIRE_MESSAGE_MAX);
    wire_stream_free(from);
    wire_stream_free(to);
}

static void test_finish_delivers_what_is_queued(void **state)
{
    struct pair *p = *state;
    char chunk[65536] = {0};
    for (int i = 0; i < 30; i++)
        assert_int_equal(wire_stream_send(p->stream, 17, chunk, sizeof(chunk)), 0);
    peer_sends(p, 1, 10);
    wire_stream_finish(p->stream, 5 * SECOND_NS);
    p->stream = NULL;

    size_t got = 0;
    ssize_t n;
    do {
        char taken[65536];
        run(p, 1);
        n = recv(p->peer, taken, sizeof(taken), MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EAGAIN));
    assert_int_equal(n, 0);
    assert_int_equal(got, 30 * (sizeof(chunk) + WIRE_FRAME_HEADER));
    peer_closes(p);
    assert_int_equal(run(p, 20), 4); /* the stream saw the end and is gone: valgrind, ASan */
    assert_int_equal(p->frames, 0);
    assert_int_equal(p->ends, 0);
}

static void test_finish_gives_up_in_time(void **state)
{
    struct pair *p = *state;
    char chunk[65536] = {0};
    for (int i = 0; i < 30; i++)
        assert_int_equal(wire_stream_send(p->stream, 17, chunk, sizeof(chunk)), 0);
    wire_stream_finish(p->stream, 10000000);
    p->stream = NULL;
    assert_int_equal(run(p, 60), 4);
    char taken[65536];
    ssize_t n;
    while ((n = recv(p->peer, taken, sizeof(taken), 0)) > 0)
        ;
    assert_true(n == 0 || errno == ECONNRESET); /* closed, so nothing blocks here */
}

static void test_finish_inside_a_frame(void **state)
{
    struct pair *p = *state;
    p->finish_in_frame = true;
    p->stop_after = 1;
    peer_sends(p, 1, 10);
    peer_sends(p, 1, 10);
    assert_int_equal(run(p, 2000), 1);
    peer_closes(p);
    assert_int_equal(run(p, 20), 4);
    assert_int_equal(p->frames, 1);
    assert_int_equal(p->ends, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_frames_arrive_and_then_the_end),
        TEST(test_a_cut_frame_is_a_reset),
        TEST(test_a_cut_message_is_a_reset),
        TEST(test_garbage_ends_the_stream),
        TEST(test_the_owner_can_refuse_a_frame),
        TEST(test_the_owner_can_free_in_a_callback),
        TEST(test_a_pause_holds_frames_back),
        TEST(test_full_and_drain),
        TEST(test_overflow_ends_later),
        TEST(test_last_words_are_heard_after_a_failed_send),
        TEST(test_a_long_message_crosses_whole),
        TEST(test_finish_delivers_what_is_queued),
        TEST(test_finish_gives_up_in_time),
        TEST(test_finish_inside_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
