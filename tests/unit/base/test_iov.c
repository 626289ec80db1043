/* SPDX-License-Identifier: Apache-2.0 */
#include "base/attr.h"
#include "base/iov.h"
#include "support/unit.h"

static void test_every_part_of_three_pieces(void **state)
{
    static uint8_t bytes[9];
    const struct iovec iov[] = {{bytes, 4}, {bytes + 4, 0}, {bytes + 4, 1}, {bytes + 5, 4}};
    for (uint64_t from = 0; from <= 10; from++) {
        for (uint64_t len = 0; len <= 10; len++) {
            struct iovec out[4];
            uint64_t have, at = from;
            unsigned num = pv_iov_slice(iov, 4, from, len, out, 4, &have);
            assert_int_equal(have, from >= 9 ? 0 : PV_MIN(len, 9 - from));
            for (unsigned i = 0; i < num; i++) {
                assert_ptr_equal(out[i].iov_base, bytes + at);
                assert_true(out[i].iov_len > 0);
                at += out[i].iov_len;
            }
            assert_int_equal(at - from, have);
        }
    }
}

static void test_no_more_than_there_is_room_for(void **state)
{
    static uint8_t bytes[6];
    const struct iovec iov[] = {{bytes, 2}, {bytes + 2, 2}, {bytes + 4, 2}};
    struct iovec out[2];
    uint64_t have;
    assert_int_equal(pv_iov_slice(iov, 3, 1, 5, out, 2, &have), 2);
    assert_int_equal(have, 3);
    assert_int_equal(pv_iov_slice(iov, 3, 1, 5, out, 0, NULL), 0);
    assert_int_equal(pv_iov_slice(iov, 3, UINT64_MAX, UINT64_MAX, out, 2, &have), 0);
    assert_int_equal(have, 0);
    assert_int_equal(pv_iov_slice(NULL, 0, 0, 1, out, 2, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_of_three_pieces),
        cmocka_unit_test(test_no_more_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
