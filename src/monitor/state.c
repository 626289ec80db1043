/* SPDX-License-Identifier: Apache-2.0
 *
 * state.c: state.json, the truth about this machine for everybody who is not connected.
 */
#include "monitor/internal.h"

#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define STATE_FILE "state.json"
/* Space that is given up when the disk is full, so that the last state can still be written. */
#define SPARE_FILE ".state.spare"
#define SPARE_BYTES (32u * 1024)

static const char *status_name(const struct monitor *m)
{
    if (m->phase == MONITOR_ENDED)
        return m->failure[0] ? "failed" : "exited";
    return m->phase < MONITOR_RUNNING ? "starting" : "running";
}

/* The start time of a process in clock ticks since boot: together with the pid it names a process
 * for ever (proc(5), /proc/PID/stat, field 22). It was read before the jail closed. */
static int add_process(struct pv_json *parent, const char *key, pid_t pid, uint64_t start_time)
{
    struct pv_json *o = pv_json_new_object();
    int rc = o ? 0 : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_i64(o, "pid", pid);
    if (rc == 0)
        rc = pv_json_add_u64(o, "start_time", start_time);
    if (rc < 0) {
        pv_json_free(o);
        return rc;
    }
    return pv_json_add(parent, key, o);
}

static int add_time(struct pv_json *parent, const char *key, uint64_t ns)
{
    char text[PV_TIME_TEXT_MAX];
    return ns ? pv_json_add_string(parent, key, pv_time_text(ns, text)) : 0;
}

static int add_walls(struct pv_json *parent, const char *key, const struct jail_walls *walls)
{
    struct pv_json *list = pv_json_new_array();
    int rc = list ? 0 : -ENOMEM;
    for (unsigned i = 0; i < walls->count && rc == 0; i++) {
        const struct jail_wall *wall = &walls->list[i];
        struct pv_json *o = pv_json_new_object();
        rc = o ? 0 : -ENOMEM;
        if (rc == 0)
            rc = pv_json_add_string(o, "wall", wall->name);
        if (rc == 0)
            rc = pv_json_add_bool(o, "stands", wall->stands);
        if (rc == 0 && wall->detail[0])
            rc = pv_json_add_string(o, "detail", wall->detail);
        if (rc == 0)
            rc = pv_json_add(list, NULL, o);
        else
            pv_json_free(o);
    }
    if (rc < 0) {
        pv_json_free(list);
        return rc;
    }
    return pv_json_add(parent, key, list);
}

static int add_jail(struct pv_json *parent, const struct monitor *m)
{
    struct pv_json *o = pv_json_new_object();
    int rc = o ? 0 : -ENOMEM;
    if (rc == 0)
        rc = add_walls(o, "guest", engine_get_walls(m->engine));
    if (rc == 0)
        rc = add_walls(o, "monitor", &m->monitor_walls);
    if (rc == 0)
        rc = add_walls(o, "limits", &m->limit_walls);
    if (rc < 0) {
        pv_json_free(o);
        return rc;
    }
    return pv_json_add(parent, "walls", o);
}

static int add_boot_time(struct pv_json *o, const struct monitor *m)
{
    return m->agent_ns ? pv_json_add_u64(o, "boot_ns", m->agent_ns - m->begin_ns) : 0;
}

struct pv_json *monitor_state_json(const struct monitor *m)
{
    struct pv_json *o = pv_json_new_object();
    int rc = o ? 0 : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_string(o, "status", status_name(m));
    if (rc == 0 && m->phase == MONITOR_ENDED)
        rc = pv_json_add_i64(o, "exit_code", m->exit_code);
    if (rc == 0 && m->failure[0])
        rc = pv_json_add_string(o, "error", m->failure);
    if (rc == 0)
        rc = pv_json_add_bool(o, "oom_killed", m->oom_killed);
    if (rc == 0 && m->oom_text[0])
        rc = pv_json_add_string(o, "oom_process", m->oom_text);
    if (rc == 0)
        rc = add_process(o, "monitor", m->pid, m->pid_start_time);
    if (rc == 0)
        rc = add_process(o, "guest", engine_get_pid(m->engine), m->guest_start_time);
    if (rc == 0)
        rc = add_time(o, "started_at", m->started_ns);
    if (rc == 0)
        rc = add_time(o, "finished_at", m->finished_ns);
    if (rc == 0)
        rc = add_boot_time(o, m);
    if (rc == 0)
        rc = monitor_cpu_add_json(o, m);
    if (rc == 0)
        rc = monitor_grants_add_json(o, m);
    if (rc == 0)
        rc = pv_json_add_strv(o, "cgroups", &m->cgroup_paths);
    if (rc == 0)
        rc = add_jail(o, m);
    if (rc < 0) {
        pv_json_free(o);
        return NULL;
    }
    return o;
}

static int replace(struct monitor *m, const char *text, struct pv_error *err)
{
    int rc = pv_fd_replace_file(m->state_dirfd, STATE_FILE, text, strlen(text), 0600, err);
    if (rc != -ENOSPC && rc != -EDQUOT)
        return rc;
    monitor_state_release(m);
    return pv_fd_replace_file(m->state_dirfd, STATE_FILE, text, strlen(text), 0600, err);
}

void monitor_state_reserve(struct monitor *m)
{
    pv_auto_fd int fd =
        openat(m->state_dirfd, SPARE_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, SPARE_BYTES) != 0)
        pv_log(PV_LOG_INFO, "no space can be kept for the last state");
}

void monitor_state_release(struct monitor *m)
{
    unlinkat(m->state_dirfd, SPARE_FILE, 0);
}

void monitor_state_write(struct monitor *m)
{
    struct pv_error err = PV_ERROR_INIT;
    pv_auto(pv_json) struct pv_json *json = monitor_state_json(m);
    pv_auto_free char *text = json ? pv_json_print(json, true) : NULL;
    if (!text)
        pv_log(PV_LOG_ERROR, "state: out of memory");
    else if (replace(m, text, &err) < 0)
        pv_log(PV_LOG_ERROR, "state: %s", err.text);
}
