/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.h: looks at machines once or again and again: what stats and top have in common.
 */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include "cli/options.h"
#include "cli/sample.h"
#include "instance/instance.h"

/* The values of cli_watch_options: these are their first members. */
struct cli_watch_values {
    bool no_stream;
    const char *format;
};

extern const struct cli_option cli_watch_options[];

/* What a verb shows below the table of machines. All three are there, or the view is NULL. */
struct cli_watch_view {
    /* A machine's statistics, once in each round. */
    void (*add)(void *data, const struct instance *instance, const struct pv_json *stats,
                const struct cli_samples *samples);
    /* After the table, which has num_machines rows. */
    void (*print)(void *data, size_t num_machines, const struct cli_samples *samples);
    /* The end of each round: keeps samples for the next one and forgets the rest. */
    void (*end)(void *data, struct cli_samples *samples);
};

/* Shows the machines that `names` name, or all that run: as a table with the view below it, or a
 * JSON object for each: its statistics, id, name, and what it used per second. The exit code. */
int cli_watch_run(const char *verb, char **names, size_t num_names,
                  const struct cli_watch_values *values, const struct cli_watch_view *view,
                  void *data);

#endif
