/* SPDX-License-Identifier: Apache-2.0
 *
 * env.c: -e, --env-file and the defaults of a process's environment.
 */
#include "workload/env.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define ENV_FILE_MAX (1u << 20)

static bool is_entry_of(const char *entry, const char *name, size_t len)
{
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

static size_t find_entry(const struct pv_strv *env, const char *name, size_t len)
{
    for (size_t i = 0; i < env->count; i++)
        if (is_entry_of(env->items[i], name, len))
            return i;
    return env->count;
}

const char *workload_env_find(const struct pv_strv *env, const char *name)
{
    size_t len = strlen(name), i = find_entry(env, name, len);
    return i < env->count ? env->items[i] + len + 1 : NULL;
}

static void remove_entry(struct pv_strv *env, size_t i)
{
    free(env->items[i]);
    memmove(&env->items[i], &env->items[i + 1], (env->count - i) * sizeof(env->items[0]));
    env->count--;
}

static int put_entry(struct pv_strv *env, const char *entry, struct pv_error *err)
{
    size_t i = find_entry(env, entry, (size_t)(strchr(entry, '=') - entry));
    if (i < env->count) {
        char *copy = strdup(entry);
        if (!copy)
            return pv_error_set(err, ENOMEM, "environment: out of memory");
        free(env->items[i]);
        env->items[i] = copy;
        return 0;
    }
    if (pv_strv_add(env, entry) < 0)
        return pv_error_set(err, ENOMEM, "environment: out of memory");
    return 0;
}

int workload_env_set(struct pv_strv *env, const char *name, const char *value, struct pv_error *err)
{
    pv_auto_free char *entry = pv_strf("%s=%s", name, value);
    if (!entry)
        return pv_error_set(err, ENOMEM, "environment: out of memory");
    return put_entry(env, entry, err);
}

int workload_env_add(struct pv_strv *env, const char *text, struct pv_error *err)
{
    size_t name_len = strcspn(text, "=");
    if (name_len == 0)
        return pv_error_set(err, EINVAL, "environment '%s': no name before '='; write NAME=value",
                            text);
    if (text[name_len] == '=')
        return put_entry(env, text, err);

    const char *inherited = getenv(text);
    if (inherited)
        return workload_env_set(env, text, inherited, err);
    size_t i = find_entry(env, text, name_len);
    if (i < env->count)
        remove_entry(env, i);
    return 0;
}

static int add_line(struct pv_strv *env, char *line, struct pv_error *err)
{
    line += strspn(line, " \t");
    size_t len = strlen(line);
    if (len > 0 && line[len - 1] == '\r')
        line[len - 1] = '\0';
    if (!*line || *line == '#')
        return 0;
    size_t name_len = strcspn(line, "=");
    if (strcspn(line, " \t") < name_len)
        return pv_error_set(err, EINVAL, "name '%.*s' contains a blank", (int)name_len, line);
    return workload_env_add(env, line, err);
}

int workload_env_add_file(struct pv_strv *env, const char *path, struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    size_t len = 0;
    int rc = pv_fd_read_file(AT_FDCWD, path, ENV_FILE_MAX, &text, &len, err);
    if (rc < 0) {
        pv_error_prefix(err, "--env-file");
        return rc;
    }
    if (memchr(text, '\0', len))
        return pv_error_set(err, EINVAL, "--env-file '%s': not a text file", path);

    char *rest = text, *line;
    for (unsigned number = 1; rc == 0 && (line = strsep(&rest, "\n")); number++) {
        rc = add_line(env, line, err);
        if (rc < 0)
            pv_error_prefix(err, "--env-file '%s', line %u", path, number);
    }
    return rc;
}
