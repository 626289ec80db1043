/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"
#include "support/unit.h"

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

struct fixture {
    struct pv_loop *loop;
    struct pv_loop_source *a, *b, *timer;
    int calls, signals;
    int pipe_a[2], pipe_b[2];
};

static void on_first_removes_both(void *data, int fd, uint32_t events)
{
    struct fixture *f = data;
    f->calls++;
    pv_loop_remove(f->a);
    pv_loop_remove(f->b);
    pv_loop_stop(f->loop, 3);
}

static void test_a_source_removed_in_the_same_turn_stays_silent(void **state)
{
    struct fixture f = {.loop = pv_loop_new()};
    assert_int_equal(pipe(f.pipe_a), 0);
    assert_int_equal(pipe(f.pipe_b), 0);
    f.a = pv_loop_add_fd(f.loop, f.pipe_a[0], EPOLLIN, on_first_removes_both, &f);
    f.b = pv_loop_add_fd(f.loop, f.pipe_b[0], EPOLLIN, on_first_removes_both, &f);
    assert_int_equal(write(f.pipe_a[1], "x", 1), 1);
    assert_int_equal(write(f.pipe_b[1], "x", 1), 1);
    assert_int_equal(pv_loop_run(f.loop), 3);
    assert_int_equal(f.calls, 1);
    pv_loop_free(f.loop);
    for (int i = 0; i < 2; i++) {
        close(f.pipe_a[i]);
        close(f.pipe_b[i]);
    }
}

static void stop_later(void *data)
{
    struct fixture *f = data;
    f->calls++;
    pv_loop_stop(f->loop, 0);
}

static void arm_from_deferred(void *data)
{
    struct fixture *f = data;
    f->calls++;
    assert_int_equal(pv_loop_arm(f->timer, 1), 0);
}

static void test_timers_run_once_and_deferred_calls_run_first(void **state)
{
    struct fixture f = {.loop = pv_loop_new()};
    f.timer = pv_loop_add_timer(f.loop, stop_later, &f);
    assert_int_equal(pv_loop_defer(f.loop, arm_from_deferred, &f), 0);
    assert_int_equal(pv_loop_run(f.loop), 0);
    assert_int_equal(f.calls, 2);
    pv_loop_free(f.loop);
}

static void on_signal(void *data, const siginfo_t *info)
{
    struct fixture *f = data;
    f->signals++;
    assert_int_equal(info->si_signo, SIGUSR1);
    assert_int_equal(info->si_pid, getpid());
    pv_loop_stop(f->loop, 0);
}

static void test_signals_arrive_in_the_loop(void **state)
{
    struct fixture f = {.loop = pv_loop_new()};
    assert_non_null(pv_loop_add_signal(f.loop, SIGUSR1, on_signal, &f));
    kill(getpid(), SIGUSR1);
    assert_int_equal(pv_loop_run(f.loop), 0);
    assert_int_equal(f.signals, 1);
    pv_loop_free(f.loop);
}

static void count_and_stop(void *data, int fd, uint32_t events)
{
    struct fixture *f = data;
    f->calls++;
    pv_loop_stop(f->loop, 0);
}

static void test_a_silenced_descriptor_wakes_nobody(void **state)
{
    struct fixture f = {.loop = pv_loop_new()};
    assert_int_equal(pipe(f.pipe_a), 0);
    f.a = pv_loop_add_fd(f.loop, f.pipe_a[0], EPOLLIN, count_and_stop, &f);
    f.timer = pv_loop_add_timer(f.loop, stop_later, &f);
    close(f.pipe_a[1]); /* EPOLLHUP from now on */
    assert_int_equal(pv_loop_set_events(f.a, 0), 0);
    pv_loop_arm(f.timer, 1000000);
    pv_loop_run(f.loop);
    assert_int_equal(f.calls, 1); /* the timer's */
    assert_int_equal(pv_loop_set_events(f.a, EPOLLIN), 0);
    pv_loop_run(f.loop);
    assert_int_equal(f.calls, 2); /* the descriptor's */
    pv_loop_free(f.loop);
    close(f.pipe_a[0]);
}

static void count_after(void *data)
{
    struct fixture *f = data;
    if (++f->calls < 3)
        pv_loop_wake(f->a); /* from the end of a turn: at the end of the next one */
    else
        pv_loop_stop(f->loop, 0);
}

static void test_what_is_woken_often_runs_once_a_turn(void **state)
{
    struct fixture f = {.loop = pv_loop_new()};
    f.a = pv_loop_add_after(f.loop, count_after, &f);
    pv_loop_wake(f.a);
    pv_loop_wake(f.a);
    assert_int_equal(pv_loop_run(f.loop), 0);
    assert_int_equal(f.calls, 3);
    pv_loop_free(f.loop);
}

static void remove_other(void *data)
{
    struct fixture *f = data;
    f->calls++;
    pv_loop_wake(f->b);
    pv_loop_remove(f->b);
    pv_loop_wake(f->b);
    f->timer = pv_loop_add_timer(f->loop, stop_later, f);
    pv_loop_arm(f->timer, 1);
}

static void test_what_is_woken_and_removed_stays_silent(void **state)
{
    struct fixture f = {.loop = pv_loop_new()};
    f.a = pv_loop_add_after(f.loop, remove_other, &f);
    f.b = pv_loop_add_after(f.loop, count_after, &f);
    pv_loop_wake(f.a);
    assert_int_equal(pv_loop_run(f.loop), 0);
    assert_int_equal(f.calls, 2); /* the remover's and the timer's */
    struct pv_loop_source *c = pv_loop_add_after(f.loop, count_after, &f);
    pv_loop_wake(c);
    pv_loop_remove(c);
    pv_loop_free(f.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_source_removed_in_the_same_turn_stays_silent),
        cmocka_unit_test(test_timers_run_once_and_deferred_calls_run_first),
        cmocka_unit_test(test_signals_arrive_in_the_loop),
        cmocka_unit_test(test_a_silenced_descriptor_wakes_nobody),
        cmocka_unit_test(test_what_is_woken_often_runs_once_a_turn),
        cmocka_unit_test(test_what_is_woken_and_removed_stays_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
