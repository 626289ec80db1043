/* SPDX-License-Identifier: Apache-2.0
 *
 * samples.c: measures operations and prints the samples as JSON.
 *
 * Usage: PROGRAM [--samples N] [--ms MILLISECONDS] [--rows NAME,...]
 *
 * Each operation is calibrated first: the number of repeats doubles until they fill the time of one
 * sample. Then N samples are taken, going round over all operations, so that a disturbance of the
 * host spreads over all of them. The reader takes the median.
 */
#include "samples.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REPEATS_MAX (UINT64_C(1) << 30)

uint64_t samples_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void samples_give_up(const char *what)
{
    perror(what);
    exit(1);
}

static void calibrate(struct samples_operation *op, uint64_t sample_ns)
{
    uint64_t n = 1;
    while (op->run(n) < sample_ns && n < REPEATS_MAX)
        n *= 2;
    op->repeats = n;
}

static double take(const struct samples_operation *op)
{
    return op->figure ? op->figure(op->repeats)
                      : (double)op->run(op->repeats) / (double)op->repeats;
}

static void print_json(const struct samples_operation *operations, size_t count, int samples)
{
    printf("{\"cpus\": %ld, \"unit\": \"ns\"", sysconf(_SC_NPROCESSORS_ONLN));
    for (size_t i = 0; i < count; i++) {
        printf(",\n \"%s\": [", operations[i].name);
        for (int s = 0; s < samples; s++)
            printf("%s%.3f", s ? ", " : "", operations[i].samples[s]);
        printf("]");
    }
    printf("}\n");
}

/* Moves the operations that are named to the front; how many they are, or 0 when one is unknown. */
static size_t choose(struct samples_operation *operations, size_t count, char *names)
{
    size_t chosen = 0;
    char *rest = NULL;
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        size_t i = chosen;
        while (i < count && strcmp(operations[i].name, name) != 0)
            i++;
        if (i == count) {
            fprintf(stderr, "there is no '%s', or it is named twice\n", name);
            return 0;
        }
        struct samples_operation found = operations[i];
        operations[i] = operations[chosen];
        operations[chosen++] = found;
    }
    return chosen;
}

int samples_main(int argc, char **argv, struct samples_operation *operations, size_t count)
{
    int samples = 7, ms = 40;
    bool understood = argc % 2 == 1;
    for (int i = 1; i + 1 < argc && understood; i += 2) {
        if (strcmp(argv[i], "--samples") == 0)
            samples = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--ms") == 0)
            ms = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--rows") == 0)
            understood = (count = choose(operations, count, argv[i + 1])) > 0;
        else
            understood = false;
    }
    if (!understood || samples < 1 || samples > SAMPLES_MAX || ms < 1) {
        fprintf(stderr, "usage: %s [--samples 1..%d] [--ms MILLISECONDS] [--rows NAME,...]\n",
                argv[0], SAMPLES_MAX);
        return 2;
    }
    uint64_t sample_ns = (uint64_t)ms * 1000000u;
    for (size_t i = 0; i < count; i++)
        calibrate(&operations[i], sample_ns);
    for (int s = 0; s < samples; s++)
        for (size_t i = 0; i < count; i++)
            operations[i].samples[s] = take(&operations[i]);
    print_json(operations, count, samples);
    return 0;
}
