/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tcp.c: TCP connections of a guest by their states: how they begin, how they end, and what is
 * said to segments that do not fit. The data are test_tcp_data.c's subject.
 */
#include "tcp_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define SYN NET_TCP_SYN
#define ACK NET_TCP_ACK
#define FIN NET_TCP_FIN
#define RST NET_TCP_RST
#define PSH NET_TCP_PSH

/* What the host's end sees: bytes, 0 for the end, or -errno. */
static ssize_t peer_sees(struct fixture *f, void *buf, size_t len)
{
    struct pollfd p = {.fd = f->peer, .events = POLLIN};
    tcp_fixture_turn(f);
    assert_int_equal(poll(&p, 1, 5000), 1);
    ssize_t n = recv(f->peer, buf, len, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

static void assert_told(struct fixture *f, uint8_t flags)
{
    assert_int_equal(tcp_fixture_last(f)->p.tcp_flags & ~PSH, flags);
}

static void reset_by_host(struct fixture *f)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(f->peer);
    f->peer = -1;
}

/* -- beginnings -- */

static void test_an_answer_has_our_options(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_say(f, SYN, NULL, 0);
    assert_int_equal(f->num_told, 0); /* not before the host's end has answered */
    tcp_fixture_turn(f);
    const struct told *t = tcp_fixture_last(f);
    assert_int_equal(f->num_told, 1);
    assert_told(f, SYN | ACK);
    assert_int_equal(t->mss, NET_MTU_MAX - (f->v6 ? 60 : 40));
    assert_int_equal(t->scale, 7);
    assert_int_equal(t->p.tcp_window, 65535);
    assert_true(workload_address_equal(&t->p.ends.src, &f->ends.dst));
    assert_int_equal(t->p.ends.dst_port, GUEST_PORT);
}

static void test_without_a_scale_there_is_none(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_say_raw(f, SYN, f->seq, 0, 4000, NULL, 0, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_last(f)->scale, -1);
    f->ack = tcp_fixture_last(f)->p.tcp_seq + 1;
    f->seq++;
    tcp_fixture_forget(f);
    tcp_fixture_say_raw(f, ACK, f->seq, f->ack, 4000, NULL, 0, "hello", 5);
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_window, 65535);
    /* Segments have the least that everybody must take, and no more than the window at once. */
    f->peer = accept(f->listener, NULL, NULL);
    static const uint8_t much[10000];
    assert_int_equal(send(f->peer, much, sizeof(much), 0), sizeof(much));
    tcp_fixture_forget(f);
    tcp_fixture_turn(f);
    size_t sum = 0;
    for (unsigned i = 0; i < f->num_told; i++) {
        sum += f->told[i].len;
        assert_true(f->told[i].len <= (f->v6 ? 1220 : 536));
    }
    assert_true(sum > 3000 && sum <= 4000);
}

static void test_odd_options(void **state)
{
    struct fixture *f = *state;
    const uint8_t odd[][8] = {
        {2, 4, 0, 1, 3, 3, 255, 0},             /* the smallest MSS, the largest scale */
        {2, 200, 0, 0, 0, 0, 0, 0},             /* longer than there is room */
        {2, 0, 2, 0, 2, 0, 2, 0},               /* of no length */
        {1, 1, 1, 1, 1, 1, 1, 2},               /* a kind without a length */
        {0, 3, 3, 14, 2, 4, 255, 255},          /* behind the end */
        {2, 3, 9, 3, 2, 7, 1, 1},               /* known kinds of wrong lengths */
        {2, 4, 255, 255, 2, 4, 0, 0},           /* twice */
        {254, 8, 0xf9, 0x89, 'f', 'u', 'z', 0}, /* another's */
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(odd); i++) {
        f->ends.src_port = (uint16_t)(GUEST_PORT + i);
        tcp_fixture_say_raw(f, SYN, 1, 0, 65535, odd[i], 8, NULL, 0);
        tcp_fixture_turn(f);
        assert_told(f, SYN | ACK);
        assert_int_equal(tcp_fixture_last(f)->scale, i == 0 ? 7 : -1);
    }
    assert_int_equal(net_tcp_count(f->tcp), PV_ARRAY_SIZE(odd));
}

static void test_a_refused_port_is_a_reset(void **state)
{
    struct fixture *f = *state;
    close(f->listener);
    f->listener = -1;
    tcp_fixture_say(f, SYN, NULL, 0);
    tcp_fixture_turn(f);
    assert_told(f, RST | ACK);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, f->seq);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_FAILED), 1);
}

static void test_a_closed_loopback_is_unreachable(void **state)
{
    struct fixture *f = *state;
    f->options.host_loopback = false;
    tcp_fixture_restart(f);
    tcp_fixture_say(f, SYN, NULL, 0);
    const struct told *t = tcp_fixture_last(f);
    assert_int_equal(t->p.ends.protocol, IPPROTO_ICMP);
    assert_int_equal(t->p.icmp_type, f->v6 ? 1 : 3);
    assert_int_equal(t->p.icmp_code, 0);
    assert_true(workload_address_equal(&t->p.inner.dst, &f->ends.dst));
    assert_int_equal(t->p.inner.src_port, GUEST_PORT);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_int_equal(accept(f->listener, NULL, NULL), -1);
}

static void test_a_family_that_is_not_there_is_silent(void **state)
{
    struct fixture *f = *state;
    f->options.has4 = f->options.has6 = false;
    tcp_fixture_restart(f);
    tcp_fixture_say(f, SYN, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 0);
}

static void test_strays_are_reset(void **state)
{
    struct fixture *f = *state;
    const uint8_t flags[] = {ACK, FIN, FIN | ACK, SYN | ACK, SYN | FIN, PSH, 0, 0xff & ~RST};
    for (size_t i = 0; i < sizeof(flags); i++) {
        tcp_fixture_forget(f);
        tcp_fixture_say_raw(f, flags[i], 5, 77, 100, NULL, 0, "x", 1);
        assert_true(tcp_fixture_last(f)->p.tcp_flags & RST);
        if (flags[i] & ACK)
            assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, 77);
    }
    tcp_fixture_forget(f);
    tcp_fixture_say_raw(f, RST, 5, 77, 100, NULL, 0, NULL, 0);
    tcp_fixture_say_raw(f, RST | ACK, 5, 77, 100, NULL, 0, NULL, 0);
    assert_int_equal(f->num_told, 0);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

static void test_an_answer_that_got_lost_is_said_again(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_say(f, SYN, NULL, 0);
    tcp_fixture_turn(f);
    f->seq--;
    tcp_fixture_say(f, SYN, NULL, 0); /* the guest asks again */
    assert_int_equal(f->num_told, 2);
    assert_int_equal(f->told[0].p.tcp_seq, f->told[1].p.tcp_seq);
    assert_told(f, SYN | ACK);
    tcp_fixture_pass(f, 350); /* or it does not */
    assert_int_equal(f->num_told, 3);
    assert_told(f, SYN | ACK);
    tcp_fixture_forget(f);
    for (unsigned i = 0; i < 12; i++)
        tcp_fixture_pass(f, 60000);
    assert_told(f, RST | ACK);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

/* Without room the first answer, and the last word, wait like everything else. */
static void test_words_that_find_no_room_wait(void **state)
{
    struct fixture *f = *state;
    f->full = true;
    tcp_fixture_say(f, SYN, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 0);
    f->full = false;
    net_tcp_resume(f->tcp);
    assert_told(f, SYN | ACK);
    assert_int_equal(f->num_told, 1);
    f->ack = tcp_fixture_last(f)->p.tcp_seq + 1;
    tcp_fixture_say(f, ACK, NULL, 0);
    f->peer = accept(f->listener, NULL, NULL);
    f->full = true;
    reset_by_host(f);
    tcp_fixture_turn(f);
    assert_int_equal(net_tcp_count(f->tcp), 1);
    f->full = false;
    net_tcp_resume(f->tcp);
    assert_told(f, RST | ACK);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

static void test_another_syn_is_questioned(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_open(f);
    tcp_fixture_say_raw(f, SYN, 77777, 0, 1000, tcp_fixture_options, 8, NULL, 0);
    assert_told(f, ACK);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, f->seq);
    /* A guest that knows nothing of the connection says so; then it is over. */
    tcp_fixture_say_raw(f, RST, f->seq, 0, 0, NULL, 0, NULL, 0);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

static void test_a_wrong_acknowledgement_opens_nothing(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_say(f, SYN, NULL, 0);
    tcp_fixture_turn(f);
    uint32_t seq = tcp_fixture_last(f)->p.tcp_seq;
    tcp_fixture_say_raw(f, ACK, f->seq, seq + 2, 1000, NULL, 0, "x", 1);
    assert_told(f, RST);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, seq + 2);
    tcp_fixture_say_raw(f, ACK, f->seq, seq + 1, 1000, NULL, 0, NULL, 0);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_OPENED), 1);
}

static void test_a_guest_may_change_its_mind(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_say(f, SYN, NULL, 0);
    tcp_fixture_say_raw(f, RST, f->seq, 0, 0, NULL, 0, NULL, 0); /* before there is an answer */
    assert_int_equal(net_tcp_count(f->tcp), 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 0);
    tcp_fixture_say(f, SYN, NULL, 0);
    tcp_fixture_say_raw(f, SYN, 5555, 0, 1000, tcp_fixture_options, 8, NULL, 0); /* begins anew */
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, 5556);
}

static void test_too_many_are_refused(void **state)
{
    struct fixture *f = *state;
    f->options.max = 2;
    tcp_fixture_restart(f);
    for (unsigned i = 0; i < 3; i++) {
        f->ends.src_port = (uint16_t)(GUEST_PORT + i);
        tcp_fixture_say_raw(f, SYN, 1, 0, 1000, NULL, 0, NULL, 0);
    }
    assert_told(f, RST | ACK);
    assert_int_equal(net_tcp_count(f->tcp), 2);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_EXHAUSTED), 1);
}

/* -- ends -- */

static void test_the_guest_ends_first(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    tcp_fixture_say(f, FIN | ACK, "last", 4);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), 4);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), 0);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, f->seq);
    tcp_fixture_forget(f);
    assert_int_equal(send(f->peer, "answer", 6, 0), 6); /* the other half still goes */
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_take(f, (uint8_t *)buf, sizeof(buf)), 6);
    shutdown(f->peer, SHUT_WR);
    tcp_fixture_turn(f);
    assert_told(f, FIN | ACK);
    assert_int_equal(net_tcp_count(f->tcp), 1);
    tcp_fixture_take(f, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_RESET), 0);
}

static void test_the_host_ends_first(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    assert_int_equal(send(f->peer, "all", 3, 0), 3);
    shutdown(f->peer, SHUT_WR);
    tcp_fixture_turn(f);
    assert_told(f, FIN | ACK);
    assert_int_equal(tcp_fixture_take(f, (uint8_t *)buf, sizeof(buf)), 3);
    tcp_fixture_say(f, ACK, "back", 4);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), 4);
    tcp_fixture_say(f, FIN | ACK, NULL, 0);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), 0);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    tcp_fixture_say_raw(f, FIN | ACK, f->seq - 1, f->ack, 100, NULL, 0, NULL, 0);
    assert_told(f, RST); /* there is nothing any more */
}

static void test_both_end_at_once(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    shutdown(f->peer, SHUT_WR);
    tcp_fixture_turn(f);
    tcp_fixture_forget(f);
    tcp_fixture_say(f, FIN | ACK, NULL, 0); /* without knowing of ours */
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), 0);
    assert_int_equal(net_tcp_count(f->tcp), 1);
    f->ack++;
    tcp_fixture_say(f, ACK, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

static void test_an_end_that_got_lost_is_said_again(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_open(f);
    shutdown(f->peer, SHUT_WR);
    tcp_fixture_turn(f);
    tcp_fixture_forget(f);
    tcp_fixture_pass(f, 350);
    assert_told(f, FIN | ACK);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, f->ack);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_RETRANSMITTED), 1);
}

static void test_nothing_counts_behind_the_end(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    tcp_fixture_say(f, FIN | ACK, NULL, 0);
    tcp_fixture_say(f, ACK, "more", 4);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), 0);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_ack, f->seq - 4);
}

static void test_a_reset_of_the_guest(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    /* Outside of the window: nothing. Inside, but not the next: a question. */
    tcp_fixture_say_raw(f, RST, f->seq - 1, 0, 0, NULL, 0, NULL, 0);
    tcp_fixture_say_raw(f, RST, f->seq + (2u << 20), 0, 0, NULL, 0, NULL, 0);
    assert_int_equal(f->num_told, 0);
    tcp_fixture_say_raw(f, RST, f->seq + 1, 0, 0, NULL, 0, NULL, 0);
    assert_told(f, ACK);
    assert_int_equal(net_tcp_count(f->tcp), 1);
    tcp_fixture_say_raw(f, RST, f->seq, 0, 0, NULL, 0, NULL, 0);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), -ECONNRESET);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_RESET), 1);
}

static void test_a_reset_of_the_host(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_open(f);
    reset_by_host(f);
    tcp_fixture_turn(f);
    assert_told(f, RST | ACK);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, f->ack);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

static void test_a_reset_behind_the_hosts_end(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_open(f);
    shutdown(f->peer, SHUT_WR);
    tcp_fixture_turn(f);
    tcp_fixture_take(f, NULL, 0);
    reset_by_host(f);
    tcp_fixture_turn(f);
    assert_told(f, RST | ACK);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

static void test_a_guest_writes_to_one_that_is_gone(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_open(f);
    close(f->peer);
    f->peer = -1;
    tcp_fixture_turn(f);
    tcp_fixture_take(f, NULL, 0); /* it only seems a half that ended */
    for (unsigned i = 0; i < 3 && net_tcp_count(f->tcp); i++) {
        tcp_fixture_say(f, ACK, "anybody?", 8);
        tcp_fixture_turn(f);
    }
    assert_told(f, RST | ACK);
    assert_int_equal(net_tcp_count(f->tcp), 0);
}

static void test_a_fence_may_cut_inside_of_a_call(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    f->cutting = true;
    assert_int_equal(send(f->peer, "data", 4, 0), 4);
    tcp_fixture_turn(f);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), -ECONNRESET);
}

static void test_a_machine_that_ends_closes_all(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    tcp_fixture_restart(f);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), 0);
}

static void test_a_silent_guest_is_given_up(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    tcp_fixture_open(f);
    for (unsigned i = 0; i < 30; i++)
        tcp_fixture_pass(f, 60000); /* idle connections live for ever */
    assert_int_equal(net_tcp_count(f->tcp), 1);
    assert_int_equal(f->num_told, 0);
    assert_int_equal(send(f->peer, "hello?", 6, 0), 6);
    tcp_fixture_turn(f);
    f->full = true; /* but one that has no room is not silent */
    for (unsigned i = 0; i < 60; i++)
        tcp_fixture_pass(f, 60000);
    assert_int_equal(net_tcp_count(f->tcp), 1);
    f->full = false;
    net_tcp_resume(f->tcp);
    for (unsigned i = 0; i < 60; i++)
        tcp_fixture_pass(f, 60000);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_told(f, RST | ACK);
    assert_int_equal(peer_sees(f, buf, sizeof(buf)), -ECONNRESET);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tcp_fixture_set_up, tcp_fixture_tear_down)
#define TEST6(name)                                                                                \
    {                                                                                              \
#name "_v6", name, tcp_fixture_set_up_v6, tcp_fixture_tear_down, NULL                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_answer_has_our_options),
        TEST6(test_an_answer_has_our_options),
        TEST(test_without_a_scale_there_is_none),
        TEST6(test_without_a_scale_there_is_none),
        TEST(test_odd_options),
        TEST(test_a_refused_port_is_a_reset),
        TEST6(test_a_refused_port_is_a_reset),
        TEST(test_a_closed_loopback_is_unreachable),
        TEST6(test_a_closed_loopback_is_unreachable),
        TEST(test_a_family_that_is_not_there_is_silent),
        TEST(test_strays_are_reset),
        TEST(test_an_answer_that_got_lost_is_said_again),
        TEST(test_words_that_find_no_room_wait),
        TEST(test_another_syn_is_questioned),
        TEST(test_a_wrong_acknowledgement_opens_nothing),
        TEST(test_a_guest_may_change_its_mind),
        TEST(test_too_many_are_refused),
        TEST(test_the_guest_ends_first),
        TEST6(test_the_guest_ends_first),
        TEST(test_the_host_ends_first),
        TEST(test_both_end_at_once),
        TEST(test_an_end_that_got_lost_is_said_again),
        TEST(test_nothing_counts_behind_the_end),
        TEST(test_a_reset_of_the_guest),
        TEST(test_a_reset_of_the_host),
        TEST(test_a_reset_behind_the_hosts_end),
        TEST(test_a_guest_writes_to_one_that_is_gone),
        TEST(test_a_fence_may_cut_inside_of_a_call),
        TEST(test_a_machine_that_ends_closes_all),
        TEST(test_a_silent_guest_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
