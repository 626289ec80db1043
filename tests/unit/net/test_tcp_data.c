/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tcp_data.c: what goes through a guest's TCP connections: windows both ways, slow readers,
 * what gets lost, and that every byte arrives once.
 */
#include "tcp_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SYN NET_TCP_SYN
#define ACK NET_TCP_ACK
#define FIN NET_TCP_FIN
#define RST NET_TCP_RST
#define MSS 65460u
#define MOST (1u << 20) /* what may wait for the host */

static uint8_t content_at(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
}

static uint8_t *make_content(size_t len)
{
    uint8_t *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = content_at(i);
    return bytes;
}

static void assert_content(const uint8_t *bytes, size_t at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != content_at(at + i))
            fail_msg("byte %zu is wrong", at + i);
}

static uint32_t window_told(struct fixture *f)
{
    return (uint32_t)tcp_fixture_last(f)->p.tcp_window << 7;
}

/* Small buffers of the host's sockets, so that they are full soon. */
static void narrow(struct fixture *f)
{
    int bytes = 4096;
    setsockopt(f->listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

/* -- from the guest -- */

static void test_one_acknowledgement_for_a_turn(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[30];
    tcp_fixture_open(f);
    for (unsigned i = 0; i < 3; i++)
        tcp_fixture_say(f, ACK, "0123456789", 10);
    assert_int_equal(f->num_told, 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 1);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, f->seq);
    assert_int_equal(window_told(f), MOST);
    tcp_fixture_peer_reads(f, buf, sizeof(buf));
}

static void test_holes_and_repetitions(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[10];
    tcp_fixture_open(f);
    uint32_t first = f->seq;
    /* A hole: nothing is taken, and told at once. */
    tcp_fixture_say_raw(f, ACK, first + 5, f->ack, 100, NULL, 0, "56789", 5);
    assert_int_equal(f->num_told, 1);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, first);
    tcp_fixture_say_raw(f, ACK, first, f->ack, 100, NULL, 0, "012345", 6);
    /* What is there already, alone; then with something new behind it. */
    tcp_fixture_say_raw(f, ACK, first, f->ack, 100, NULL, 0, "XXXX", 4);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, first + 6);
    tcp_fixture_say_raw(f, ACK, first + 3, f->ack, 100, NULL, 0, "XXX6789", 7);
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, first + 10);
    tcp_fixture_peer_reads(f, buf, sizeof(buf));
    assert_memory_equal(buf, "0123456789", 10);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_DROPPED), 2);
}

static void test_questions_are_answered(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_open(f);
    tcp_fixture_say_raw(f, ACK, f->seq - 1, f->ack, 100, NULL, 0, NULL, 0); /* still there? */
    assert_int_equal(f->num_told, 1);
    tcp_fixture_say_raw(f, ACK, f->seq - 1, f->ack, 100, NULL, 0, "x", 1);
    assert_int_equal(f->num_told, 2);
    tcp_fixture_say_raw(f, ACK, f->seq, f->ack + 1, 100, NULL, 0, "x", 1); /* of the future */
    assert_int_equal(f->num_told, 3);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, f->seq);
    tcp_fixture_say_raw(f, ACK, f->seq, f->ack, 100, NULL, 0, NULL, 0); /* nothing to say to that */
    tcp_fixture_say_raw(f, 0, f->seq, f->ack, 100, NULL, 0, "x", 1);    /* no acknowledgement */
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 3);
}

static void test_urgent_data_are_data(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4];
    tcp_fixture_open(f);
    tcp_fixture_say(f, ACK | 0x20, "!now", 4);
    tcp_fixture_peer_reads(f, buf, 4);
    assert_memory_equal(buf, "!now", 4);
    assert_int_equal(send(f->peer, "?", 1, MSG_OOB), 1);
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_take(f, buf, 4), 1);
}

/* Sends until the window is closed: how much that was. */
static size_t fill_window(struct fixture *f, const uint8_t *content, size_t most)
{
    size_t sent = 0;
    for (;;) {
        uint32_t edge = f->num_told ? tcp_fixture_last(f)->p.tcp_ack + window_told(f) : f->seq;
        size_t room = f->num_told ? edge - f->seq : 30000;
        if (f->num_told && !room)
            return sent;
        size_t n = PV_MIN(room, (size_t)30000);
        assert_true(sent + n <= most);
        tcp_fixture_say(f, ACK, content + sent, n);
        sent += n;
        tcp_fixture_turn(f);
    }
}

static void test_a_slow_host_closes_the_window(void **state)
{
    struct fixture *f = *state;
    const size_t most = 32u << 20;
    pv_auto_free uint8_t *content = make_content(most), *buf = malloc(most);
    narrow(f);
    tcp_fixture_open(f);
    size_t sent = fill_window(f, content, most);
    assert_true(sent > MOST / 2);
    /* Beyond the window next to nothing is taken (it is told in units of 128), but answered. */
    tcp_fixture_forget(f);
    tcp_fixture_say_raw(f, ACK, f->seq, f->ack, 100, NULL, 0, content + sent, 1000);
    tcp_fixture_turn(f);
    uint32_t taken = tcp_fixture_last(f)->p.tcp_ack - f->seq;
    assert_true(taken < 128);
    f->seq += taken;
    sent += taken;
    assert_int_equal(window_told(f), 0);
    tcp_fixture_say(f, FIN | ACK, NULL, 0); /* it has ended before all is there */
    tcp_fixture_forget(f);
    tcp_fixture_peer_reads(f, buf, sent);
    assert_content(buf, 0, sent);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, f->seq);
    tcp_fixture_turn(f);
    assert_int_equal(recv(f->peer, buf, 1, MSG_DONTWAIT), 0);
}

static void test_a_window_opens_again(void **state)
{
    struct fixture *f = *state;
    const size_t most = 32u << 20;
    pv_auto_free uint8_t *content = make_content(most), *buf = malloc(most);
    narrow(f);
    tcp_fixture_open(f);
    size_t sent = fill_window(f, content, most);
    tcp_fixture_forget(f);
    tcp_fixture_peer_reads(f, buf, sent);
    tcp_fixture_turn(f);
    assert_true(f->num_told > 0 && f->num_told < 20); /* not for every byte */
    assert_int_equal(window_told(f), MOST);
}

/* -- to the guest -- */

static void peer_sends(struct fixture *f, const uint8_t *bytes, size_t len)
{
    assert_int_equal(send(f->peer, bytes, len, MSG_DONTWAIT), len);
    tcp_fixture_turn(f);
}

static void test_a_closed_window_of_the_guest(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[16];
    tcp_fixture_open(f);
    f->window = 0;
    tcp_fixture_say(f, ACK, NULL, 0);
    peer_sends(f, (const uint8_t *)"hello", 5);
    assert_int_equal(f->num_told, 0);
    for (unsigned i = 0; i < 40; i++) { /* asked for ever, as long as it answers */
        tcp_fixture_pass(f, 60000);
        assert_int_equal(f->num_told, 1);
        assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, f->ack - 1);
        assert_int_equal(tcp_fixture_last(f)->len, 0);
        tcp_fixture_forget(f);
        tcp_fixture_say(f, ACK, NULL, 0);
    }
    f->window = 1;
    tcp_fixture_say(f, ACK, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_take(f, buf, sizeof(buf)), 5);
}

static void test_a_small_window_is_used_in_whole_parts(void **state)
{
    struct fixture *f = *state;
    pv_auto_free uint8_t *content = make_content(200000), *buf = malloc(200000);
    tcp_fixture_open(f);
    f->window = 700; /* 89,600 bytes: one segment and a part */
    tcp_fixture_say(f, ACK, NULL, 0);
    peer_sends(f, content, 200000);
    assert_int_equal(f->num_told, 1);
    size_t at = 0;
    while (at < 200000) {
        at += tcp_fixture_take(f, buf + at, 200000 - at);
        tcp_fixture_turn(f);
    }
    assert_content(buf, 0, at);
}

static void test_what_finds_no_room_waits(void **state)
{
    struct fixture *f = *state;
    pv_auto_free uint8_t *content = make_content(300000), *buf = malloc(300000);
    tcp_fixture_open(f);
    f->full = true;
    tcp_fixture_say(f, ACK, "x", 1);
    peer_sends(f, content, 300000);
    tcp_fixture_pass(f, 1000);
    assert_int_equal(f->num_told, 0);
    assert_int_equal(f->refused, 1); /* once refused, it waits to be told */
    f->full = false;
    net_tcp_resume(f->tcp);
    size_t at = 0;
    while (at < 300000) {
        tcp_fixture_turn(f);
        at += tcp_fixture_take(f, buf + at, 300000 - at);
    }
    assert_content(buf, 0, at);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_RETRANSMITTED), 0);
}

static void test_three_times_the_same_means_lost(void **state)
{
    struct fixture *f = *state;
    pv_auto_free uint8_t *content = make_content(6 * MSS), *buf = malloc(6 * MSS);
    tcp_fixture_open(f);
    f->window = 65535; /* times 128 */
    tcp_fixture_say(f, ACK, NULL, 0);
    peer_sends(f, content, 6 * MSS);
    while (f->num_told < 6) /* the ring grows on the way */
        tcp_fixture_turn(f);
    tcp_fixture_forget(f); /* all of them got lost */
    for (unsigned i = 0; i < 2; i++)
        tcp_fixture_say(f, ACK, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 0);
    tcp_fixture_say(f, ACK, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 1);
    size_t at = 0;
    for (unsigned i = 0; i < 10 && at < 6 * MSS; i++) { /* each answer brings the next */
        at += tcp_fixture_take(f, buf + at, 6 * MSS - at);
        tcp_fixture_turn(f);
    }
    assert_int_equal(at, 6 * MSS);
    assert_content(buf, 0, at);
}

static void test_silence_means_lost(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[16];
    tcp_fixture_open(f);
    peer_sends(f, (const uint8_t *)"hello", 5);
    tcp_fixture_forget(f);
    uint64_t waits[] = {350, 650, 1250, 2450}; /* twice as long each time */
    for (unsigned i = 0; i < PV_ARRAY_SIZE(waits); i++) {
        tcp_fixture_pass(f, waits[i] / 2);
        assert_int_equal(f->num_told, 0);
        tcp_fixture_pass(f, waits[i] / 2);
        assert_int_equal(f->num_told, 1);
        if (i + 1 < PV_ARRAY_SIZE(waits))
            tcp_fixture_forget(f);
    }
    assert_int_equal(tcp_fixture_take(f, buf, sizeof(buf)), 5);
    tcp_fixture_pass(f, 100000);
    assert_int_equal(f->num_told, 0);
}

/* -- both ways, with losses -- */

#define STREAM (8u << 20)
static unsigned loss_seed, lost;

static bool is_lost(void)
{
    loss_seed = loss_seed * 1103515245u + 12345u;
    bool yes = (loss_seed >> 16) % 16 == 0;
    lost += yes;
    return yes;
}

static bool lose_some(struct fixture *f, const struct net_packet *p, size_t len)
{
    return is_lost();
}

/* A guest that repeats all that is not acknowledged whenever nothing moves. */
struct guest {
    uint32_t begin, una; /* of the stream that it sends */
    size_t got;
    bool done;
};

static void guest_hears(struct fixture *f, struct guest *g, const uint8_t *content)
{
    for (unsigned i = 0; i < f->num_told; i++) {
        const struct told *t = &f->told[i];
        assert_false(t->p.tcp_flags & RST);
        if ((int32_t)(t->p.tcp_ack - g->una) > 0)
            g->una = t->p.tcp_ack;
        if (!t->len || t->p.tcp_seq != f->ack)
            continue;
        assert_content(t->data, g->got, t->len);
        g->got += t->len;
        f->ack += (uint32_t)t->len;
    }
    tcp_fixture_forget(f);
}

static void guest_says(struct fixture *f, struct guest *g, const uint8_t *content, bool again)
{
    if (again)
        f->seq = g->una;
    size_t at = f->seq - g->begin;
    for (unsigned i = 0; i < 8 && at < STREAM; i++) {
        size_t n = PV_MIN((size_t)20000 + i * 777, STREAM - at);
        if (is_lost())
            f->seq += (uint32_t)n;
        else
            tcp_fixture_say(f, ACK, content + at, n);
        at = f->seq - g->begin;
    }
    if (!is_lost())
        tcp_fixture_say_raw(f, ACK, f->seq, f->ack, f->window, NULL, 0, NULL, 0);
}

static void exchange(struct fixture *f)
{
    pv_auto_free uint8_t *content = make_content(STREAM), *buf = malloc(STREAM);
    struct guest g = {.begin = f->seq, .una = f->seq};
    size_t out = 0, in = 0; /* of the host's end */
    for (unsigned round = 0; out < STREAM || g.got < STREAM; round++) {
        assert_true(round < 100000);
        ssize_t n = out < STREAM ? send(f->peer, content + out,
                                        PV_MIN(STREAM - out, (size_t)100000), MSG_DONTWAIT)
                                 : 0;
        out += n > 0 ? (size_t)n : 0;
        size_t before = g.got, una = g.una;
        guest_says(f, &g, content, round % 8 == 7);
        n = recv(f->peer, buf + in, STREAM - in, MSG_DONTWAIT);
        in += n > 0 ? (size_t)n : 0;
        net_tcp_resume(f->tcp); /* a turn, without the time it takes */
        guest_hears(f, &g, content);
        if (before == g.got && una == g.una) {
            tcp_fixture_turn(f);
            tcp_fixture_now += 100000000;
            net_tcp_expire(f->tcp);
        }
    }
    for (unsigned round = 0; in < STREAM; round++) {
        assert_true(round < 10000);
        guest_says(f, &g, content, true);
        tcp_fixture_turn(f);
        guest_hears(f, &g, content);
        ssize_t n = recv(f->peer, buf + in, STREAM - in, MSG_DONTWAIT);
        in += n > 0 ? (size_t)n : 0;
    }
    assert_content(buf, 0, STREAM);
}

static void test_nothing_is_lost_when_frames_are(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_open(f);
    for (loss_seed = 1, lost = 0; lost == 0;)
        is_lost();
    f->lose = lose_some;
    exchange(f);
    assert_true(lost > 20);
    assert_true(tcp_fixture_counter(f, NET_TCP_RETRANSMITTED) > 0);
    assert_true(tcp_fixture_counter(f, NET_TCP_DROPPED) > 0);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_IN_BYTES), STREAM);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_OUT_BYTES), STREAM);
}

/* The numbers of both directions go through zero on their way. */
static void test_numbers_that_wrap(void **state)
{
    struct fixture *f = *state;
    f->seq = UINT32_MAX - (1u << 20);
    tcp_fixture_open(f);
    exchange(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tcp_fixture_set_up, tcp_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_acknowledgement_for_a_turn),
        TEST(test_holes_and_repetitions),
        TEST(test_questions_are_answered),
        TEST(test_urgent_data_are_data),
        TEST(test_a_slow_host_closes_the_window),
        TEST(test_a_window_opens_again),
        TEST(test_a_closed_window_of_the_guest),
        TEST(test_a_small_window_is_used_in_whole_parts),
        TEST(test_what_finds_no_room_waits),
        TEST(test_three_times_the_same_means_lost),
        TEST(test_silence_means_lost),
        TEST(test_nothing_is_lost_when_frames_are),
        TEST(test_numbers_that_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
