/* SPDX-License-Identifier: Apache-2.0
 *
 * micro.c: what elementary operations of a kernel cost: the same static binary runs natively and
 * in each guest, and prints its samples as JSON.
 *
 * Usage: micro [--samples N] [--ms MILLISECONDS]
 *
 * Each operation is calibrated first: the number of repeats doubles until they fill the time of one
 * sample. Then N samples are taken, going round over all operations, so that a disturbance of the
 * host spreads over all of them. The reader takes the median.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX 64
#define PAGE 4096L
#define ARENA (16L << 20) /* of the page fault test */

static char *own_path;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

/* Each runs its operation n times and returns the nanoseconds that took. */

static uint64_t run_syscall(uint64_t n)
{
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        syscall(SYS_getppid);
    return now_ns() - begin;
}

/* First touch of fresh anonymous pages, one after the other. Mapping and unmapping are not counted,
 * and huge pages are forbidden: they would make it a test of clearing memory. */
static uint64_t run_fault(uint64_t n)
{
    uint64_t sum = 0;
    while (n > 0) {
        long pages = n < ARENA / PAGE ? (long)n : ARENA / PAGE;
        char *p = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            give_up("mmap");
        madvise(p, ARENA, MADV_NOHUGEPAGE);
        uint64_t begin = now_ns();
        for (long i = 0; i < pages; i++)
            ((volatile char *)p)[i * PAGE] = 1;
        sum += now_ns() - begin;
        munmap(p, ARENA);
        n -= (uint64_t)pages;
    }
    return sum;
}

static uint64_t run_fork(uint64_t n)
{
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        if (pid < 0 || waitpid(pid, NULL, 0) < 0)
            give_up("fork");
    }
    return now_ns() - begin;
}

static int exec_once(void)
{
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        execl(own_path, own_path, "exit", (char *)NULL);
        _exit(1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static uint64_t run_exec(uint64_t n)
{
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (exec_once() != 0)
            give_up("vfork and exec");
    return now_ns() - begin;
}

/* A byte to another process and one back. */
static uint64_t run_pipe(uint64_t n)
{
    int there[2], back[2];
    char byte = 0;
    if (pipe(there) < 0 || pipe(back) < 0)
        give_up("pipe");
    pid_t pid = fork();
    if (pid < 0)
        give_up("fork");
    if (pid == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
            ;
        _exit(0);
    }
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            give_up("pipe");
    uint64_t taken = now_ns() - begin;
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
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n * 1000; i++)
        x *= 1.0000001;
    return now_ns() - begin;
}

struct operation {
    const char *name;
    uint64_t (*run)(uint64_t n);
    uint64_t repeats;
    double samples[SAMPLES_MAX]; /* ns an operation */
};

static struct operation operations[] = {
    {.name = "syscall", .run = run_syscall}, {.name = "fault", .run = run_fault},
    {.name = "fork", .run = run_fork},       {.name = "exec", .run = run_exec},
    {.name = "pipe", .run = run_pipe},       {.name = "compute", .run = run_compute},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void calibrate(struct operation *op, uint64_t sample_ns)
{
    uint64_t n = 1;
    while (op->run(n) < sample_ns && n < UINT64_C(1) << 30)
        n *= 2;
    op->repeats = n;
}

static void print_json(int samples)
{
    printf("{\"cpus\": %ld, \"unit\": \"ns\"", sysconf(_SC_NPROCESSORS_ONLN));
    for (size_t i = 0; i < OPERATIONS; i++) {
        printf(",\n \"%s\": [", operations[i].name);
        for (int s = 0; s < samples; s++)
            printf("%s%.1f", s ? ", " : "", operations[i].samples[s]);
        printf("]");
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 0; /* the program that run_exec starts */
    int samples = 7, ms = 40;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--samples") == 0)
            samples = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--ms") == 0)
            ms = atoi(argv[i + 1]);
    }
    if (samples < 1 || samples > SAMPLES_MAX || ms < 1) {
        fprintf(stderr, "usage: micro [--samples 1..%d] [--ms MILLISECONDS]\n", SAMPLES_MAX);
        return 2;
    }
    own_path = argv[0];
    uint64_t sample_ns = (uint64_t)ms * 1000000u;
    for (size_t i = 0; i < OPERATIONS; i++)
        calibrate(&operations[i], sample_ns);
    for (int s = 0; s < samples; s++)
        for (size_t i = 0; i < OPERATIONS; i++)
            operations[i].samples[s] =
                (double)operations[i].run(operations[i].repeats) / (double)operations[i].repeats;
    print_json(samples);
    return 0;
}
