/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stats.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int open_proc(void)
{
    return open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static uint64_t number(const struct pv_json *o, const char *key)
{
    uint64_t value = UINT64_MAX;
    struct pv_error err = PV_ERROR_INIT;
    if (pv_json_need_u64(o, key, 0, UINT64_MAX, &value, &err) < 0)
        fail_msg("%s", err.text);
    return value;
}

static void check(const struct pv_json *o, pid_t pid)
{
    const struct pv_json *memory = pv_json_get(o, "memory");
    assert_true(number(memory, "total_bytes") > 0);
    assert_true(number(memory, "available_bytes") <= number(memory, "total_bytes"));
    number(memory, "free_bytes");
    number(memory, "cached_bytes");
    number(memory, "swap_total_bytes");
    number(memory, "swap_free_bytes");
    number(o, "uptime_seconds");
    assert_true(number(o, "cpu_ns") > 0);
    assert_non_null(pv_json_text(pv_json_get(o, "load")));

    const struct pv_json *list = pv_json_get(o, "processes");
    size_t count = pv_json_array_length(list), found = 0;
    assert_true(count > 0 && count <= AGENT_STATS_PROCESSES_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct pv_json *p = pv_json_array_at(list, i);
        assert_non_null(pv_json_text(pv_json_get(p, "user")));
        assert_non_null(pv_json_text(pv_json_get(p, "command")));
        number(p, "cpu_ns");
        if (number(p, "pid") != (uint64_t)pid)
            continue;
        found++;
        assert_int_equal(number(p, "ppid"), getppid());
        assert_true(number(p, "rss_bytes") > 0);
        assert_non_null(strstr(pv_json_text(pv_json_get(p, "command")), "test_agent_stats"));
    }
    assert_true(found == 1 || count == AGENT_STATS_PROCESSES_MAX);
}

struct answer {
    struct pv_loop *loop;
    pid_t pid;
    unsigned calls;
};

static void on_done(void *data, const char *text, size_t len)
{
    struct answer *a = data;
    struct pv_json *json = NULL;
    struct pv_error err = PV_ERROR_INIT;
    a->calls++;
    assert_non_null(text);
    if (pv_json_parse(text, len, &json, &err) < 0)
        fail_msg("%s", err.text);
    check(json, a->pid);
    pv_json_free(json);
    pv_loop_stop(a->loop, 0);
}

static void test_a_child_collects(void **state)
{
    struct answer a = {.loop = pv_loop_new(), .pid = getpid()};
    int proc = open_proc();
    for (unsigned round = 1; round <= 2; round++) {
        assert_int_equal(agent_stats_request(a.loop, proc, on_done, &a), 0);
        assert_int_equal(agent_stats_request(a.loop, proc, on_done, &a), -EBUSY);
        assert_int_equal(pv_loop_run(a.loop), 0);
        assert_int_equal(a.calls, round);
    }
    close(proc);
    pv_loop_free(a.loop);
}

static void test_without_proc_there_is_still_an_answer(void **state)
{
    int nothing = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct pv_json *json = agent_stats_collect(nothing);
    assert_int_equal(number(pv_json_get(json, "memory"), "total_bytes"), 0);
    assert_int_equal(pv_json_array_length(pv_json_get(json, "processes")), 0);
    assert_null(pv_json_get(json, "cpu_ns"));
    pv_json_free(json);
    close(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_child_collects),
        cmocka_unit_test(test_without_proc_there_is_still_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
