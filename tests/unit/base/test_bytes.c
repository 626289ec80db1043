/* SPDX-License-Identifier: Apache-2.0 */
#include "base/attr.h"
#include "base/bytes.h"
#include "support/unit.h"

#include <errno.h>
#include <unistd.h>

static void test_push_and_drop_keep_the_order(void **state)
{
    struct pv_bytes b;
    pv_bytes_init(&b, 10000);
    uint8_t expected = 0, next = 0;
    for (int round = 0; round < 500; round++) {
        uint8_t chunk[37];
        for (size_t i = 0; i < sizeof(chunk); i++)
            chunk[i] = next++;
        assert_int_equal(pv_bytes_push(&b, chunk, sizeof(chunk)), 0);
        size_t take = round % 2 ? 60 : 11;
        take = take < b.len ? take : b.len;
        for (size_t i = 0; i < take; i++)
            assert_int_equal(pv_bytes_head(&b)[i], expected++);
        pv_bytes_drop(&b, take);
    }
    pv_bytes_done(&b);
    assert_int_equal(b.len, 0);
}

static void test_the_bound_is_exact(void **state)
{
    struct pv_bytes b;
    pv_bytes_init(&b, 5);
    assert_int_equal(pv_bytes_push(&b, "abcdef", 6), -ENOBUFS);
    assert_int_equal(b.len, 0);
    assert_int_equal(pv_bytes_push(&b, "abcde", 5), 0);
    assert_int_equal(pv_bytes_room(&b), 0);
    assert_int_equal(pv_bytes_push(&b, "f", 1), -ENOBUFS);
    assert_int_equal(pv_bytes_push(&b, "", 0), 0);
    pv_bytes_drop(&b, 2);
    assert_int_equal(pv_bytes_push(&b, "gh", 2), 0);
    assert_memory_equal(pv_bytes_head(&b), "cdegh", 5);
    pv_bytes_done(&b);
}

static void test_files_feed_and_drain(void **state)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct pv_bytes b;
    pv_bytes_init(&b, 4);
    assert_int_equal(write(fds[1], "hello", 5), 5);
    assert_int_equal(pv_bytes_read_from(&b, fds[0], 100), 4);
    assert_int_equal(pv_bytes_read_from(&b, fds[0], 100), -ENOBUFS);
    assert_int_equal(pv_bytes_write_to(&b, fds[1]), 4);
    assert_int_equal(b.len, 0);
    char out[5];
    assert_int_equal(read(fds[0], out, 5), 5);
    assert_memory_equal(out, "ohell", 5);
    close(fds[1]);
    assert_int_equal(pv_bytes_read_from(&b, fds[0], 100), 0);
    close(fds[0]);
    pv_bytes_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_push_and_drop_keep_the_order),
        cmocka_unit_test(test_the_bound_is_exact),
        cmocka_unit_test(test_files_feed_and_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
