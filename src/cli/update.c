/* SPDX-License-Identifier: Apache-2.0
 *
 * update.c: paravane update: other limits for instances, while they run.
 */
#include "instance/update.h"
#include "cli/client.h"
#include "cli/say.h"
#include "cli/verbs.h"
#include "instance/promise.h"
#include "workload/disk.h"
#include "workload/grant.h"
#include "workload/net_rate.h"
#include "workload/resources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct update_options {
    const char *memory, *cpus;
    struct pv_strv disk_rates, disk_sizes, grants, grant_files, revokes;
    const char *net_rate;
};

#define OPTION(member) offsetof(struct update_options, member)

static const struct cli_option options[] = {
    {'m', "memory", "SIZE", CLI_OPTION_TEXT, OPTION(memory), "memory of the machine"},
    {0, "cpus", "N", CLI_OPTION_TEXT, OPTION(cpus), "CPUs of the machine, 1.5 is possible"},
    {0, "disk-rate", "[SERIAL:]LIMIT,...", CLI_OPTION_LIST, OPTION(disk_rates),
     "limit disks: bps=SIZE, iops=N, bps-burst=SIZE, iops-burst=N"},
    {0, "disk-size", "SERIAL=SIZE", CLI_OPTION_LIST, OPTION(disk_sizes),
     "make a disk larger; 0: take the size that its file has"},
    {0, "grant", "GRANT", CLI_OPTION_LIST, OPTION(grants), "let the machine reach this, too"},
    {0, "grant-file", "FILE", CLI_OPTION_LIST, OPTION(grant_files), "read grants from a file"},
    {0, "revoke", "GRANT", CLI_OPTION_LIST, OPTION(revokes),
     "take a grant away and cut what goes on under it"},
    {0, "net-rate", "LIMIT,...", CLI_OPTION_TEXT, OPTION(net_rate),
     "limit the network: bps=SIZE, pps=N, bps-burst=SIZE, pps-burst=N"},
    {0},
};

static int add_memory(struct pv_json *changes, const char *text, struct pv_error *err)
{
    struct workload_resources r;
    workload_resources_init(&r);
    int rc = workload_resources_set_memory(&r, "--memory", text, err);
    return rc < 0 ? rc : pv_json_add_u64(changes, "memory_bytes", r.memory_bytes);
}

static int add_cpus(struct pv_json *changes, const char *text, struct pv_error *err)
{
    struct workload_resources r;
    workload_resources_init(&r);
    int rc = workload_resources_set_cpus(&r, "--cpus", text, err);
    return rc < 0 ? rc : pv_json_add_u64(changes, "cpu_milli", r.cpu_milli);
}

static int add_rate(struct pv_json *list, const char *text, struct pv_error *err)
{
    struct workload_disk_limit limit;
    int rc = workload_disk_limit_parse(text, &limit, err);
    struct pv_json *entry = rc == 0 ? pv_json_new_object() : NULL;
    if (rc < 0 || (rc = pv_json_add(list, NULL, entry)) < 0)
        return rc;
    const struct wire_disk disk = {.bytes = limit.rate.bytes, .operations = limit.rate.operations};
    rc = pv_json_add_string(entry, "serial", limit.serial[0] ? limit.serial : NULL);
    return rc == 0 ? wire_disk_add_rate(entry, &disk) : rc;
}

static int add_size(struct pv_json *list, const char *text, struct pv_error *err)
{
    const char *equals = strchr(text, '=');
    uint64_t bytes;
    if (!equals || equals == text || pv_str_to_size(equals + 1, &bytes) < 0 || bytes > INT64_MAX)
        return pv_error_set(err, EINVAL, "--disk-size '%s': write SERIAL=SIZE: data=20G", text);
    struct pv_json *entry = pv_json_new_object();
    int rc = pv_json_add(list, NULL, entry);
    if (rc == 0)
        rc = pv_json_add_string_len(entry, "serial", text, (size_t)(equals - text));
    return rc == 0 ? pv_json_add_u64(entry, "bytes", bytes) : rc;
}

static int add_list(struct pv_json *changes, const char *key, const struct pv_strv *texts,
                    int (*add)(struct pv_json *list, const char *text, struct pv_error *err),
                    struct pv_error *err)
{
    if (texts->count == 0)
        return 0;
    struct pv_json *list = pv_json_new_array();
    int rc = pv_json_add(changes, key, list);
    for (size_t i = 0; rc == 0 && i < texts->count; i++)
        rc = add(list, texts->items[i], err);
    return rc;
}

/* Adds grants to a list in canonical form; "none" as it is. */
static int add_grant(struct pv_json *list, const char *text, struct pv_error *err)
{
    struct workload_grant grant;
    char canonical[WORKLOAD_GRANT_TEXT_MAX];
    if (strcmp(text, WORKLOAD_GRANT_NOTHING) == 0)
        return pv_json_add_string(list, NULL, text);
    int rc = workload_grant_parse(text, &grant, err);
    return rc < 0 ? rc : pv_json_add_string(list, NULL, workload_grant_text(&grant, canonical));
}

static int add_grants(const struct update_options *o, struct pv_json *changes, struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv grants = {0};
    int rc = pv_strv_copy(&grants, &o->grants);
    for (size_t i = 0; rc == 0 && i < o->grant_files.count; i++)
        rc = workload_grants_read_file(o->grant_files.items[i], &grants, err);
    if (rc == 0 && add_list(changes, "revoke", &o->revokes, add_grant, err) < 0)
        rc = pv_error_prefix(err, "--revoke");
    if (rc == 0 && add_list(changes, "grant", &grants, add_grant, err) < 0)
        rc = pv_error_prefix(err, "--grant");
    return rc;
}

static int add_net_rate(struct pv_json *changes, const char *text, struct pv_error *err)
{
    struct workload_net_rate rate;
    int rc = workload_net_rate_parse(text, &rate, err);
    if (rc < 0)
        return rc;
    struct pv_json *entry = pv_json_new_object();
    rc = pv_json_add(changes, "net_rate", entry);
    const struct wire_net_rate wire = {.bytes = rate.bytes, .frames = rate.frames};
    return rc == 0 ? wire_machine_add_net_rate(entry, &wire) : rc;
}

/* The flags as changes, and whether there are any. */
static int read_changes(const struct update_options *o, struct pv_json *changes, bool *ret_any,
                        struct pv_error *err)
{
    int rc = o->memory ? add_memory(changes, o->memory, err) : 0;
    if (rc == 0 && o->cpus)
        rc = add_cpus(changes, o->cpus, err);
    if (rc == 0)
        rc = add_list(changes, "disk_rates", &o->disk_rates, add_rate, err);
    if (rc == 0)
        rc = add_list(changes, "disk_sizes", &o->disk_sizes, add_size, err);
    if (rc == 0)
        rc = add_grants(o, changes, err);
    if (rc == 0 && o->net_rate)
        rc = add_net_rate(changes, o->net_rate, err);
    *ret_any = o->memory || o->cpus || o->disk_rates.count || o->disk_sizes.count ||
               o->grants.count || o->grant_files.count || o->revokes.count || o->net_rate;
    return rc;
}

/* As at the start: can the host give so much, beside what it gave to others? */
static int check_host(const struct instance_store *store, const struct instance *instance,
                      const struct pv_json *changes, struct pv_error *err)
{
    uint64_t bytes = 0;
    pv_auto(pv_strv) struct pv_strv warnings = {0};
    int rc = pv_json_get_u64(changes, "memory_bytes", 0, INT64_MAX, &bytes, err);
    if (rc == 0 && bytes > instance->config.machine.memory_bytes)
        rc = instance_promise_check(store, instance->id, bytes, &warnings, err);
    cli_say_warnings(&warnings);
    return rc;
}

static int update_one(const struct instance_store *store, struct instance *instance, void *data,
                      struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *reply = NULL;
    int rc = check_host(store, instance, data, err);
    if (rc == 0)
        rc = instance_update(instance, data, &reply, err);
    if (rc < 0)
        return rc;
    cli_say_cpu_limit(pv_json_get(reply, "cpu_limit"));
    printf("%s\n", instance_name(instance));
    return rc;
}

static int update_run(char **args, size_t num_args, void *values)
{
    struct pv_error err = PV_ERROR_INIT;
    bool any = false;
    pv_auto(pv_json) struct pv_json *changes = pv_json_new_object();
    int rc = changes ? read_changes(values, changes, &any, &err) : -ENOMEM;
    if (rc < 0)
        return cli_say_error(CLI_EXIT_OURS, "update: %s", pv_error_text(&err, rc));
    if (!any)
        return cli_say_error(CLI_EXIT_OURS,
                             "update: nothing to change: 'paravane update --help' lists what can "
                             "be");
    return cli_client_each(args, num_args, update_one, changes);
}

const struct cli_verb cli_update_verb = {
    .name = "update",
    .arguments = "[OPTIONS] INSTANCE [INSTANCE...]",
    .summary = "Change the limits of instances, also while they run",
    .options = options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .run = update_run,
    .values_size = sizeof(struct update_options),
};
