/* SPDX-License-Identifier: Apache-2.0
 *
 * stop.c: asks the monitor, and acts itself when that does not answer.
 */
#include "instance/stop.h"

#include "instance/control.h"
#include "instance/lock.h"
#include "wire/control.h"

#include <errno.h>
#include <string.h>

#define SECOND_NS 1000000000ull
#define ANSWER_NS (5 * SECOND_NS)
/* What a power-off may take after the grace: the monitor's own limit and a little. */
#define POWER_OFF_NS (20 * SECOND_NS)
#define KILL_NS (5 * SECOND_NS)

int instance_stop_wait(struct instance *instance, uint64_t timeout_ns)
{
    int rc = instance_lock_wait(instance->dirfd, timeout_ns);
    instance_reload(instance, NULL);
    return rc;
}

/* Kills the processes themselves. The monitor is named by its own last state, so it must be ours.
 */
static int kill_processes(struct instance *instance, struct pv_error *err)
{
    uid_t owner = geteuid() == 0 ? instance->config.machine.uid : geteuid();
    instance_reload(instance, NULL);
    int rc = instance_process_kill(&instance->state.monitor, owner, geteuid());
    if (rc == 0)
        rc = instance_process_kill(&instance->state.guest, owner, geteuid());
    if (rc < 0)
        return pv_error_set(err, -rc, "kill instance %s: %s", instance_name(instance),
                            strerror(-rc));
    if (instance_stop_wait(instance, KILL_NS) < 0)
        return pv_error_set(err, ETIMEDOUT, "instance %s: something still holds its lock",
                            instance_name(instance));
    return 0;
}

int instance_stop_kill(struct instance *instance, struct pv_error *err)
{
    int rc = instance_control_request(instance, WIRE_CONTROL_KILL, NULL, ANSWER_NS, NULL, NULL);
    if (rc == 0 && instance_stop_wait(instance, KILL_NS) == 0)
        return 0;
    if (!instance_lock_is_held(instance->dirfd)) {
        instance_reload(instance, NULL);
        return 0;
    }
    return kill_processes(instance, err);
}

int instance_stop_gently(struct instance *instance, uint32_t seconds, struct pv_error *err)
{
    int rc = instance_control_request(instance, WIRE_CONTROL_STOP, &seconds, ANSWER_NS, NULL, err);
    if (rc == 0 && instance_stop_wait(instance, seconds * SECOND_NS + POWER_OFF_NS) == 0)
        return 0;
    if (!instance_lock_is_held(instance->dirfd)) {
        instance_reload(instance, NULL);
        return 0;
    }
    return instance_stop_kill(instance, err);
}

int instance_stop_signal(struct instance *instance, uint32_t signo, struct pv_error *err)
{
    return instance_control_request(instance, WIRE_CONTROL_SIGNAL, &signo, ANSWER_NS, NULL, err);
}
