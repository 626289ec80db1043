/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tcp_listen.c: published ports: connections that begin on the host.
 */
#include "tcp_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SYN NET_TCP_SYN
#define ACK NET_TCP_ACK
#define RST NET_TCP_RST

/* The fixture's own listener gives its port up for it. */
static void publish(struct fixture *f)
{
    struct workload_port port = {.v6 = f->v6, .host_port = f->port, .guest_port = 80};
    const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    close(f->listener);
    f->listener = -1;
    if (f->v6)
        memcpy(port.address, &loopback, 16);
    assert_int_equal(net_tcp_publish(f->tcp, &port, NULL), 0);
}

/* A peer at 127.0.0.`host`, from that port or any; or at ::1. */
static int connect_from(struct fixture *f, uint8_t host, uint16_t *port)
{
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u | host)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *a = f->v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
    socklen_t len = f->v6 ? sizeof(a6) : sizeof(a4);
    int fd = socket(a->sa_family, SOCK_STREAM, 0);
    a4.sin_port = htons(*port);
    if (bind(fd, a, len) < 0) {
        close(fd);
        return -1;
    }
    getsockname(fd, a, &len);
    *port = ntohs(f->v6 ? a6.sin6_port : a4.sin_port);
    a4.sin_port = a6.sin6_port = htons(f->port);
    a4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, a, len), 0);
    return fd;
}

static void open_one(struct fixture *f)
{
    uint16_t port = 0;
    publish(f);
    f->peer = connect_from(f, 1, &port);
    tcp_fixture_turn(f);
    const struct told *t = tcp_fixture_last(f);
    assert_int_equal(f->num_told, 1);
    assert_int_equal(t->p.tcp_flags, SYN);
    assert_true(workload_address_equal(&t->p.ends.src, &f->ends.dst)); /* the gateway */
    assert_true(workload_address_equal(&t->p.ends.dst, &f->ends.src));
    assert_int_equal(t->p.ends.src_port, port);
    assert_int_equal(t->p.ends.dst_port, 80);
    assert_int_equal(t->scale, 7);
    f->ends.src_port = 80;
    f->ends.dst_port = port;
    f->ack = t->p.tcp_seq + 1;
}

static void test_the_guest_takes_it(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[8];
    open_one(f);
    assert_int_equal(send(f->peer, "early", 5, 0), 5); /* before the guest knows */
    tcp_fixture_say(f, SYN | ACK, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_take(f, buf, sizeof(buf)), 5);
    tcp_fixture_say(f, ACK, "hello", 5);
    tcp_fixture_peer_reads(f, buf, 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_OPENED), 1);
}

static int error_of(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;
    assert_int_equal(poll(&p, 1, 5000), 1);
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n < 0 ? errno : 0;
}

static void test_the_guest_refuses_it(void **state)
{
    struct fixture *f = *state;
    open_one(f);
    tcp_fixture_say_raw(f, RST, 5, 0, 0, NULL, 0, NULL, 0); /* of nothing: not believed */
    tcp_fixture_say_raw(f, RST | ACK, 0, f->ack + 1, 0, NULL, 0, NULL, 0);
    assert_int_equal(net_tcp_count(f->tcp), 1);
    tcp_fixture_say_raw(f, RST | ACK, 0, f->ack, 0, NULL, 0, NULL, 0);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_int_equal(error_of(f->peer), ECONNRESET);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_FAILED), 1);
}

static void test_a_guest_that_is_not_there_yet_is_asked_again(void **state)
{
    struct fixture *f = *state;
    open_one(f);
    for (unsigned i = 0; i < 5; i++) {
        tcp_fixture_forget(f);
        tcp_fixture_pass(f, 350u << i);
        assert_int_equal(f->num_told, 1);
        assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, f->ack - 1);
    }
    for (unsigned i = 0; i < 10; i++)
        tcp_fixture_pass(f, 60000);
    assert_int_equal(net_tcp_count(f->tcp), 0);
    assert_int_equal(error_of(f->peer), ECONNRESET);
}

static void test_a_wrong_answer_is_reset(void **state)
{
    struct fixture *f = *state;
    open_one(f);
    tcp_fixture_say_raw(f, SYN | ACK, 9, f->ack + 7, 100, NULL, 0, NULL, 0);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_flags, RST);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, f->ack + 7);
    assert_int_equal(net_tcp_count(f->tcp), 1);
}

static void test_both_begin_at_once(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[8];
    open_one(f);
    tcp_fixture_say(f, SYN, NULL, 0);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_flags, SYN | ACK);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_seq, f->ack - 1);
    f->seq--;
    tcp_fixture_say(f, SYN | ACK, NULL, 0);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_OPENED), 1);
    tcp_fixture_say(f, ACK, "hello", 5);
    tcp_fixture_peer_reads(f, buf, 5);
}

static void test_peers_with_one_port_are_two(void **state)
{
    struct fixture *f = *state;
    uint16_t port = 0;
    publish(f);
    f->peer = connect_from(f, 2, &port);
    pv_auto_fd int other = connect_from(f, 3, &port);
    if (other < 0) {
        assert_int_equal(errno, EADDRINUSE);
        printf("somebody has port %u of 127.0.0.3\n", port);
        skip();
    }
    tcp_fixture_turn(f);
    assert_int_equal(net_tcp_count(f->tcp), 2);
    assert_int_equal(f->num_told, 2);
    assert_int_equal(f->told[0].p.ends.src_port, port);
    assert_int_not_equal(f->told[1].p.ends.src_port, port);
}

static void test_without_places_they_wait(void **state)
{
    struct fixture *f = *state;
    uint16_t port = 0;
    f->options.max = 1;
    tcp_fixture_restart(f);
    publish(f);
    f->peer = connect_from(f, 1, &port);
    uint16_t second = 0;
    pv_auto_fd int other = connect_from(f, 1, &second);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 1);
    assert_true(tcp_fixture_counter(f, NET_TCP_EXHAUSTED) >= 1);
    uint16_t first = tcp_fixture_last(f)->p.ends.src_port;
    f->ends.src_port = 80;
    f->ends.dst_port = first;
    f->ack = tcp_fixture_last(f)->p.tcp_seq + 1;
    tcp_fixture_say_raw(f, RST | ACK, 0, f->ack, 0, NULL, 0, NULL, 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 2);
    assert_int_not_equal(tcp_fixture_last(f)->p.ends.src_port, first);
}

static void test_without_descriptors_they_wait(void **state)
{
    struct fixture *f = *state;
    uint16_t port = 0;
    struct rlimit limit, low;
    publish(f);
    f->peer = connect_from(f, 1, &port);
    getrlimit(RLIMIT_NOFILE, &limit);
    low = limit;
    low.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    tcp_fixture_turn(f);
    assert_int_equal(f->num_told, 0);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_EXHAUSTED), 1); /* and no turning in circles */
    /* A guest that begins one gets a reset. */
    tcp_fixture_say(f, SYN, NULL, 0);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_flags, RST | ACK);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_EXHAUSTED), 2);
    setrlimit(RLIMIT_NOFILE, &limit);
    tcp_fixture_forget(f);
    tcp_fixture_pass(f, 1100);
    assert_int_equal(f->num_told, 1);
    assert_int_equal(tcp_fixture_last(f)->p.tcp_flags, SYN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tcp_fixture_set_up, tcp_fixture_tear_down)
#define TEST6(name)                                                                                \
    {                                                                                              \
#name "_v6", name, tcp_fixture_set_up_v6, tcp_fixture_tear_down, NULL                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_guest_takes_it),
        TEST6(test_the_guest_takes_it),
        TEST(test_the_guest_refuses_it),
        TEST(test_a_guest_that_is_not_there_yet_is_asked_again),
        TEST(test_a_wrong_answer_is_reset),
        TEST(test_both_begin_at_once),
        TEST(test_peers_with_one_port_are_two),
        TEST(test_without_places_they_wait),
        TEST(test_without_descriptors_they_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
