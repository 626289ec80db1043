/* SPDX-License-Identifier: Apache-2.0
 *
 * test_pool.c: threads that work beside a loop.
 */
#include "base/attr.h"
#include "base/pool.h"
#include "support/unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define PIECES 2000u

struct piece {
    struct pv_pool_work work;
    pthread_t ran_on;
    bool waits, completed;
};

struct fixture {
    struct pv_loop *loop;
    struct pv_pool *pool;
    struct pv_pool_options options;
    pthread_t loop_thread;
    atomic_uint running, most, ran;
    unsigned completed, expected;
    pthread_mutex_t gate; /* pieces that wait do so here */
    struct piece pieces[PIECES];
};

static void run(void *data, struct pv_pool_work *work)
{
    struct fixture *f = data;
    struct piece *p = PV_CONTAINER_OF(work, struct piece, work);
    unsigned now = atomic_fetch_add(&f->running, 1) + 1, most = f->most;
    while (now > most && !atomic_compare_exchange_weak(&f->most, &most, now))
        continue;
    p->ran_on = pthread_self();
    if (p->waits) {
        pthread_mutex_lock(&f->gate);
        pthread_mutex_unlock(&f->gate);
    }
    atomic_fetch_add(&f->ran, 1);
    atomic_fetch_sub(&f->running, 1);
}

static void completed(void *data, struct pv_pool_work *work)
{
    struct fixture *f = data;
    struct piece *p = PV_CONTAINER_OF(work, struct piece, work);
    assert_true(pthread_equal(pthread_self(), f->loop_thread));
    assert_false(pthread_equal(p->ran_on, f->loop_thread));
    assert_false(p->completed);
    p->completed = true;
    if (++f->completed == f->expected)
        pv_loop_stop(f->loop, 7);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = pv_loop_new();
    f->loop_thread = pthread_self();
    f->options = (struct pv_pool_options){
        .name = "a test", .threads = 3, .run = run, .completed = completed, .data = f};
    pthread_mutex_init(&f->gate, NULL);
    *state = f;
    return pv_pool_start(&f->options, f->loop, &f->pool, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    assert_true(pv_pool_stop(f->pool, 0));
    pv_loop_free(f->loop);
    pthread_mutex_destroy(&f->gate);
    free(f);
    return 0;
}

static void wait_for(atomic_uint *what, unsigned value)
{
    while (atomic_load(what) != value)
        usleep(100);
}

static void test_everything_runs_once_and_completes_on_the_loop(void **state)
{
    struct fixture *f = *state;
    f->expected = PIECES;
    for (unsigned i = 0; i < PIECES; i++)
        pv_pool_submit(f->pool, &f->pieces[i].work);
    assert_int_equal(pv_loop_run(f->loop), 7);
    assert_int_equal(f->ran, PIECES);
    assert_in_range(f->most, 1, 3);
}

static void test_threads_are_as_many_as_are_busy(void **state)
{
    struct fixture *f = *state;
    pthread_mutex_lock(&f->gate);
    for (unsigned i = 0; i < 5; i++) {
        f->pieces[i].waits = true;
        pv_pool_submit(f->pool, &f->pieces[i].work);
    }
    wait_for(&f->running, 3);
    pthread_mutex_unlock(&f->gate);
    f->expected = 5;
    assert_int_equal(pv_loop_run(f->loop), 7);
    assert_int_equal(f->most, 3);
}

/* One that waits for a medium keeps nothing else waiting. */
static void test_others_pass_by_a_slow_one(void **state)
{
    struct fixture *f = *state;
    pthread_mutex_lock(&f->gate);
    f->pieces[0].waits = true;
    f->expected = 100;
    for (unsigned i = 0; i < 101; i++)
        pv_pool_submit(f->pool, &f->pieces[i].work);
    assert_int_equal(pv_loop_run(f->loop), 7);
    assert_false(f->pieces[0].completed);
    pthread_mutex_unlock(&f->gate);
}

static void test_stopping_completes_what_was_submitted(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < PIECES; i++)
        pv_pool_submit(f->pool, &f->pieces[i].work);
    assert_true(pv_pool_stop(f->pool, 0));
    f->pool = NULL;
    assert_int_equal(f->completed, PIECES);
}

static void test_a_thread_that_hangs_is_left_alone(void **state)
{
    struct fixture *f = *state;
    pthread_mutex_lock(&f->gate);
    f->pieces[0].waits = true;
    pv_pool_submit(f->pool, &f->pieces[0].work);
    wait_for(&f->running, 1);
    assert_false(pv_pool_stop(f->pool, 1000000));
    assert_int_equal(f->completed, 0);
    pthread_mutex_unlock(&f->gate);
    assert_true(pv_pool_stop(f->pool, 0)); /* it is asked again */
    f->pool = NULL;
    assert_int_equal(f->completed, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_everything_runs_once_and_completes_on_the_loop),
        TEST(test_threads_are_as_many_as_are_busy),
        TEST(test_others_pass_by_a_slow_one),
        TEST(test_stopping_completes_what_was_submitted),
        TEST(test_a_thread_that_hangs_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
