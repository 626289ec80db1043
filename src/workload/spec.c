/* SPDX-License-Identifier: Apache-2.0
 *
 * spec.c: defaults and validation of a workload.
 */
#include "workload/spec.h"

#include "workload/env.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTNAME_MAX 63
#define USER_MAX 256
/* The agent takes the process as one message of 2 MiB (wire/frame.h); quoting may need the rest. */
#define PROCESS_TEXT_MAX (1u << 20)
#define KERNEL_ARGS_MAX 1024

void workload_spec_init(struct workload_spec *spec)
{
    *spec = (struct workload_spec){0};
    workload_resources_init(&spec->resources);
}

void workload_spec_done(struct workload_spec *spec)
{
    pv_strv_done(&spec->args);
    pv_strv_done(&spec->env);
    free(spec->cwd);
    free(spec->user);
    free(spec->hostname);
    free(spec->name);
    free(spec->isolation);
    workload_network_done(&spec->network);
    pv_strv_done(&spec->grants);
    free(spec->kernel);
    free(spec->kernel_args);
    workload_disks_done(&spec->disks);
    workload_volumes_done(&spec->volumes);
    *spec = (struct workload_spec){0};
}

int workload_spec_use_shell(struct workload_spec *spec, struct pv_error *err)
{
    static const char *const shell[] = {"/bin/sh", "-c",
                                        "[ -x /bin/bash ] && exec /bin/bash -l || exec /bin/sh -l"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(shell); i++)
        if (pv_strv_add(&spec->args, shell[i]) < 0)
            return pv_error_set(err, ENOMEM, "command: out of memory");
    return 0;
}

int workload_spec_complete_env(struct workload_spec *spec, const char *hostname,
                               struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv user = spec->env;
    spec->env = (struct pv_strv){0};

    const char *term = getenv("TERM");
    if (pv_strv_add(&spec->env, WORKLOAD_PATH) < 0)
        return pv_error_set(err, ENOMEM, "environment: out of memory");
    int rc = workload_env_set(&spec->env, "HOSTNAME", hostname, err);
    if (rc == 0 && spec->terminal)
        rc = workload_env_set(&spec->env, "TERM", term && *term ? term : "xterm", err);
    for (size_t i = 0; rc == 0 && i < user.count; i++)
        rc = workload_env_add(&spec->env, user.items[i], err);
    return rc;
}

static int check_hostname(const char *hostname, struct pv_error *err)
{
    size_t len = strlen(hostname);
    if (len == 0 || len > HOSTNAME_MAX)
        return pv_error_set(err, EINVAL, "--hostname '%s': 1 to %d characters are possible",
                            hostname, HOSTNAME_MAX);
    for (const char *c = hostname; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.' && *c != '_')
            return pv_error_set(
                err, EINVAL, "--hostname '%s': letters, digits, '-', '_' and '.' only", hostname);
    if (strchr("-.", hostname[0]) || strchr("-.", hostname[len - 1]))
        return pv_error_set(err, EINVAL, "--hostname '%s': starts or ends with '-' or '.'",
                            hostname);
    return 0;
}

static int check_utf8(const char *what, const char *text, struct pv_error *err)
{
    if (pv_str_is_utf8(text, strlen(text)))
        return 0;
    return pv_error_set(err, EILSEQ,
                        "%s is not UTF-8: put such bytes into a file, or on standard input", what);
}

int workload_spec_check_cwd(const char *cwd, struct pv_error *err)
{
    if (cwd[0] != '/')
        return pv_error_set(err, EINVAL, "--workdir '%s': write an absolute path", cwd);
    return check_utf8("--workdir", cwd, err);
}

int workload_spec_check_user(const char *user, struct pv_error *err)
{
    const char *colon = strchr(user, ':');
    if (!*user || *user == ':' || strlen(user) > USER_MAX || (colon && strchr(colon + 1, ':')))
        return pv_error_set(err, EINVAL, "--user '%s': write NAME, UID, NAME:GROUP or UID:GID",
                            user);
    for (const char *c = user; *c; c++)
        if (isspace((unsigned char)*c) || iscntrl((unsigned char)*c) || *c == '/')
            return pv_error_set(err, EINVAL, "--user '%s': not a user name", user);
    return check_utf8("--user", user, err);
}

int workload_spec_check_command(const struct pv_strv *args, const struct pv_strv *env,
                                struct pv_error *err)
{
    size_t total = 0;
    char what[64];
    int rc = 0;
    if (args->count == 0 || !args->items[0][0])
        return pv_error_set(err, EINVAL, "no command: write it behind the image");
    for (size_t i = 0; i < args->count && rc == 0; i++) {
        total += strlen(args->items[i]) + 3;
        snprintf(what, sizeof(what), "command: word %zu", i + 1);
        rc = check_utf8(what, args->items[i], err);
    }
    for (size_t i = 0; i < env->count && rc == 0; i++) {
        total += strlen(env->items[i]) + 3;
        int len = (int)PV_MIN(strcspn(env->items[i], "="), sizeof(what) / 2);
        snprintf(what, sizeof(what), "--env %.*s", len, env->items[i]);
        rc = check_utf8(what, env->items[i], err);
    }
    if (rc == 0 && total > PROCESS_TEXT_MAX)
        rc = pv_error_set(err, E2BIG,
                          "command and environment: %zu bytes, at most %u are possible; put "
                          "the rest in a file of the image",
                          total, PROCESS_TEXT_MAX);
    return rc;
}

static int check_kernel(const struct workload_spec *spec, struct pv_error *err)
{
    if (spec->kernel_log_level > 8)
        return pv_error_set(err, ERANGE, "--kernel-log-level %u: 0 to 8 are possible",
                            spec->kernel_log_level);
    if (!spec->kernel_args)
        return 0;
    if (strlen(spec->kernel_args) > KERNEL_ARGS_MAX)
        return pv_error_set(err, E2BIG, "--kernel-args: longer than %d characters",
                            KERNEL_ARGS_MAX);
    for (const char *c = spec->kernel_args; *c; c++)
        if (iscntrl((unsigned char)*c))
            return pv_error_set(err, EINVAL, "--kernel-args: contains a control character");
    return 0;
}

/* Programs are traced then, and a traced process answers to one thread of the guest kernel. */
static int check_protection(const struct workload_spec *spec, struct pv_error *err)
{
    uint32_t cpus = workload_resources_count_cpus(&spec->resources);
    if (!spec->strict_protection || cpus == 1)
        return 0;
    return pv_error_set(err, EINVAL,
                        "--guest-protection strict: such a machine has one virtual CPU, this one "
                        "would have %u: lower --cpus or --cpus-max to 1, or leave strict out",
                        cpus);
}

int workload_spec_validate(const struct workload_spec *spec, struct pv_error *err)
{
    int rc = workload_spec_check_command(&spec->args, &spec->env, err);
    if (rc == 0 && spec->cwd)
        rc = workload_spec_check_cwd(spec->cwd, err);
    if (rc == 0 && spec->user)
        rc = workload_spec_check_user(spec->user, err);
    if (rc == 0 && spec->hostname)
        rc = check_hostname(spec->hostname, err);
    if (rc == 0 && spec->name && !pv_str_is_name(spec->name))
        rc = pv_error_set(err, EINVAL,
                          "--name '%s': write a letter or digit, then letters, digits, '_', '.' "
                          "and '-', at most 128",
                          spec->name);
    if (rc == 0)
        rc = check_kernel(spec, err);
    if (rc == 0)
        rc = check_protection(spec, err);
    if (rc == 0)
        rc = workload_network_validate(&spec->network, err);
    if (rc == 0 && (spec->net_rate.bytes.per_second || spec->net_rate.frames.per_second) &&
        strcmp(workload_network_name(&spec->network), "none") == 0)
        rc = pv_error_set(err, EINVAL, "--net-rate: there is no network with --net none");
    return rc;
}
