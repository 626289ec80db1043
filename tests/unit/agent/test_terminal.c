/* SPDX-License-Identifier: Apache-2.0
 *
 * test_terminal.c: sessions with a terminal, on the host.
 */
#include "client.h"

#include "agent/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#define TERMINAL ", \"terminal\": true"
#define SIZED ", \"terminal\": true, \"consoleSize\": {\"height\": 40, \"width\": 100}"

static struct server server;

static int set_up(void **state)
{
    server_start(&server);
    return 0;
}

static int tear_down(void **state)
{
    server_stop(&server);
    return 0;
}

static void test_it_is_a_terminal_of_its_own(void **state)
{
    struct outcome o;
    client_run(&server,
               client_shell("test -t 0 && test -t 1 && test -t 2 && tty; ps -o tty= $$", TERMINAL),
               NULL, &o);
    assert_int_equal(o.code, 0);
    assert_int_equal(strncmp(o.out.text, "/dev/pts/", 9), 0);
    /* The same terminal as the controlling one: "pts/N" twice. */
    char *second = strstr(o.out.text + 5, "\r\n");
    assert_non_null(second);
    assert_int_equal(strncmp(second + 2, o.out.text + 5, (size_t)(second - o.out.text - 5)), 0);
    assert_string_equal(o.err.text, "");
    outcome_done(&o);
}

static void check_output(const char *script, const char *more, const char *input,
                         const char *expected)
{
    struct outcome o;
    client_run(&server, client_shell(script, more), input, &o);
    assert_true(o.exited);
    if (!strstr(o.out.text, expected))
        fail_msg("%s: '%s' is not in '%s'", script, expected, o.out.text);
    outcome_done(&o);
}

static void test_size_is_there_from_the_start(void **state)
{
    check_output("stty size", TERMINAL, NULL, "24 80\r\n");
    check_output("stty size", SIZED, NULL, "40 100\r\n");
}

static void test_environment_of_a_terminal(void **state)
{
    check_output("echo $TERM", TERMINAL, NULL, "xterm\r\n");
    check_output("echo $TERM", TERMINAL ", \"env\": [\"TERM=vt100\"]", NULL, "vt100\r\n");
}

static void test_resize_is_seen(void **state)
{
    struct client c;
    struct outcome o = {0};
    client_connect(&c, &server);
    client_start(&c, client_shell("trap 'stty size; exit' WINCH; echo ready; "
                                  "while :; do sleep 0.02; done",
                                  TERMINAL));
    client_wait_for(&c, &o, "ready");
    client_resize(&c, 50, 132);
    client_wait_for(&c, &o, "50 132");
    client_collect(&c, &o);
    assert_int_equal(o.code, 0);
    client_close(&c);
    outcome_done(&o);
}

static void test_input_and_its_end(void **state)
{
    check_output("cat; echo ended", TERMINAL, NULL, "ended");
    check_output("stty -echo; echo go; cat; echo ended", TERMINAL, "a line\n", "ended");
    /* An unfinished line takes two end characters. */
    check_output("cat; echo ended", TERMINAL, "no newline", "no newlineno newlineended");
}

static void test_interrupt_by_character(void **state)
{
    struct client c;
    struct outcome o = {0};
    client_connect(&c, &server);
    client_start(&c, client_shell("echo ready; exec sleep 20", TERMINAL));
    client_wait_for(&c, &o, "ready");
    client_send(&c, WIRE_SESSION_STDIN, "\3", 1);
    client_collect(&c, &o);
    assert_int_equal(o.code, 128 + SIGINT);
    client_close(&c);
    outcome_done(&o);
}

static void test_output_is_whole(void **state)
{
    struct outcome o;
    client_run(&server, client_shell("stty -onlcr; seq 1 50000", TERMINAL), NULL, &o);
    assert_int_equal(o.out.len, 288894);
    assert_int_equal(strcmp(o.out.text + o.out.len - 6, "50000\n"), 0);
    outcome_done(&o);
}

static void test_a_dropped_connection_hangs_up(void **state)
{
    char path[] = "/tmp/agent-hangup-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char script[160];
    snprintf(script, sizeof(script),
             "trap 'echo hup > %s; exit' HUP; echo ready; while :; do sleep 0.02; done", path);
    struct client c;
    struct outcome o = {0};
    client_connect(&c, &server);
    client_start(&c, client_shell(script, TERMINAL));
    client_wait_for(&c, &o, "ready");
    client_close(&c);
    char text[8] = "";
    for (int i = 0; i < 500 && pread(fd, text, sizeof(text) - 1, 0) < 4; i++)
        usleep(10000);
    assert_string_equal(text, "hup\n");
    outcome_done(&o);
    close(fd);
    unlink(path);
}

static void test_the_user_owns_the_terminal(void **state)
{
    if (geteuid() != 0)
        skip();
    check_output("echo x > $(tty) && echo fine", TERMINAL ", \"user\": {\"username\": \"daemon\"}",
                 NULL, "fine");
}

static void test_no_end_character_in_raw_mode(void **state)
{
    int master, slave;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(agent_terminal_open(-1, 0, 0, &master, &slave, &err), 0);
    struct termios t;
    assert_int_equal(tcgetattr(slave, &t), 0);
    struct termios raw = t;
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    assert_int_equal(agent_terminal_send_eof(master, false), 0);
    assert_int_equal(write(master, "x", 1), 1);
    char buf[4];
    assert_int_equal(read(slave, buf, sizeof(buf)), 1);
    assert_int_equal(buf[0], 'x');

    assert_int_equal(tcsetattr(slave, TCSANOW, &t), 0);
    assert_int_equal(agent_terminal_send_eof(master, false), 0);
    assert_int_equal(read(slave, buf, sizeof(buf)), 0);
    assert_true(read(master, buf, sizeof(buf)) < 0 || buf[0] != 'y'); /* non-blocking */
    close(master);
    close(slave);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_it_is_a_terminal_of_its_own),
        TEST(test_size_is_there_from_the_start),
        TEST(test_environment_of_a_terminal),
        TEST(test_resize_is_seen),
        TEST(test_input_and_its_end),
        TEST(test_interrupt_by_character),
        TEST(test_output_is_whole),
        TEST(test_a_dropped_connection_hangs_up),
        TEST(test_the_user_owns_the_terminal),
        cmocka_unit_test(test_no_end_character_in_raw_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
