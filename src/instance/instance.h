/* SPDX-License-Identifier: Apache-2.0
 *
 * instance.h: one instance as it is on disk now: its configuration, its state, and whether it
 * lives.
 *
 * The folder of an instance, <state>/instances/<id>:
 *   config.json   what was asked for                     lock      the life lock (lock.h)
 *   layer.img     the writable layer                     ended     its end was cleaned up
 *   machine/      what the monitor writes: state.json, log.jsonl, log.1.jsonl, console.log,
 *                 monitor.log. Under root it belongs to the machine's own user.
 */
#ifndef INSTANCE_INSTANCE_H
#define INSTANCE_INSTANCE_H

#include "base/error.h"
#include "instance/config.h"
#include "instance/state.h"
#include "instance/store.h"

#include <stdbool.h>

#define INSTANCE_MACHINE_FOLDER "machine"
#define INSTANCE_LAYER_FILE "layer.img"
#define INSTANCE_ENDED_FILE "ended"

struct instance {
    char id[INSTANCE_ID_LEN + 1];
    int dirfd;              /* its folder */
    int machine_dirfd;      /* its machine/ folder; -1 while there is none */
    bool alive;             /* its life lock is held */
    bool half_made;         /* its creator has not (or never) finished: no configuration */
    struct pv_error damage; /* code != 0: a file of it cannot be understood */
    struct instance_config config;
    struct instance_state state;
};

enum instance_status {
    INSTANCE_CREATED, /* someone is making it */
    INSTANCE_STARTING,
    INSTANCE_RUNNING,
    INSTANCE_EXITED,
    INSTANCE_FAILED,
    INSTANCE_DEAD, /* ended without a word; the next settle makes it EXITED or removes it */
    INSTANCE_DAMAGED,
};

/* Opens by id and loads what is there; damage is noted, not an error. -ENOENT when it is gone. */
int instance_open(const struct instance_store *store, const char *id, struct instance *ret_instance,
                  struct pv_error *err);
void instance_close(struct instance *instance);
/* Loads everything again. */
int instance_reload(struct instance *instance, struct pv_error *err);
/* Fails with what is damaged and how to get rid of it. */
int instance_check(const struct instance *instance, struct pv_error *err);

enum instance_status instance_status(const struct instance *instance);
const char *instance_status_name(enum instance_status status);
/* The name, or the short id while there is none. Borrowed. */
const char *instance_name(const struct instance *instance);

#endif
