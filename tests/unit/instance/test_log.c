/* SPDX-License-Identifier: Apache-2.0
 *
 * test_log.c: reading the log: streams, bytes, damage, rotation, growth; and times.
 */
#include "support/unit.h"

#include "base/str.h"
#include "instance/log.h"
#include "instance/text.h"
#include "instance/when.h"
#include "support/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define T1 "2026-01-31T12:00:00.000000001Z"
#define T2 "2026-01-31T12:00:01Z"

struct fixture {
    char top[64];
    int dirfd;
    struct instance_log *log;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    support_tree_make(f->top, sizeof(f->top));
    f->dirfd = open(f->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    instance_log_free(f->log);
    close(f->dirfd);
    support_tree_remove(f->top);
    free(f);
    return 0;
}

static void append(struct fixture *f, const char *name, const char *text)
{
    int fd = openat(f->dirfd, name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void append_line(struct fixture *f, const char *name, const char *log)
{
    pv_auto_free char *line =
        pv_strf("{\"log\":\"%s\",\"stream\":\"stdout\",\"time\":\"" T1 "\"}\n", log);
    append(f, name, line);
}

static void open_log(struct fixture *f)
{
    assert_int_equal(instance_log_open(f->dirfd, &f->log, NULL), 0);
}

static void expect(struct fixture *f, const char *bytes, size_t len, bool is_stderr)
{
    struct instance_log_entry entry;
    assert_int_equal(instance_log_next(f->log, &entry, NULL), 1);
    assert_int_equal(entry.len, len);
    assert_memory_equal(entry.bytes, bytes, len);
    assert_int_equal(entry.is_stderr, is_stderr);
}

static void expect_text(struct fixture *f, const char *text)
{
    expect(f, text, strlen(text), false);
}

static void expect_end(struct fixture *f)
{
    struct instance_log_entry entry;
    assert_int_equal(instance_log_next(f->log, &entry, NULL), 0);
}

static void test_entries(void **state)
{
    struct fixture *f = *state;
    struct instance_log_entry entry;
    append(f, "log.jsonl",
           "{\"log\":\"out\\n\",\"stream\":\"stdout\",\"time\":\"" T1 "\"}\n"
           "{\"log\":\"a\\u0000b\\u00e4\\ud83d\\ude00\\t\\\"\",\"stream\":\"stderr\"}\n"
           "{\"data\":\"/wD+\",\"stream\":\"stderr\",\"time\":\"" T2 "\"}\n"
           "{\"data\":\"/w==\",\"stream\":\"stdout\",\"time\":\"odd\"}\n");
    open_log(f);
    assert_int_equal(instance_log_next(f->log, &entry, NULL), 1);
    assert_memory_equal(entry.bytes, "out\n", 4);
    assert_int_equal(entry.time_ns, 1769860800000000001ull);
    assert_string_equal(entry.time_text, T1);
    expect(f, "a\0b\xc3\xa4\xf0\x9f\x98\x80\t\"", 11, true);
    expect(f, "\xff\0\xfe", 3, true);
    assert_int_equal(instance_log_next(f->log, &entry, NULL), 1);
    assert_int_equal(entry.len, 1);
    assert_string_equal(entry.time_text, "");
    expect_end(f);
    assert_int_equal(instance_log_skipped(f->log), 0);
}

static void test_damage_is_skipped(void **state)
{
    struct fixture *f = *state;
    append(f, "log.jsonl",
           "garbage\n{}\n{\"log\":5}\n{\"data\":\"!\"}\n\n{\"log\":\"good\"}\n[]\n");
    open_log(f);
    expect_text(f, "good");
    expect_end(f);
    assert_int_equal(instance_log_skipped(f->log), 6);
}

static void test_partial_line_waits(void **state)
{
    struct fixture *f = *state;
    append(f, "log.jsonl", "{\"log\":\"one\"}\n{\"log\":\"tw");
    open_log(f);
    expect_text(f, "one");
    expect_end(f);
    append(f, "log.jsonl", "o\"}\n");
    expect_text(f, "two");
    expect_end(f);
}

static void test_line_too_long(void **state)
{
    struct fixture *f = *state;
    size_t len = 3 << 20;
    pv_auto_free char *huge = malloc(len + 1);
    memset(huge, 'x', len);
    huge[len] = '\0';
    append_line(f, "log.jsonl", huge);
    append_line(f, "log.jsonl", "after");
    open_log(f);
    expect_text(f, "after");
    assert_int_equal(instance_log_skipped(f->log), 1);
}

static void rotate(struct fixture *f)
{
    assert_int_equal(renameat(f->dirfd, "log.jsonl", f->dirfd, "log.1.jsonl"), 0);
}

static void test_old_file_first(void **state)
{
    struct fixture *f = *state;
    append_line(f, "log.1.jsonl", "old");
    append_line(f, "log.jsonl", "new");
    open_log(f);
    expect_text(f, "old");
    expect_text(f, "new");
    expect_end(f);
}

static void test_rotation_while_following(void **state)
{
    struct fixture *f = *state;
    open_log(f);
    expect_end(f); /* nothing yet */
    append_line(f, "log.jsonl", "1");
    expect_text(f, "1");
    expect_end(f);
    append_line(f, "log.jsonl", "2"); /* not read before the rotation */
    rotate(f);
    append_line(f, "log.jsonl", "3");
    expect_text(f, "2");
    expect_text(f, "3");
    expect_end(f);
    rotate(f); /* and no new file for a moment */
    expect_end(f);
    append_line(f, "log.jsonl", "4");
    expect_text(f, "4");
    expect_end(f);
}

static void test_tail(void **state)
{
    struct fixture *f = *state;
    append_line(f, "log.1.jsonl", "1");
    append_line(f, "log.1.jsonl", "2");
    append_line(f, "log.jsonl", "3");
    static const char *const expected[] = {"1", "2", "3"};
    for (uint64_t count = 0; count < 6; count++) {
        open_log(f);
        assert_int_equal(instance_log_skip_to_tail(f->log, count, NULL), 0);
        for (size_t i = count >= 3 ? 0 : 3 - count; i < 3; i++)
            expect_text(f, expected[i]);
        expect_end(f);
        instance_log_free(f->log);
        f->log = NULL;
    }
}

static void test_links_are_not_followed(void **state)
{
    struct fixture *f = *state;
    support_tree_shell(f->top, "echo '{\"log\":\"secret\"}' > secret && ln -s secret log.jsonl");
    open_log(f);
    expect_end(f);
}

static void test_base64(void **state)
{
    static const struct {
        const char *text, *bytes;
        int rc;
    } rows[] = {{"", "", 0},
                {"Zg==", "f", 0},
                {"Zm8=", "fo", 0},
                {"Zm9v", "foo", 0},
                {"Zm9vYg==", "foob", 0},
                {"Zg=", NULL, -EINVAL},
                {"Z===", NULL, -EINVAL},
                {"Zg=x", NULL, -EINVAL},
                {"Z g=", NULL, -EINVAL}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        pv_auto_free uint8_t *bytes = NULL;
        size_t len;
        assert_int_equal(instance_text_decode_base64(rows[i].text, &bytes, &len), rows[i].rc);
        if (rows[i].bytes) {
            assert_int_equal(len, strlen(rows[i].bytes));
            assert_memory_equal(bytes, rows[i].bytes, len);
        }
    }
}

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t ns;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"2026-01-31T12:00:00Z", 0, 1769860800000000000ull},
        {"2026-01-31t12:00:00.5z", 0, 1769860800500000000ull},
        {"2026-01-31 12:00:00.123456789123Z", 0, 1769860800123456789ull},
        {"2026-01-31T14:00:00+02:00", 0, 1769860800000000000ull},
        {"2026-01-31T10:30:00-01:30", 0, 1769860800000000000ull},
        {"2026-01-31T12:00:00", -EINVAL, 0},
        {"2026-13-31T12:00:00Z", -EINVAL, 0},
        {"2026-01-31", -EINVAL, 0},
        {"2026-01-31T12:00:00Zx", -EINVAL, 0},
        {"2026-01-31T12:00:00+2", -EINVAL, 0},
        {"", -EINVAL, 0},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        uint64_t ns = 0;
        assert_int_equal(instance_when_parse(rows[i].text, &ns), rows[i].rc);
        assert_int_equal(ns, rows[i].ns);
    }
}

static void test_since(void **state)
{
    const uint64_t now = 1769860800000000000ull, second = 1000000000;
    static const struct {
        const char *text;
        uint64_t seconds_ago;
    } rows[] = {{"90s", 90}, {"10m", 600}, {"1h30m", 5400}, {"2d", 172800}, {"0s", 0}};
    uint64_t ns;
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        assert_int_equal(instance_when_parse_since(rows[i].text, now, &ns), 0);
        assert_int_equal(ns, now - rows[i].seconds_ago * second);
    }
    assert_int_equal(instance_when_parse_since("1000000d", now, &ns), 0);
    assert_int_equal(ns, 0);
    assert_int_equal(instance_when_parse_since("1769860800", now, &ns), 0);
    assert_int_equal(ns, now);
    assert_int_equal(instance_when_parse_since("10", now, &ns), 0);
    assert_int_equal(instance_when_parse_since("m", now, &ns), -EINVAL);
    assert_int_equal(instance_when_parse_since("10x", now, &ns), -EINVAL);
    assert_int_equal(instance_when_parse_since("", now, &ns), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage_is_skipped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_partial_line_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_line_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_old_file_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation_while_following, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_since),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
