/* SPDX-License-Identifier: Apache-2.0
 *
 * create.c: the birth of an instance.
 *
 * Theory of operation: folder, life lock and name appear together under the store's lock, so no
 * sweep can take a young instance for a dead one. From then on the creator may die at any point:
 * its lock is freed by the kernel and the next command removes what is there, because there is no
 * state.json yet.
 */
#include "instance/create.h"

#include "base/clock.h"
#include "base/fd.h"
#include "image/layer.h"
#include "instance/file.h"
#include "instance/lock.h"
#include "instance/network.h"
#include "instance/promise.h"
#include "instance/settle.h"
#include "isolation/isolation.h"
#include "workload/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define NAME_TRIES 1000
#define MONITOR_LOG_FILE "monitor.log"
#define OUT_OF_MEMORY(err) pv_error_set(err, ENOMEM, "create the instance: out of memory")

static void make_id(char ret_id[INSTANCE_ID_LEN + 1])
{
    uint8_t bytes[INSTANCE_ID_LEN / 2];
    while (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        ;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
}

/* The name asked for, or a made-up one that is free. The caller frees *ret_name. */
static int take_name(const struct instance_store *store, const char *wanted, const char *id,
                     char **ret_name, struct pv_error *err)
{
    unsigned random = 0;
    sscanf(id, "%8x", &random);
    for (unsigned i = 0; i < NAME_TRIES; i++) {
        pv_auto_free char *name = wanted ? strdup(wanted) : workload_name_make(random, i);
        if (!name)
            return OUT_OF_MEMORY(err);
        int rc = instance_store_add_name(store, name, id, err);
        if (rc == 0)
            *ret_name = pv_take_ptr(name);
        if (rc == 0 || rc != -EEXIST || wanted)
            return rc;
    }
    return pv_error_set(err, EEXIST, "no free name found: give one with --name");
}

/* The folder with the life lock held and the name taken. */
static int appear(const struct instance_store *store, const char *wanted_name,
                  struct instance *instance, char **ret_name, struct pv_error *err)
{
    pv_auto_fd int store_lock = instance_lock_folder(store->instances_fd, true, err);
    if (store_lock < 0)
        return store_lock;
    make_id(instance->id);
    if (mkdirat(store->instances_fd, instance->id, geteuid() == 0 ? 0711 : 0700) < 0)
        return pv_error_set(err, errno, "create the instance in '%s': %s", store->place.state,
                            strerror(errno));
    instance->dirfd = openat(store->instances_fd, instance->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (instance->dirfd < 0)
        return pv_error_set(err, errno, "open the new instance: %s", strerror(errno));
    pv_auto_fd int lock_fd = instance_lock_hold(instance->dirfd, err);
    int rc = lock_fd;
    if (rc >= 0)
        rc = take_name(store, wanted_name, instance->id, ret_name, err);
    return rc < 0 ? rc : pv_take_fd(&lock_fd);
}

static int make_folder(int parent, const char *path, const struct wire_machine *m,
                       struct pv_error *err)
{
    if (mkdirat(parent, path, 0700) < 0 && errno != EEXIST)
        return pv_error_set(err, errno, "create '%s': %s", path, strerror(errno));
    /* EINVAL: the root of a user namespace without these ids. The jail stays who we are, then. */
    if (geteuid() == 0 && fchownat(parent, path, m->uid, m->gid, AT_SYMLINK_NOFOLLOW) < 0 &&
        errno != EINVAL)
        return pv_error_set(err, errno, "give '%s' to the machine's user %u: %s", path, m->uid,
                            strerror(errno));
    return 0;
}

/* The folders that the monitor writes to. They are its user's when root starts it. */
static int make_folders(struct instance *instance, struct pv_error *err)
{
    const struct wire_machine *m = &instance->config.machine;
    int rc = make_folder(instance->dirfd, INSTANCE_MACHINE_FOLDER, m, err);
    if (rc == 0)
        rc = make_folder(AT_FDCWD, m->run_dir, m, err);
    if (rc < 0)
        return rc;
    if (instance->machine_dirfd < 0)
        instance->machine_dirfd = openat(instance->dirfd, INSTANCE_MACHINE_FOLDER,
                                         O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return instance->machine_dirfd >= 0 ? 0
                                        : pv_error_set(err, errno, "open '%s': %s",
                                                       INSTANCE_MACHINE_FOLDER, strerror(errno));
}

/* Host CPUs of the living instances, one entry per use. */
static int list_busy_cpus(const struct instance_store *store, struct pv_strv *ret_cpus,
                          struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv ids = {0};
    int rc = instance_store_list(store, &ids, err);
    for (size_t i = 0; rc == 0 && i < ids.count; i++) {
        struct instance other;
        if (instance_open(store, ids.items[i], &other, NULL) < 0)
            continue;
        const struct pv_strv *cpus = &other.config.machine.host_cpus;
        for (size_t j = 0; other.alive && rc == 0 && j < cpus->count; j++)
            rc = pv_strv_add(ret_cpus, cpus->items[j]);
        instance_close(&other);
    }
    return rc == -ENOMEM ? OUT_OF_MEMORY(err) : rc;
}

/* Takes a number on the private network that the user names. *network: to be done by the caller. */
static int join_network(const struct instance_store *store, const struct instance_request *request,
                        const char *id, const char *name, struct instance_network *network,
                        struct isolation_private_network *ret_private, struct pv_error *err)
{
    const struct workload_network *wanted = &request->spec->network;
    int rc = instance_network_open(store, workload_network_name(wanted), network, err);
    if (rc < 0)
        return rc;
    struct workload_member member = {.id = (char *)id,
                                     .name = (char *)name,
                                     .hostname = request->spec->hostname,
                                     .aliases = wanted->aliases};
    *ret_private = (struct isolation_private_network){
        .folder = network->path, .subnet = network->subnet, .internal = network->internal};
    return instance_network_join(store, network, &member,
                                 wanted->addresses.count ? wanted->addresses.items[0] : NULL,
                                 &ret_private->number, err);
}

static bool has_layer(const struct workload_spec *spec)
{
    return !spec->read_only && !(spec->rootfs && !spec->rootfs_overlay);
}

static int describe(const struct instance_store *store, const struct instance_request *request,
                    struct instance *instance, const char *name, struct pv_strv *warnings,
                    struct pv_error *err)
{
    const struct isolation_class *class;
    struct instance_network network = {.dirfd = -1};
    struct isolation_private_network private_network;
    pv_auto(pv_strv) struct pv_strv busy = {0};
    const char *state = store->place.state;
    bool layer = has_layer(request->spec);
    pv_auto_free char *state_dir =
        pv_strf("%s/instances/%s/" INSTANCE_MACHINE_FOLDER, state, instance->id);
    pv_auto_free char *run_dir = pv_strf("%s/%s", store->place.run, instance->id);
    pv_auto_free char *layer_path =
        pv_strf("%s/instances/%s/" INSTANCE_LAYER_FILE, state, instance->id);
    if (!state_dir || !run_dir || !layer_path)
        return OUT_OF_MEMORY(err);

    struct isolation_request r = {
        .spec = request->spec,
        .id = instance->id,
        .name = name,
        .state_dir = state_dir,
        .run_dir = run_dir,
        .image_path = request->image_path,
        .image_type = request->image_type,
        .layer_path = layer ? layer_path : NULL,
        .busy_cpus = &busy,
        .attached = request->attached,
        .rows = request->rows,
        .columns = request->columns,
    };
    int rc = isolation_find(request->spec->isolation, &class, err);
    if (rc == 0)
        rc = instance_promise_check(store, instance->id, request->spec->resources.memory_bytes,
                                    warnings, err);
    if (rc == 0)
        rc = list_busy_cpus(store, &busy, err);
    if (rc == 0 && workload_network_is_private(&request->spec->network)) {
        r.private_network = &private_network;
        rc = join_network(store, request, instance->id, name, &network, &private_network, err);
    }
    if (rc == 0)
        rc = class->prepare(&r, &instance->config.machine, warnings, err);
    instance_network_done(&network);
    if (rc < 0)
        return rc;
    instance->config.isolation = strdup(class->name);
    return instance->config.isolation ? 0 : OUT_OF_MEMORY(err);
}

static int fill_config(const struct instance_request *request, struct instance *instance,
                       struct pv_error *err)
{
    char now[PV_TIME_TEXT_MAX];
    struct instance_config *config = &instance->config;
    config->created_at = strdup(pv_time_text(pv_time_realtime_ns(), now));
    config->image_name = strdup(request->image_name);
    config->image_path = strdup(request->image_path);
    config->image_type = strdup(request->image_type);
    config->remove = request->spec->remove;
    config->disk_bytes = has_layer(request->spec) ? request->spec->resources.disk_bytes : 0;
    if (!config->created_at || !config->image_name || !config->image_path || !config->image_type)
        return OUT_OF_MEMORY(err);
    return 0;
}

static int furnish(const struct instance_store *store, const struct instance_request *request,
                   struct instance *instance, const char *name, struct pv_strv *warnings,
                   struct pv_error *err)
{
    char short_id[INSTANCE_SHORT_ID_LEN + 1] = "";
    memcpy(short_id, instance->id, INSTANCE_SHORT_ID_LEN);
    const char *hostname = request->spec->hostname;
    int rc = workload_spec_complete_env(request->spec, hostname ? hostname : short_id, err);
    if (rc == 0)
        rc = describe(store, request, instance, name, warnings, err);
    if (rc == 0)
        rc = fill_config(request, instance, err);
    if (rc == 0)
        rc = make_folders(instance, err);
    if (rc == 0 && instance->config.disk_bytes)
        rc = image_layer_create(instance->config.disk_bytes, !instance->config.remove,
                                instance->dirfd, INSTANCE_LAYER_FILE, err);
    return rc == 0 ? instance_config_save(instance->dirfd, &instance->config, err) : rc;
}

int instance_create_new(const struct instance_store *store, const struct instance_request *request,
                        struct instance *ret_instance, int *ret_lock_fd, struct pv_strv *warnings,
                        struct pv_error *err)
{
    struct instance instance = {.dirfd = -1, .machine_dirfd = -1, .half_made = true};
    pv_auto_free char *name = NULL;
    pv_auto_fd int lock_fd = appear(store, request->spec->name, &instance, &name, err);
    int rc = lock_fd;
    if (rc >= 0)
        rc = furnish(store, request, &instance, name, warnings, err);
    if (rc < 0) {
        pv_cleanup_fd(&lock_fd);
        lock_fd = -1;
        if (instance.dirfd >= 0)
            instance_settle_remove(store, &instance, NULL);
        instance_close(&instance);
        return rc;
    }
    instance.half_made = false;
    instance.alive = true;
    *ret_instance = instance;
    *ret_lock_fd = pv_take_fd(&lock_fd);
    return 0;
}

int instance_create_revive(struct instance *instance, bool attached, uint16_t rows,
                           uint16_t columns, int *ret_lock_fd, struct pv_error *err)
{
    pv_auto_fd int guard = instance_lock_folder(instance->dirfd, true, err);
    if (guard < 0)
        return guard;
    pv_auto_fd int lock_fd = instance_lock_hold(instance->dirfd, err);
    if (lock_fd < 0) {
        pv_error_prefix(err, "start %s", instance_name(instance));
        return lock_fd;
    }
    int rc = instance_reload(instance, err);
    if (rc < 0)
        return rc;
    instance->config.machine.wait_attach = attached;
    instance->config.machine.process.rows = rows;
    instance->config.machine.process.columns = columns;
    /* From here on its end has to be cleaned up again. */
    if (unlinkat(instance->dirfd, INSTANCE_ENDED_FILE, 0) < 0 && errno != ENOENT)
        return pv_error_set(err, errno, "start %s: %s", instance_name(instance), strerror(errno));
    rc = make_folders(instance, err);
    if (rc == 0)
        *ret_lock_fd = pv_take_fd(&lock_fd);
    return rc;
}

int instance_create_start(struct instance *instance, int lock_fd, int cancel_fd, pid_t *ret_pid,
                          struct pv_error *err)
{
    const struct isolation_class *class;
    pv_auto_fd int held = lock_fd;
    pid_t pid;
    int rc = isolation_find(instance->config.isolation, &class, err);
    if (rc < 0)
        return rc;
    pv_auto_fd int error_fd =
        openat(instance->machine_dirfd, MONITOR_LOG_FILE,
               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (error_fd < 0)
        return pv_error_set(err, errno, "open '%s': %s", MONITOR_LOG_FILE, strerror(errno));
    struct isolation_start how = {.lock_fd = held, .error_fd = error_fd, .cancel_fd = cancel_fd};
    rc = class->start(&instance->config.machine, &how, &pid, err);
    if (rc == 0 && ret_pid)
        *ret_pid = pid;
    return rc;
}
