/* SPDX-License-Identifier: Apache-2.0
 *
 * instance.c: puts together configuration, state and life lock.
 */
#include "instance/instance.h"

#include "instance/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void unload(struct instance *instance)
{
    pv_cleanup_fd(&instance->machine_dirfd);
    instance->machine_dirfd = -1;
    instance_config_done(&instance->config);
    instance_state_done(&instance->state);
    instance->damage = (struct pv_error)PV_ERROR_INIT;
    instance->half_made = false;
}

/* Liveness is read before the state: a monitor writes its last state while it still holds the
 * lock, so a free lock means that the state read afterwards is the last one. */
static void load(struct instance *instance)
{
    instance->alive = instance_lock_is_held(instance->dirfd);
    instance->machine_dirfd = openat(instance->dirfd, INSTANCE_MACHINE_FOLDER,
                                     O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int rc = instance_config_load(instance->dirfd, &instance->config, &instance->damage);
    if (rc == -ENOENT) {
        instance->half_made = true;
        instance->damage = (struct pv_error)PV_ERROR_INIT;
    } else if (rc == 0 && instance->machine_dirfd >= 0) {
        instance_state_load(instance->machine_dirfd, &instance->state, &instance->damage);
    }
}

int instance_open(const struct instance_store *store, const char *id, struct instance *ret_instance,
                  struct pv_error *err)
{
    struct instance instance = {.dirfd = -1, .machine_dirfd = -1};
    instance.dirfd =
        openat(store->instances_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (instance.dirfd < 0)
        return pv_error_set(err, errno, "instance %.12s: %s", id,
                            errno == ENOENT ? "it is gone" : strerror(errno));
    memcpy(instance.id, id, INSTANCE_ID_LEN);
    load(&instance);
    *ret_instance = instance;
    return 0;
}

void instance_close(struct instance *instance)
{
    unload(instance);
    pv_cleanup_fd(&instance->dirfd);
    instance->dirfd = -1;
}

int instance_reload(struct instance *instance, struct pv_error *err)
{
    unload(instance);
    load(instance);
    return instance_check(instance, err);
}

int instance_check(const struct instance *instance, struct pv_error *err)
{
    if (instance->damage.code)
        return pv_error_set(err, instance->damage.code,
                            "instance %.12s: %s; 'paravane rm -f %.12s' removes it", instance->id,
                            instance->damage.text, instance->id);
    if (instance->half_made)
        return pv_error_set(err, EAGAIN, "instance %.12s: it is being created", instance->id);
    return 0;
}

enum instance_status instance_status(const struct instance *instance)
{
    if (instance->damage.code)
        return INSTANCE_DAMAGED;
    switch (instance->state.phase) {
    case INSTANCE_PHASE_EXITED:
        return INSTANCE_EXITED;
    case INSTANCE_PHASE_FAILED:
        return INSTANCE_FAILED;
    case INSTANCE_PHASE_STARTING:
        return instance->alive ? INSTANCE_STARTING : INSTANCE_DEAD;
    case INSTANCE_PHASE_RUNNING:
        return instance->alive ? INSTANCE_RUNNING : INSTANCE_DEAD;
    default:
        return instance->alive ? INSTANCE_CREATED : INSTANCE_DEAD;
    }
}

const char *instance_status_name(enum instance_status status)
{
    static const char *const names[] = {
        [INSTANCE_CREATED] = "created", [INSTANCE_STARTING] = "starting",
        [INSTANCE_RUNNING] = "running", [INSTANCE_EXITED] = "exited",
        [INSTANCE_FAILED] = "failed",   [INSTANCE_DEAD] = "dead",
        [INSTANCE_DAMAGED] = "damaged",
    };
    return names[status];
}

const char *instance_name(const struct instance *instance)
{
    return instance->config.machine.name ? instance->config.machine.name : instance->id;
}
