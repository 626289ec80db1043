/* SPDX-License-Identifier: Apache-2.0
 *
 * top.c: paravane top: what machines use, and which of their processes use it.
 */
#include "base/clock.h"
#include "cli/verbs.h"
#include "cli/watch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ROWS_DEFAULT 24u

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

static void copy_text(const struct pv_json *o, const char *key, char *buf, size_t size)
{
    const struct pv_json *value = pv_json_get(o, key);
    const char *text = value ? pv_json_text(value) : NULL;
    snprintf(buf, size, "%s", text ? text : "-");
}

/* What a process of the guest says is the guest's word, and only shown. */
static void add_process(struct processes *processes, const struct instance *instance,
                        const struct pv_json *o, const struct cli_samples *samples)
{
    struct process p = {.share = -1};
    struct process *list = realloc(processes->list, (processes->count + 1) * sizeof(*list));
    if (!list)
        return;
    processes->list = list;
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
    if (cli_sample_rate(&p.now, cli_samples_find(samples, p.now.key), CLI_SAMPLE_CPU_NS, &rate))
        p.share = rate / 1e9;
    list[processes->count++] = p;
}

static void add(void *data, const struct instance *instance, const struct pv_json *stats,
                const struct cli_samples *samples)
{
    const struct pv_json *guest = pv_json_get(stats, "guest");
    const struct pv_json *list = guest ? pv_json_get(guest, "processes") : NULL;
    for (size_t i = 0; list && i < pv_json_array_length(list); i++)
        add_process(data, instance, pv_json_array_at(list, i), samples);
}

/* Most CPU first, then most memory. */
static int compare(const void *a, const void *b)
{
    const struct process *p = a, *q = b;
    if (p->share != q->share)
        return p->share < q->share ? 1 : -1;
    return (p->rss_bytes < q->rss_bytes) - (p->rss_bytes > q->rss_bytes);
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

static void print(void *data, size_t num_machines, const struct cli_samples *samples)
{
    static const char *const titles[] = {"MACHINE", "PID", "USER", "CPU", "MEMORY", "COMMAND"};
    const struct processes *processes = data;
    struct cli_table table = {.columns = PV_ARRAY_SIZE(titles)};
    size_t most = room_for_processes(num_machines);
    for (size_t i = 0; i < PV_ARRAY_SIZE(titles); i++)
        cli_table_add(&table, titles[i]);
    if (processes->count)
        qsort(processes->list, processes->count, sizeof(*processes->list), compare);
    for (size_t i = 0; i < processes->count && i < most; i++) {
        const struct process *p = &processes->list[i];
        char pid[24], size[32];
        snprintf(pid, sizeof(pid), "%llu", (unsigned long long)p->pid);
        cli_table_add(&table, p->machine);
        cli_table_add(&table, pid);
        cli_table_add(&table, p->user);
        cli_sample_add_share(&table, &p->now, cli_samples_find(samples, p->now.key));
        cli_table_add(&table, pv_str_from_size(p->rss_bytes, size, sizeof(size)));
        cli_table_add(&table, p->command);
    }
    putchar('\n');
    cli_table_print(&table, stdout);
    cli_table_done(&table);
}

static void end(void *data, struct cli_samples *samples)
{
    struct processes *processes = data;
    for (size_t i = 0; i < processes->count; i++)
        cli_samples_keep(samples, &processes->list[i].now);
    free(processes->list);
    *processes = (struct processes){0};
}

static int top_run(char **args, size_t num_args, void *values)
{
    static const struct cli_watch_view view = {.add = add, .print = print, .end = end};
    struct processes processes = {0};
    return cli_watch_run("top", args, num_args, values, &view, &processes);
}

const struct cli_verb cli_top_verb = {
    .name = "top",
    .arguments = "[OPTIONS] [INSTANCE...]",
    .summary = "Show what machines and their processes use",
    .options = cli_watch_options,
    .num_args_max = CLI_ARGS_ANY,
    .run = top_run,
    .values_size = sizeof(struct cli_watch_values),
};
