/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup.h"
#include "agent/pressure.h"
#include "support/unit.h"

#include <unistd.h>

#define MIB (1ull << 20)
#define SECOND_US 1000000u

static struct agent_pressure_sample full_machine(void)
{
    return (struct agent_pressure_sample){.total_bytes = 128 * MIB,
                                          .available_bytes = 4 * MIB,
                                          .file_bytes = 2 * MIB,
                                          .refault_bytes = 1000 * MIB,
                                          .stalled_us = 5000};
}

static void test_texts_are_read(void **state)
{
    struct agent_pressure_sample s;
    agent_pressure_parse("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable: 7 kB\n"
                         "Active(file): 3 kB\nInactive(file): 4 kB\n",
                         "nr_x 1\nworkingset_refault_anon 9\nworkingset_refault_file 5\n",
                         "some avg10=0.00 total=11\nfull avg10=0.00 total=22\n", &s);
    assert_int_equal(s.total_bytes, 102400);
    assert_int_equal(s.available_bytes, 7168);
    assert_int_equal(s.file_bytes, 7168);
    assert_int_equal(s.refault_bytes, 5 * sysconf(_SC_PAGESIZE));
    assert_int_equal(s.stalled_us, 22);
    agent_pressure_parse("", "", "", &s);
    assert_int_equal(s.total_bytes + s.file_bytes + s.refault_bytes + s.stalled_us, 0);
}

static void test_a_full_machine_that_works_is_left_alone(void **state)
{
    struct agent_pressure_sample a = full_machine(), b = a;
    assert_false(agent_pressure_is_hopeless(&a, &b, SECOND_US));
    b.refault_bytes += 8 * MIB; /* four times what is cached */
    b.stalled_us += SECOND_US / 2;
    assert_false(agent_pressure_is_hopeless(&a, &b, SECOND_US));
}

static void test_a_machine_that_only_reads_its_programs_is_stuck(void **state)
{
    struct agent_pressure_sample a = full_machine(), b = a;
    b.refault_bytes += 8 * MIB + 1;
    assert_true(agent_pressure_is_hopeless(&a, &b, SECOND_US));
}

static void test_a_machine_that_only_waits_is_stuck(void **state)
{
    struct agent_pressure_sample a = full_machine(), b = a;
    b.stalled_us += SECOND_US / 2 + 1;
    assert_true(agent_pressure_is_hopeless(&a, &b, SECOND_US));
}

static void test_a_machine_full_of_files_is_left_alone(void **state)
{
    struct agent_pressure_sample a = full_machine(), b;
    a.file_bytes = 8 * MIB;
    b = a;
    b.refault_bytes += 1000 * MIB;
    b.stalled_us += SECOND_US;
    assert_false(agent_pressure_is_hopeless(&a, &b, SECOND_US));
}

static void test_both_ends_count(void **state)
{
    struct agent_pressure_sample a = full_machine(), b = a;
    b.stalled_us += SECOND_US;
    a.available_bytes = 16 * MIB;
    assert_false(agent_pressure_is_hopeless(&a, &b, SECOND_US));
    assert_false(agent_pressure_is_hopeless(&b, &a, SECOND_US));
}

static void test_the_limit_leaves_a_reserve(void **state)
{
    assert_int_equal(agent_cgroup_reserve(0), 8 * MIB);
    assert_int_equal(agent_cgroup_reserve(128 * MIB), 8 * MIB);
    assert_int_equal(agent_cgroup_reserve(512 * MIB), 32 * MIB);
    assert_int_equal(agent_cgroup_reserve(1024 * MIB), 64 * MIB);
    assert_int_equal(agent_cgroup_reserve(1024 * 1024 * MIB), 64 * MIB);
    assert_int_equal(agent_cgroup_limit(128 * MIB, 20 * MIB), 100 * MIB);
    assert_int_equal(agent_cgroup_limit(1024 * MIB, 0), 960 * MIB);
    assert_int_equal(agent_cgroup_limit(32 * MIB, 20 * MIB), 16 * MIB); /* never below half */
    assert_int_equal(agent_cgroup_limit(0, 0), 0);
    static const char stat[] = "anon 1\ninactive_file 10485760\nactive_file 20971520\nslab 5\n";
    assert_int_equal(agent_cgroup_lower(100 * MIB, 90 * MIB, stat), 100 * MIB);
    assert_int_equal(agent_cgroup_lower(50 * MIB, 90 * MIB, stat), 64 * MIB);
    assert_int_equal(agent_cgroup_lower(50 * MIB, 10 * MIB, stat), 50 * MIB);
    assert_int_equal(agent_cgroup_lower(50 * MIB, 90 * MIB, ""), 94 * MIB);
}

static void test_the_text_of_a_share(void **state)
{
    char text[AGENT_CGROUP_CPU_TEXT];
    agent_cgroup_cpu_text(0, text);
    assert_string_equal(text, "max 100000");
    agent_cgroup_cpu_text(10, text);
    assert_string_equal(text, "1000 100000");
    agent_cgroup_cpu_text(1500, text);
    assert_string_equal(text, "150000 100000");
    assert_true(agent_cgroup_cpu_text(UINT32_MAX, text) < AGENT_CGROUP_CPU_TEXT);
    assert_string_equal(text, "429496729500 100000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_are_read),
        cmocka_unit_test(test_a_full_machine_that_works_is_left_alone),
        cmocka_unit_test(test_a_machine_that_only_reads_its_programs_is_stuck),
        cmocka_unit_test(test_a_machine_that_only_waits_is_stuck),
        cmocka_unit_test(test_a_machine_full_of_files_is_left_alone),
        cmocka_unit_test(test_both_ends_count),
        cmocka_unit_test(test_the_limit_leaves_a_reserve),
        cmocka_unit_test(test_the_text_of_a_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
