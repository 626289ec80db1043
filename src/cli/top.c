/* SPDX-License-Identifier: Apache-2.0
 *
 * top.c: paravane top: what machines use, and which of their processes use it.
 */
#include "base/clock.h"
#include "cli/client.h"
#include "cli/sample.h"
#include "cli/say.h"
#include "cli/verbs.h"
#include "instance/control.h"
#include "wire/control.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull
#define ANSWER_NS (3 * SECOND_NS)
#define CLEAR_SCREEN "\033[H\033[2J"
#define ROWS_DEFAULT 24u

struct top_options {
    bool no_stream;
    const char *format;
};

static const struct cli_option options[] = {
    {0, "no-stream", NULL, CLI_OPTION_FLAG, offsetof(struct top_options, no_stream),
     "print once instead of again and again"},
    {0, "format", "json|table", CLI_OPTION_TEXT, offsetof(struct top_options, format),
     "tables, or one JSON object per line (table)"},
    {0},
};

/* A process of a machine. */
struct process {
    char machine[32], user[32], command[128];
    uint64_t pid, rss_bytes;
    struct cli_sample now;
    double share; /* of a CPU; -1: not known yet */
};

struct processes {
    struct process *list;
    size_t count;
};

/* One look at all machines. */
struct look {
    const struct instance_store *store;
    struct cli_samples *samples;
    struct cli_table machines;
    struct processes processes;
    bool json;
};

static void copy_text(const struct pv_json *o, const char *key, char *buf, size_t size)
{
    const struct pv_json *value = pv_json_get(o, key);
    const char *text = value ? pv_json_text(value) : NULL;
    snprintf(buf, size, "%s", text ? text : "-");
}

/* What a process of the guest says is the guest's word, and only shown. */
static void add_process(struct look *look, const struct instance *instance, const struct pv_json *o)
{
    struct process p = {.share = -1};
    struct process *list =
        realloc(look->processes.list, (look->processes.count + 1) * sizeof(*list));
    if (!list)
        return;
    look->processes.list = list;
    pv_json_get_u64(o, "pid", 0, UINT32_MAX, &p.pid, NULL);
    pv_json_get_u64(o, "rss_bytes", 0, UINT64_MAX / 2, &p.rss_bytes, NULL);
    snprintf(p.machine, sizeof(p.machine), "%s", instance_name(instance));
    copy_text(o, "user", p.user, sizeof(p.user));
    copy_text(o, "command", p.command, sizeof(p.command));
    p.now.time_ns = pv_time_monotonic_ns();
    snprintf(p.now.key, sizeof(p.now.key), "%s/%llu", instance->id, (unsigned long long)p.pid);
    p.now.has[CLI_SAMPLE_CPU_NS] = pv_json_get_u64(o, "cpu_ns", 0, UINT64_MAX / 2,
                                                   &p.now.values[CLI_SAMPLE_CPU_NS], NULL) == 0;
    double rate;
    if (cli_sample_rate(&p.now, cli_samples_find(look->samples, p.now.key), CLI_SAMPLE_CPU_NS,
                        &rate))
        p.share = rate / 1e9;
    list[look->processes.count++] = p;
}

static void add_machine(struct look *look, const struct instance *instance,
                        const struct pv_json *stats)
{
    char id[INSTANCE_SHORT_ID_LEN + 1] = "";
    struct cli_sample now;
    const struct pv_json *guest = pv_json_get(stats, "guest");
    const struct pv_json *list = guest ? pv_json_get(guest, "processes") : NULL;
    memcpy(id, instance->id, INSTANCE_SHORT_ID_LEN);
    cli_sample_read(stats, instance->id, &now);
    cli_sample_add_row(&look->machines, id, instance_name(instance), stats, &now,
                       cli_samples_find(look->samples, now.key));
    for (size_t i = 0; list && i < pv_json_array_length(list); i++)
        add_process(look, instance, pv_json_array_at(list, i));
    cli_samples_keep(look->samples, &now);
}

static void add_rate(struct pv_json *o, const char *key, const struct cli_sample *now,
                     const struct cli_sample *before, enum cli_sample_value value)
{
    double rate;
    if (cli_sample_rate(now, before, value, &rate))
        pv_json_add_u64(o, key, (uint64_t)rate);
}

/* The statistics as `stats` has them, with what changed per second. */
static void print_json(struct look *look, const struct instance *instance, struct pv_json *stats)
{
    struct cli_sample now;
    cli_sample_read(stats, instance->id, &now);
    const struct cli_sample *before = cli_samples_find(look->samples, now.key);
    pv_json_add_string(stats, "id", instance->id);
    pv_json_add_string(stats, "name", instance_name(instance));
    add_rate(stats, "cpu_ns_per_second", &now, before, CLI_SAMPLE_CPU_NS);
    add_rate(stats, "disk_read_bytes_per_second", &now, before, CLI_SAMPLE_DISK_READ);
    add_rate(stats, "disk_written_bytes_per_second", &now, before, CLI_SAMPLE_DISK_WRITTEN);
    add_rate(stats, "net_in_bytes_per_second", &now, before, CLI_SAMPLE_NET_IN);
    add_rate(stats, "net_out_bytes_per_second", &now, before, CLI_SAMPLE_NET_OUT);
    cli_samples_keep(look->samples, &now);
    pv_auto_free char *text = pv_json_print(stats, false);
    puts(text ? text : "{}");
}

static int look_at(struct look *look, const char *name, bool print, struct pv_error *err)
{
    struct instance instance;
    pv_auto(pv_json) struct pv_json *stats = NULL;
    int rc = cli_client_find(look->store, name, &instance, err);
    if (rc < 0)
        return rc;
    rc = instance_control_request(&instance, WIRE_CONTROL_STATS, NULL, ANSWER_NS, &stats, err);
    if (rc == 0 && look->json && print)
        print_json(look, &instance, stats);
    else if (rc == 0)
        add_machine(look, &instance, stats);
    instance_close(&instance);
    return rc;
}

/* Most CPU first, then most memory. */
static int compare(const void *a, const void *b)
{
    const struct process *p = a, *q = b;
    if (p->share != q->share)
        return p->share < q->share ? 1 : -1;
    return (p->rss_bytes < q->rss_bytes) - (p->rss_bytes > q->rss_bytes);
}

static void print_processes(struct look *look, size_t most)
{
    static const char *const titles[] = {"MACHINE", "PID", "USER", "CPU", "MEMORY", "COMMAND"};
    struct cli_table table = {.columns = PV_ARRAY_SIZE(titles)};
    for (size_t i = 0; i < PV_ARRAY_SIZE(titles); i++)
        cli_table_add(&table, titles[i]);
    if (look->processes.count)
        qsort(look->processes.list, look->processes.count, sizeof(*look->processes.list), compare);
    for (size_t i = 0; i < look->processes.count && i < most; i++) {
        const struct process *p = &look->processes.list[i];
        char pid[24], size[32];
        snprintf(pid, sizeof(pid), "%llu", (unsigned long long)p->pid);
        cli_table_add(&table, p->machine);
        cli_table_add(&table, pid);
        cli_table_add(&table, p->user);
        cli_sample_add_share(&table, &p->now, cli_samples_find(look->samples, p->now.key));
        cli_table_add(&table, pv_str_from_size(p->rss_bytes, size, sizeof(size)));
        cli_table_add(&table, p->command);
    }
    cli_table_print(&table, stdout);
    cli_table_done(&table);
}

/* How many processes fit on the screen below the machines; all when it is none. */
static size_t room_for_processes(size_t num_machines)
{
    struct winsize size = {0};
    if (!isatty(1))
        return SIZE_MAX;
    size_t rows = ioctl(1, TIOCGWINSZ, &size) == 0 && size.ws_row ? size.ws_row : ROWS_DEFAULT;
    size_t taken = num_machines + 4; /* titles, a line between, the last line */
    return rows > taken ? rows - taken : 1;
}

static void keep_processes(struct look *look)
{
    for (size_t i = 0; i < look->processes.count; i++)
        cli_samples_keep(look->samples, &look->processes.list[i].now);
}

/* Looks at all once. print false: only takes samples, so that the next time has rates. */
static int show(const struct instance_store *store, char **names, size_t num_names, bool json,
                bool print, struct cli_samples *samples)
{
    struct look look = {.store = store,
                        .samples = samples,
                        .machines = {.columns = CLI_SAMPLE_COLUMNS},
                        .json = json};
    pv_auto(pv_strv) struct pv_strv ids = {0};
    struct pv_error err = PV_ERROR_INIT;
    int code = 0;
    cli_samples_begin(samples);
    for (size_t i = 0; i < CLI_SAMPLE_COLUMNS; i++)
        cli_table_add(&look.machines, cli_sample_titles[i]);
    if (num_names == 0 && cli_client_list_running(store, &ids, &err) < 0)
        code = cli_say_error(CLI_EXIT_FAILED, "top: %s", err.text);
    size_t n = num_names ? num_names : ids.count;
    for (size_t i = 0; i < n; i++) {
        int rc = look_at(&look, num_names ? names[i] : ids.items[i], print, &err);
        if (rc < 0 && num_names && print) /* of all that run, one may end meanwhile */
            code = cli_say_error(CLI_EXIT_FAILED, "top: %s", pv_error_text(&err, rc));
    }
    if (print && !json) {
        cli_table_print(&look.machines, stdout);
        putchar('\n');
        print_processes(&look, room_for_processes(n));
    }
    keep_processes(&look);
    free(look.processes.list);
    cli_table_done(&look.machines);
    return code;
}

static int top_run(char **args, size_t num_args, void *values)
{
    const struct top_options *o = values;
    struct instance_store store;
    struct cli_samples samples = {0};
    struct pv_error err = PV_ERROR_INIT;
    bool json = o->format && strcmp(o->format, "json") == 0;
    int code;
    if (o->format && !json && strcmp(o->format, "table") != 0)
        return cli_say_error(CLI_EXIT_OURS, "top: --format '%s': write json or table", o->format);
    if (instance_store_open(&store, &err) < 0)
        return cli_say_error(CLI_EXIT_FAILED, "top: %s", err.text);
    show(&store, args, num_args, json, false, &samples); /* a rate needs two samples */
    nanosleep(&(struct timespec){.tv_nsec = SECOND_NS / 4}, NULL);
    do {
        if (!o->no_stream && isatty(1))
            fputs(CLEAR_SCREEN, stdout);
        code = show(&store, args, num_args, json, true, &samples);
        if (fflush(stdout) != 0 || code != 0 || o->no_stream)
            break;
    } while (nanosleep(&(struct timespec){.tv_sec = 1}, NULL) == 0);
    cli_samples_done(&samples);
    instance_store_close(&store);
    return cli_say_finish(code);
}

const struct cli_verb cli_top_verb = {
    .name = "top",
    .arguments = "[OPTIONS] [INSTANCE...]",
    .summary = "Show what machines and their processes use",
    .options = options,
    .num_args_max = CLI_ARGS_ANY,
    .run = top_run,
    .values_size = sizeof(struct top_options),
};
