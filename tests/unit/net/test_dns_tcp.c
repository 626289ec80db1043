/* SPDX-License-Identifier: Apache-2.0
 *
 * test_dns_tcp.c: DNS over TCP: an orderly conversation, and those that are not.
 */
#include "net/fence_fixture.h"

#include <errno.h>
#include <netinet/in.h>

static const struct fixture_answer answers[] = {
    {"www.example.org", NET_DNS_A, "192.0.2.1", 60, NET_DNS_NOERROR},
    {0},
};

/* The guest's end. */
struct talk {
    struct fixture *f;
    struct net_reply_path path;
    uint32_t seq, ack;
};

static struct talk open_talk(struct fixture *f, uint16_t port)
{
    struct talk t = {.f = f,
                     .path = {.src_mac = {0x52, 0x54, 0, 0, 0, 1},
                              .dst_mac = {2, 0x50, 0x44, 0x4e, 0x53, 1},
                              .ends = {.src = fixture_address(GUEST),
                                       .dst = fixture_address(DNS),
                                       .src_port = port,
                                       .dst_port = 53,
                                       .protocol = IPPROTO_TCP}},
                     .seq = 1000};
    return t;
}

static void say(struct talk *t, uint8_t flags, const void *data, size_t len)
{
    uint8_t frame[2048];
    size_t bytes =
        net_reply_segment(frame, &t->path, t->seq, t->ack, flags, 60000, NULL, 0, data, len);
    assert_int_equal(fixture_send(t->f, frame, bytes), 0);
    t->seq += (uint32_t)len + !!(flags & (NET_TCP_SYN | NET_TCP_FIN));
}

static void shake_hands(struct talk *t)
{
    struct seen *s = &t->f->guest;
    unsigned before = s->count;
    say(t, NET_TCP_SYN, NULL, 0);
    fixture_wait(t->f, before + 1);
    assert_int_equal(s->p.tcp_flags, NET_TCP_SYN | NET_TCP_ACK);
    assert_int_equal(s->p.tcp_ack, t->seq);
    t->ack = s->p.tcp_seq + 1;
    say(t, NET_TCP_ACK, NULL, 0);
}

static size_t question(uint8_t *to)
{
    static uint8_t message[NET_DNS_MESSAGE_MAX];
    size_t len = net_dns_message_build_question(message, 3, "www.example.org", NET_DNS_A);
    net_packet_put_u16(to, (uint16_t)len);
    memcpy(to + 2, message, len);
    return len + 2;
}

/* The next segment with data; its bytes are acknowledged. */
static void take_answer(struct talk *t)
{
    struct seen *s = &t->f->guest;
    struct fixture_told told;
    do {
        fixture_wait(t->f, s->count + 1);
    } while (s->p.end == s->p.payload);
    assert_int_equal(s->p.tcp_seq, t->ack);
    const uint8_t *data = s->frame + s->p.payload;
    size_t len = s->p.end - s->p.payload;
    assert_int_equal(net_packet_u16(data), len - 2);
    fixture_read_answer(data + 2, len - 2, &told);
    assert_int_equal(told.addresses, 1);
    t->ack += (uint32_t)len;
}

static void test_a_question(void **state)
{
    struct fixture *f = *state;
    struct talk t = open_talk(f, 5000);
    uint8_t bytes[256];
    f->answers = answers;
    shake_hands(&t);
    say(&t, NET_TCP_ACK, bytes, question(bytes));
    take_answer(&t);
    say(&t, NET_TCP_ACK, NULL, 0);
    unsigned before = f->guest.count;
    say(&t, NET_TCP_ACK | NET_TCP_FIN, NULL, 0);
    fixture_wait(f, before + 2);
    assert_int_equal(f->guest.p.tcp_flags, NET_TCP_FIN | NET_TCP_ACK);
    assert_int_equal(f->guest.p.tcp_ack, t.seq);
    t.ack++;
    say(&t, NET_TCP_ACK, NULL, 0);
    /* It is forgotten: what comes now is answered with a reset. */
    before = f->guest.count;
    say(&t, NET_TCP_ACK, NULL, 0);
    fixture_wait(f, before + 1);
    assert_true(f->guest.p.tcp_flags & NET_TCP_RST);
}

static void test_a_question_in_pieces_and_the_next_behind_it(void **state)
{
    struct fixture *f = *state;
    struct talk t = open_talk(f, 5001);
    uint8_t bytes[512];
    f->answers = answers;
    shake_hands(&t);
    size_t len = question(bytes);
    size_t both = len + question(bytes + len);
    say(&t, NET_TCP_ACK, bytes, 1);
    say(&t, NET_TCP_ACK, bytes + 1, len - 1);
    take_answer(&t);
    say(&t, NET_TCP_ACK, NULL, 0);
    say(&t, NET_TCP_ACK | NET_TCP_FIN, bytes + len, both - len);
    take_answer(&t);
    unsigned before = f->guest.count;
    say(&t, NET_TCP_ACK, NULL, 0);
    fixture_wait(f, before + 1);
    assert_true(f->guest.p.tcp_flags & NET_TCP_FIN);
}

static void test_no_connection(void **state)
{
    struct fixture *f = *state;
    struct talk t = open_talk(f, 5002);
    say(&t, NET_TCP_ACK, "x", 1);
    fixture_wait(f, 1);
    assert_true(f->guest.p.tcp_flags & NET_TCP_RST);
    say(&t, NET_TCP_RST, NULL, 0);
    fixture_turn(f);
    assert_int_equal(f->guest.count, 1);
}

static void test_out_of_order_and_out_of_the_window(void **state)
{
    struct fixture *f = *state;
    struct talk t = open_talk(f, 5003);
    uint8_t bytes[256];
    f->answers = answers;
    shake_hands(&t);
    size_t len = question(bytes);
    t.seq += 10;
    say(&t, NET_TCP_ACK, bytes + 10, len - 10);
    t.seq -= (uint32_t)len;
    fixture_wait(f, f->guest.count + 1);
    assert_int_equal(f->guest.p.tcp_ack, t.seq); /* "from here, please" */
    say(&t, NET_TCP_ACK, bytes, len);
    take_answer(&t);
    t.ack += 5000; /* acknowledges what was never sent */
    say(&t, NET_TCP_ACK, NULL, 0);
    fixture_wait(f, f->guest.count + 1);
    assert_true(f->guest.p.tcp_flags & NET_TCP_RST);
}

static void test_a_question_that_is_too_long(void **state)
{
    struct fixture *f = *state;
    struct talk t = open_talk(f, 5004);
    shake_hands(&t);
    unsigned before = f->guest.count;
    say(&t, NET_TCP_ACK, "\xff\xff", 2);
    fixture_wait(f, before + 2);
    assert_true(f->guest.p.tcp_flags & NET_TCP_RST);
}

static void test_many_connections(void **state)
{
    struct fixture *f = *state;
    for (uint16_t i = 0; i < 100; i++) {
        struct talk t = open_talk(f, (uint16_t)(6000 + i));
        fixture_now += 1;
        say(&t, NET_TCP_SYN, NULL, 0);
    }
    fixture_wait(f, 100);
    struct talk last = open_talk(f, 6099), first = open_talk(f, 6000);
    f->guest.count = 0;
    say(&last, NET_TCP_SYN, NULL, 0); /* sent again: the same answer */
    fixture_wait(f, 1);
    assert_int_equal(f->guest.p.tcp_flags, NET_TCP_SYN | NET_TCP_ACK);
    first.seq++;
    say(&first, NET_TCP_ACK, NULL, 0); /* had to go */
    fixture_wait(f, 2);
    assert_true(f->guest.p.tcp_flags & NET_TCP_RST);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_question),
        TEST(test_a_question_in_pieces_and_the_next_behind_it),
        TEST(test_no_connection),
        TEST(test_out_of_order_and_out_of_the_window),
        TEST(test_a_question_that_is_too_long),
        TEST(test_many_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
