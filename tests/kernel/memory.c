// SPDX-License-Identifier: Apache-2.0
/*
 * Threads map, touch, protect, fork, remap and unmap for some time, and look whether all is as they
 * left it. What they write tells the thread and the page, so that a page that is another one's, an
 * old one, or not zero when it is new, is seen.
 *
 * Usage: memory THREADS SECONDS. Exit status 1 if something was wrong.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define WORDS (PAGE / sizeof(unsigned long))
#define MOST_PAGES 64
#define MOST_THREADS 64
/* one of so many rounds forks */
#define FORK_ROUNDS 50

static atomic_int stop;
static atomic_long rounds, forks, wrong;

static void expect(int good, const char *what)
{
    if (!good && atomic_fetch_add(&wrong, 1) < 20)
        fprintf(stderr, "wrong: %s\n", what);
}

static void *map(void *place, size_t size)
{
    int fixed = place ? MAP_FIXED : 0;
    void *p = mmap(place, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* first and last word of each page */
static void write_tags(unsigned long *p, unsigned n, unsigned long tag)
{
    for (unsigned i = 0; i < n; i++) {
        p[i * WORDS] = tag + i;
        p[(i + 1) * WORDS - 1] = ~(tag + i);
    }
}

static int tags_are(const volatile unsigned long *p, unsigned n, unsigned long tag)
{
    for (unsigned i = 0; i < n; i++)
        if (p[i * WORDS] != tag + i || p[(i + 1) * WORDS - 1] != ~(tag + i))
            return 0;
    return 1;
}

static int pages_are_zero(const volatile unsigned long *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (p[i * WORDS] || p[(i + 1) * WORDS - 1])
            return 0;
    return 1;
}

static void fork_and_look(unsigned long *p, unsigned n, unsigned long tag)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        int good = tags_are(p, n, tag);
        mprotect(p, n * PAGE, PROT_READ | PROT_WRITE);
        write_tags(p, n, tag + 1);
        _exit(!good || !tags_are(p, n, tag + 1));
    }
    if (child > 0)
        waitpid(child, &status, 0);
    expect(status == 0, "what a child sees");
    atomic_fetch_add(&forks, 1);
}

static void one_round(unsigned long me, unsigned *seed)
{
    unsigned n = 1 + (unsigned)rand_r(seed) % MOST_PAGES;
    size_t size = n * PAGE;
    unsigned long tag = (me << 48) ^ (unsigned long)rand_r(seed) << 8;
    unsigned long *p = map(NULL, size);
    if (!p) {
        expect(0, "mmap");
        return;
    }
    expect(pages_are_zero(p, n), "new pages");
    write_tags(p, n, tag);
    if (rand_r(seed) & 1)
        mprotect(p, size, PROT_READ);
    if (rand_r(seed) % FORK_ROUNDS == 0)
        fork_and_look(p, n, tag);
    expect(tags_are(p, n, tag), "own pages");
    mprotect(p, size, PROT_READ | PROT_WRITE);
    for (unsigned i = 0; i < n; i += 2)
        p[i * WORDS] = 5;
    if (rand_r(seed) & 1) {
        expect(map(p, size) == p, "mmap in place");
        expect(pages_are_zero(p, n), "pages that were mapped in place");
        write_tags(p, n, tag);
        expect(madvise(p, size, MADV_DONTNEED) == 0 && pages_are_zero(p, n), "madvise");
    }
    munmap(p, size);
    atomic_fetch_add(&rounds, 1);
}

static void *churn(void *me)
{
    unsigned seed = (unsigned)(unsigned long)me * 77 + 1;
    while (!stop)
        one_round((unsigned long)me, &seed);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[MOST_THREADS];
    int number = argc == 3 ? atoi(argv[1]) : 0;
    if (number < 1 || number > MOST_THREADS) {
        fprintf(stderr, "usage: memory THREADS SECONDS\n");
        return 2;
    }
    for (long i = 0; i < number; i++)
        if (pthread_create(&threads[i], NULL, churn, (void *)(i + 1)))
            return 2;
    struct timespec rest = {.tv_sec = atol(argv[2])};
    while (nanosleep(&rest, &rest))
        ;
    stop = 1;
    for (int i = 0; i < number; i++)
        pthread_join(threads[i], NULL);
    printf("%d threads, %ld rounds, %ld forks, %ld wrong\n", number, rounds, forks, wrong);
    return wrong != 0;
}
