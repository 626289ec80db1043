/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: state.json: what the monitor said last about its machine.
 */
#ifndef INSTANCE_STATE_H
#define INSTANCE_STATE_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "instance/process.h"

#include <stdbool.h>

#define INSTANCE_STATE_FILE "state.json"

enum instance_phase {
    INSTANCE_PHASE_NONE, /* nothing was said yet */
    INSTANCE_PHASE_STARTING,
    INSTANCE_PHASE_RUNNING,
    INSTANCE_PHASE_EXITED,
    INSTANCE_PHASE_FAILED,
};

struct instance_state {
    enum instance_phase phase;
    int exit_code; /* once exited or failed */
    char *error;   /* may be NULL */
    bool oom_killed;
    struct instance_process monitor, guest;
    char *started_at, *finished_at; /* RFC 3339, may be NULL */
    struct pv_strv cgroups;
    struct pv_json *json; /* the whole file */
};

void instance_state_done(struct instance_state *state);
/* Loads the state from the machine's folder. A missing file is INSTANCE_PHASE_NONE. */
int instance_state_load(int dirfd, struct instance_state *ret_state, struct pv_error *err);
/* Writes for a monitor that is dead and said nothing: exited with 137. Keeps what else is
 * known. *state says so afterwards, also when it could not be written. */
int instance_state_record_death(int dirfd, struct instance_state *state, struct pv_error *err);
bool instance_state_is_final(const struct instance_state *state);

#endif
