/* SPDX-License-Identifier: Apache-2.0
 *
 * verbs.h: the verbs, one file each.
 */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "cli/verb.h"

extern const struct cli_verb cli_run_verb;
extern const struct cli_verb cli_exec_verb;
extern const struct cli_verb cli_attach_verb;
extern const struct cli_verb cli_start_verb;
extern const struct cli_verb cli_stop_verb;
extern const struct cli_verb cli_kill_verb;
extern const struct cli_verb cli_wait_verb;
extern const struct cli_verb cli_rm_verb;
extern const struct cli_verb cli_ps_verb;
extern const struct cli_verb cli_logs_verb;
extern const struct cli_verb cli_inspect_verb;
extern const struct cli_verb cli_stats_verb;
extern const struct cli_verb cli_top_verb;
extern const struct cli_verb cli_update_verb;
extern const struct cli_verb cli_network_verb;
extern const struct cli_verb cli_version_verb;
extern const struct cli_verb cli_help_verb;

#endif
