/* SPDX-License-Identifier: Apache-2.0
 *
 * start.c: paravane start: an instance that has ended runs again, with its writable layer.
 */
#include "cli/client.h"
#include "cli/launch.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "instance/create.h"

#include <errno.h>

struct start_options {
    bool attach;
};

static const struct cli_option options[] = {
    {'a', "attach", NULL, CLI_OPTION_FLAG, offsetof(struct start_options, attach),
     "stay with the command, as `run` does"},
    {0},
};

static int start_one(const struct instance_store *store, const char *name, bool attach,
                     int cancel_fd, struct pv_error *err)
{
    struct instance instance;
    uint16_t rows, columns;
    int lock_fd;
    int rc = cli_client_find(store, name, &instance, err);
    if (rc < 0)
        return rc;
    if (!attach && instance.alive && !instance_state_is_final(&instance.state)) {
        instance_close(&instance);
        printf("%s\n", name); /* it runs already, which is what was wanted, as in Docker */
        return cli_say_finish(0);
    }
    cli_terminal_size(&rows, &columns);
    rc = instance_create_revive(&instance, true, rows, columns, &lock_fd, err);
    if (rc == 0) {
        struct cli_launch launch = {
            .detach = !attach, .announce = name, .proxy = true, .cancel_fd = cancel_fd};
        rc = cli_launch_run(store, &instance, lock_fd, &launch);
    }
    instance_close(&instance);
    return rc;
}

static int start_run(char **args, size_t num_args, void *values)
{
    const struct start_options *o = values;
    struct instance_store store;
    struct pv_error err = PV_ERROR_INIT;
    int code = 0;
    if (o->attach && num_args > 1)
        return cli_say_error(CLI_EXIT_OURS, "start: --attach takes one instance");
    pv_auto_fd int cancel_fd = cli_launch_block_signals(&err);
    if (cancel_fd < 0 || instance_store_open(&store, &err) < 0)
        return cli_say_error(CLI_EXIT_OURS, "start: %s", err.text);
    for (size_t i = 0; i < num_args; i++) {
        err = (struct pv_error)PV_ERROR_INIT;
        int rc = start_one(&store, args[i], o->attach, cancel_fd, &err);
        if (rc < 0)
            rc = cli_say_error(CLI_EXIT_OURS, "start: %s", pv_error_text(&err, rc));
        code = rc ? rc : code;
    }
    instance_store_close(&store);
    return code;
}

const struct cli_verb cli_start_verb = {
    .name = "start",
    .arguments = "[OPTIONS] INSTANCE [INSTANCE...]",
    .summary = "Run instances again that have ended",
    .options = options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .run = start_run,
    .values_size = sizeof(struct start_options),
};
