/* SPDX-License-Identifier: Apache-2.0
 *
 * sample.h: what was read of machines at one time, so that the next time has rates.
 */
#ifndef CLI_SAMPLE_H
#define CLI_SAMPLE_H

#include "base/json.h"
#include "cli/table.h"

#include <stdbool.h>
#include <stdint.h>

enum cli_sample_value {
    CLI_SAMPLE_CPU_NS,
    CLI_SAMPLE_DISK_READ, /* bytes, of all disks */
    CLI_SAMPLE_DISK_WRITTEN,
    CLI_SAMPLE_NET_IN, /* bytes, of all network cards, as the guest sees them */
    CLI_SAMPLE_NET_OUT,
    CLI_SAMPLE_VALUES,
};

/* A key is an instance's id, or with a process "id/pid". */
#define CLI_SAMPLE_KEY_MAX 96

struct cli_sample {
    char key[CLI_SAMPLE_KEY_MAX];
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    uint64_t values[CLI_SAMPLE_VALUES];
    bool has[CLI_SAMPLE_VALUES];
    unsigned round; /* in which it was seen last */
};

/* Samples by key. Zero is a valid start. */
struct cli_samples {
    struct cli_sample *list;
    size_t count;
    unsigned round;
};

void cli_samples_done(struct cli_samples *samples);
/* Begins a round: what the one before the last has not seen is forgotten. */
void cli_samples_begin(struct cli_samples *samples);
/* The last sample with that key, or NULL. Valid until the next is kept. */
const struct cli_sample *cli_samples_find(const struct cli_samples *samples, const char *key);
/* Keeps a copy in place of the last one. */
void cli_samples_keep(struct cli_samples *samples, const struct cli_sample *sample);

/* Fills time and values from a monitor's statistics. */
void cli_sample_read(const struct pv_json *stats, const char *key, struct cli_sample *ret_sample);
/* By how much a value grew per second since `before` (NULL: none). False when it cannot be told. */
bool cli_sample_rate(const struct cli_sample *now, const struct cli_sample *before,
                     enum cli_sample_value value, double *ret_per_second);

/* A row about a machine, under these titles. before: NULL the first time. */
#define CLI_SAMPLE_COLUMNS 11
extern const char *const cli_sample_titles[CLI_SAMPLE_COLUMNS];
void cli_sample_add_row(struct cli_table *table, const char *short_id, const char *name,
                        const struct pv_json *stats, const struct cli_sample *now,
                        const struct cli_sample *before);
/* A cell: a share of CPU time, "-" when it cannot be told. */
void cli_sample_add_share(struct cli_table *table, const struct cli_sample *now,
                          const struct cli_sample *before);
/* A cell: a size; "-" when the object (may be NULL) lacks the key. */
void cli_sample_add_size(struct cli_table *table, const struct pv_json *json, const char *key);

#endif
