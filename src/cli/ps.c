/* SPDX-License-Identifier: Apache-2.0
 *
 * ps.c: paravane ps: which instances there are, and how they are.
 */
#include "base/clock.h"
#include "cli/client.h"
#include "cli/say.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "instance/settle.h"
#include "instance/when.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_SHOWN 20

struct ps_options {
    bool all, quiet, no_trunc;
    const char *format;
};

static const struct cli_option options[] = {
    {'a', "all", NULL, CLI_OPTION_FLAG, offsetof(struct ps_options, all),
     "those that have ended too"},
    {'q', "quiet", NULL, CLI_OPTION_FLAG, offsetof(struct ps_options, quiet), "only the ids"},
    {0, "no-trunc", NULL, CLI_OPTION_FLAG, offsetof(struct ps_options, no_trunc),
     "do not shorten ids and commands"},
    {0, "format", "json|table", CLI_OPTION_TEXT, offsetof(struct ps_options, format),
     "a table, or one JSON object per line (table)"},
    {0},
};

/* Everything ps knows of an instance, as text. */
struct row {
    char *id, *image, *command, *created, *status, *name;
    const char *state;
    uint64_t created_ns;
};

static void row_done(struct row *row)
{
    free(row->id);
    free(row->image);
    free(row->command);
    free(row->created);
    free(row->status);
    free(row->name);
}

static char *join_command(const struct instance *instance, bool no_trunc)
{
    const struct pv_strv *args = &instance->config.machine.process.args;
    pv_auto(pv_str) struct pv_str s = {0};
    for (size_t i = 0; i < args->count; i++)
        pv_str_addf(&s, "%s%s", i ? " " : "", args->items[i]);
    if (!no_trunc && s.len > COMMAND_SHOWN)
        return pv_strf("%.*s...", COMMAND_SHOWN - 3, s.text);
    return pv_str_take(&s);
}

static char *describe_age(const char *time, uint64_t now, const char *before, const char *after)
{
    char age[64];
    uint64_t then;
    if (!time || instance_when_parse(time, &then) < 0)
        return strdup(before);
    cli_table_age(then < now ? now - then : 0, age, sizeof(age));
    return pv_strf("%s%s%s%s", before, *before ? " " : "", age, after);
}

static char *describe_status(const struct instance *instance, uint64_t now)
{
    const struct instance_state *state = &instance->state;
    char before[32];
    switch (instance_status(instance)) {
    case INSTANCE_RUNNING:
        return describe_age(state->started_at, now, "Up", "");
    case INSTANCE_EXITED:
        snprintf(before, sizeof(before), "Exited (%d)", state->exit_code);
        return describe_age(state->finished_at, now, before, " ago");
    case INSTANCE_FAILED:
        snprintf(before, sizeof(before), "Failed (%d)", state->exit_code);
        return describe_age(state->finished_at, now, before, " ago");
    case INSTANCE_CREATED:
        return strdup("Created");
    case INSTANCE_STARTING:
        return strdup("Starting");
    case INSTANCE_DEAD:
        return strdup("Dead");
    case INSTANCE_DAMAGED:
        return strdup("Damaged");
    }
    return NULL;
}

static void fill_row(const struct instance *instance, bool no_trunc, struct row *row)
{
    uint64_t now = pv_time_realtime_ns();
    const struct instance_config *c = &instance->config;
    row->id =
        no_trunc ? strdup(instance->id) : pv_strf("%.*s", INSTANCE_SHORT_ID_LEN, instance->id);
    row->image = strdup(c->image_name ? c->image_name : "");
    row->command = join_command(instance, no_trunc);
    row->created = describe_age(c->created_at, now, "", " ago");
    row->status = describe_status(instance, now);
    row->state = instance_status_name(instance_status(instance));
    row->name = strdup(c->machine.name ? c->machine.name : "");
    if (!c->created_at || instance_when_parse(c->created_at, &row->created_ns) < 0)
        row->created_ns = 0;
}

static bool is_shown(const struct instance *instance, bool all)
{
    enum instance_status status = instance_status(instance);
    return all || status == INSTANCE_RUNNING || status == INSTANCE_STARTING ||
           (status == INSTANCE_CREATED && !instance->half_made) || status == INSTANCE_DAMAGED;
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return x->created_ns < y->created_ns ? 1 : x->created_ns > y->created_ns ? -1 : 0;
}

/* Rows of all shown instances, the newest first. */
static int collect(const struct instance_store *store, const struct ps_options *o,
                   struct row **ret_rows, size_t *ret_num, struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv ids = {0};
    size_t n = 0;
    int rc = instance_store_list(store, &ids, err);
    if (rc < 0)
        return rc;
    struct row *rows = calloc(ids.count + 1, sizeof(*rows));
    if (!rows)
        return pv_error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < ids.count; i++) {
        struct instance instance;
        if (instance_open(store, ids.items[i], &instance, NULL) < 0)
            continue; /* gone meanwhile */
        if (is_shown(&instance, o->all))
            fill_row(&instance, o->no_trunc, &rows[n++]);
        instance_close(&instance);
    }
    qsort(rows, n, sizeof(*rows), compare_rows);
    *ret_rows = rows;
    *ret_num = n;
    return 0;
}

static void print_table(const struct row *rows, size_t n)
{
    static const char *const titles[] = {"ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAME"};
    struct cli_table table = {.columns = PV_ARRAY_SIZE(titles)};
    for (size_t i = 0; i < PV_ARRAY_SIZE(titles); i++)
        cli_table_add(&table, titles[i]);
    for (size_t i = 0; i < n; i++) {
        cli_table_add(&table, rows[i].id);
        cli_table_add(&table, rows[i].image);
        cli_table_add(&table, rows[i].command);
        cli_table_add(&table, rows[i].created);
        cli_table_add(&table, rows[i].status);
        cli_table_add(&table, rows[i].name);
    }
    cli_table_print(&table, stdout);
    cli_table_done(&table);
}

static void print_json(const struct row *row)
{
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    if (!o)
        return;
    pv_json_add_string(o, "id", row->id);
    pv_json_add_string(o, "name", row->name);
    pv_json_add_string(o, "image", row->image);
    pv_json_add_string(o, "command", row->command);
    pv_json_add_string(o, "created", row->created);
    pv_json_add_string(o, "state", row->state);
    pv_json_add_string(o, "status", row->status);
    pv_auto_free char *text = pv_json_print(o, false);
    puts(text ? text : "{}");
}

static int ps_run(char **args, size_t num_args, void *values)
{
    const struct ps_options *o = values;
    struct instance_store store;
    struct pv_error err = PV_ERROR_INIT;
    struct row *rows = NULL;
    size_t n = 0;
    bool json = o->format && strcmp(o->format, "json") == 0;
    if (o->format && !json && strcmp(o->format, "table") != 0)
        return cli_say_error(CLI_EXIT_OURS, "ps: --format '%s': write json or table", o->format);
    if (instance_store_open(&store, &err) < 0)
        return cli_say_error(CLI_EXIT_FAILED, "ps: %s", err.text);
    instance_settle_all(&store);
    int rc = collect(&store, o, &rows, &n, &err);
    instance_store_close(&store);
    if (rc < 0)
        return cli_say_error(CLI_EXIT_FAILED, "ps: %s", err.text);
    if (!json && !o->quiet)
        print_table(rows, n);
    for (size_t i = 0; i < n; i++) {
        if (o->quiet)
            puts(rows[i].id);
        else if (json)
            print_json(&rows[i]);
        row_done(&rows[i]);
    }
    free(rows);
    return cli_say_finish(0);
}

const struct cli_verb cli_ps_verb = {
    .name = "ps",
    .arguments = "[OPTIONS]",
    .summary = "List instances",
    .options = options,
    .run = ps_run,
    .values_size = sizeof(struct ps_options),
};
