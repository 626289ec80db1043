/* SPDX-License-Identifier: Apache-2.0
 *
 * stop.h: ends instances, and waits for their end.
 */
#ifndef INSTANCE_STOP_H
#define INSTANCE_STOP_H

#include "instance/instance.h"

/* Orderly: SIGTERM to the main process, seconds of grace, power-off; if the monitor does not do it
 * in time, by force. Returns when the instance is dead. One that is dead already is success. */
int instance_stop_gently(struct instance *instance, uint32_t seconds, struct pv_error *err);
/* At once; also when the monitor does not answer. Returns when the instance is dead. */
int instance_stop_kill(struct instance *instance, struct pv_error *err);
/* Sends a signal to the main process. */
int instance_stop_signal(struct instance *instance, uint32_t signo, struct pv_error *err);
/* Waits for the end (timeout_ns 0: for ever) and loads the instance again. -ETIMEDOUT. */
int instance_stop_wait(struct instance *instance, uint64_t timeout_ns);

#endif
