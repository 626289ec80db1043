/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c: paravane stats: what machines use.
 */
#include "cli/verbs.h"
#include "cli/watch.h"

static int stats_run(char **args, size_t num_args, void *values)
{
    return cli_watch_run("stats", args, num_args, values, NULL, NULL);
}

const struct cli_verb cli_stats_verb = {
    .name = "stats",
    .arguments = "[OPTIONS] [INSTANCE...]",
    .summary = "Show what machines use",
    .options = cli_watch_options,
    .num_args_max = CLI_ARGS_ANY,
    .run = stats_run,
    .values_size = sizeof(struct cli_watch_values),
};
