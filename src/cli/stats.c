/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c: paravane stats: what machines use.
 */
#include "base/clock.h"
#include "cli/client.h"
#include "cli/say.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "instance/control.h"
#include "wire/control.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define SECOND_NS 1000000000ull
#define ANSWER_NS (3 * SECOND_NS)
#define CLEAR_SCREEN "\033[H\033[2J"

struct stats_options {
    bool no_stream;
    const char *format;
};

static const struct cli_option options[] = {
    {0, "no-stream", NULL, CLI_OPTION_FLAG, offsetof(struct stats_options, no_stream),
     "print once instead of again and again"},
    {0, "format", "json|table", CLI_OPTION_TEXT, offsetof(struct stats_options, format),
     "a table, or one JSON object per line (table)"},
    {0},
};

/* What was read of one machine at one time. */
struct sample {
    char id[INSTANCE_ID_LEN + 1];
    uint64_t time_ns, cpu_ns;
    bool has_cpu;
};

struct samples {
    struct sample *list;
    size_t count;
};

static const struct sample *find_sample(const struct samples *samples, const char *id)
{
    for (size_t i = 0; i < samples->count; i++)
        if (strcmp(samples->list[i].id, id) == 0)
            return &samples->list[i];
    return NULL;
}

static void keep_sample(struct samples *samples, const struct sample *sample)
{
    struct sample *known = (struct sample *)find_sample(samples, sample->id);
    if (known) {
        *known = *sample;
        return;
    }
    struct sample *list = realloc(samples->list, (samples->count + 1) * sizeof(*list));
    if (!list)
        return;
    samples->list = list;
    list[samples->count++] = *sample;
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

/* Of one CPU, since the last sample; "-" without one. */
static void add_cpu(struct cli_table *table, const struct sample *now, const struct sample *before)
{
    char text[32];
    if (!now->has_cpu || !before || !before->has_cpu || now->cpu_ns < before->cpu_ns ||
        now->time_ns <= before->time_ns) {
        cli_table_add(table, NULL);
        return;
    }
    double share =
        (double)(now->cpu_ns - before->cpu_ns) / (double)(now->time_ns - before->time_ns);
    snprintf(text, sizeof(text), "%.1f%%", share * 100);
    cli_table_add(table, text);
}

static void add_size(struct cli_table *table, const struct pv_json *json, const char *key)
{
    char text[32];
    uint64_t bytes;
    bool known = get_number(json, key, &bytes);
    cli_table_add(table, known ? pv_str_from_size(bytes, text, sizeof(text)) : NULL);
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

static void add_row(struct cli_table *table, const struct instance *instance,
                    const struct pv_json *json, struct samples *samples)
{
    char id[INSTANCE_SHORT_ID_LEN + 1] = "";
    struct sample now = {.time_ns = pv_time_monotonic_ns()};
    memcpy(id, instance->id, INSTANCE_SHORT_ID_LEN);
    memcpy(now.id, instance->id, sizeof(now.id));
    now.has_cpu = get_number(json, "cpu_ns", &now.cpu_ns);

    cli_table_add(table, id);
    cli_table_add(table, instance_name(instance));
    add_cpu(table, &now, find_sample(samples, now.id));
    add_size(table, json, "memory_used_bytes");
    add_size(table, json, "memory_bytes");
    add_processes(table, pv_json_get(json, "guest"));
    keep_sample(samples, &now);
}

static void print_json(const struct instance *instance, struct pv_json *json)
{
    pv_json_add_string(json, "id", instance->id);
    pv_json_add_string(json, "name", instance_name(instance));
    pv_auto_free char *text = pv_json_print(json, false);
    puts(text ? text : "{}");
}

/* One machine, if it answers. */
static int show_one(const struct instance_store *store, const char *name, bool json,
                    struct cli_table *table, struct samples *samples, struct pv_error *err)
{
    struct instance instance;
    pv_auto(pv_json) struct pv_json *reply = NULL;
    int rc = cli_client_find(store, name, &instance, err);
    if (rc < 0)
        return rc;
    rc = instance_control_request(&instance, WIRE_CONTROL_STATS, NULL, ANSWER_NS, &reply, err);
    if (rc == 0 && json)
        print_json(&instance, reply);
    else if (rc == 0)
        add_row(table, &instance, reply, samples);
    instance_close(&instance);
    return rc;
}

/* The ids of the machines that run. */
static int list_running(const struct instance_store *store, struct pv_strv *ret_ids,
                        struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv ids = {0};
    int rc = instance_store_list(store, &ids, err);
    for (size_t i = 0; rc == 0 && i < ids.count; i++) {
        struct instance instance;
        if (instance_open(store, ids.items[i], &instance, NULL) < 0)
            continue;
        if (instance_status(&instance) == INSTANCE_RUNNING)
            pv_strv_add(ret_ids, instance.id);
        instance_close(&instance);
    }
    return rc;
}

/* Shows all once. print false: only takes samples, so that the next round has CPU shares. */
static int show_round(const struct instance_store *store, char **names, size_t num_names, bool json,
                      bool print, struct samples *samples)
{
    static const char *const titles[] = {"ID", "NAME", "CPU", "MEMORY", "LIMIT", "PROCESSES"};
    struct cli_table table = {.columns = PV_ARRAY_SIZE(titles)};
    pv_auto(pv_strv) struct pv_strv ids = {0};
    struct pv_error err = PV_ERROR_INIT;
    int code = 0;
    for (size_t i = 0; i < PV_ARRAY_SIZE(titles); i++)
        cli_table_add(&table, titles[i]);
    if (num_names == 0 && list_running(store, &ids, &err) < 0)
        code = cli_say_error(CLI_EXIT_FAILED, "stats: %s", err.text);
    size_t n = num_names ? num_names : ids.count;
    for (size_t i = 0; i < n; i++) {
        const char *name = num_names ? names[i] : ids.items[i];
        int rc = show_one(store, name, json, &table, samples, &err);
        if (rc < 0 && num_names && print) /* of all that run, one may end meanwhile */
            code = cli_say_error(CLI_EXIT_FAILED, "stats: %s", pv_error_text(&err, rc));
    }
    if (!json && print)
        cli_table_print(&table, stdout);
    cli_table_done(&table);
    return code;
}

static int stats_run(char **args, size_t num_args, void *values)
{
    const struct stats_options *o = values;
    struct instance_store store;
    struct samples samples = {0};
    struct pv_error err = PV_ERROR_INIT;
    bool json = o->format && strcmp(o->format, "json") == 0;
    int code;
    if (o->format && !json && strcmp(o->format, "table") != 0)
        return cli_say_error(CLI_EXIT_OURS, "stats: --format '%s': write json or table", o->format);
    if (instance_store_open(&store, &err) < 0)
        return cli_say_error(CLI_EXIT_FAILED, "stats: %s", err.text);
    if (!json) { /* a share of CPU needs two samples */
        show_round(&store, args, num_args, false, false, &samples);
        nanosleep(&(struct timespec){.tv_nsec = SECOND_NS / 4}, NULL);
    }
    do {
        if (!o->no_stream && isatty(1))
            fputs(CLEAR_SCREEN, stdout);
        code = show_round(&store, args, num_args, json, true, &samples);
        if (fflush(stdout) != 0 || code != 0 || o->no_stream)
            break;
    } while (nanosleep(&(struct timespec){.tv_sec = 1}, NULL) == 0);
    free(samples.list);
    instance_store_close(&store);
    return cli_say_finish(code);
}

const struct cli_verb cli_stats_verb = {
    .name = "stats",
    .arguments = "[OPTIONS] [INSTANCE...]",
    .summary = "Show what machines use",
    .options = options,
    .num_args_max = CLI_ARGS_ANY,
    .run = stats_run,
    .values_size = sizeof(struct stats_options),
};
