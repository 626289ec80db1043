/* SPDX-License-Identifier: Apache-2.0
 *
 * test_session.c: real processes behind real sessions, on the host.
 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

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

static void check_run(const char *json, const char *input, uint32_t code, const char *out)
{
    struct outcome o;
    client_run(&server, json, input, &o);
    if (!o.exited || o.code != code)
        fail_msg("%s: code %u, failure '%s', stderr '%s'", json, o.code, o.failure, o.err.text);
    assert_true(o.started);
    assert_true(o.pid > 1);
    if (out)
        assert_string_equal(o.out.text ? o.out.text : "", out);
    outcome_done(&o);
}

static void test_echo(void **state)
{
    check_run("{\"args\": [\"echo\", \"hello\"]}", NULL, 0, "hello\n");
    check_run("{\"args\": [\"/bin/echo\", \"-n\"]}", NULL, 0, "");
}

static void test_stdin_and_its_end(void **state)
{
    check_run("{\"args\": [\"cat\"]}", "some input", 0, "some input");
    check_run("{\"args\": [\"wc\", \"-c\"]}", NULL, 0, "0\n");
}

static void test_stderr_is_apart(void **state)
{
    struct outcome o;
    client_run(&server, client_shell("echo out; echo err >&2", ""), NULL, &o);
    assert_string_equal(o.out.text, "out\n");
    assert_string_equal(o.err.text, "err\n");
    outcome_done(&o);
}

static void test_exit_codes(void **state)
{
    check_run(client_shell("exit 0", ""), NULL, 0, NULL);
    check_run(client_shell("exit 1", ""), NULL, 1, NULL);
    check_run(client_shell("exit 255", ""), NULL, 255, NULL);
    check_run(client_shell("kill -KILL $$", ""), NULL, 128 + SIGKILL, NULL);
    check_run(client_shell("kill -TERM $$", ""), NULL, 128 + SIGTERM, NULL);
}

static void check_failure(const char *json, uint32_t code, const char *text)
{
    struct outcome o;
    client_run(&server, json, NULL, &o);
    if (!o.failed || o.started || o.code != code || !strstr(o.failure, text))
        fail_msg("%s: failed %d, code %u, '%s'", json, o.failed, o.code, o.failure);
    outcome_done(&o);
}

static void test_commands_that_do_not_start(void **state)
{
    check_failure("{\"args\": [\"no-such-command\"]}", 127,
                  "exec: \"no-such-command\": executable file not found in $PATH");
    check_failure("{\"args\": [\"\"]}", 127, "executable file not found in $PATH");
    check_failure("{\"args\": [\"/no/such\"]}", 127,
                  "exec: \"/no/such\": stat /no/such: no such file or directory");
    check_failure("{\"args\": [\"/etc/passwd\"]}", 126, "exec: \"/etc/passwd\": permission denied");
    check_failure("{\"args\": [\"/etc\"]}", 126, "is a directory");
    check_failure("{\"args\": [\"/etc/passwd/x\"]}", 126, "not a directory");
    check_failure("{\"args\": [\"sh\"], \"env\": [\"PATH=/nowhere\"]}", 127, "not found in $PATH");
    check_failure("{\"args\": [\"true\"], \"user\": {\"username\": \"nobody-knows\"}}", 125,
                  "unable to find user nobody-knows: no matching entries in passwd file");
    check_failure("{\"args\": [\"true\"], \"user\": {\"username\": \"root:no-group\"}}", 125,
                  "unable to find group no-group");
    check_failure("{\"args\": [\"true\"], \"cwd\": \"/etc/passwd\"}", 126, "not a directory");
}

static void test_bad_requests(void **state)
{
    check_failure("{\"args\": []}", 125, "'args'");
    check_failure("{\"args\": [\"true\"], \"x\": 1}", 125, "'x': unknown key");
    check_failure("{\"args\": ", 125, "JSON");
    check_failure("", 125, "JSON");
}

static void test_a_file_of_no_known_format(void **state)
{
    char path[] = "/tmp/agent-format-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "\1\2\3\4", 4), 4);
    fchmod(fd, 0755);
    close(fd);
    char json[256];
    snprintf(json, sizeof(json), "{\"args\": [\"%s\"]}", path);
    check_failure(json, 126, "exec format error");
    unlink(path);
}

static void test_frames_out_of_turn_end_the_connection(void **state)
{
    static const uint16_t types[] = {WIRE_SESSION_STDIN, WIRE_SESSION_STDOUT, 999};
    for (size_t i = 0; i < PV_ARRAY_SIZE(types); i++) {
        struct client c;
        struct wire_frame frame;
        client_connect(&c, &server);
        client_send(&c, types[i], "x", 1);
        assert_false(client_next(&c, &frame));
        client_close(&c);
    }
    struct client c;
    struct outcome o = {0};
    client_connect(&c, &server);
    client_start(&c, "{\"args\": [\"sleep\", \"2\"]}");
    client_start(&c, "{\"args\": [\"sleep\", \"2\"]}");
    client_collect(&c, &o);
    assert_false(o.exited);
    client_close(&c);
    outcome_done(&o);
}

static void test_environment(void **state)
{
    check_run(client_shell("echo $PATH", ""), NULL, 0,
              "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
    check_run(client_shell("echo $A-$B-$HOSTNAME-$TERM", ", \"env\": [\"A=1\", \"B=2\", \"A=3\"]"),
              NULL, 0, "3-2-box-\n");
    check_run(client_shell("echo $HOME", ", \"env\": [\"HOME=/given\"]"), NULL, 0, "/given\n");
}

static void test_long_arguments_cross(void **state)
{
    struct pv_str json = {0};
    pv_str_add(&json, "{\"args\": [\"sh\", \"-c\", \"echo ${#A}; echo $#\", \"x\"");
    for (int i = 0; i < 3000; i++)
        pv_str_addf(&json, ", \"argument number %d\"", i);
    pv_str_add(&json, "], \"env\": [\"A=");
    for (int i = 0; i < 10000; i++)
        pv_str_add(&json, "0123456789");
    pv_str_add(&json, "\"]}");
    assert_true(json.len > 2 * WIRE_FRAME_MAX);
    check_run(json.text, NULL, 0, "100000\n3000\n");
    pv_str_done(&json);
}

static void test_working_directory(void **state)
{
    check_run("{\"args\": [\"pwd\"]}", NULL, 0, "/\n");
    check_run("{\"args\": [\"pwd\"], \"cwd\": \"/usr\"}", NULL, 0, "/usr\n");

    char top[] = "/tmp/agent-cwd-XXXXXX";
    assert_non_null(mkdtemp(top));
    char json[256], expected[64], path[64];
    snprintf(expected, sizeof(expected), "%s/a/b\n", top);
    snprintf(json, sizeof(json), "{\"args\": [\"pwd\"], \"cwd\": \"%s/a/b\"}", top);
    check_run(json, NULL, 0, expected);
    snprintf(path, sizeof(path), "%s/a/b", top);
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof(path), "%s/a", top);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(top), 0);
}

static void test_the_process_starts_clean(void **state)
{
    /* No pipe behind ls: the shell would hold it for a moment, too. */
    check_run(client_shell("umask; ulimit -Sn; ls /proc/$$/fd; true", ""), NULL, 0,
              "0022\n1024\n0\n1\n2\n");
    check_run(client_shell("grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d '\\t\\n'", ""), NULL,
              0, "SigBlk:0000000000000000SigIgn:0000000000000000");
    check_run(
        client_shell("cat /proc/self/oom_score_adj; ps -o sid= -p $$ | tr -d ' ' > /dev/null", ""),
        NULL, 0, "0\n");
}

static void test_users(void **state)
{
    if (geteuid() != 0)
        skip();
    check_run(client_shell("id -u; id -g; id -G", ", \"user\": {\"uid\": 1234, \"gid\": 5678}"),
              NULL, 0, "1234\n5678\n5678\n");
    check_run(client_shell("id -un; echo $HOME", ", \"user\": {\"username\": \"daemon\"}"), NULL, 0,
              "daemon\n/usr/sbin\n");
    check_run(client_shell("id -gn", ", \"user\": {\"username\": \"daemon:bin\"}"), NULL, 0,
              "bin\n");
    check_run(client_shell("echo $HOME", ", \"user\": {\"username\": \"54321\"}"), NULL, 0, "/\n");
    /* Its own output by path, which needs the pipe to be its own. */
    check_run(client_shell("echo x > /dev/stdout", ", \"user\": {\"username\": \"daemon\"}"), NULL,
              0, "x\n");
    check_run(client_shell("grep CapEff /proc/self/status | cut -f2",
                           ", \"user\": {\"username\": \"daemon\"}"),
              NULL, 0, "0000000000000000\n");
}

static void test_signals_reach_the_process(void **state)
{
    struct client c;
    struct outcome o = {0};
    client_connect(&c, &server);
    client_start(&c,
                 client_shell("trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done", ""));
    client_wait_for(&c, &o, "ready");
    client_signal(&c, SIGHUP);
    client_wait_for(&c, &o, "hup");
    client_signal(&c, 0);
    client_signal(&c, 4000);
    client_signal(&c, SIGKILL);
    client_collect(&c, &o);
    assert_int_equal(o.code, 128 + SIGKILL);
    client_close(&c);
    outcome_done(&o);
}

static void test_output_of_descendants_does_not_hold_the_session(void **state)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    check_run(client_shell("sleep 5 & echo done", ""), NULL, 0, "done\n");
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 4);
}

static void test_a_large_tail_is_not_lost(void **state)
{
    /* The process ends at once; a descendant keeps the pipe open, which still holds bytes. */
    struct outcome o;
    client_run(&server, client_shell("sleep 3 & head -c 60000 /dev/zero", ""), NULL, &o);
    assert_int_equal(o.out.len, 60000);
    outcome_done(&o);
}

static void test_input_nobody_reads_is_credited(void **state)
{
    struct client c;
    struct outcome o = {0};
    static char zeros[32768];
    client_connect(&c, &server);
    client_start(&c, client_shell("exec <&-; echo closed; sleep 0.3; exit 4", ""));
    client_wait_for(&c, &o, "closed");
    for (int i = 0; i < 40; i++) { /* ten windows */
        struct wire_frame frame;
        if (c.credit < sizeof(zeros) && !client_next(&c, &frame))
            break;
        if (c.credit < sizeof(zeros))
            break; /* EXITED came */
        client_send(&c, WIRE_SESSION_STDIN, zeros, sizeof(zeros));
    }
    client_close(&c);
    outcome_done(&o);
}

static void test_too_much_input_ends_the_connection(void **state)
{
    struct client c;
    struct outcome o = {0};
    static char zeros[WIRE_SESSION_STDIN_WINDOW + 1];
    client_connect(&c, &server);
    client_start(&c, "{\"args\": [\"sleep\", \"5\"]}");
    client_send(&c, WIRE_SESSION_STDIN, zeros, sizeof(zeros));
    client_collect(&c, &o);
    assert_false(o.exited);
    client_close(&c);
    outcome_done(&o);
}

/* Sends and receives 1 MiB of every byte through cat, minding the credit. */
static void test_a_mebibyte_both_ways(void **state)
{
    enum { TOTAL = 1 << 20 };
    pv_auto_free uint8_t *sent = malloc(TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        sent[i] = (uint8_t)(i * 31 + i / 257);
    struct client c;
    struct pv_str got = {0};
    client_connect(&c, &server);
    client_start(&c, "{\"args\": [\"cat\"]}");

    size_t at = 0;
    bool exited = false, eof_sent = false;
    struct wire_frame frame;
    for (;;) {
        size_t may = PV_MIN(c.credit, 20000u), len = PV_MIN((size_t)TOTAL - at, may);
        if (len) {
            client_send(&c, WIRE_SESSION_STDIN, sent + at, len);
            at += len;
        } else if (at == TOTAL && !eof_sent) {
            client_send(&c, WIRE_SESSION_STDIN_EOF, NULL, 0);
            eof_sent = true;
        }
        struct pollfd p = {.fd = c.fd, .events = POLLIN};
        if (len && poll(&p, 1, 0) == 0)
            continue;
        if (!client_next(&c, &frame))
            break;
        if (frame.type == WIRE_SESSION_STDOUT)
            pv_str_add_bytes(&got, frame.payload, frame.len);
        exited |= frame.type == WIRE_SESSION_EXITED;
    }
    assert_true(exited);
    assert_int_equal(got.len, TOTAL);
    assert_memory_equal(got.text, sent, TOTAL);
    pv_str_done(&got);
    client_close(&c);
}

static void test_a_stalled_reader_blocks_the_process(void **state)
{
    /* 64 MiB are far more than all buffers on the way hold together. */
    struct client c;
    client_connect(&c, &server);
    client_start(&c, client_shell("head -c 67108864 /dev/zero; echo end >&2", ""));
    usleep(300000);

    /* Others are served meanwhile. */
    check_run("{\"args\": [\"echo\", \"other\"]}", NULL, 0, "other\n");

    size_t total = 0;
    bool exited = false;
    struct wire_frame frame;
    while (client_next(&c, &frame)) {
        total += frame.type == WIRE_SESSION_STDOUT ? frame.len : 0;
        exited |= frame.type == WIRE_SESSION_EXITED;
    }
    assert_true(exited);
    assert_int_equal(total, 67108864);
    client_close(&c);
}

static void test_several_at_once(void **state)
{
    enum { COUNT = 40 };
    static struct client clients[COUNT];
    for (int i = 0; i < COUNT; i++) {
        char script[64];
        snprintf(script, sizeof(script), "read x; echo $x-%d; exit %d", i, i);
        client_connect(&clients[i], &server);
        client_start(&clients[i], client_shell(script, ""));
    }
    for (int i = COUNT - 1; i >= 0; i--)
        client_send(&clients[i], WIRE_SESSION_STDIN, "go\n", 3);
    for (int i = 0; i < COUNT; i++) {
        struct outcome o = {0};
        char expected[64];
        client_collect(&clients[i], &o);
        snprintf(expected, sizeof(expected), "go-%d\n", i);
        assert_string_equal(o.out.text, expected);
        assert_int_equal(o.code, i);
        outcome_done(&o);
        client_close(&clients[i]);
    }
}

static void test_a_dropped_connection_ends_input(void **state)
{
    char path[] = "/tmp/agent-drop-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char script[128];
    snprintf(script, sizeof(script), "echo ready; cat; echo gone > %s", path);
    struct client c;
    struct outcome o = {0};
    client_connect(&c, &server);
    client_start(&c, client_shell(script, ""));
    client_wait_for(&c, &o, "ready");
    client_close(&c);
    char text[8] = "";
    for (int i = 0; i < 500 && pread(fd, text, sizeof(text) - 1, 0) < 5; i++)
        usleep(10000);
    assert_string_equal(text, "gone\n");
    outcome_done(&o);
    close(fd);
    unlink(path);
}

static void test_too_many_sessions_are_refused(void **state)
{
    enum { MAX = 256 };
    static struct client clients[MAX];
    struct outcome o = {0};
    for (int i = 0; i < MAX; i++)
        client_connect(&clients[i], &server);
    struct client over;
    client_connect(&over, &server);
    client_collect(&over, &o);
    assert_true(o.failed);
    assert_int_equal(o.code, 125);
    assert_non_null(strstr(o.failure, "too many sessions"));
    outcome_done(&o);
    client_close(&over);

    client_close(&clients[0]);
    usleep(50000);
    check_run("{\"args\": [\"true\"]}", NULL, 0, "");
    for (int i = 1; i < MAX; i++)
        client_close(&clients[i]);
}

static void test_orphans_are_reaped(void **state)
{
    struct outcome o;
    client_run(&server, client_shell("(sleep 0.2 & echo $! >&2)", ""), NULL, &o);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld", strtol(o.err.text, NULL, 10));
    usleep(500000);
    assert_int_not_equal(access(path, F_OK), 0); /* neither alive nor a zombie */
    outcome_done(&o);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_echo),
        TEST(test_stdin_and_its_end),
        TEST(test_stderr_is_apart),
        TEST(test_exit_codes),
        TEST(test_commands_that_do_not_start),
        TEST(test_bad_requests),
        TEST(test_a_file_of_no_known_format),
        TEST(test_frames_out_of_turn_end_the_connection),
        TEST(test_environment),
        TEST(test_long_arguments_cross),
        TEST(test_working_directory),
        TEST(test_the_process_starts_clean),
        TEST(test_users),
        TEST(test_signals_reach_the_process),
        TEST(test_output_of_descendants_does_not_hold_the_session),
        TEST(test_a_large_tail_is_not_lost),
        TEST(test_input_nobody_reads_is_credited),
        TEST(test_too_much_input_ends_the_connection),
        TEST(test_a_mebibyte_both_ways),
        TEST(test_a_stalled_reader_blocks_the_process),
        TEST(test_several_at_once),
        TEST(test_a_dropped_connection_ends_input),
        TEST(test_too_many_sessions_are_refused),
        TEST(test_orphans_are_reaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
