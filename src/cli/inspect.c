/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect.c: paravane inspect: everything known of instances, as JSON: state, walls, configuration.
 */
#include "base/str.h"
#include "cli/client.h"
#include "cli/say.h"
#include "cli/verbs.h"
#include "instance/control.h"
#include "wire/control.h"

#include <errno.h>
#include <string.h>

#define ANSWER_NS (2ull * 1000000000)

static const struct cli_option no_options[] = {{0}};

/* A copy of a value that belongs to another document. */
static struct pv_json *copy_json(const struct pv_json *json)
{
    struct pv_json *copy = NULL;
    pv_auto_free char *text = json ? pv_json_print(json, false) : NULL;
    if (text && pv_json_parse(text, strlen(text), &copy, NULL) < 0)
        return NULL;
    return copy;
}

static int add_copy(struct pv_json *o, const char *key, const struct pv_json *json)
{
    struct pv_json *copy = copy_json(json);
    return copy ? pv_json_add(o, key, copy) : 0;
}

static int add_identity(struct pv_json *o, const struct instance *instance)
{
    const char *status = instance_status_name(instance_status(instance));
    int rc = pv_json_add_string(o, "id", instance->id);
    if (rc == 0)
        rc = pv_json_add_string(o, "name", instance->config.machine.name);
    if (rc == 0)
        rc = pv_json_add_string(o, "status", status);
    if (rc == 0)
        rc = pv_json_add_string(o, "created_at", instance->config.created_at);
    if (rc == 0)
        rc = pv_json_add_string(o, "image", instance->config.image_name);
    if (rc == 0 && instance->damage.code)
        rc = pv_json_add_string(o, "damage", instance->damage.text);
    return rc;
}

/* As it is now, when the monitor answers: the counters of its fence move. */
static int add_state(struct pv_json *o, const struct instance *instance)
{
    struct pv_json *now = NULL;
    if (instance->alive &&
        instance_control_request(instance, WIRE_CONTROL_STATUS, NULL, ANSWER_NS, &now, NULL) == 0)
        return pv_json_add(o, "state", now);
    return instance->state.json ? add_copy(o, "state", instance->state.json) : 0;
}

static const struct wire_mount *mount_of(const struct wire_machine *machine, const char *tag)
{
    for (uint32_t i = 0; i < machine->setup.mounts.count; i++)
        if (strcmp(machine->setup.mounts.items[i].tag, tag) == 0)
            return &machine->setup.mounts.items[i];
    return NULL;
}

static int add_volume(struct pv_json *list, const struct wire_machine *machine,
                      const struct wire_volume *v)
{
    struct pv_json *o = pv_json_new_object();
    const struct wire_mount *mount = mount_of(machine, v->tag);
    pv_auto_free char *source =
        pv_strf("%s%s%s", v->path, v->only ? "/" : "", v->only ? v->only : "");
    int rc = o && source ? pv_json_add_string(o, "source", source) : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_string(o, "target", mount ? mount->target : "/");
    if (rc == 0)
        rc = pv_json_add_bool(o, "read_only", v->read_only);
    if (rc == 0)
        rc = pv_json_add_string(o, "cache", v->cache ? v->cache : "auto");
    if (rc == 0)
        return pv_json_add(list, NULL, o);
    pv_json_free(o);
    return rc;
}

/* What of the host the machine sees and where, which the configuration has in two places. */
static int add_volumes(struct pv_json *o, const struct wire_machine *machine)
{
    struct pv_json *list = pv_json_new_array();
    int rc = list ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < machine->volumes.count; i++)
        rc = add_volume(list, machine, &machine->volumes.items[i]);
    if (rc == 0)
        return pv_json_add(o, "volumes", list);
    pv_json_free(list);
    return rc;
}

static struct pv_json *describe(const struct instance *instance)
{
    struct pv_json *o = pv_json_new_object();
    int rc = o ? add_identity(o, instance) : -ENOMEM;
    if (rc == 0)
        rc = add_state(o, instance);
    if (rc == 0 && instance->config.machine.id)
        rc = add_volumes(o, &instance->config.machine);
    if (rc == 0 && instance->config.machine.id) {
        struct pv_json *config = instance_config_write(&instance->config);
        rc = config ? pv_json_add(o, "config", config) : -ENOMEM;
    }
    if (rc == 0)
        return o;
    pv_json_free(o);
    return NULL;
}

static int inspect_one(const struct instance_store *store, struct instance *instance, void *data,
                       struct pv_error *err)
{
    struct pv_json *list = data, *o = describe(instance);
    return o && pv_json_add(list, NULL, o) == 0 ? 0 : pv_error_set(err, ENOMEM, "out of memory");
}

static int inspect_run(char **args, size_t num_args, void *values)
{
    pv_auto(pv_json) struct pv_json *list = pv_json_new_array();
    if (!list)
        return cli_say_error(CLI_EXIT_FAILED, "inspect: out of memory");
    int code = cli_client_each(args, num_args, inspect_one, list);
    pv_auto_free char *text = pv_json_print(list, true);
    puts(text ? text : "[]");
    return cli_say_finish(code);
}

const struct cli_verb cli_inspect_verb = {
    .name = "inspect",
    .arguments = "INSTANCE [INSTANCE...]",
    .summary = "Print everything known of instances as JSON",
    .options = no_options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .run = inspect_run,
};
