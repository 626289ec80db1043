/* SPDX-License-Identifier: Apache-2.0
 *
 * rm.c: paravane rm: nothing of an instance remains.
 */
#include "cli/client.h"
#include "cli/verbs.h"
#include "instance/settle.h"
#include "instance/stop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct rm_options {
    bool force, volumes;
};

static const struct cli_option options[] = {
    {'f', "force", NULL, CLI_OPTION_FLAG, offsetof(struct rm_options, force),
     "end instances that run; ignore those that do not exist"},
    {'v', "volumes", NULL, CLI_OPTION_FLAG, offsetof(struct rm_options, volumes),
     "accepted for Docker's sake: the writable layer always goes"},
    {0},
};

static int rm_one(const struct instance_store *store, struct instance *instance, void *data,
                  struct pv_error *err)
{
    const struct rm_options *o = data;
    pv_auto_free char *name = strdup(instance_name(instance));
    int rc = 0;
    if (instance->alive && instance_status(instance) < INSTANCE_EXITED && !o->force)
        return pv_error_set(err, EBUSY,
                            "instance %s runs: stop it first, or remove it with 'paravane rm -f'",
                            instance_name(instance));
    if (instance->alive)
        rc = instance_stop_kill(instance, err);
    if (rc == 0)
        rc = instance_settle_remove(store, instance, err);
    if (rc == 0)
        printf("%s\n", name ? name : instance->id);
    return rc;
}

static int rm_run(char **args, size_t num_args, void *values)
{
    const struct rm_options *o = values;
    size_t n = num_args;
    if (o->force) { /* only those that exist; removal is what was wanted */
        struct instance_store store;
        char id[INSTANCE_ID_LEN + 1];
        if (instance_store_open(&store, NULL) < 0)
            return cli_client_each(args, num_args, rm_one, values);
        n = 0;
        for (size_t i = 0; i < num_args; i++)
            if (instance_store_find(&store, args[i], id, NULL) != -ENOENT)
                args[n++] = args[i];
        instance_store_close(&store);
    }
    return cli_client_each(args, n, rm_one, values);
}

const struct cli_verb cli_rm_verb = {
    .name = "rm",
    .arguments = "[OPTIONS] INSTANCE [INSTANCE...]",
    .summary = "Remove instances with all their files",
    .options = options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .run = rm_run,
    .values_size = sizeof(struct rm_options),
};
