/* SPDX-License-Identifier: Apache-2.0
 *
 * logs.c: paravane logs: what the command of an instance wrote, on the two streams it wrote to.
 */
#include "instance/log.h"

#include "base/clock.h"
#include "base/fd.h"
#include "cli/client.h"
#include "cli/say.h"
#include "cli/verbs.h"
#include "instance/lock.h"
#include "instance/when.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define FOLLOW_WAIT_MS 100 /* how late the end of an instance is noticed at most */

struct logs_options {
    bool follow, timestamps, audit;
    const char *tail, *since;
};

static const struct cli_option options[] = {
    {'f', "follow", NULL, CLI_OPTION_FLAG, offsetof(struct logs_options, follow),
     "go on until the instance has ended"},
    {'t', "timestamps", NULL, CLI_OPTION_FLAG, offsetof(struct logs_options, timestamps),
     "put the time before each line"},
    {'n', "tail", "N", CLI_OPTION_TEXT, offsetof(struct logs_options, tail),
     "only the last N lines (all)"},
    {0, "since", "TIME", CLI_OPTION_TEXT, offsetof(struct logs_options, since),
     "only what is newer: 10m, 2026-01-31T12:00:00Z"},
    {0, "audit", NULL, CLI_OPTION_FLAG, offsetof(struct logs_options, audit),
     "what the instance was denied, as JSON, instead"},
    {0},
};

static int print_entry(const struct instance_log_entry *entry, bool timestamps)
{
    int fd = entry->is_stderr ? 2 : 1, rc = 0;
    if (timestamps) {
        char prefix[64];
        int len = snprintf(prefix, sizeof(prefix), "%s ", entry->time_text);
        rc = pv_fd_write_full(fd, prefix, PV_MIN((size_t)len, sizeof(prefix) - 1));
    }
    return rc == 0 ? pv_fd_write_full(fd, entry->bytes, entry->len) : rc;
}

/* Prints what is there. */
static int print_all(struct instance_log *log, const struct logs_options *o, uint64_t since_ns,
                     struct pv_error *err)
{
    struct instance_log_entry entry;
    int rc;
    while ((rc = instance_log_next(log, &entry, err)) == 1) {
        if (entry.time_ns < since_ns)
            continue;
        rc = print_entry(&entry, o->timestamps);
        if (rc < 0)
            return rc == -EPIPE ? rc : pv_error_set(err, -rc, "write: %s", strerror(-rc));
    }
    return rc;
}

/* The question whether it lives comes first: what was written before its end is then read. */
static int follow(struct instance *instance, struct instance_log *log, const struct logs_options *o,
                  uint64_t since_ns, struct pv_error *err)
{
    for (;;) {
        bool alive = instance_lock_is_held(instance->dirfd);
        int rc = print_all(log, o, since_ns, err);
        if (rc < 0 || !alive)
            return rc;
        instance_log_wait(log, FOLLOW_WAIT_MS);
    }
}

static int show(struct instance *instance, const struct logs_options *o, uint64_t tail,
                uint64_t since_ns, struct pv_error *err)
{
    struct instance_log *log;
    if (instance->machine_dirfd < 0)
        return instance_check(instance, err);
    int rc = instance_log_open(instance->machine_dirfd, &log, err);
    if (rc < 0)
        return rc;
    if (tail != UINT64_MAX)
        rc = instance_log_skip_to_tail(log, tail, err);
    if (rc == 0)
        rc = o->follow ? follow(instance, log, o, since_ns, err) : print_all(log, o, since_ns, err);
    if (rc == 0 && instance_log_skipped(log))
        cli_say_error(0, "warning: %" PRIu64 " lines of the log are damaged and left out",
                      instance_log_skipped(log));
    instance_log_free(log);
    return rc == -EPIPE ? 0 : rc;
}

/* Prints a file of the audit log; one that is not there has nothing. */
static int print_audit_file(int machine_dirfd, const char *name, struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    size_t len;
    int rc = pv_fd_read_file(machine_dirfd, name, INSTANCE_AUDIT_BYTES, &text, &len, err);
    if (rc == -ENOENT)
        return 0;
    return rc < 0 ? rc : pv_fd_write_full(1, text, len);
}

static int show_audit(const struct instance *instance, struct pv_error *err)
{
    if (instance->machine_dirfd < 0)
        return instance_check(instance, err);
    int rc = print_audit_file(instance->machine_dirfd, INSTANCE_AUDIT_OLD_FILE, err);
    if (rc == 0)
        rc = print_audit_file(instance->machine_dirfd, INSTANCE_AUDIT_FILE, err);
    return rc == -EPIPE ? 0 : rc;
}

static int logs_run(char **args, size_t num_args, void *values)
{
    const struct logs_options *o = values;
    struct instance_store store;
    struct instance instance;
    struct pv_error err = PV_ERROR_INIT;
    uint64_t tail = UINT64_MAX, since_ns = 0;
    if (o->tail && strcmp(o->tail, "all") != 0 &&
        pv_str_to_u64(o->tail, 0, UINT64_MAX - 1, &tail) < 0)
        return cli_say_error(CLI_EXIT_OURS, "logs: --tail '%s': write a number or all", o->tail);
    if (o->since && instance_when_parse_since(o->since, pv_time_realtime_ns(), &since_ns) < 0)
        return cli_say_error(CLI_EXIT_OURS,
                             "logs: --since '%s': write how long ago (10m) or a time "
                             "(2026-01-31T12:00:00Z)",
                             o->since);
    if (o->audit && (o->follow || o->timestamps || o->tail || o->since))
        return cli_say_error(CLI_EXIT_OURS,
                             "logs: --audit prints the whole audit log: leave the other flags out");
    int rc = instance_store_open(&store, &err);
    if (rc < 0)
        return cli_say_error(CLI_EXIT_FAILED, "logs: %s", err.text);
    rc = cli_client_find(&store, args[0], &instance, &err);
    if (rc == 0) {
        rc = o->audit ? show_audit(&instance, &err) : show(&instance, o, tail, since_ns, &err);
        instance_close(&instance);
    }
    instance_store_close(&store);
    return rc >= 0 ? 0 : cli_say_error(CLI_EXIT_FAILED, "logs: %s", pv_error_text(&err, rc));
}

const struct cli_verb cli_logs_verb = {
    .name = "logs",
    .arguments = "[OPTIONS] INSTANCE",
    .summary = "Print what the command of an instance wrote",
    .options = options,
    .num_args_min = 1,
    .num_args_max = 1,
    .run = logs_run,
    .values_size = sizeof(struct logs_options),
};
