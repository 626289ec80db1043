/* SPDX-License-Identifier: Apache-2.0
 *
 * options.h: the one way in which all verbs read their options.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/verb.h"

#include <stdio.h>

/* Reads argv (behind the verb) into values and args (room for argc + 1). --help sets *ret_help and
 * stops. The error names the option and the nearest one that exists. */
int cli_options_parse(const struct cli_verb *verb, char **argv, void *values, char **args,
                      size_t *ret_num_args, bool *ret_help, struct pv_error *err);
/* Frees the lists in values. */
void cli_options_done(const struct cli_verb *verb, void *values);
/* Prints usage and options of a verb. */
void cli_options_help(const struct cli_verb *verb, FILE *out);
/* How many letters two words differ in; for "did you mean". */
unsigned cli_options_distance(const char *a, const char *b);

#endif
