/* SPDX-License-Identifier: Apache-2.0
 *
 * test_probe.c: the probe's facts against what the kernel and the situation say.
 */
#include "jail/probe.h"

#include "situation.h"
#include "support/unit.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_facts_are_complete_and_true(void **state)
{
    struct jail_probe probe;
    jail_probe_run(&probe);
    for (size_t i = 0; i < JAIL_PROBE_COUNT; i++) {
        const struct jail_fact *fact = &probe.facts[i];
        assert_non_null(fact->name);
        if (!fact->evidence[0])
            fail_msg("'%s' has no evidence", fact->name);
        print_message("%-36s %-3s %8lld  %s\n", fact->name, fact->yes ? "yes" : "no",
                      (long long)fact->number, fact->evidence);
    }
    assert_int_equal(probe.facts[JAIL_PROBE_LANDLOCK].number, situation_landlock_abi());
    assert_int_equal(probe.facts[JAIL_PROBE_LANDLOCK].yes, situation_landlock_abi() > 0);
    /* A namespace in which nothing can be mounted is of little use. */
    assert_int_equal(probe.facts[JAIL_PROBE_USER_NAMESPACES].yes,
                     !situation_lacks(JAIL_WALL_USER) && !situation_lacks(JAIL_WALL_ROOT));
    assert_true(probe.facts[JAIL_PROBE_SECCOMP].yes);
}

static void test_probe_leaves_no_child(void **state)
{
    struct jail_probe probe;
    jail_probe_run(&probe);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

static void test_cpus_are_those_allowed(void **state)
{
    struct jail_probe probe;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    jail_probe_run(&probe);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_true(probe.facts[JAIL_PROBE_CPUS].yes);
    assert_int_equal(probe.facts[JAIL_PROBE_CPUS].number, 1);
}

int main(int argc, char **argv)
{
    situation_enter(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_are_complete_and_true),
        cmocka_unit_test(test_cpus_are_those_allowed),
        cmocka_unit_test(test_probe_leaves_no_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
