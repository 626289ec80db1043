/* SPDX-License-Identifier: Apache-2.0
 *
 * test_verbs.c: the program itself, verb by verb, over the fake monitor.
 */
#include "support/unit.h"

#include "base/str.h"
#include "support/place.h"
#include "support/tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct support_place place;
static char *out, *error;

static int set_up(void **state)
{
    support_place_make(&place);
    return 0;
}

static int tear_down(void **state)
{
    free(out);
    free(error);
    out = error = NULL;
    support_place_run(&place, "for i in $($P ps -aq); do $P rm -f $i; done", NULL, NULL);
    pv_auto_free char *left =
        support_tree_read_shell(place.top, "find root -mindepth 2; find cache -name '.tmp*'");
    support_place_remove(&place);
    unsetenv("FAKE_MONITOR");
    assert_string_equal(left, ""); /* every test leaves nothing behind */
    return 0;
}

static int run(const char *line)
{
    free(out);
    free(error);
    return support_place_run(&place, line, &out, &error);
}

/* Runs the line and checks its exit code. */
static void expect(int code, const char *line)
{
    int found = run(line);
    if (found != code)
        fail_msg("%s: exit code %d, not %d\nout: %s\nerror: %s", line, found, code, out, error);
}

static void expect_error(int code, const char *line, const char *says)
{
    expect(code, line);
    if (!strstr(error, says))
        fail_msg("%s: '%s' does not say '%s'", line, error, says);
}

static void test_streams_and_codes(void **state)
{
    expect(3, "$P run --rm $I -- sh -c 'echo out; echo err >&2; exit 3'");
    assert_string_equal(out, "out\n");
    assert_string_equal(error, "err\n");
    expect(0, "$P run --rm $I true");
    expect(127, "$P run --rm $I no-such-command");
    expect(126, "$P run --rm $I /");
    expect(137, "$P run --rm $I sh -c 'kill -9 $$'");
    expect(143, "$P run --rm $I sh -c 'kill $$'");
}

static void test_environment(void **state)
{
    expect(0, "MINE=inherited $P run --rm -e A=b -e MINE -e LACK -w /tmp --hostname box $I -- "
              "sh -c 'echo $A $MINE $LACK $HOSTNAME $PWD $PATH'");
    assert_string_equal(out, "b inherited box /tmp "
                             "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
    expect(0, "printf 'A=1\\nB=2\\n' > env && $P run --rm --env-file env -e B=3 $I -- "
              "sh -c 'echo $A $B'");
    assert_string_equal(out, "1 3\n");
}

static void test_stdin(void **state)
{
    expect(0, "head -c 3000000 /dev/urandom > data");
    expect(0, "$P run --rm -i $I cat < data | cmp - data");     /* a file */
    expect(0, "cat data | $P run --rm -i $I cat | cmp - data"); /* pipes */
    expect(0, "echo lost | $P run --rm $I cat");                /* no -i: at its end */
    assert_string_equal(out, "");
    expect(0, "$P run --rm -i $I cat < /dev/null");
    expect(0, "(echo one; sleep 0.05; echo two) | $P run --rm -i $I cat");
    assert_string_equal(out, "one\ntwo\n");
    /* A command that does not read its stdin, and one that ends before it is read. */
    expect(0, "cat data data data | $P run --rm -i $I true");
    expect(0, "yes | timeout 20 $P run --rm -i $I head -n 1");
    assert_string_equal(out, "y\n");
}

static void test_slow_and_lost_readers(void **state)
{
    expect(0, "$P run --rm $I head -c 30000000 /dev/zero | (sleep 0.1; wc -c)");
    assert_string_equal(out, "30000000\n");
    expect(141, "exec bash -c 'set -o pipefail; $P run --rm $I yes | head -n 1'");
    assert_string_equal(out, "y\n");
    expect(0, "$P run --rm $I sh -c 'head -c 1000000 /dev/zero; echo end >&2' > /dev/null");
    assert_string_equal(error, "end\n");
    expect(0, "$P run --rm $I sh -c 'echo x' >&-");
}

static void test_background(void **state)
{
    expect(0, "$P run -d --name web $I sh -c 'echo hello; echo oops >&2; sleep 60' | tee id");
    assert_int_equal(strlen(out), 65);
    expect(0, "$P ps -q --no-trunc | cmp - id");
    expect(0, "$P ps --format json");
    assert_non_null(strstr(out, "\"name\":\"web\""));
    assert_non_null(strstr(out, "\"state\":\"running\""));
    expect(0, "$W sh -c '$P logs web 2>&1 >/dev/null | grep -q oops'; $P logs web");
    assert_string_equal(out, "hello\n");
    assert_string_equal(error, "oops\n");
    expect(7, "$P exec web sh -c 'echo in; exit 7'");
    assert_string_equal(out, "in\n");
    expect(0, "echo abc | $P exec -i -e X=1 web -- sh -c 'cat; echo $X'");
    assert_string_equal(out, "abc\n1\n");
    expect(0, "$P exec web cat");
    expect(127, "$P exec web no-such-command");
    expect(0, "$P stats --no-stream web");
    assert_non_null(strstr(out, "512 MiB"));
    expect(0, "$P inspect web");
    assert_non_null(strstr(out, "\"walls\""));
    expect_error(125, "$P run --name web $I true", "'web' is in use");
    expect_error(1, "$P rm web", "paravane rm -f");
    expect(0, "$P stop -t 1 web");
    assert_string_equal(out, "web\n");
    expect(0, "$P ps");
    assert_null(strstr(out, "web"));
    expect(0, "$P ps -a");
    assert_non_null(strstr(out, "Exited (143)"));
    expect(0, "$P wait web");
    assert_string_equal(out, "143\n");
    expect_error(1, "$P kill web", "does not run");
    expect(0, "$P start web");
    assert_string_equal(out, "web\n");
    expect(0, "$P start web && $P kill web && $P rm $(cut -c 1-12 id)");
    expect_error(1, "$P rm web", "no instance 'web'");
    expect(0, "$P rm -f web");
}

static void test_removal_of_detached(void **state)
{
    expect(0, "$P run -d --rm --name brief -e TOP=$PWD $I "
              "sh -c 'until [ -e $TOP/go ]; do sleep 0.02; done'");
    expect(0, "touch go");
    /* Nobody has to run another command. */
    expect(0, "$W sh -c '[ -z \"$(find root -mindepth 2)\" ]'");
}

static void test_logs(void **state)
{
    expect(0, "$P run --name l $I sh -c 'for i in 1 2 3; do echo $i; done'");
    expect(0, "$P logs --tail 2 l");
    assert_string_equal(out, "2\n3\n");
    expect(0, "$P logs -t --tail 1 l");
    assert_non_null(strstr(out, "Z 3\n"));
    expect(0, "$P logs --since 1h l");
    assert_string_equal(out, "1\n2\n3\n");
    expect(0, "$P logs --since 2100-01-01T00:00:00Z l");
    assert_string_equal(out, "");
    expect_error(125, "$P logs --since yesterday l", "--since");
    expect_error(125, "$P logs --tail x l", "--tail");

    expect(0, "$P run -d -i --name f $I sh -c 'echo 1; read x; echo $x; exit 0'");
    expect(0, "timeout 30 $P logs -f f > seen & reader=$!; $W grep -q 1 seen; "
              "echo 2 | $P attach f > /dev/null; wait $reader && cat seen");
    assert_string_equal(out, "1\n2\n"); /* it has come while it was read, and ended with it */
}

static void test_signals(void **state)
{
    static const char script[] = "trap \"echo got; exit 9\" TERM; echo ready; "
                                 "while :; do sleep 0.02; done";
    pv_auto_free char *line = pv_strf("$P run --rm $I sh -c '%s' & pid=$!; "
                                      "$W grep -q ready out; kill -TERM $pid; wait $pid",
                                      script);
    expect(9, line);
    assert_string_equal(out, "ready\ngot\n");
    expect(0, "$P run -d --name s $I sh -c 'trap \"exit 5\" USR1; echo ready; "
              "while :; do sleep 0.02; done'");
    expect(0, "$W sh -c '$P logs s | grep -q ready' && $P kill -s USR1 s && $P wait s");
    assert_string_equal(out, "s\n5\n");
    expect_error(125, "$P kill -s NOPE s", "signal 'NOPE'");
}

static void test_killed_client(void **state)
{
    static const char started[] = "sh -c 'echo started; exec sleep 60'";
    pv_auto_free char *kept =
        pv_strf("$P run --name k $I %s > said & pid=$!; $W grep -q started said; kill -9 $pid; "
                "$W sh -c '$P ps -a | grep -q Exited'; $P ps -a --format json",
                started);
    expect(0, kept);
    assert_non_null(strstr(out, "\"state\":\"exited\""));
    expect(0, "$P rm k");
    pv_auto_free char *removed = pv_strf("$P run --rm $I %s > said2 & pid=$!; "
                                         "$W grep -q started said2; kill -9 $pid",
                                         started);
    expect(0, removed);
    expect(0, "$W sh -c '[ -z \"$($P ps -aq)\" ]'"); /* the one with --rm is swept */
}

static void test_monitor_trouble(void **state)
{
    expect_error(125, "FAKE_MONITOR=refuse $P run $I true", "it is on fire");
    expect_error(125, "FAKE_MONITOR=die $P run $I true", "ended before the machine ran");
    expect_error(125, "FAKE_MONITOR=noboot $P run $I true", "Kernel panic");
    expect_error(125, "FAKE_MONITOR=noboot $P run -d $I true", "Kernel panic");
    expect(130, "FAKE_MONITOR=mute timeout -s INT --preserve-status 0.3 $P run $I true");
    expect(0, "$P ps -aq");
    assert_string_equal(out, ""); /* none of these leaves an instance */
    expect_error(137, "FAKE_MONITOR=vanish $P run --name v $I sh -c 'echo x; sleep 5'",
                 "monitor ended unexpectedly");
    expect(0, "$P wait v");
    assert_string_equal(out, "137\n");
}

static void test_attach(void **state)
{
    expect(0, "$P run -d -i --name a $I sh -c 'read x; echo got $x; exit 6'");
    expect(6, "echo word | $P attach a"); /* who is late has missed nothing */
    assert_string_equal(out, "got word\n");
    expect_error(125, "$P attach a", "does not run");
    expect(0, "$P run -d -i --name b $I cat");
    expect(0, "echo typed | $P attach b");
    assert_string_equal(out, "typed\n");
}

static void test_usage(void **state)
{
    expect_error(125, "$P frobnicate", "unknown command 'frobnicate'");
    expect_error(125, "$P rnu", "'paravane help' lists them");
    expect_error(125, "$P runn", "did you mean 'run'?");
    expect_error(125, "$P run", "too few arguments");
    expect_error(125, "$P run --memry 1 $I", "did you mean --memory?");
    expect_error(125, "$P run -m 5 $I true", "--memory '5'");
    expect_error(125, "$P run --cpus 9 $I true", "0.01 to 8");
    expect_error(125, "$P run --isolation container $I true", "not available in this version");
    expect_error(125, "$P run -w tmp $I true", "--workdir 'tmp'");
    expect_error(125, "$P run /no/image true", "image '/no/image'");
    expect_error(125, "$P run --kernel /bin/true $I true", "kernel '/usr/bin/true'");
    expect_error(125, "$P run -m 1023G $I true", "memory and swap in all");
    expect_error(125, "$P run --net none --net-rate bps=1M $I true", "--net none");
    expect_error(125, "$P run -p 8080:80 -p 8080:81 $I true", "already leads elsewhere");
    expect_error(125, "$P run -v /proc:/x $I true", "-v '/proc'");
    expect_error(125, "$P exec nobody true", "no instance 'nobody'");
    expect_error(1, "$P inspect nobody", "no instance 'nobody'");
    expect(0, "$P help && $P --version && $P");
    static const char *const verbs[] = {"run",     "exec",   "attach", "start", "stop",  "kill",
                                        "wait",    "rm",     "ps",     "logs",  "stats", "top",
                                        "inspect", "update", "top",    "help"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(verbs); i++) {
        pv_auto_free char *line = pv_strf("$P %s --help", verbs[i]);
        expect(0, line);
        assert_non_null(strstr(out, "Usage: paravane"));
    }
}

static void test_update(void **state)
{
    expect(0, "$P run -d --name web $I sleep 60");
    expect(0, "$P update --memory 1G --cpus 1.5 web && $P inspect web");
    assert_non_null(strstr(out, "\"memory_bytes\": 1073741824"));
    assert_non_null(strstr(out, "\"cpu_milli\": 1500"));
    assert_non_null(strstr(out, "\"cpus\": 2"));
    expect(0, "$P kill web && $P update -m 64M web && $P inspect web"); /* for the next start */
    assert_non_null(strstr(out, "\"memory_bytes\": 67108864"));
    expect_error(125, "$P update web", "nothing to change");
    expect_error(125, "$P update", "update");
    expect_error(125, "$P update -m 63M web", "out of range");
    expect_error(125, "$P update --cpus 9 web", "0.01 to 8");
    expect_error(1, "$P update --cpus 1 nobody", "no instance 'nobody'");
    expect(0, "$P inspect web");
    assert_non_null(strstr(out, "\"memory_bytes\": 67108864"));
}

static void test_warnings(void **state)
{
    expect(0, "$P run --rm --cpus 8 $I true");
    if (sysconf(_SC_NPROCESSORS_ONLN) < 8)
        assert_non_null(strstr(error, "not pinned"));
}

#define VERB_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void test_networks(void **state)
{
    expect(0, "$P network ls -q");
    assert_string_equal(out, "");
    expect(0, "$P network create --internal --subnet 10.200.1.0/24 --subnet6 fd00:1::/64 back");
    assert_string_equal(out, "back\n");
    expect_error(1, "$P network create back", "exists");
    expect_error(125, "$P network create tap", "meaning of its own");
    expect_error(125, "$P network create --subnet 1.2.3.0/24 x", "not private");
    expect_error(125, "$P network creat x", "unknown command");
    expect_error(125, "$P network", "too few");
    expect_error(125, "$P network create", "too few");
    expect_error(125, "$P network rm --force back", "unknown option");
    expect(0, "$P network create --help");
    assert_non_null(strstr(out, "paravane network create [OPTIONS] NAME"));
    expect(0, "$P network ls");
    assert_non_null(strstr(out, "10.200.1.0/24"));
    assert_non_null(strstr(out, "internal"));
    expect(0, "$P network ls --format json");
    assert_non_null(strstr(out, "\"subnet6\":\"fd00:1::/64\""));
    expect(0, "$P network inspect back");
    assert_null(strstr(out, "gateway"));
    expect_error(1, "$P network inspect no", "paravane network create no");
    expect_error(1, "$P network rm no back", "no network 'no'");
    assert_string_equal(out, "back\n");
    expect(0, "$P network ls -q");
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERB_TEST(test_streams_and_codes),
        VERB_TEST(test_environment),
        VERB_TEST(test_stdin),
        VERB_TEST(test_slow_and_lost_readers),
        VERB_TEST(test_background),
        VERB_TEST(test_removal_of_detached),
        VERB_TEST(test_logs),
        VERB_TEST(test_signals),
        VERB_TEST(test_killed_client),
        VERB_TEST(test_monitor_trouble),
        VERB_TEST(test_attach),
        VERB_TEST(test_usage),
        VERB_TEST(test_update),
        VERB_TEST(test_warnings),
        VERB_TEST(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
