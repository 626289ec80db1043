/* SPDX-License-Identifier: Apache-2.0
 *
 * exec.c: paravane exec: another process in a machine that runs.
 */
#include "cli/client.h"
#include "cli/say.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "instance/control.h"
#include "workload/env.h"
#include "workload/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct exec_options {
    bool interactive, terminal, detach;
    const char *user, *workdir;
    struct pv_strv env, env_files;
};

#define OPTION(member) offsetof(struct exec_options, member)

static const struct cli_option options[] = {
    {'i', "interactive", NULL, CLI_OPTION_FLAG, OPTION(interactive), "pass standard input on"},
    {'t', "tty", NULL, CLI_OPTION_FLAG, OPTION(terminal), "give the process a terminal"},
    {'d', "detach", NULL, CLI_OPTION_FLAG, OPTION(detach), "leave when it has started"},
    {'e', "env", "NAME[=VALUE]", CLI_OPTION_LIST, OPTION(env), "set or inherit a variable"},
    {0, "env-file", "FILE", CLI_OPTION_LIST, OPTION(env_files), "read variables from a file"},
    {'w', "workdir", "PATH", CLI_OPTION_TEXT, OPTION(workdir), "working directory"},
    {'u', "user", "USER[:GROUP]", CLI_OPTION_TEXT, OPTION(user), "run as this user"},
    {0},
};

static int fill_env(const struct exec_options *o, const struct wire_process *main_process,
                    struct wire_process *p, struct pv_error *err)
{
    const char *term = getenv("TERM");
    int rc = pv_strv_copy(&p->env, &main_process->env);
    if (rc < 0)
        return pv_error_set(err, -rc, "environment: out of memory");
    if (o->terminal)
        rc = workload_env_set(&p->env, "TERM", term && *term ? term : "xterm", err);
    for (size_t i = 0; rc == 0 && i < o->env_files.count; i++)
        rc = workload_env_add_file(&p->env, o->env_files.items[i], err);
    for (size_t i = 0; rc == 0 && i < o->env.count; i++)
        rc = workload_env_add(&p->env, o->env.items[i], err);
    return rc;
}

/* What is not given is as for the main process. */
static int fill_process(const struct exec_options *o, char **args,
                        const struct wire_process *main_process, struct wire_process *p,
                        struct pv_error *err)
{
    const char *cwd = o->workdir ? o->workdir : main_process->cwd;
    const char *user = o->user ? o->user : main_process->user;
    int rc = fill_env(o, main_process, p, err);
    if (rc == 0 && o->workdir)
        rc = workload_spec_check_cwd(o->workdir, err);
    if (rc == 0 && o->user)
        rc = workload_spec_check_user(o->user, err);
    if (rc < 0)
        return rc;
    for (; rc == 0 && *args; args++)
        rc = pv_strv_add(&p->args, *args);
    if (rc < 0)
        return pv_error_set(err, -rc, "command: out of memory");
    rc = workload_spec_check_command(&p->args, &p->env, err);
    if (rc < 0)
        return rc;
    p->cwd = cwd ? strdup(cwd) : NULL;
    p->user = user ? strdup(user) : NULL;
    p->terminal = o->terminal;
    cli_terminal_size(&p->rows, &p->columns);
    if ((cwd && !p->cwd) || (user && !p->user))
        return pv_error_set(err, ENOMEM, "out of memory");
    return 0;
}

static int run_process(const struct exec_options *o, struct instance *instance,
                       const struct wire_process *process, struct pv_error *err)
{
    struct cli_session_result result = {0};
    int fd = instance_control_exec(instance, process, err);
    if (fd < 0)
        return fd;
    struct cli_session_config config = {
        .fd = fd,
        .with_stdin = o->interactive && !o->detach,
        .ends_stdin = true,
        .terminal = o->terminal && !o->detach,
        .proxy = true,
        .until_started = o->detach,
        .is_primary = true,
    };
    int rc = cli_session_run(&config, &result, err);
    if (rc < 0)
        return rc;
    if (result.end == CLI_SESSION_FAILED || result.end == CLI_SESSION_LOST)
        cli_say_error(0, "exec: %s", pv_error_text(&result.why, -EIO));
    return result.code;
}

static int exec_in(const struct exec_options *o, char **args, struct instance *instance,
                   struct pv_error *err)
{
    struct wire_process process = {0};
    if (instance_status(instance) != INSTANCE_RUNNING)
        return pv_error_set(err, ESRCH, "instance %s does not run: it is %s",
                            instance_name(instance),
                            instance_status_name(instance_status(instance)));
    if (o->terminal && o->interactive && !o->detach && !isatty(0))
        return pv_error_set(err, ENOTTY, "-it: standard input is no terminal; leave out -t");
    int rc = fill_process(o, args, &instance->config.machine.process, &process, err);
    if (rc == 0)
        rc = run_process(o, instance, &process, err);
    wire_process_done(&process);
    return rc;
}

static int exec_run(char **args, size_t num_args, void *values)
{
    struct instance_store store;
    struct instance instance;
    struct pv_error err = PV_ERROR_INIT;
    char **command = args + 1;
    if (strcmp(*command, "--") == 0)
        command++;
    if (!*command)
        return cli_say_error(CLI_EXIT_OURS, "exec: no command: write it behind the instance");
    int rc = instance_store_open(&store, &err);
    if (rc < 0)
        return cli_say_error(CLI_EXIT_OURS, "exec: %s", err.text);
    rc = cli_client_find(&store, args[0], &instance, &err);
    if (rc == 0) {
        rc = exec_in(values, command, &instance, &err);
        instance_close(&instance);
    }
    instance_store_close(&store);
    return rc >= 0 ? rc : cli_say_error(CLI_EXIT_OURS, "exec: %s", pv_error_text(&err, rc));
}

const struct cli_verb cli_exec_verb = {
    .name = "exec",
    .arguments = "[OPTIONS] INSTANCE [--] COMMAND [ARG...]",
    .summary = "Run another process in a machine that runs",
    .options = options,
    .num_args_min = 2,
    .num_args_max = CLI_ARGS_ANY,
    .stops_at_argument = true,
    .run = exec_run,
    .values_size = sizeof(struct exec_options),
};
