/* SPDX-License-Identifier: Apache-2.0
 *
 * test_terminal.c: commands on a terminal, over the fake monitor.
 */
#include "support/terminal.h"
#include "support/unit.h"

#include "support/place.h"
#include "support/tree.h"

#include <stdlib.h>

#define ENTER "\r"
#define END_OF_INPUT "\004"
#define DETACH "\020\021"

static struct support_place place;
static struct support_terminal terminal;

static int set_up(void **state)
{
    support_place_make(&place);
    return 0;
}

static int tear_down(void **state)
{
    support_place_run(&place, "for i in $($P ps -aq); do $P rm -f $i; done", NULL, NULL);
    support_place_remove(&place);
    return 0;
}

static void expect(const char *text)
{
    if (!support_terminal_expect(&terminal, text))
        fail_msg("'%s' was not shown, but '%.*s'", text, (int)terminal.text.len,
                 (const char *)pv_bytes_head(&terminal.text));
}

/* The exit code and, in *ret_out if not NULL, what a line prints. */
static void run(int code, const char *line, char **ret_out)
{
    char *out, *error;
    int found = support_place_run(&place, line, &out, &error);
    if (found != code)
        fail_msg("%s: exit code %d, not %d\nout: %s\nerror: %s", line, found, code, out, error);
    free(error);
    if (ret_out)
        *ret_out = out;
    else
        free(out);
}

static void test_size_and_code(void **state)
{
    support_terminal_open(&terminal, "$P run --rm -it $I sh -c 'echo ready; exec sh'", 33, 99);
    expect("ready");
    support_terminal_type(&terminal, "tty > /dev/null && stty size" ENTER);
    expect("33 99");
    support_terminal_type(&terminal, "exit 4" ENTER);
    assert_int_equal(support_terminal_close(&terminal), 4);
}

static void test_modes_come_back(void **state)
{
    support_terminal_open(&terminal,
                          "before=$(stty -g); $P run --rm -it $I sh -c 'echo ready; read x'; "
                          "[ \"$before\" = \"$(stty -g)\" ] && echo the same",
                          24, 80);
    expect("ready");
    support_terminal_type(&terminal, ENTER);
    expect("the same");
    assert_int_equal(support_terminal_close(&terminal), 0);
}

static void test_without_a_terminal(void **state)
{
    char *out, *error;
    assert_int_equal(support_place_run(&place, "$P run --rm -it $I true", &out, &error), 125);
    assert_non_null(strstr(error, "no terminal"));
    free(out);
    free(error);
}

static void test_detach_keys_leave_the_command_running(void **state)
{
    char *out;
    support_terminal_open(&terminal,
                          "$P run --name d -it $I "
                          "sh -c 'while sleep 0.02; do echo tick; done & exec cat'",
                          24, 80);
    expect("tick"); /* only now is the terminal raw, and ctrl-q no flow control */
    support_terminal_type(&terminal, DETACH);
    assert_int_equal(support_terminal_close(&terminal), 0);
    run(0, "$P ps", &out);
    assert_non_null(strstr(out, "Up"));
    free(out);

    support_terminal_open(&terminal, "$P attach d", 24, 80);
    expect("tick");
    support_terminal_type(&terminal, "word" ENTER);
    expect("word\r\n"); /* the terminal's echo */
    expect("word\r\n"); /* and cat's */
    support_terminal_type(&terminal, END_OF_INPUT);
    assert_int_equal(support_terminal_close(&terminal), 0);
    run(0, "$P wait d", &out);
    assert_string_equal(out, "0\n");
    free(out);
}

#define TERMINAL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TERMINAL_TEST(test_size_and_code),
        TERMINAL_TEST(test_modes_come_back),
        TERMINAL_TEST(test_without_a_terminal),
        TERMINAL_TEST(test_detach_keys_leave_the_command_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
