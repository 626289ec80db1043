/* SPDX-License-Identifier: Apache-2.0
 *
 * verb.c: the table of verbs.
 */
#include "cli/verb.h"

#include "cli/verbs.h"

#include <string.h>

const struct cli_verb *const cli_verbs[] = {
    &cli_run_verb,     &cli_exec_verb,    &cli_attach_verb,
    &cli_start_verb,   &cli_stop_verb,    &cli_kill_verb,
    &cli_wait_verb,    &cli_rm_verb,      &cli_ps_verb,
    &cli_logs_verb,    &cli_inspect_verb, &cli_stats_verb,
    &cli_top_verb,     &cli_update_verb,  &cli_network_verb,
    &cli_version_verb, &cli_help_verb,    NULL,
};

const struct cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; cli_verbs[i]; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0)
            return cli_verbs[i];
    return NULL;
}
