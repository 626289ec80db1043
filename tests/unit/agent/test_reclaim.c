/* SPDX-License-Identifier: Apache-2.0
 *
 * test_reclaim.c: memory is made free when there is too little, and only then. The kernel is
 * played by files; what is written to memory.reclaim can be read afterwards.
 */
#include "agent/reclaim.h"
#include "support/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct fixture {
    struct pv_loop *loop;
    char folder[64];
    int proc_fd, reclaim_fd;
    struct agent_reclaim_numbers told;
    unsigned calls;
};

static void write_meminfo(struct fixture *f, const char *text)
{
    int fd = openat(f->proc_fd, "meminfo", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = pv_loop_new();
    snprintf(f->folder, sizeof(f->folder), "/tmp/test_reclaim.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->proc_fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    write_meminfo(f, "MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 60 kB\n");
    f->reclaim_fd = openat(f->proc_fd, "memory.reclaim", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(agent_reclaim_open(f->proc_fd, f->reclaim_fd), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    unlinkat(f->proc_fd, "meminfo", 0);
    unlinkat(f->proc_fd, "memory.reclaim", 0);
    rmdir(f->folder);
    close(f->proc_fd);
    close(f->reclaim_fd);
    pv_loop_free(f->loop);
    free(f);
    return 0;
}

static void on_done(void *data, const struct agent_reclaim_numbers *now)
{
    struct fixture *f = data;
    f->told = *now;
    f->calls++;
    pv_loop_stop(f->loop, 0);
}

static void test_what_is_free_is_told_at_once(void **state)
{
    struct fixture *f = *state;
    char byte;
    agent_reclaim_request(f->loop, 10 * 1024, on_done, f);
    assert_int_equal(f->calls, 1);
    assert_int_equal(f->told.total, 100 * 1024);
    assert_int_equal(f->told.free, 10 * 1024);
    assert_int_equal(f->told.available, 60 * 1024);
    assert_int_equal(pread(f->reclaim_fd, &byte, 1, 0), 0);
}

static void test_what_is_missing_is_reclaimed(void **state)
{
    struct fixture *f = *state;
    char text[32] = "";
    agent_reclaim_request(f->loop, 30 * 1024, on_done, f);
    assert_int_equal(f->calls, 0);
    write_meminfo(f, "MemTotal: 100 kB\nMemFree: 25 kB\nMemAvailable: 60 kB\n");
    pv_loop_run(f->loop);
    assert_int_equal(f->calls, 1);
    assert_int_equal(f->told.free, 25 * 1024);
    assert_true(pread(f->reclaim_fd, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, "20480");
}

static void test_a_second_question_does_not_wait(void **state)
{
    struct fixture *f = *state;
    agent_reclaim_request(f->loop, 30 * 1024, on_done, f);
    agent_reclaim_request(f->loop, 50 * 1024, on_done, f);
    assert_int_equal(f->calls, 1);
    assert_int_equal(f->told.free, 10 * 1024);
    pv_loop_run(f->loop);
    assert_int_equal(f->calls, 2);
}

static void test_a_kernel_that_cannot_reclaim(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(agent_reclaim_open(f->proc_fd, -1), 0);
    agent_reclaim_request(f->loop, 30 * 1024, on_done, f);
    assert_int_equal(f->calls, 1);
}

#define WITH_FILES(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILES(test_what_is_free_is_told_at_once),
        WITH_FILES(test_what_is_missing_is_reclaimed),
        WITH_FILES(test_a_second_question_does_not_wait),
        WITH_FILES(test_a_kernel_that_cannot_reclaim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
