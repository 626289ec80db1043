/* SPDX-License-Identifier: Apache-2.0
 *
 * test_dns_message.c: DNS messages, right and wrong.
 */
#include "support/unit.h"

#include "net/dns_message.h"
#include "net/packet.h"

#include <errno.h>

static uint8_t message[NET_DNS_MESSAGE_MAX], other[NET_DNS_MESSAGE_MAX];

static void test_question(void **state)
{
    struct net_dns_question q;
    size_t len = net_dns_message_build_question(message, 0x1234, "www.example.org", NET_DNS_AAAA);
    assert_int_equal(net_dns_message_question(message, len, &q), 0);
    assert_int_equal(q.id, 0x1234);
    assert_string_equal(q.name, "www.example.org");
    assert_int_equal(q.type, NET_DNS_AAAA);
    assert_true(q.has_edns);
    assert_int_equal(q.udp_max, NET_DNS_UDP_MAX);
    assert_true(q.recursion_desired);
    for (size_t cut = 0; cut < len; cut++)
        assert_true(net_dns_message_question(message, cut, &q) != 0);
}

static void test_questions_that_are_refused(void **state)
{
    struct net_dns_question q;
    size_t len = net_dns_message_build_question(message, 1, "a.example", NET_DNS_A);
    message[2] |= 0x80; /* an answer */
    assert_int_equal(net_dns_message_question(message, len, &q), -EBADMSG);
    message[2] = 0x28; /* another operation */
    assert_int_equal(net_dns_message_question(message, len, &q), NET_DNS_NOTIMP);
    message[2] = 1;
    message[5] = 2; /* two questions */
    assert_int_equal(net_dns_message_question(message, len, &q), NET_DNS_FORMERR);
    message[5] = 1;
    message[12] = 0xc0; /* a pointer */
    assert_int_equal(net_dns_message_question(message, len, &q), NET_DNS_FORMERR);
    len = net_dns_message_build_question(message, 1, "a.example", NET_DNS_A);
    message[13] = '.'; /* a dot within a label would look like another name */
    assert_int_equal(net_dns_message_question(message, len, &q), NET_DNS_FORMERR);
    message[13] = 0;
    assert_int_equal(net_dns_message_question(message, len, &q), NET_DNS_FORMERR);
    len = net_dns_message_build_question(message, 1, "a.example", NET_DNS_A);
    message[len - 11 - 1] = 3; /* class CHAOS */
    assert_int_equal(net_dns_message_question(message, len, &q), NET_DNS_REFUSED);
}

static void test_names_are_bounded(void **state)
{
    struct net_dns_question q;
    char name[WORKLOAD_NAME_MAX + 1] = {0};
    for (size_t i = 0; i < WORKLOAD_NAME_MAX; i++)
        name[i] = i % 2 ? '.' : 'a';
    size_t len = net_dns_message_build_question(message, 1, name, NET_DNS_A);
    assert_int_equal(net_dns_message_question(message, len, &q), 0);
    assert_string_equal(q.name, name);
    /* One label more is too long. */
    memmove(message + 14, message + 12, len - 12);
    message[12] = 1;
    message[13] = 'a';
    assert_int_equal(net_dns_message_question(message, len + 2, &q), NET_DNS_FORMERR);
}

static int count(void *data, const struct net_dns_record *r)
{
    ++*(unsigned *)data;
    return 0;
}

/* An answer with an alias and an address behind it. */
static size_t build_answer(size_t max, bool edns)
{
    struct net_dns_question q;
    struct net_dns_builder b;
    uint8_t target[64] = {4, 'h', 'o', 's', 't', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0};
    size_t len = net_dns_message_build_question(other, 7, "WWW.example", NET_DNS_A);
    assert_int_equal(net_dns_message_question(other, len, &q), 0);
    q.has_edns = edns;
    net_dns_message_begin(&b, message, max, &q, NET_DNS_NOERROR);
    net_dns_message_add(&b, "www.example", NET_DNS_CNAME, 60, target, 14, false);
    net_dns_message_add(&b, "host.example", NET_DNS_A, 30, "\xc0\x00\x02\x01", 4, false);
    return net_dns_message_end(&b, &q, NET_DNS_EDE_PROHIBITED);
}

static void test_answer(void **state)
{
    struct net_dns_answer a;
    unsigned records = 0;
    size_t len = build_answer(512, true);
    assert_int_equal(net_dns_message_answer(message, len, &a), 0);
    assert_string_equal(a.name, "www.example");
    assert_int_equal(a.id, 7);
    assert_int_equal(a.num_answers, 2);
    assert_int_equal(net_dns_message_each(&a, count, &records), 0);
    assert_int_equal(records, 2);
    for (size_t cut = 0; cut < len - 20; cut++)
        if (net_dns_message_answer(message, cut, &a) == 0)
            assert_true(net_dns_message_each(&a, count, &records) < 0);
}

static void test_what_does_not_fit_is_truncated(void **state)
{
    struct net_dns_answer a;
    size_t len = build_answer(60, false);
    assert_int_equal(net_dns_message_answer(message, len, &a), 0);
    assert_true(a.truncated);
    assert_int_equal(a.num_answers, 0);
}

static int take_target(void *data, const struct net_dns_record *r)
{
    char name[WORKLOAD_NAME_MAX + 1];
    return net_dns_message_target(data, r, name) < 0 ? 1 : 2;
}

static void test_pointers_that_loop(void **state)
{
    /* a.example A? with an answer whose name and data point to themselves and to each other */
    static const uint8_t head[] = {0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 'a', 0, 0, 5, 0, 1};
    static const uint8_t record[] = {0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 0};
    static const uint8_t pointers[][2] = {{19, 0}, {31, 0}, {12, 31}, {12, 32}, {12, 99}, {12, 19}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(pointers); i++) {
        struct net_dns_answer a;
        memcpy(message, head, sizeof(head));
        memcpy(message + sizeof(head), record, sizeof(record));
        message[sizeof(head) + 1] = pointers[i][0];
        message[sizeof(head) + 13] = pointers[i][1];
        assert_int_equal(net_dns_message_answer(message, sizeof(head) + sizeof(record), &a), 0);
        int rc = net_dns_message_each(&a, take_target, &a);
        if (pointers[i][0] != 12)
            assert_int_equal(rc, -EBADMSG);
        else
            assert_int_equal(rc, pointers[i][1] == 19 ? 2 : 1);
    }
}

static int copy_all(void *data, const struct net_dns_record *r)
{
    struct {
        struct net_dns_builder *b;
        const struct net_dns_answer *a;
    } *d = data;
    return net_dns_message_copy(d->b, d->a, r, 5) < 0 ? 1 : 0;
}

static void test_records_are_written_anew(void **state)
{
    struct net_dns_question q;
    struct net_dns_answer a, again;
    struct net_dns_builder b;
    unsigned records = 0;
    size_t len = build_answer(512, false);
    memcpy(other, message, len);
    assert_int_equal(net_dns_message_answer(other, len, &a), 0);
    uint8_t question[64];
    len = net_dns_message_build_question(message, 9, "www.example", NET_DNS_A);
    memcpy(question, message, len);
    assert_int_equal(net_dns_message_question(question, len, &q), 0);
    net_dns_message_begin(&b, message, 512, &q, NET_DNS_NOERROR);
    struct {
        struct net_dns_builder *b;
        const struct net_dns_answer *a;
    } d = {&b, &a};
    assert_int_equal(net_dns_message_each(&a, copy_all, &d), 0);
    len = net_dns_message_end(&b, &q, NET_DNS_EDE_NONE);
    assert_int_equal(net_dns_message_answer(message, len, &again), 0);
    assert_int_equal(net_dns_message_each(&again, count, &records), 0);
    assert_int_equal(records, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question),
        cmocka_unit_test(test_questions_that_are_refused),
        cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_what_does_not_fit_is_truncated),
        cmocka_unit_test(test_pointers_that_loop),
        cmocka_unit_test(test_records_are_written_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
