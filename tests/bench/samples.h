/* SPDX-License-Identifier: Apache-2.0
 *
 * samples.h: how the benchmark programs that run in each peer measure, and what they print.
 */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#define SAMPLES_MAX 64

struct samples_operation {
    const char *name;
    /* Does it n times; the nanoseconds that took, which is what it was calibrated by. */
    uint64_t (*run)(uint64_t n);
    /* Optional: what a sample is, when it is not the nanoseconds of one operation. */
    double (*figure)(uint64_t n);
    uint64_t repeats; /* in a sample */
    double samples[SAMPLES_MAX];
};

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t samples_now_ns(void);

/* Says what failed, and why by errno, and ends the program. */
__attribute__((noreturn)) void samples_give_up(const char *what);

/* The main function: reads options, measures and prints JSON. Returns the exit code. */
int samples_main(int argc, char **argv, struct samples_operation *operations, size_t count);

#endif
