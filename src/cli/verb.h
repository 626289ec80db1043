/* SPDX-License-Identifier: Apache-2.0
 *
 * verb.h: what a verb of the command line is, and the table of all of them.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

/* Exit codes as Docker has them. */
#define CLI_EXIT_FAILED 1 /* a verb that runs no command could not do its work */
#define CLI_EXIT_OURS 125 /* wrong usage, or we could not run the command */

enum cli_option_type {
    CLI_OPTION_FLAG, /* bool; --flag, --flag=false */
    CLI_OPTION_OFF,  /* a flag that is on by default; its bool is true when it was switched off */
    CLI_OPTION_TEXT, /* const char *, borrowed from argv; the last one counts */
    CLI_OPTION_LIST, /* struct pv_strv; each one is added */
};

struct cli_option {
    char letter;         /* 0: none */
    const char *name;    /* without the dashes */
    const char *metavar; /* how help calls the value; NULL for flags */
    enum cli_option_type type;
    size_t offset; /* of the value in the verb's own struct */
    const char *help;
};

struct cli_verb {
    const char *name;
    const char *arguments; /* "[OPTIONS] IMAGE [COMMAND [ARG...]]" */
    const char *summary;
    const struct cli_option *options; /* ends with a NULL name */
    size_t num_args_min, num_args_max;
    bool stops_at_argument; /* what follows the first argument is the command's, options too */
    /* args: the arguments without options, NULL-terminated; values: the verb's own struct of
     * values_size bytes, zero but for the options given. Returns the exit code. */
    int (*run)(char **args, size_t num_args, void *values);
    size_t values_size;
};

/* All verbs, in the order of help; ends with NULL. */
extern const struct cli_verb *const cli_verbs[];
/* NULL when there is none. */
const struct cli_verb *cli_verb_find(const char *name);

#define CLI_ARGS_ANY ((size_t)-1)

#endif
