/* SPDX-License-Identifier: Apache-2.0
 *
 * launch.c: from a prepared instance to an exit code.
 *
 * The client that starts a machine is its primary client: the monitor runs the command when it has
 * attached, and ends the machine when it is lost. So a killed client leaves no machine behind that
 * nobody knows of; one that leaves on purpose (-d, detach keys) says so.
 */
#include "cli/launch.h"

#include "cli/client.h"
#include "cli/say.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "instance/control.h"
#include "instance/create.h"
#include "instance/settle.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

int cli_launch_block_signals(struct pv_error *err)
{
    sigset_t set;
    cli_session_signals(&set);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return pv_error_set(err, errno, "block signals: %s", strerror(errno));
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 ? fd : pv_error_set(err, errno, "signalfd: %s", strerror(errno));
}

/* The exit code of whom a signal interrupts; 125 when none is pending after all. */
static int pending_code(void)
{
    sigset_t pending;
    sigpending(&pending);
    for (int signo = 1; signo < NSIG; signo++)
        if (sigismember(&pending, signo) == 1)
            return 128 + signo;
    return CLI_EXIT_OURS;
}

/* Nothing of a machine whose command never started is worth keeping. */
static void throw_away(const struct instance_store *store, struct instance *instance, bool is_new)
{
    cli_client_settle(store, instance);
    if (is_new)
        instance_settle_remove(store, instance, NULL);
}

static int on_exited(const struct instance_store *store, struct instance *instance, int code)
{
    cli_client_settle(store, instance);
    if (instance->state.oom_killed)
        cli_say_error(0, "the machine's memory ran out and a process was killed: give it more with "
                         "--memory");
    return code;
}

static int on_failed(const struct instance_store *store, struct instance *instance,
                     const struct cli_session_result *result, const struct cli_launch *launch)
{
    const char *why = pv_error_text(&result->why, -EIO);
    if (result->code == CLI_EXIT_OURS)
        cli_client_show_failure(instance, why);
    else /* the machine did its part: its console has nothing to do with it */
        cli_say_error(0, "%s", why);
    if (result->code == CLI_EXIT_OURS && !result->started)
        throw_away(store, instance, launch->is_new);
    else
        cli_client_settle(store, instance);
    return result->code;
}

/* The monitor went without a word: the settled state has the code (137). */
static int on_lost(const struct instance_store *store, struct instance *instance,
                   const struct cli_session_result *result)
{
    cli_client_settle(store, instance);
    if (!instance_state_is_final(&instance->state) || !instance->state.error)
        return cli_say_error(CLI_EXIT_OURS, "instance %s: %s", instance->id, result->why.text);
    return cli_say_error(instance->state.exit_code, "%s", instance->state.error);
}

/* Nobody could be attached to: a machine that ended at once has left word in its state. */
static int on_not_attached(const struct instance_store *store, struct instance *instance,
                           const struct cli_launch *launch, const struct pv_error *err, int rc)
{
    cli_client_settle(store, instance);
    const char *why = instance_state_is_final(&instance->state) ? instance->state.error : NULL;
    cli_client_show_failure(instance, why ? why : pv_error_text(err, rc));
    throw_away(store, instance, launch->is_new);
    return CLI_EXIT_OURS;
}

static int on_detached(const struct instance_store *store, struct instance *instance,
                       const struct cli_launch *launch)
{
    if (instance->config.remove)
        instance_settle_later(store, instance);
    if (launch->detach)
        printf("%s\n", launch->is_new ? instance->id : instance_name(instance));
    return cli_say_finish(0);
}

static int judge(const struct instance_store *store, struct instance *instance,
                 const struct cli_session_result *result, const struct cli_launch *launch)
{
    switch (result->end) {
    case CLI_SESSION_EXITED:
        return on_exited(store, instance, result->code);
    case CLI_SESSION_FAILED:
        return on_failed(store, instance, result, launch);
    case CLI_SESSION_DETACHED:
        return on_detached(store, instance, launch);
    case CLI_SESSION_CANCELED:
        throw_away(store, instance, launch->is_new);
        return result->code;
    case CLI_SESSION_LOST:
        return on_lost(store, instance, result);
    }
    return CLI_EXIT_OURS;
}

static int stay(const struct instance_store *store, struct instance *instance,
                const struct cli_launch *launch, struct cli_session_result *ret_result,
                struct pv_error *err)
{
    const struct wire_machine *m = &instance->config.machine;
    bool with_stdin = m->stdin_open && !launch->detach;
    int fd = instance_control_attach(instance, with_stdin, true, err);
    if (fd < 0)
        return fd;
    struct cli_session_config config = {
        .fd = fd,
        .with_stdin = with_stdin,
        .terminal = m->process.terminal && !launch->detach,
        .proxy = launch->proxy || launch->detach,
        .detach_keys = m->process.terminal,
        .until_started = launch->detach,
        .tell_detach = true,
        .is_primary = true,
    };
    return cli_session_run(&config, ret_result, err);
}

/* The monitor has found out who keeps the share of CPU time, if there is something to keep. */
static void say_cpu_limit(const struct instance *instance)
{
    const struct wire_machine *m = &instance->config.machine;
    struct instance_state state;
    if (m->cpu_milli >= 1000 * m->cpus ||
        instance_state_load(instance->machine_dirfd, &state, NULL) < 0)
        return;
    cli_say_cpu_limit(pv_json_get(state.json, "cpu_limit"));
    instance_state_done(&state);
}

int cli_launch_run(const struct instance_store *store, struct instance *instance, int lock_fd,
                   const struct cli_launch *launch)
{
    struct pv_error err = PV_ERROR_INIT;
    struct cli_session_result result = {0};
    int rc = instance_create_start(instance, lock_fd, launch->cancel_fd, NULL, &err);
    if (rc == 0) {
        say_cpu_limit(instance);
        rc = stay(store, instance, launch, &result, &err);
        return rc == 0 ? judge(store, instance, &result, launch)
                       : on_not_attached(store, instance, launch, &err, rc);
    }

    int code = rc == -ECANCELED ? pending_code() : CLI_EXIT_OURS;
    if (rc != -ECANCELED)
        cli_client_show_failure(instance, pv_error_text(&err, rc));
    throw_away(store, instance, launch->is_new);
    return code;
}
