/* SPDX-License-Identifier: Apache-2.0
 *
 * env.h: the environment of a process, collected as Docker does.
 */
#ifndef WORKLOAD_ENV_H
#define WORKLOAD_ENV_H

#include "base/error.h"
#include "base/str.h"

/* Sets NAME=value in env, in place of an earlier value of NAME. */
int workload_env_set(struct pv_strv *env, const char *name, const char *value,
                     struct pv_error *err);
/* Adds what stands behind -e: "NAME=value", or "NAME", which takes the caller's value and takes
 * NAME out when the caller has none. */
int workload_env_add(struct pv_strv *env, const char *text, struct pv_error *err);
/* Adds each line of the file at path, of the same form; empty lines and lines that start with '#'
 * are skipped. */
int workload_env_add_file(struct pv_strv *env, const char *path, struct pv_error *err);
/* The value of NAME in env, or NULL. Borrowed. */
const char *workload_env_find(const struct pv_strv *env, const char *name);

#endif
