/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "monitor/console.h"
#include "support/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[48];
    int dirfd;
    struct monitor_console *console;
};

static int setup(void **state)
{
    static struct fixture f;
    strcpy(f.dir, "/tmp/paravane-console-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    f.dirfd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(monitor_console_open(f.dirfd, &f.console, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    monitor_console_free(f->console);
    unlinkat(f->dirfd, MONITOR_CONSOLE_FILE, 0);
    close(f->dirfd);
    return rmdir(f->dir);
}

static void test_the_tail_has_the_last_lines(void **state)
{
    struct fixture *f = *state;
    char buf[100];
    assert_int_equal(monitor_console_tail(f->console, 3, buf, sizeof(buf)), 0);
    monitor_console_add(f->console, "a\r\nb\r\nc\r\nd\r\n", 12);
    monitor_console_tail(f->console, 2, buf, sizeof(buf));
    assert_string_equal(buf, "c\nd");
    monitor_console_tail(f->console, 100, buf, sizeof(buf));
    assert_string_equal(buf, "a\nb\nc\nd");
    monitor_console_tail(f->console, 100, buf, 4);
    assert_string_equal(buf, "\nd"); /* the carriage return took a place */
}

static void test_the_tail_survives_the_ring_and_obeys_no_terminal_codes(void **state)
{
    struct fixture *f = *state;
    char buf[MONITOR_CONSOLE_TAIL_MAX + 10];
    for (int i = 0; i < 3000; i++)
        monitor_console_add(f->console, "0123456789\n", 11);
    monitor_console_add(f->console, "\033[2J\x9b!\n", 7);
    size_t len = monitor_console_tail(f->console, 2, buf, sizeof(buf));
    assert_string_equal(buf, "0123456789\n?[2J?!");
    assert_int_equal(len, strlen(buf));
    len = monitor_console_tail(f->console, 100000, buf, sizeof(buf));
    assert_true(len <= MONITOR_CONSOLE_TAIL_MAX && len > MONITOR_CONSOLE_TAIL_MAX - 20);
}

static void test_the_last_line_with_a_word_is_found(void **state)
{
    struct fixture *f = *state;
    char buf[64];
    assert_int_equal(monitor_console_find(f->console, "panic", buf, sizeof(buf)), 0);
    monitor_console_add(f->console, "a panic: one\nb panic: two\x1b!\r\nlast\n", 35);
    monitor_console_find(f->console, "panic", buf, sizeof(buf));
    assert_string_equal(buf, "panic: two?!");
    assert_int_equal(monitor_console_find(f->console, "panic", buf, 4), 3);
    assert_int_equal(monitor_console_find(f->console, "pancake", buf, sizeof(buf)), 0);
    monitor_console_find(f->console, "a", buf, sizeof(buf));
    assert_string_equal(buf, "ast");
    monitor_console_add(f->console, "pan", 3);
    assert_int_equal(monitor_console_find(f->console, "pani", buf, sizeof(buf)) > 0, 1);
}

static void test_the_file_is_bounded(void **state)
{
    struct fixture *f = *state;
    char chunk[4096];
    memset(chunk, 'x', sizeof(chunk));
    for (unsigned i = 0; i < 2 * MONITOR_CONSOLE_FILE_MAX / sizeof(chunk) + 3; i++)
        monitor_console_add(f->console, chunk, sizeof(chunk));
    struct stat st;
    assert_int_equal(fstatat(f->dirfd, MONITOR_CONSOLE_FILE, &st, 0), 0);
    assert_true(st.st_size > 0 && st.st_size <= (off_t)MONITOR_CONSOLE_FILE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_tail_has_the_last_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_tail_survives_the_ring_and_obeys_no_terminal_codes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_last_line_with_a_word_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_file_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
