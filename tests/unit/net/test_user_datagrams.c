/* SPDX-License-Identifier: Apache-2.0
 *
 * test_user_datagrams.c: the guest answers who asked it, from where it was asked, and nobody else.
 */
#include "net/user_datagrams.h"

#include "support/unit.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t gateway4[4] = {10, 0, 2, 2};
static const uint8_t gateway6[16] = {0xfd, [15] = 2};
static const uint8_t guest4[4] = {10, 0, 2, 15};

static size_t make(uint8_t *f, const uint8_t *from, uint16_t sport, const uint8_t *to,
                   uint16_t dport)
{
    memset(f, 0, 60);
    f[12] = ETH_P_IP >> 8;
    f[14] = 0x45;
    f[23] = IPPROTO_UDP;
    memcpy(f + 26, from, 4);
    memcpy(f + 30, to, 4);
    uint16_t fields[] = {htons(sport), htons(dport), htons(8 + 5)};
    memcpy(f + 34, fields, sizeof(fields));
    memcpy(f + 42, "hello", 5);
    return 47;
}

struct fixture {
    struct net_user_datagrams *d;
    int port_fd, peer_fd;
    uint16_t peer_port;
    uint8_t frame[60];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    f->d = net_user_datagrams_new();
    f->port_fd = socket(AF_INET, SOCK_DGRAM, 0);
    f->peer_fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(f->peer_fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(f->peer_fd, (struct sockaddr *)&a, &len), 0);
    f->peer_port = ntohs(a.sin_port);
    assert_int_equal(net_user_datagrams_publish(f->d, f->port_fd, false, 53), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    net_user_datagrams_free(f->d);
    close(f->port_fd);
    close(f->peer_fd);
    free(f);
    return 0;
}

static bool answer(struct fixture *f, uint16_t from, uint16_t to)
{
    size_t n = make(f->frame, guest4, from, gateway4, to);
    return net_user_datagrams_answer(f->d, gateway4, gateway6, f->frame, n);
}

static void note(struct fixture *f, uint16_t from, uint16_t to)
{
    size_t n = make(f->frame, gateway4, from, guest4, to);
    net_user_datagrams_note(f->d, gateway4, gateway6, f->frame, n);
}

static void test_only_who_asked_is_answered(void **state)
{
    struct fixture *f = *state;
    char got[10];
    assert_false(answer(f, 53, f->peer_port));
    note(f, f->peer_port, 53);
    assert_true(answer(f, 53, f->peer_port));
    assert_int_equal(recv(f->peer_fd, got, sizeof(got), 0), 5);
    assert_memory_equal(got, "hello", 5);
    assert_false(answer(f, 54, f->peer_port)); /* not the port that was asked */
    assert_false(answer(f, 53, (uint16_t)(f->peer_port + 1)));
    note(f, 4000, 54); /* not a published port */
    assert_false(answer(f, 54, 4000));
}

static void test_other_addresses_are_not_ours(void **state)
{
    struct fixture *f = *state;
    const uint8_t other[4] = {10, 0, 2, 3};
    size_t n = make(f->frame, other, f->peer_port, guest4, 53);
    net_user_datagrams_note(f->d, gateway4, gateway6, f->frame, n);
    assert_false(answer(f, 53, f->peer_port));
    note(f, f->peer_port, 53);
    n = make(f->frame, guest4, 53, other, f->peer_port);
    assert_false(net_user_datagrams_answer(f->d, gateway4, gateway6, f->frame, n));
}

static void test_frames_that_are_cut_or_wrong_are_left_alone(void **state)
{
    struct fixture *f = *state;
    note(f, f->peer_port, 53);
    size_t whole = make(f->frame, guest4, 53, gateway4, f->peer_port);
    for (size_t n = 0; n < whole; n++)
        assert_false(net_user_datagrams_answer(f->d, gateway4, gateway6, f->frame, n));
    f->frame[20] = 0x20; /* a fragment */
    assert_false(net_user_datagrams_answer(f->d, gateway4, gateway6, f->frame, whole));
    make(f->frame, guest4, 53, gateway4, f->peer_port);
    f->frame[39] = 7; /* shorter than a UDP header */
    assert_false(net_user_datagrams_answer(f->d, gateway4, gateway6, f->frame, whole));
}

static void test_the_oldest_peer_is_forgotten(void **state)
{
    struct fixture *f = *state;
    note(f, f->peer_port, 53);
    for (unsigned i = 0; i < 300; i++)
        note(f, (uint16_t)(i + 1), 53);
    assert_false(answer(f, 53, f->peer_port > 300 ? f->peer_port : 1));
    assert_true(answer(f, 53, 300));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_only_who_asked_is_answered),
        TEST(test_other_addresses_are_not_ours),
        TEST(test_frames_that_are_cut_or_wrong_are_left_alone),
        TEST(test_the_oldest_peer_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
