/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/oom.h"
#include "support/unit.h"

static void check(const char *record, const char *expected)
{
    char name[AGENT_OOM_NAME_MAX] = "";
    assert_int_equal(agent_oom_parse(record, name), expected != NULL);
    if (expected)
        assert_string_equal(name, expected);
}

static void test_kills_are_found(void **state)
{
    check("3,512,1000,-;Out of memory: Killed process 45 (java) total-vm:1kB, anon-rss:1kB\n",
          "java");
    check("3,512,1000,-;Memory cgroup out of memory: Killed process 7 (perl) total-vm:9kB\n",
          "perl");
    check("3,1,2,-;Killed process 1 ((sd-pam)) total-vm:1kB\n", "(sd-pam)");
    check("3,1,2,-;Killed process 1 (a b) c) total-vm:1kB\n", "a b) c");
    check("3,1,2,-;Killed process 1 (x)\n", "x");
    check("3,1,2,-;Killed process 1 (a\x01\xff) total-vm:1kB", "a??");
}

static void test_other_records_are_not(void **state)
{
    check("", NULL);
    check("6,1,2,-;agent: hello\n", NULL);
    check("3,1,2,-;Killed process", NULL);
    check("3,1,2,-;Killed process x (a) total-vm:\n", NULL);
    check("3,1,2,-;Killed process 1 (a\n", NULL);
    check("3,1,2,-;text\n KEY=Killed process 1 (a) total-vm:1\n", NULL);
    check("x,1,2,-;Killed process 1 (a) total-vm:1\n", NULL);
}

static void test_the_word_of_a_process_does_not_count(void **state)
{
    /* Facility 1 and up: written to the log by a process. */
    check("12,1,2,-;Killed process 1 (a) total-vm:1\n", NULL);
    check("8,1,2,-;Killed process 1 (a) total-vm:1\n", NULL);
    check("7,1,2,-;Killed process 1 (a) total-vm:1\n", "a");
}

static void test_long_names_are_cut(void **state)
{
    char record[512] = "3,1,2,-;Killed process 1 (";
    char expected[AGENT_OOM_NAME_MAX] = "";
    memset(expected, 'n', AGENT_OOM_NAME_MAX - 1);
    memset(record + strlen(record), 'n', 200);
    strcat(record, ") total-vm:1kB");
    check(record, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills_are_found),
        cmocka_unit_test(test_other_records_are_not),
        cmocka_unit_test(test_the_word_of_a_process_does_not_count),
        cmocka_unit_test(test_long_names_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
