/* SPDX-License-Identifier: Apache-2.0
 *
 * help.c: paravane help, and paravane version.
 */
#include "cli/options.h"
#include "cli/say.h"
#include "cli/verbs.h"

static const struct cli_option no_options[] = {{0}};

static int help_run(char **args, size_t num_args, void *values)
{
    if (num_args == 1) {
        const struct cli_verb *verb = cli_verb_find(args[0]);
        if (!verb)
            return cli_say_error(CLI_EXIT_OURS, "help: unknown command '%s'", args[0]);
        cli_options_help(verb, stdout);
        return cli_say_finish(0);
    }
    printf("Usage: paravane COMMAND [OPTIONS]\n\n"
           "Runs a workload in a machine of its own, on any Linux host.\n\nCommands:\n");
    for (size_t i = 0; cli_verbs[i]; i++)
        printf("  %-10s %s\n", cli_verbs[i]->name, cli_verbs[i]->summary);
    printf("\n'paravane COMMAND --help' tells more. The manual is paravane(1).\n");
    return cli_say_finish(0);
}

static int version_run(char **args, size_t num_args, void *values)
{
    printf("paravane %s\n", PARAVANE_VERSION);
    return cli_say_finish(0);
}

const struct cli_verb cli_help_verb = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "Tell what commands there are, or what one of them takes",
    .options = no_options,
    .num_args_max = 1,
    .run = help_run,
};

const struct cli_verb cli_version_verb = {
    .name = "version",
    .arguments = "",
    .summary = "Tell which version of Paravane this is",
    .options = no_options,
    .run = version_run,
};
