/* SPDX-License-Identifier: Apache-2.0
 *
 * micro.c: what elementary operations of a kernel cost: the same static binary runs natively and
 * in each guest, and prints its samples as JSON (samples.c, which has the options).
 */
#include "samples.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L
#define ARENA (16L << 20)  /* of the page fault tests */
#define RANDOM (64L << 20) /* from which a quarter is touched at random */
#define RANDOM_PAGES (RANDOM / PAGE)

static char *own_path;

/* Each runs its operation n times and returns the nanoseconds that took. */

static uint64_t run_syscall(uint64_t n)
{
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n; i++)
        syscall(SYS_getppid);
    return samples_now_ns() - begin;
}

/* What a program calls to know the time: answered by the vDSO where there is a good one. */
static uint64_t run_clock(uint64_t n)
{
    struct timespec t;
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n; i++)
        clock_gettime(CLOCK_MONOTONIC, &t);
    return samples_now_ns() - begin;
}

static uint64_t run_getcpu(uint64_t n)
{
    unsigned cpu, node;
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n; i++)
        getcpu(&cpu, &node);
    return samples_now_ns() - begin;
}

/* First touch of fresh anonymous pages, in the given order or one after the other. Mapping and
 * unmapping are not counted. */
static uint64_t touch(uint64_t n, long size, bool huge, const uint32_t *order)
{
    uint64_t sum = 0;
    while (n > 0) {
        long pages = n < ARENA / PAGE ? (long)n : ARENA / PAGE;
        char *p =
            mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            samples_give_up("mmap");
        if (!huge)
            madvise(p, (size_t)size, MADV_NOHUGEPAGE);
        uint64_t begin = samples_now_ns();
        for (long i = 0; i < pages; i++)
            ((volatile char *)p)[(order ? (long)order[i] : i) * PAGE] = 1;
        sum += samples_now_ns() - begin;
        munmap(p, (size_t)size);
        n -= (uint64_t)pages;
    }
    return sum;
}

/* Huge pages are forbidden: they would make it a test of clearing memory. */
static uint64_t run_fault(uint64_t n)
{
    return touch(n, ARENA, false, NULL);
}

/* As most programs do it: they advise nothing, and the kernel may take larger pages. */
static uint64_t run_fault_plain(uint64_t n)
{
    return touch(n, ARENA, true, NULL);
}

/* A quarter of a larger area, in an order that tells nothing about the next page. */
static uint64_t run_fault_random(uint64_t n)
{
    static uint32_t order[RANDOM_PAGES];
    if (order[0] == order[1]) {
        uint64_t state = 88172645463325252u;
        for (uint32_t i = 0; i < RANDOM_PAGES; i++) {
            state ^= state << 13; /* xorshift64 */
            state ^= state >> 7;
            state ^= state << 17;
            uint32_t other = (uint32_t)(state % (i + 1));
            order[i] = order[other];
            order[other] = i;
        }
    }
    return touch(n, RANDOM, false, order);
}

static uint64_t run_fork(uint64_t n)
{
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        if (pid < 0 || waitpid(pid, NULL, 0) < 0)
            samples_give_up("fork");
    }
    return samples_now_ns() - begin;
}

/* Inline, as the child of a vfork must not return from the function that called it. */
#define EXEC(how)                                                                                  \
    do {                                                                                           \
        int status = -1;                                                                           \
        pid_t pid = how();                                                                         \
        if (pid == 0) {                                                                            \
            execl(own_path, own_path, "exit", (char *)NULL);                                       \
            _exit(1);                                                                              \
        }                                                                                          \
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)                             \
            samples_give_up(#how " and exec");                                                     \
    } while (0)

static uint64_t run_exec(uint64_t n)
{
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n; i++)
        EXEC(vfork);
    return samples_now_ns() - begin;
}

static uint64_t run_fork_exec(uint64_t n)
{
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n; i++)
        EXEC(fork);
    return samples_now_ns() - begin;
}

/* A byte to another process and one back. */
static uint64_t run_pipe(uint64_t n)
{
    int there[2], back[2];
    char byte = 0;
    if (pipe(there) < 0 || pipe(back) < 0)
        samples_give_up("pipe");
    pid_t pid = fork();
    if (pid < 0)
        samples_give_up("fork");
    if (pid == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
            ;
        _exit(0);
    }
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            samples_give_up("pipe");
    uint64_t taken = samples_now_ns() - begin;
    close(there[0]);
    close(there[1]);
    close(back[0]);
    close(back[1]);
    waitpid(pid, NULL, 0);
    return taken;
}

/* No kernel in it: shows whether the guest's user code runs at full speed. */
static uint64_t run_compute(uint64_t n)
{
    volatile double x = 1;
    uint64_t begin = samples_now_ns();
    for (uint64_t i = 0; i < n * 1000; i++)
        x *= 1.0000001;
    return samples_now_ns() - begin;
}

static struct samples_operation operations[] = {
    {.name = "syscall", .run = run_syscall},
    {.name = "clock", .run = run_clock},
    {.name = "getcpu", .run = run_getcpu},
    {.name = "fault", .run = run_fault},
    {.name = "fault_plain", .run = run_fault_plain},
    {.name = "fault_random", .run = run_fault_random},
    {.name = "fork", .run = run_fork},
    {.name = "exec", .run = run_exec},
    {.name = "fork_exec", .run = run_fork_exec},
    {.name = "pipe", .run = run_pipe},
    {.name = "compute", .run = run_compute},
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 0; /* the program that run_exec starts */
    own_path = argv[0];
    return samples_main(argc, argv, operations, sizeof(operations) / sizeof(operations[0]));
}
