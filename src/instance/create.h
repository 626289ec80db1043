/* SPDX-License-Identifier: Apache-2.0
 *
 * create.h: makes an instance from a workload and an image, and starts it.
 */
#ifndef INSTANCE_CREATE_H
#define INSTANCE_CREATE_H

#include "instance/instance.h"
#include "workload/spec.h"

struct instance_request {
    struct workload_spec *spec; /* valid; its environment is completed here */
    const char *image_name;     /* as the user wrote it */
    const char *image_path, *image_type;
    bool attached;          /* a client will be the primary one */
    uint16_t rows, columns; /* of its terminal; 0: unknown */
};

/* Makes the instance's folders, configuration and writable layer. *ret_lock_fd holds its life lock:
 * as long as it is open nobody sweeps the instance; hand it to instance_create_start. On failure
 * nothing is left. Adds to warnings what the user should know. */
int instance_create_new(const struct instance_store *store, const struct instance_request *request,
                        struct instance *ret_instance, int *ret_lock_fd, struct pv_strv *warnings,
                        struct pv_error *err);
/* Takes the life lock of an instance that has ended, so that it can be started again. */
int instance_create_revive(struct instance *instance, bool attached, uint16_t rows,
                           uint16_t columns, int *ret_lock_fd, struct pv_error *err);
/* Starts the instance; the life lock passes on. -ECANCELED when cancel_fd (-1: none) became
 * readable. On failure nothing runs, and the instance is to be settled. *ret_pid: the monitor, a
 * child of the caller; may be NULL. */
int instance_create_start(struct instance *instance, int lock_fd, int cancel_fd, pid_t *ret_pid,
                          struct pv_error *err);

#endif
