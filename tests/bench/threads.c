/* SPDX-License-Identifier: Apache-2.0
 *
 * threads.c: what threads of one process cost and gain: the same static binary runs natively and in
 * each guest, and prints its samples as JSON (samples.c, which has the options).
 *
 * A figure of scaling is the work that N threads do in the time in which one does its own: each of
 * the N does as much as the one did right before and right after.
 */
#include "samples.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define ARENA (4u << 20) /* of one thread, mapped anew again and again */
#define THREADS_MAX 4

static void *compute(void *n)
{
    volatile double x = 1;
    for (uint64_t i = 0; i < *(uint64_t *)n * 1000; i++)
        x *= 1.0000001;
    return NULL;
}

static void *call(void *n)
{
    for (uint64_t i = 0; i < *(uint64_t *)n; i++)
        syscall(SYS_getppid);
    return NULL;
}

/* First touch of n pages, with mapping and unmapping them. */
static void *touch(void *n)
{
    for (uint64_t left = *(uint64_t *)n; left > 0;) {
        uint64_t pages = left < ARENA / PAGE ? left : ARENA / PAGE;
        volatile char *p =
            mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            samples_give_up("mmap");
        madvise((char *)p, ARENA, MADV_NOHUGEPAGE);
        for (uint64_t i = 0; i < pages; i++)
            p[i * PAGE] = 1;
        munmap((char *)p, ARENA);
        left -= pages;
    }
    return NULL;
}

/* n of it by each of some threads; from the first one's start to the last one's end. */
static uint64_t time_threads(void *(*work)(void *), int threads, uint64_t n)
{
    pthread_t all[THREADS_MAX];
    uint64_t begin = samples_now_ns();
    for (int i = 0; i < threads; i++)
        if ((errno = pthread_create(&all[i], NULL, work, &n)) != 0)
            samples_give_up("pthread_create");
    for (int i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    return samples_now_ns() - begin;
}

static double scale(void *(*work)(void *), int threads, uint64_t n)
{
    double before = (double)time_threads(work, 1, n);
    double together = (double)time_threads(work, threads, n);
    double after = (double)time_threads(work, 1, n);
    return threads * (before + after) / 2 / together;
}

#define SCALE(work)                                                                                \
    static uint64_t run_##work(uint64_t n)                                                         \
    {                                                                                              \
        return time_threads(work, 1, n);                                                           \
    }                                                                                              \
    static double work##_by_2(uint64_t n)                                                          \
    {                                                                                              \
        return scale(work, 2, n);                                                                  \
    }                                                                                              \
    static double work##_by_4(uint64_t n)                                                          \
    {                                                                                              \
        return scale(work, 4, n);                                                                  \
    }

SCALE(compute)
SCALE(call)
SCALE(touch)

/* Two threads in turns, by a mutex and a condition. */
struct table {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t turn, turns;
};

static void *play(void *arg, uint64_t me)
{
    struct table *t = arg;
    pthread_mutex_lock(&t->mutex);
    for (;;) {
        while (t->turn < t->turns && t->turn % 2 != me)
            pthread_cond_wait(&t->changed, &t->mutex);
        if (t->turn >= t->turns)
            break;
        t->turn++;
        pthread_cond_signal(&t->changed);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

static void *play_first(void *arg)
{
    return play(arg, 0);
}

static void *play_second(void *arg)
{
    return play(arg, 1);
}

static uint64_t run_condvar(uint64_t n)
{
    struct table t = {
        .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .turns = n};
    pthread_t first, second;
    uint64_t begin = samples_now_ns();
    if ((errno = pthread_create(&first, NULL, play_first, &t)) != 0 ||
        (errno = pthread_create(&second, NULL, play_second, &t)) != 0)
        samples_give_up("pthread_create");
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    return samples_now_ns() - begin;
}

static struct samples_operation operations[] = {
    {.name = "condvar", .run = run_condvar},
    {.name = "compute_2", .run = run_compute, .figure = compute_by_2},
    {.name = "compute_4", .run = run_compute, .figure = compute_by_4},
    {.name = "call_2", .run = run_call, .figure = call_by_2},
    {.name = "call_4", .run = run_call, .figure = call_by_4},
    {.name = "touch_2", .run = run_touch, .figure = touch_by_2},
    {.name = "touch_4", .run = run_touch, .figure = touch_by_4},
};

int main(int argc, char **argv)
{
    return samples_main(argc, argv, operations, sizeof(operations) / sizeof(operations[0]));
}
