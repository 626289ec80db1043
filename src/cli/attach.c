/* SPDX-License-Identifier: Apache-2.0
 *
 * attach.c: paravane attach: join the main process of an instance that runs.
 */
#include "cli/client.h"
#include "cli/say.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "instance/control.h"

#include <errno.h>

struct attach_options {
    bool no_stdin, no_proxy;
};

static const struct cli_option options[] = {
    {0, "no-stdin", NULL, CLI_OPTION_FLAG, offsetof(struct attach_options, no_stdin),
     "do not pass standard input on"},
    {0, "sig-proxy", NULL, CLI_OPTION_OFF, offsetof(struct attach_options, no_proxy),
     "pass signals on to the command (true)"},
    {0},
};

static int attach_to(const struct instance_store *store, struct instance *instance,
                     const struct attach_options *o, struct pv_error *err)
{
    const struct wire_machine *m = &instance->config.machine;
    struct cli_session_result result = {0};
    if (instance_status(instance) != INSTANCE_RUNNING)
        return pv_error_set(err, ESRCH, "instance %s does not run", instance_name(instance));
    bool with_stdin = m->stdin_open && !o->no_stdin;
    int fd = instance_control_attach(instance, with_stdin, false, err);
    if (fd < 0)
        return fd;
    struct cli_session_config config = {
        .fd = fd,
        .with_stdin = with_stdin,
        .terminal = m->process.terminal,
        .proxy = !o->no_proxy,
        .detach_keys = m->process.terminal,
        .tell_detach = true,
    };
    int rc = cli_session_run(&config, &result, err);
    if (rc < 0)
        return rc;
    if (result.end == CLI_SESSION_FAILED || result.end == CLI_SESSION_LOST)
        cli_say_error(0, "attach: %s", pv_error_text(&result.why, -EIO));
    if (result.end == CLI_SESSION_LOST) {
        cli_client_settle(store, instance);
        return instance_state_is_final(&instance->state) ? instance->state.exit_code
                                                         : CLI_EXIT_OURS;
    }
    return result.code;
}

static int attach_run(char **args, size_t num_args, void *values)
{
    struct instance_store store;
    struct instance instance;
    struct pv_error err = PV_ERROR_INIT;
    int rc = instance_store_open(&store, &err);
    if (rc < 0)
        return cli_say_error(CLI_EXIT_OURS, "attach: %s", err.text);
    rc = cli_client_find(&store, args[0], &instance, &err);
    if (rc == 0) {
        rc = attach_to(&store, &instance, values, &err);
        instance_close(&instance);
    }
    instance_store_close(&store);
    return rc >= 0 ? rc : cli_say_error(CLI_EXIT_OURS, "attach: %s", pv_error_text(&err, rc));
}

const struct cli_verb cli_attach_verb = {
    .name = "attach",
    .arguments = "[OPTIONS] INSTANCE",
    .summary = "Join the command of an instance that runs",
    .options = options,
    .num_args_min = 1,
    .num_args_max = 1,
    .run = attach_run,
    .values_size = sizeof(struct attach_options),
};
