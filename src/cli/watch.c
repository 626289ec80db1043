/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.c: rounds over machines. A rate needs two samples, so a round that prints nothing comes
 * first.
 */
#include "cli/watch.h"

#include "cli/client.h"
#include "cli/say.h"
#include "instance/control.h"
#include "wire/control.h"

#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull
#define ANSWER_NS (3 * SECOND_NS)
#define CLEAR_SCREEN "\033[H\033[2J"

const struct cli_option cli_watch_options[] = {
    {0, "no-stream", NULL, CLI_OPTION_FLAG, offsetof(struct cli_watch_values, no_stream),
     "print once instead of again and again"},
    {0, "format", "json|table", CLI_OPTION_TEXT, offsetof(struct cli_watch_values, format),
     "a table, or one JSON object per line (table)"},
    {0},
};

struct watch {
    const char *verb;
    char **names;
    size_t num_names;
    const struct cli_watch_view *view; /* may be NULL */
    void *data;
    struct instance_store store;
    struct cli_samples samples;
    struct cli_table machines; /* of this round */
    bool json, print;
};

static void add_machine(struct watch *w, const struct instance *instance,
                        const struct pv_json *stats, const struct cli_sample *now,
                        const struct cli_sample *before)
{
    char id[INSTANCE_SHORT_ID_LEN + 1] = "";
    memcpy(id, instance->id, INSTANCE_SHORT_ID_LEN);
    cli_sample_add_row(&w->machines, id, instance_name(instance), stats, now, before);
    if (w->view)
        w->view->add(w->data, instance, stats, &w->samples);
}

static void print_json(const struct instance *instance, struct pv_json *stats,
                       const struct cli_sample *now, const struct cli_sample *before)
{
    static const struct {
        const char *key;
        enum cli_sample_value value;
    } rates[] = {
        {"cpu_ns_per_second", CLI_SAMPLE_CPU_NS},
        {"disk_read_bytes_per_second", CLI_SAMPLE_DISK_READ},
        {"disk_written_bytes_per_second", CLI_SAMPLE_DISK_WRITTEN},
        {"net_in_bytes_per_second", CLI_SAMPLE_NET_IN},
        {"net_out_bytes_per_second", CLI_SAMPLE_NET_OUT},
    };
    double rate;
    pv_json_add_string(stats, "id", instance->id);
    pv_json_add_string(stats, "name", instance_name(instance));
    for (size_t i = 0; i < PV_ARRAY_SIZE(rates); i++)
        if (cli_sample_rate(now, before, rates[i].value, &rate))
            pv_json_add_u64(stats, rates[i].key, (uint64_t)rate);
    pv_auto_free char *text = pv_json_print(stats, false);
    puts(text ? text : "{}");
}

/* One machine, if it answers. */
static int look_at(struct watch *w, const char *name, struct pv_error *err)
{
    struct instance instance;
    struct cli_sample now;
    pv_auto(pv_json) struct pv_json *stats = NULL;
    int rc = cli_client_find(&w->store, name, &instance, err);
    if (rc < 0)
        return rc;
    rc = instance_control_request(&instance, WIRE_CONTROL_STATS, NULL, ANSWER_NS, &stats, err);
    if (rc == 0) {
        cli_sample_read(stats, instance.id, &now);
        const struct cli_sample *before = cli_samples_find(&w->samples, now.key);
        if (!w->json)
            add_machine(w, &instance, stats, &now, before);
        else if (w->print)
            print_json(&instance, stats, &now, before);
        cli_samples_keep(&w->samples, &now);
    }
    instance_close(&instance);
    return rc;
}

static int look_at_all(struct watch *w, size_t *ret_count)
{
    pv_auto(pv_strv) struct pv_strv ids = {0};
    struct pv_error err = PV_ERROR_INIT;
    int code = 0;
    if (w->num_names == 0 && cli_client_list_running(&w->store, &ids, &err) < 0)
        code = cli_say_error(CLI_EXIT_FAILED, "%s: %s", w->verb, err.text);
    size_t n = w->num_names ? w->num_names : ids.count;
    for (size_t i = 0; i < n; i++) {
        err = (struct pv_error)PV_ERROR_INIT;
        int rc = look_at(w, w->num_names ? w->names[i] : ids.items[i], &err);
        if (rc < 0 && w->num_names && w->print) /* of all that run, one may end meanwhile */
            code = cli_say_error(CLI_EXIT_FAILED, "%s: %s", w->verb, pv_error_text(&err, rc));
    }
    *ret_count = n;
    return code;
}

static int show_round(struct watch *w, bool print)
{
    size_t count;
    w->print = print;
    w->machines = (struct cli_table){.columns = CLI_SAMPLE_COLUMNS};
    cli_samples_begin(&w->samples);
    for (size_t i = 0; i < CLI_SAMPLE_COLUMNS; i++)
        cli_table_add(&w->machines, cli_sample_titles[i]);
    int code = look_at_all(w, &count);
    if (print && !w->json) {
        cli_table_print(&w->machines, stdout);
        if (w->view)
            w->view->print(w->data, count, &w->samples);
    }
    if (w->view)
        w->view->end(w->data, &w->samples);
    cli_table_done(&w->machines);
    return code;
}

int cli_watch_run(const char *verb, char **names, size_t num_names,
                  const struct cli_watch_values *values, const struct cli_watch_view *view,
                  void *data)
{
    struct watch w = {
        .verb = verb, .names = names, .num_names = num_names, .view = view, .data = data};
    struct pv_error err = PV_ERROR_INIT;
    int code;
    w.json = values->format && strcmp(values->format, "json") == 0;
    if (values->format && !w.json && strcmp(values->format, "table") != 0)
        return cli_say_error(CLI_EXIT_OURS, "%s: --format '%s': write json or table", verb,
                             values->format);
    if (instance_store_open(&w.store, &err) < 0)
        return cli_say_error(CLI_EXIT_FAILED, "%s: %s", verb, err.text);
    show_round(&w, false);
    nanosleep(&(struct timespec){.tv_nsec = SECOND_NS / 4}, NULL);
    do {
        if (!values->no_stream && isatty(1))
            fputs(CLEAR_SCREEN, stdout);
        code = show_round(&w, true);
        if (fflush(stdout) != 0 || code != 0 || values->no_stream)
            break;
    } while (nanosleep(&(struct timespec){.tv_sec = 1}, NULL) == 0);
    cli_samples_done(&w.samples);
    instance_store_close(&w.store);
    return cli_say_finish(code);
}
