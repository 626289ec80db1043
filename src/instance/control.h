/* SPDX-License-Identifier: Apache-2.0
 *
 * control.h: speaks with the monitor and the agent of a living instance.
 */
#ifndef INSTANCE_CONTROL_H
#define INSTANCE_CONTROL_H

#include "base/json.h"
#include "instance/instance.h"
#include "wire/session.h"

/* One request with a number (most need none: NULL) and its reply, within timeout_ns. ret_reply may
 * be NULL. -ECONNREFUSED or -ENOENT when the instance does not run, -ETIMEDOUT when the monitor
 * does not answer. */
int instance_control_request(const struct instance *instance, uint16_t type, const uint32_t *number,
                             uint64_t timeout_ns, struct pv_json **ret_reply, struct pv_error *err);
/* The same with any payload; the error does not name the instance. */
int instance_control_send(const struct instance *instance, uint16_t type, const void *payload,
                          size_t len, uint64_t timeout_ns, struct pv_json **ret_reply,
                          struct pv_error *err);
/* Joins the main process. Returns a non-blocking socket that carries session frames. */
int instance_control_attach(const struct instance *instance, bool with_stdin, bool primary,
                            struct pv_error *err);
/* Starts another process through the agent. Returns such a socket too. */
int instance_control_exec(const struct instance *instance, const struct wire_process *process,
                          struct pv_error *err);

#endif
