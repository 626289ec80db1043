/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "support/unit.h"

#include <errno.h>

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t bytes;
    } cases[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"512b", 0, 512},
        {"1k", 0, 1024},
        {"1kb", 0, 1024},
        {"1KiB", 0, 1024},
        {"512M", 0, 512ull << 20},
        {"3g", 0, 3ull << 30},
        {"16777215t", 0, 16777215ull << 40},
        {"16777216t", -ERANGE, 0},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"m", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1x", -EINVAL, 0},
        {"1mm", -EINVAL, 0},
        {"1bb", -EINVAL, 0},
        {"1.5g", -EINVAL, 0},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        uint64_t bytes = 0;
        assert_int_equal(pv_str_to_size(cases[i].text, &bytes), cases[i].rc);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void test_numbers_respect_their_bounds(void **state)
{
    uint64_t v = 7;
    assert_int_equal(pv_str_to_u64("4", 5, 10, &v), -ERANGE);
    assert_int_equal(pv_str_to_u64("11", 5, 10, &v), -ERANGE);
    assert_int_equal(pv_str_to_u64("5 ", 5, 10, &v), -EINVAL);
    assert_int_equal(v, 7);
    assert_int_equal(pv_str_to_u64("5", 5, 10, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(pv_str_to_u64("10", 5, 10, &v), 0);
    assert_int_equal(v, 10);
}

static void test_sizes_print(void **state)
{
    char buf[32];
    assert_string_equal(pv_str_from_size(0, buf, sizeof(buf)), "0 B");
    assert_string_equal(pv_str_from_size(1023, buf, sizeof(buf)), "1023 B");
    assert_string_equal(pv_str_from_size(1536, buf, sizeof(buf)), "1.5 KiB");
    assert_string_equal(pv_str_from_size(256ull << 20, buf, sizeof(buf)), "256 MiB");
}

static void test_names(void **state)
{
    char longest[130];
    memset(longest, 'a', sizeof(longest));
    longest[128] = '\0';
    assert_true(pv_str_is_name("a"));
    assert_true(pv_str_is_name("web-1_x.y"));
    assert_true(pv_str_is_name(longest));
    longest[128] = 'a';
    longest[129] = '\0';
    assert_false(pv_str_is_name(longest));
    assert_false(pv_str_is_name(""));
    assert_false(pv_str_is_name("-a"));
    assert_false(pv_str_is_name("../x"));
    assert_false(pv_str_is_name("a b"));
    assert_false(pv_str_is_name("a\xc3\xa4"));
}

static void test_strings_grow(void **state)
{
    struct pv_str s = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(pv_str_addf(&s, "%d,", i), 0);
    assert_int_equal(s.len, strlen(s.text));
    assert_true(pv_str_starts_with(s.text, "0,1,2,3,"));
    pv_str_done(&s);
    char *empty = pv_str_take(&s);
    assert_string_equal(empty, "");
    free(empty);
}

static bool is_utf8(const char *text)
{
    return pv_str_is_utf8(text, strlen(text));
}

static void test_utf8(void **state)
{
    assert_true(pv_str_is_utf8("", 0));
    assert_true(pv_str_is_utf8("\0", 1));
    assert_true(is_utf8("a\u00fc\u20ac\U0001f600\x7f"));
    assert_true(is_utf8("\xf4\x8f\xbf\xbf"));  /* U+10FFFF, the last one */
    assert_false(is_utf8("\xf4\x90\x80\x80")); /* above it */
    assert_false(is_utf8("\xff"));
    assert_false(is_utf8("\x80"));         /* begins in the middle */
    assert_false(is_utf8("a\xc3"));        /* ends in the middle */
    assert_false(is_utf8("\xc0\xaf"));     /* overlong */
    assert_false(is_utf8("\xe0\x9f\xbf")); /* overlong */
    assert_false(is_utf8("\xed\xa0\x80")); /* a surrogate */
}

static void test_lists_copy_and_end_with_null(void **state)
{
    struct pv_strv a = {0}, b = {0};
    assert_int_equal(pv_strv_add(&a, "x"), 0);
    assert_int_equal(pv_strv_add_take(&a, strdup("y")), 0);
    assert_int_equal(pv_strv_add_take(&a, NULL), -ENOMEM);
    assert_int_equal(pv_strv_copy(&b, &a), 0);
    assert_int_equal(b.count, 2);
    assert_string_equal(b.items[1], "y");
    assert_null(b.items[2]);
    pv_strv_done(&a);
    pv_strv_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_numbers_respect_their_bounds),
        cmocka_unit_test(test_sizes_print),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_strings_grow),
        cmocka_unit_test(test_lists_copy_and_end_with_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
