/* SPDX-License-Identifier: Apache-2.0
 *
 * scattered.c: memory that cannot be mapped in few pieces, for tests/e2e/test_mappings.py.
 *
 *   scattered PAGES THREADS FORKS
 *
 * Takes every second page of twice as many, writes to each from several threads, reads and writes
 * them in an order that no cache likes, and does so again in a forked child while the parent goes
 * on. Says "N pages good" if each page always had what was written to it. Static, as it runs in a
 * guest whose image is not ours.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define THREADS_MAX 16

/* The first word of a page says which one it is; the second one counts changes. */
struct page {
    uint64_t name;
    uint64_t changes;
    uint8_t rest[2 * PAGE - 16];
};

static struct page *pages;
static uint64_t count, threads;
static atomic_ulong wrong;

static uint64_t name_of(uint64_t page)
{
    return (page + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void *fill(void *first)
{
    for (uint64_t page = (uintptr_t)first; page < count; page += threads) {
        wrong += pages[page].name != 0;
        pages[page].name = name_of(page);
    }
    return NULL;
}

static void *use(void *first)
{
    uint64_t mine = (count - (uintptr_t)first + threads - 1) / threads;
    uint64_t random = (uintptr_t)first + 1;

    for (uint64_t i = 0; i < mine; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        struct page *page = &pages[(uintptr_t)first + (random >> 33) % mine * threads];
        wrong += page->name != name_of((uint64_t)(page - pages));
        page->changes++;
    }
    return NULL;
}

static void in_threads(void *(*work)(void *))
{
    pthread_t running[THREADS_MAX];

    for (uintptr_t i = 0; i < threads; i++) {
        if (pthread_create(&running[i], NULL, work, (void *)i) != 0)
            exit(3);
    }
    for (uintptr_t i = 0; i < threads; i++)
        pthread_join(running[i], NULL);
}

/* All pages have their names, and these pages were changed so many times in sum. */
static void check(uint64_t changes)
{
    for (uint64_t page = 0; page < count; page++) {
        wrong += pages[page].name != name_of(page);
        changes -= pages[page].changes;
    }
    wrong += changes != 0;
}

static void fork_once(uint64_t *changes)
{
    pid_t child = fork();
    if (child < 0)
        exit(3);
    if (child == 0) {
        check(*changes);
        for (uint64_t page = 0; page < count; page += 5)
            pages[page].changes++;
        check(*changes + (count + 4) / 5);
        _exit(wrong != 0);
    }

    for (uint64_t page = 0; page < count; page += 7)
        pages[page].changes++;
    *changes += (count + 6) / 7;

    int status;
    wrong += waitpid(child, &status, 0) != child || status != 0;
    check(*changes);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    count = strtoull(argv[1], NULL, 10);
    threads = strtoull(argv[2], NULL, 10);
    if (count == 0 || threads == 0 || threads > THREADS_MAX)
        return 2;

    pages = mmap(NULL, count * sizeof(*pages), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) {
        perror("mmap");
        return 3;
    }

    in_threads(fill);
    in_threads(use);
    uint64_t changes = count;
    check(changes);
    for (long forks = strtol(argv[3], NULL, 10); forks > 0; forks--)
        fork_once(&changes);

    printf("%" PRIu64 " pages %s\n", count, wrong ? "WRONG" : "good");
    return wrong != 0;
}
