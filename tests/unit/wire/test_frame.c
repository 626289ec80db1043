/* SPDX-License-Identifier: Apache-2.0 */
#include "support/unit.h"
#include "wire/frame.h"

#include <errno.h>

static void push_header(struct pv_bytes *b, uint32_t len, uint16_t type, uint16_t flags)
{
    uint8_t h[WIRE_FRAME_HEADER] = {
        (uint8_t)len,  (uint8_t)(len >> 8),  (uint8_t)(len >> 16), (uint8_t)(len >> 24),
        (uint8_t)type, (uint8_t)(type >> 8), (uint8_t)flags,       (uint8_t)(flags >> 8)};
    assert_int_equal(pv_bytes_push(b, h, sizeof(h)), 0);
}

static uint8_t *pattern(size_t len)
{
    uint8_t *p = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 7 + i / 251);
    return p;
}

static void test_the_layout_is_little_endian(void **state)
{
    struct pv_bytes b;
    pv_bytes_init(&b, 100);
    assert_int_equal(wire_frame_push(&b, 0x1234, "abc", 3), 0);
    const uint8_t expected[] = {3, 0, 0, 0, 0x34, 0x12, 0, 0, 'a', 'b', 'c'};
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(pv_bytes_head(&b), expected, sizeof(expected));
    pv_bytes_done(&b);
}

static void test_each_truncation_asks_for_more(void **state)
{
    struct pv_bytes whole, part;
    pv_bytes_init(&whole, 100);
    assert_int_equal(wire_frame_push(&whole, 7, "abcde", 5), 0);
    for (size_t len = 0; len <= whole.len; len++) {
        struct wire_frame f;
        pv_bytes_init(&part, 100);
        pv_bytes_push(&part, pv_bytes_head(&whole), len);
        assert_int_equal(wire_frame_peek(&part, &f), len == whole.len);
        pv_bytes_done(&part);
    }
    pv_bytes_done(&whole);
}

static void test_frames_come_in_order(void **state)
{
    struct pv_bytes b;
    struct wire_frame f;
    pv_bytes_init(&b, 100);
    assert_int_equal(wire_frame_push(&b, 1, NULL, 0), 0);
    assert_int_equal(wire_frame_push(&b, 2, "x", 1), 0);
    assert_int_equal(wire_frame_peek(&b, &f), 1);
    assert_int_equal(f.type, 1);
    assert_int_equal(f.len, 0);
    wire_frame_drop(&b, &f);
    assert_int_equal(wire_frame_peek(&b, &f), 1);
    assert_int_equal(f.type, 2);
    assert_memory_equal(f.payload, "x", 1);
    wire_frame_drop(&b, &f);
    assert_int_equal(b.len, 0);
    pv_bytes_done(&b);
}

static void test_bad_headers_are_refused_before_the_payload(void **state)
{
    static const struct {
        uint32_t len;
        uint16_t flags;
        int rc;
    } cases[] = {
        {WIRE_FRAME_MAX, 0, 0},   {WIRE_FRAME_MAX + 1, 0, -EPROTO},
        {UINT32_MAX, 0, -EPROTO}, {1, 1, 0},
        {1, 2, -EPROTO},          {1, 0x8001, -EPROTO},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        struct pv_bytes b;
        struct wire_frame f;
        pv_bytes_init(&b, 100);
        push_header(&b, cases[i].len, 1, cases[i].flags);
        assert_int_equal(wire_frame_peek(&b, &f), cases[i].rc);
        pv_bytes_done(&b);
    }
}

static void join_round_trip(size_t len, size_t expected_frames)
{
    struct pv_bytes b;
    pv_bytes_init(&b, 2 * WIRE_MESSAGE_MAX);
    pv_auto_free uint8_t *data = pattern(len);
    assert_int_equal(wire_frame_push(&b, 9, data, len), 0);

    struct wire_frame_joiner j = {0};
    struct wire_frame f, message = {0};
    size_t frames = 0;
    int rc = 0;
    while (rc == 0) {
        assert_int_equal(wire_frame_peek(&b, &f), 1);
        frames++;
        rc = wire_frame_join(&j, &f, &message);
        assert_true(rc >= 0);
        if (rc == 0)
            wire_frame_drop(&b, &f);
    }
    assert_int_equal(frames, expected_frames);
    assert_int_equal(message.type, 9);
    assert_int_equal(message.len, len);
    assert_false(message.more);
    if (len)
        assert_memory_equal(message.payload, data, len);
    wire_frame_drop(&b, &f);
    assert_int_equal(b.len, 0);
    wire_frame_joiner_done(&j);
    pv_bytes_done(&b);
}

static void test_messages_are_cut_and_joined(void **state)
{
    join_round_trip(0, 1);
    join_round_trip(1, 1);
    join_round_trip(WIRE_FRAME_MAX - 1, 1);
    join_round_trip(WIRE_FRAME_MAX, 1);
    join_round_trip(WIRE_FRAME_MAX + 1, 2);
    join_round_trip(WIRE_MESSAGE_MAX, WIRE_MESSAGE_MAX / WIRE_FRAME_MAX);
}

static void test_too_long_a_message_is_not_sent(void **state)
{
    struct pv_bytes b;
    pv_bytes_init(&b, 4 * WIRE_MESSAGE_MAX);
    pv_auto_free uint8_t *data = pattern(WIRE_MESSAGE_MAX + 1);
    assert_int_equal(wire_frame_push(&b, 1, data, WIRE_MESSAGE_MAX + 1), -EMSGSIZE);
    assert_int_equal(b.len, 0);
    pv_bytes_done(&b);
}

static void test_a_full_queue_takes_all_or_nothing(void **state)
{
    size_t len = WIRE_FRAME_MAX + 1, total = len + 2 * WIRE_FRAME_HEADER;
    pv_auto_free uint8_t *data = pattern(len);
    struct pv_bytes b;
    pv_bytes_init(&b, total - 1);
    assert_int_equal(wire_frame_push(&b, 1, data, len), -ENOBUFS);
    assert_int_equal(b.len, 0);
    pv_bytes_done(&b);
    pv_bytes_init(&b, total);
    assert_int_equal(wire_frame_push(&b, 1, data, len), 0);
    assert_int_equal(b.len, total);
    pv_bytes_done(&b);
}

static void test_the_joiner_refuses_garbage(void **state)
{
    struct wire_frame message;
    struct wire_frame part = {.type = 1, .more = true, .len = 1, .payload = (const uint8_t *)"x"};
    struct wire_frame empty = {.type = 1, .more = true};
    struct wire_frame other = {.type = 2};
    struct wire_frame last = {.type = 1};

    struct wire_frame_joiner j = {0};
    assert_int_equal(wire_frame_join(&j, &empty, &message), -EPROTO);
    wire_frame_joiner_done(&j);

    assert_int_equal(wire_frame_join(&j, &part, &message), 0);
    assert_int_equal(wire_frame_join(&j, &other, &message), -EPROTO);
    wire_frame_joiner_done(&j);

    assert_int_equal(wire_frame_join(&j, &part, &message), 0);
    assert_int_equal(wire_frame_join(&j, &last, &message), 1); /* an empty last part is fine */
    assert_int_equal(message.len, 1);
    assert_int_equal(wire_frame_join(&j, &other, &message), 1); /* and the next one is whole */
    assert_int_equal(message.type, 2);
    wire_frame_joiner_done(&j);
}

static void test_the_joiner_bounds_a_message(void **state)
{
    pv_auto_free uint8_t *data = pattern(WIRE_FRAME_MAX);
    struct wire_frame part = {.type = 1, .more = true, .len = WIRE_FRAME_MAX, .payload = data};
    struct wire_frame one = {.type = 1, .len = 1, .payload = data};
    struct wire_frame message;
    struct wire_frame_joiner j = {0};
    for (size_t i = 0; i < WIRE_MESSAGE_MAX / WIRE_FRAME_MAX; i++)
        assert_int_equal(wire_frame_join(&j, &part, &message), 0);
    assert_int_equal(wire_frame_join(&j, &one, &message), -EPROTO);
    wire_frame_joiner_done(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_layout_is_little_endian),
        cmocka_unit_test(test_each_truncation_asks_for_more),
        cmocka_unit_test(test_frames_come_in_order),
        cmocka_unit_test(test_bad_headers_are_refused_before_the_payload),
        cmocka_unit_test(test_messages_are_cut_and_joined),
        cmocka_unit_test(test_too_long_a_message_is_not_sent),
        cmocka_unit_test(test_a_full_queue_takes_all_or_nothing),
        cmocka_unit_test(test_the_joiner_refuses_garbage),
        cmocka_unit_test(test_the_joiner_bounds_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
