/* SPDX-License-Identifier: Apache-2.0
 *
 * env.h: the environment of a process, completed as Docker does.
 */
#ifndef AGENT_ENV_H
#define AGENT_ENV_H

#include "base/str.h"

#include <stdbool.h>

/* Copies given (NAME=value; of equal names the last one counts) and adds what it lacks: PATH,
 * HOME, HOSTNAME (unless NULL) and, with a terminal, TERM. ret_env must be empty. 0 or -ENOMEM. */
int agent_env_complete(const struct pv_strv *given, const char *home, const char *hostname,
                       bool terminal, struct pv_strv *ret_env);
/* The value of the name, borrowed, or NULL. */
const char *agent_env_find(const struct pv_strv *env, const char *name);

#endif
