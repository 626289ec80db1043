/* SPDX-License-Identifier: Apache-2.0
 *
 * env.c: the environment of a process.
 */
#include "agent/env.h"

#include <errno.h>
#include <string.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static bool has_name(const char *entry, const char *name, size_t len)
{
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

const char *agent_env_find(const struct pv_strv *env, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < env->count; i++)
        if (has_name(env->items[i], name, len))
            return env->items[i] + len + 1;
    return NULL;
}

/* Adds the entry, or puts it in the place of the one of its name. */
static int set(struct pv_strv *env, const char *entry)
{
    size_t len = strcspn(entry, "=");
    for (size_t i = 0; i < env->count; i++) {
        if (!has_name(env->items[i], entry, len))
            continue;
        char *copy = strdup(entry);
        if (!copy)
            return -ENOMEM;
        free(env->items[i]);
        env->items[i] = copy;
        return 0;
    }
    return pv_strv_add(env, entry);
}

static int add_missing(struct pv_strv *env, const char *name, const char *value)
{
    if (!value || agent_env_find(env, name))
        return 0;
    return pv_strv_add_take(env, pv_strf("%s=%s", name, value));
}

int agent_env_complete(const struct pv_strv *given, const char *home, const char *hostname,
                       bool terminal, struct pv_strv *ret_env)
{
    int rc = 0;
    for (size_t i = 0; i < given->count && rc == 0; i++)
        rc = set(ret_env, given->items[i]);
    if (rc == 0)
        rc = add_missing(ret_env, "PATH", DEFAULT_PATH);
    if (rc == 0)
        rc = add_missing(ret_env, "HOSTNAME", hostname);
    if (rc == 0)
        rc = add_missing(ret_env, "TERM", terminal ? "xterm" : NULL);
    return rc < 0 ? rc : add_missing(ret_env, "HOME", home);
}
