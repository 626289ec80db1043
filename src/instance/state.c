/* SPDX-License-Identifier: Apache-2.0
 *
 * state.c: reads what a monitor wrote. The monitor faces a hostile guest, so its file is read as
 * the word of a stranger: bounded, typed, and never more than a hint about processes.
 */
#include "instance/state.h"

#include "base/clock.h"
#include "base/fd.h"
#include "instance/file.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BYTES_MAX (1u << 20)
#define DEATH_TEXT "monitor ended unexpectedly"

static const char *const phase_names[] = {
    [INSTANCE_PHASE_STARTING] = "starting",
    [INSTANCE_PHASE_RUNNING] = "running",
    [INSTANCE_PHASE_EXITED] = "exited",
    [INSTANCE_PHASE_FAILED] = "failed",
};

void instance_state_done(struct instance_state *state)
{
    free(state->error);
    free(state->started_at);
    free(state->finished_at);
    pv_strv_done(&state->cgroups);
    pv_json_free(state->json);
    *state = (struct instance_state){0};
}

bool instance_state_is_final(const struct instance_state *state)
{
    return state->phase >= INSTANCE_PHASE_EXITED;
}

static int read_phase(const struct pv_json *json, enum instance_phase *ret_phase,
                      struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    int rc = pv_json_need_string(json, "status", &text, err);
    if (rc < 0)
        return rc;
    for (size_t i = INSTANCE_PHASE_STARTING; i < PV_ARRAY_SIZE(phase_names); i++) {
        if (strcmp(text, phase_names[i]) == 0) {
            *ret_phase = (enum instance_phase)i;
            return 0;
        }
    }
    return pv_error_set(err, EINVAL, "'status' is unknown");
}

static int read_process(const struct pv_json *json, const char *key,
                        struct instance_process *process, struct pv_error *err)
{
    uint64_t pid = 0;
    const struct pv_json *o = pv_json_get(json, key);
    if (!o)
        return 0;
    int rc = pv_json_get_u64(o, "pid", 0, INT32_MAX, &pid, err);
    if (rc == 0)
        rc = pv_json_get_u64(o, "start_time", 0, UINT64_MAX, &process->start_time, err);
    process->pid = (pid_t)pid;
    return rc;
}

static int read_state(const struct pv_json *json, struct instance_state *state,
                      struct pv_error *err)
{
    int64_t exit_code = 0;
    int rc = read_phase(json, &state->phase, err);
    if (rc == 0)
        rc = pv_json_get_i64(json, "exit_code", -1, 255, &exit_code, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "error", &state->error, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "oom_killed", &state->oom_killed, err);
    if (rc == 0)
        rc = read_process(json, "monitor", &state->monitor, err);
    if (rc == 0)
        rc = read_process(json, "guest", &state->guest, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "started_at", &state->started_at, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "finished_at", &state->finished_at, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "cgroups", &state->cgroups, err);
    state->exit_code = (int)exit_code;
    return rc;
}

int instance_state_load(int dirfd, struct instance_state *ret_state, struct pv_error *err)
{
    struct instance_state state = {0};
    pv_auto_free char *text = NULL;
    size_t len;
    int rc = instance_file_read(dirfd, INSTANCE_STATE_FILE, STATE_BYTES_MAX, &text, &len, err);
    if (rc == -ENOENT) {
        if (err)
            *err = (struct pv_error)PV_ERROR_INIT;
        *ret_state = state;
        return 0;
    }
    if (rc == 0)
        rc = pv_json_parse(text, len, &state.json, err);
    if (rc == 0)
        rc = read_state(state.json, &state, err);
    if (rc < 0) {
        instance_state_done(&state);
        pv_error_prefix(err, "%s is damaged", INSTANCE_STATE_FILE);
        return rc;
    }
    *ret_state = state;
    return 0;
}

static bool is_replaced(const char *key)
{
    static const char *const keys[] = {"status", "exit_code", "error", "finished_at"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static int copy_member(const char *key, const struct pv_json *value, void *data)
{
    struct pv_json *copy = NULL;
    if (is_replaced(key))
        return 0;
    pv_auto_free char *text = pv_json_print(value, false);
    int rc = text ? pv_json_parse(text, strlen(text), &copy, NULL) : -ENOMEM;
    return rc == 0 ? pv_json_add(data, key, copy) : rc;
}

static int fill_death(struct pv_json *o, const struct pv_json *known)
{
    char now[PV_TIME_TEXT_MAX];
    int rc = pv_json_add_string(o, "status", phase_names[INSTANCE_PHASE_EXITED]);
    if (rc == 0)
        rc = pv_json_add_i64(o, "exit_code", 128 + SIGKILL);
    if (rc == 0)
        rc = pv_json_add_string(o, "error", DEATH_TEXT);
    if (rc == 0)
        rc = pv_json_add_string(o, "finished_at", pv_time_text(pv_time_realtime_ns(), now));
    if (rc == 0 && known)
        rc = pv_json_each(known, copy_member, o);
    return rc;
}

int instance_state_record_death(int dirfd, struct instance_state *state, struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    int rc = o ? fill_death(o, state->json) : -ENOMEM;
    pv_auto_free char *text = rc == 0 ? pv_json_print(o, true) : NULL;
    if (!text)
        return pv_error_set(err, ENOMEM, "%s: out of memory", INSTANCE_STATE_FILE);
    struct instance_state dead = {0};
    rc = pv_json_parse(text, strlen(text), &dead.json, err);
    if (rc == 0)
        rc = read_state(dead.json, &dead, err);
    if (rc < 0) {
        instance_state_done(&dead);
        return rc;
    }
    instance_state_done(state);
    *state = dead;
    return pv_fd_replace_file(dirfd, INSTANCE_STATE_FILE, text, strlen(text), 0600, err);
}
