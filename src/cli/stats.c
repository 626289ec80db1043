/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c: paravane stats: what machines use.
 */
#include "cli/client.h"
#include "cli/sample.h"
#include "cli/say.h"
#include "cli/verbs.h"
#include "instance/control.h"
#include "wire/control.h"

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

static void add_row(struct cli_table *table, const struct instance *instance,
                    const struct pv_json *json, struct cli_samples *samples)
{
    char id[INSTANCE_SHORT_ID_LEN + 1] = "";
    struct cli_sample now;
    memcpy(id, instance->id, INSTANCE_SHORT_ID_LEN);
    cli_sample_read(json, instance->id, &now);
    cli_sample_add_row(table, id, instance_name(instance), json, &now,
                       cli_samples_find(samples, now.key));
    cli_samples_keep(samples, &now);
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
                    struct cli_table *table, struct cli_samples *samples, struct pv_error *err)
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

/* Shows all once. print false: only takes samples, so that the next round has CPU shares. */
static int show_round(const struct instance_store *store, char **names, size_t num_names, bool json,
                      bool print, struct cli_samples *samples)
{
    struct cli_table table = {.columns = CLI_SAMPLE_COLUMNS};
    pv_auto(pv_strv) struct pv_strv ids = {0};
    struct pv_error err = PV_ERROR_INIT;
    int code = 0;
    cli_samples_begin(samples);
    for (size_t i = 0; i < CLI_SAMPLE_COLUMNS; i++)
        cli_table_add(&table, cli_sample_titles[i]);
    if (num_names == 0 && cli_client_list_running(store, &ids, &err) < 0)
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
    struct cli_samples samples = {0};
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
    cli_samples_done(&samples);
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
