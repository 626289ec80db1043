/* SPDX-License-Identifier: Apache-2.0
 *
 * say.h: words to the user, on standard error.
 */
#ifndef CLI_SAY_H
#define CLI_SAY_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#include <stdio.h>

/* "paravane: TEXT", without control characters: parts of it may come from a guest. Returns code,
 * so that a verb can end with it. */
int cli_say_error(int code, const char *fmt, ...) PV_PRINTF(2, 3);
/* "paravane: warning: TEXT" for each. */
void cli_say_warnings(const struct pv_strv *warnings);
/* What takes long now; only to a terminal. */
void cli_say_progress(const char *text);
/* Prints text, but with '?' for each control character other than newline and tab. */
void cli_say_safely(FILE *out, const char *text, size_t len);
/* Flushes standard output: code, or CLI_EXIT_FAILED with an error when it could not be written. */
int cli_say_finish(int code);
/* Tells when a share of CPU time is kept by a machine itself: limit is "cpu_limit" of a state, or
 * of the answer to an update (may be NULL). */
void cli_say_cpu_limit(const struct pv_json *limit);

#endif
