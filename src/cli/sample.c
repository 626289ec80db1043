/* SPDX-License-Identifier: Apache-2.0
 *
 * sample.c: samples of machines, and rates between two of them, for stats and top.
 */
#include "cli/sample.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

const char *const cli_sample_titles[CLI_SAMPLE_COLUMNS] = {
    "ID",        "NAME",       "CPU",    "USED",    "GIVEN",    "RETURNED",
    "DISK READ", "DISK WRITE", "NET IN", "NET OUT", "PROCESSES"};

void cli_samples_done(struct cli_samples *samples)
{
    free(samples->list);
    *samples = (struct cli_samples){0};
}

void cli_samples_begin(struct cli_samples *samples)
{
    size_t kept = 0;
    for (size_t i = 0; i < samples->count; i++)
        if (samples->list[i].round == samples->round)
            samples->list[kept++] = samples->list[i];
    samples->count = kept;
    samples->round++;
}

const struct cli_sample *cli_samples_find(const struct cli_samples *samples, const char *key)
{
    for (size_t i = 0; i < samples->count; i++)
        if (strcmp(samples->list[i].key, key) == 0)
            return &samples->list[i];
    return NULL;
}

void cli_samples_keep(struct cli_samples *samples, const struct cli_sample *sample)
{
    struct cli_sample *known = (struct cli_sample *)cli_samples_find(samples, sample->key);
    if (!known) {
        struct cli_sample *list =
            realloc(samples->list, (samples->count + 1) * sizeof(*samples->list));
        if (!list)
            return; /* no rates of this one, then */
        samples->list = list;
        known = &list[samples->count++];
    }
    *known = *sample;
    known->round = samples->round;
}

static bool get_number(const struct pv_json *json, const char *key, uint64_t *ret_value)
{
    uint64_t value = UINT64_MAX;
    if (!json || pv_json_get_u64(json, key, 0, UINT64_MAX - 1, &value, NULL) < 0 ||
        value == UINT64_MAX)
        return false;
    *ret_value = value;
    return true;
}

static const struct {
    enum cli_sample_value value;
    const char *device, *key; /* of all devices whose name begins so */
} sums[] = {
    {CLI_SAMPLE_DISK_READ, "blk", "read_bytes"},
    {CLI_SAMPLE_DISK_WRITTEN, "blk", "written_bytes"},
    {CLI_SAMPLE_NET_IN, "net", "rx_bytes"},
    {CLI_SAMPLE_NET_OUT, "net", "tx_bytes"},
};

static int add_device(const char *name, const struct pv_json *counters, void *data)
{
    struct cli_sample *sample = data;
    uint64_t bytes;
    for (size_t i = 0; i < PV_ARRAY_SIZE(sums); i++)
        if (pv_str_starts_with(name, sums[i].device) && get_number(counters, sums[i].key, &bytes)) {
            sample->values[sums[i].value] += bytes;
            sample->has[sums[i].value] = true;
        }
    return 0;
}

void cli_sample_read(const struct pv_json *stats, const char *key, struct cli_sample *ret_sample)
{
    struct cli_sample sample = {.time_ns = pv_time_monotonic_ns()};
    const struct pv_json *devices = pv_json_get(stats, "devices");
    snprintf(sample.key, sizeof(sample.key), "%s", key);
    /* Where the host counts no time for this user, the guest's own count. */
    sample.has[CLI_SAMPLE_CPU_NS] =
        get_number(stats, "cpu_ns", &sample.values[CLI_SAMPLE_CPU_NS]) ||
        get_number(pv_json_get(stats, "guest"), "cpu_ns", &sample.values[CLI_SAMPLE_CPU_NS]);
    if (devices && pv_json_is_object(devices))
        pv_json_each(devices, add_device, &sample);
    *ret_sample = sample;
}

bool cli_sample_rate(const struct cli_sample *now, const struct cli_sample *before,
                     enum cli_sample_value value, double *ret_per_second)
{
    if (!before || !now->has[value] || !before->has[value] || now->time_ns <= before->time_ns ||
        now->values[value] < before->values[value])
        return false;
    *ret_per_second = (double)(now->values[value] - before->values[value]) * 1e9 /
                      (double)(now->time_ns - before->time_ns);
    return true;
}

void cli_sample_add_share(struct cli_table *table, const struct cli_sample *now,
                          const struct cli_sample *before)
{
    char text[32];
    double rate;
    bool known = cli_sample_rate(now, before, CLI_SAMPLE_CPU_NS, &rate);
    if (known)
        snprintf(text, sizeof(text), "%.1f%%", rate / 1e7); /* ns per second are parts of 10^9 */
    cli_table_add(table, known ? text : NULL);
}

void cli_sample_add_size(struct cli_table *table, const struct pv_json *json, const char *key)
{
    char text[32];
    uint64_t bytes;
    bool known = get_number(json, key, &bytes);
    cli_table_add(table, known ? pv_str_from_size(bytes, text, sizeof(text)) : NULL);
}

static void add_rate(struct cli_table *table, const struct cli_sample *now,
                     const struct cli_sample *before, enum cli_sample_value value)
{
    char size[32], text[40];
    double rate;
    bool known = cli_sample_rate(now, before, value, &rate);
    if (known)
        snprintf(text, sizeof(text), "%s/s", pv_str_from_size((uint64_t)rate, size, sizeof(size)));
    cli_table_add(table, known ? text : NULL);
}

/* The guest lists its processes; an agent that is late tells nothing. */
static void add_processes(struct cli_table *table, const struct pv_json *guest)
{
    char text[32];
    const struct pv_json *list = guest ? pv_json_get(guest, "processes") : NULL;
    if (list)
        snprintf(text, sizeof(text), "%zu", pv_json_array_length(list));
    cli_table_add(table, list ? text : NULL);
}

void cli_sample_add_row(struct cli_table *table, const char *short_id, const char *name,
                        const struct pv_json *stats, const struct cli_sample *now,
                        const struct cli_sample *before)
{
    cli_table_add(table, short_id);
    cli_table_add(table, name);
    cli_sample_add_share(table, now, before);
    cli_sample_add_size(table, stats, "memory_used_bytes");
    cli_sample_add_size(table, stats, "memory_bytes");
    cli_sample_add_size(table, stats, "memory_returned_bytes");
    for (size_t i = 0; i < PV_ARRAY_SIZE(sums); i++)
        add_rate(table, now, before, sums[i].value);
    add_processes(table, pv_json_get(stats, "guest"));
}
