/* SPDX-License-Identifier: Apache-2.0
 *
 * stop.c: paravane stop, kill and wait: three ways to an end.
 */
#include "instance/stop.h"

#include "cli/client.h"
#include "cli/say.h"
#include "cli/verbs.h"
#include "instance/control.h"
#include "wire/control.h"
#include "workload/signals.h"

#include <errno.h>
#include <signal.h>

#define GRACE_DEFAULT 10u
#define GRACE_MAX (24u * 3600)
#define MONITOR_END_NS (5ull * 1000000000)
#define FOR_EVER_NS (UINT64_MAX / 4)

struct stop_options {
    const char *time;
};
struct kill_options {
    const char *signal;
};

static const struct cli_option stop_options[] = {
    {'t', "time", "SECONDS", CLI_OPTION_TEXT, offsetof(struct stop_options, time),
     "how long the command may take before it is killed (10)"},
    {0},
};
static const struct cli_option kill_options[] = {
    {'s', "signal", "SIGNAL", CLI_OPTION_TEXT, offsetof(struct kill_options, signal),
     "signal to send to the command (KILL, which ends the machine)"},
    {0},
};
static const struct cli_option no_options[] = {{0}};

static void print_name(const struct instance *instance)
{
    printf("%s\n", instance_name(instance));
}

static int stop_one(const struct instance_store *store, struct instance *instance, void *data,
                    struct pv_error *err)
{
    const uint32_t *seconds = data;
    int rc = instance->alive ? instance_stop_gently(instance, *seconds, err) : 0;
    if (rc < 0)
        return rc;
    print_name(instance);
    cli_client_settle(store, instance);
    return 0;
}

static int stop_run(char **args, size_t num_args, void *values)
{
    const struct stop_options *o = values;
    uint64_t time = GRACE_DEFAULT;
    if (o->time && pv_str_to_u64(o->time, 0, GRACE_MAX, &time) < 0)
        return cli_say_error(CLI_EXIT_OURS, "stop: --time '%s': write seconds, at most %u", o->time,
                             GRACE_MAX);
    uint32_t seconds = (uint32_t)time;
    return cli_client_each(args, num_args, stop_one, &seconds);
}

static int kill_one(const struct instance_store *store, struct instance *instance, void *data,
                    struct pv_error *err)
{
    const uint32_t *signo = data;
    enum instance_status status = instance_status(instance);
    /* A monitor may live a little longer than its machine. */
    if (!instance->alive || status == INSTANCE_EXITED || status == INSTANCE_FAILED)
        return pv_error_set(err, ESRCH, "instance %s does not run", instance_name(instance));
    int rc = *signo == SIGKILL ? instance_stop_kill(instance, err)
                               : instance_stop_signal(instance, *signo, err);
    if (rc < 0)
        return rc;
    print_name(instance);
    if (*signo == SIGKILL)
        cli_client_settle(store, instance);
    return 0;
}

static int kill_run(char **args, size_t num_args, void *values)
{
    const struct kill_options *o = values;
    struct pv_error err = PV_ERROR_INIT;
    uint32_t signo = SIGKILL;
    if (o->signal && workload_signals_parse(o->signal, &signo, &err) < 0)
        return cli_say_error(CLI_EXIT_OURS, "kill: %s", err.text);
    return cli_client_each(args, num_args, kill_one, &signo);
}

/* The monitor's own word: it comes before anybody can remove the instance (--rm). */
static int ask_monitor(struct instance *instance, int64_t *ret_code)
{
    pv_auto(pv_json) struct pv_json *reply = NULL;
    int64_t code = -1;
    int rc = instance_control_request(instance, WIRE_CONTROL_WAIT, NULL, FOR_EVER_NS, &reply, NULL);
    if (rc == 0)
        rc = pv_json_get_i64(reply, "exit_code", 0, 255, &code, NULL);
    if (rc == 0 && code < 0)
        rc = -EPROTO;
    if (rc < 0)
        return rc;
    *ret_code = code;
    instance_stop_wait(instance, MONITOR_END_NS); /* who waited may count on the end */
    return 0;
}

static int wait_one(const struct instance_store *store, struct instance *instance, void *data,
                    struct pv_error *err)
{
    int64_t code = 0;
    if (!instance->alive || ask_monitor(instance, &code) < 0) {
        instance_stop_wait(instance, 0);
        if (instance_status(instance) == INSTANCE_DEAD)
            cli_client_settle(store, instance);
        if (!instance_state_is_final(&instance->state))
            return pv_error_set(err, ENOENT, "the instance went without an exit code");
        code = instance->state.exit_code;
    }
    printf("%d\n", (int)code);
    fflush(stdout);
    return 0;
}

static int wait_run(char **args, size_t num_args, void *values)
{
    return cli_client_each(args, num_args, wait_one, NULL);
}

const struct cli_verb cli_stop_verb = {
    .name = "stop",
    .arguments = "[OPTIONS] INSTANCE [INSTANCE...]",
    .summary = "End instances in an orderly way: SIGTERM, then power-off",
    .options = stop_options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .run = stop_run,
    .values_size = sizeof(struct stop_options),
};

const struct cli_verb cli_kill_verb = {
    .name = "kill",
    .arguments = "[OPTIONS] INSTANCE [INSTANCE...]",
    .summary = "End instances at once, or send a signal to their command",
    .options = kill_options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .run = kill_run,
    .values_size = sizeof(struct kill_options),
};

const struct cli_verb cli_wait_verb = {
    .name = "wait",
    .arguments = "INSTANCE [INSTANCE...]",
    .summary = "Wait until instances have ended and print their exit codes",
    .options = no_options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .run = wait_run,
};
