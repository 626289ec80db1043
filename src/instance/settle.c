/* SPDX-License-Identifier: Apache-2.0
 *
 * settle.c: crash-only clean-up.
 *
 * Theory of operation: a dead instance is one whose life lock is free. Whoever finds it first takes
 * its guard (lock.h) and does what is left to do, in an order in which each step can be repeated:
 * kill the guest, record the end, remove cgroups and sockets, write the file `ended`. A removal
 * first renames the folder to .gone-<id>, under the store's lock, so that the instance disappears
 * at one moment, and then gives the name back, which names nobody without the folder; what then
 * remains of the folder is removed by this command or by the next one.
 *
 * A half-made instance looks the same (free lock, no state). Creators take the life lock together
 * with the folder, under the store's lock; take_guard says how a young one is told from a dead one.
 */
#include "instance/settle.h"

#include "instance/file.h"
#include "instance/lock.h"
#include "instance/network.h"
#include "isolation/isolation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GONE_PREFIX ".gone-"

static int kill_rest(struct instance *instance, struct pv_error *err)
{
    const struct instance_state *state = &instance->state;
    uid_t owner = geteuid() == 0 ? instance->config.machine.uid : geteuid();
    int rc = instance_process_kill(&state->guest, owner, geteuid());
    if (rc == -ETIMEDOUT)
        return pv_error_set(err, ETIMEDOUT, "guest kernel %d of instance %.12s does not die",
                            (int)state->guest.pid, instance->id);
    return 0; /* not ours (-EPERM): a forged state, or a pid of another user's process */
}

static int clean_isolation(const struct instance *instance, struct pv_error *err)
{
    const struct isolation_class *class;
    int rc = isolation_find(instance->config.isolation, &class, err);
    return rc == 0 ? class->clean(instance->id, &instance->state.cgroups, err) : rc;
}

static int remove_run_folder(const struct instance_store *store, const struct instance *instance,
                             struct pv_error *err)
{
    const char *known = instance->config.machine.run_dir;
    pv_auto_free char *path =
        known ? strdup(known) : pv_strf("%s/%s", store->place.run, instance->id);
    if (!path)
        return pv_error_set(err, ENOMEM, "remove the run folder: out of memory");
    return instance_file_remove_tree(AT_FDCWD, path, err);
}

static int mark_ended(const struct instance *instance, struct pv_error *err)
{
    int fd = openat(instance->dirfd, INSTANCE_ENDED_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return pv_error_set(err, errno, "write '%s': %s", INSTANCE_ENDED_FILE, strerror(errno));
    close(fd);
    return 0;
}

static bool is_marked(const struct instance_store *store, const char *id)
{
    char path[INSTANCE_ID_LEN + sizeof(INSTANCE_ENDED_FILE) + 1];
    snprintf(path, sizeof(path), "%s/%s", id, INSTANCE_ENDED_FILE);
    return faccessat(store->instances_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void clean_networks(const struct instance *instance)
{
    const struct wire_machine *m = &instance->config.machine;
    for (uint32_t i = 0; i < m->num_nets; i++)
        if (m->nets[i].folder)
            instance_network_clean(m->nets[i].folder, m->nets[i].number);
}

/* Everything outside the instance's own folder. */
static int clean_outside(const struct instance_store *store, struct instance *instance,
                         struct pv_error *err)
{
    int rc = 0;
    if (instance->config.machine.id) {
        rc = kill_rest(instance, err);
        if (rc == 0)
            rc = clean_isolation(instance, err);
        clean_networks(instance);
    }
    return rc == 0 ? remove_run_folder(store, instance, err) : rc;
}

/* Takes the instance out of the store, at one moment. A half-made one is looked at again. */
static int unlink_instance(const struct instance_store *store, struct instance *instance,
                           char gone[sizeof(GONE_PREFIX) + INSTANCE_ID_LEN], struct pv_error *err)
{
    snprintf(gone, sizeof(GONE_PREFIX) + INSTANCE_ID_LEN, GONE_PREFIX "%s", instance->id);
    pv_auto_fd int lock = instance_lock_folder(store->instances_fd, true, err);
    if (lock < 0)
        return lock;
    if (instance_lock_is_held(instance->dirfd))
        return pv_error_set(err, EBUSY, "instance %.12s lives", instance->id);
    if (renameat(store->instances_fd, instance->id, store->instances_fd, gone) < 0 &&
        errno != ENOENT)
        return pv_error_set(err, errno, "remove instance %.12s: %s", instance->id, strerror(errno));
    if (instance->config.machine.name)
        instance_store_remove_name(store, instance->config.machine.name, instance->id);
    else
        instance_store_remove_names_of(store, instance->id);
    return 0;
}

/* With the guard held. */
static int remove_dead(const struct instance_store *store, struct instance *instance,
                       struct pv_error *err)
{
    char gone[sizeof(GONE_PREFIX) + INSTANCE_ID_LEN];
    if (instance_lock_is_held(instance->dirfd))
        return pv_error_set(err, EBUSY, "instance %s lives: stop it, or remove it with -f",
                            instance_name(instance));
    int rc = clean_outside(store, instance, err);
    if (rc == 0)
        rc = unlink_instance(store, instance, gone, err);
    if (rc < 0)
        return rc;
    instance_network_leave(store, instance->id);
    return instance_file_remove_tree(store->instances_fd, gone, err);
}

/* Takes the guard of an instance and loads it again. A creator takes the life lock and makes the
 * folder under the store's lock: whoever has had that lock since sees a young instance alive, or
 * dead for good. -ENOENT when the instance is gone. */
static int take_guard(const struct instance_store *store, struct instance *instance, bool wait,
                      struct pv_error *err)
{
    struct stat st;
    pv_auto_fd int guard = instance_lock_folder(instance->dirfd, wait, err);
    if (guard < 0)
        return guard;
    pv_auto_fd int store_lock = instance_lock_folder(store->instances_fd, true, err);
    if (store_lock < 0)
        return store_lock;
    if (fstat(instance->dirfd, &st) < 0 || st.st_nlink == 0)
        return -ENOENT;
    instance_reload(instance, NULL);
    return pv_take_fd(&guard);
}

int instance_settle_remove(const struct instance_store *store, struct instance *instance,
                           struct pv_error *err)
{
    pv_auto_fd int guard = take_guard(store, instance, true, err);
    if (guard == -ENOENT)
        return 0; /* another command was faster */
    return guard < 0 ? guard : remove_dead(store, instance, err);
}

/* A full disk keeps the end from being written down, not from being true: the instance counts as
 * ended now, and the next command tries again. */
static int record_end(struct instance *instance, struct pv_error *err)
{
    int rc = 0;
    if (!instance->damage.code && !instance_state_is_final(&instance->state))
        rc = instance_state_record_death(instance->machine_dirfd, &instance->state, err);
    if (rc == 0)
        rc = mark_ended(instance, err);
    return rc == -ENOSPC || rc == -EDQUOT ? 0 : rc;
}

/* With the guard held and the instance loaded: as instance_settle. */
static int settle_dead(const struct instance_store *store, struct instance *instance,
                       struct pv_error *err)
{
    bool never_ran = instance->half_made ||
                     (!instance->damage.code && instance->state.phase == INSTANCE_PHASE_NONE);
    if (never_ran || instance->config.remove) {
        int rc = remove_dead(store, instance, err);
        return rc == 0 ? 1 : rc;
    }
    int rc = clean_outside(store, instance, err);
    return rc == 0 ? record_end(instance, err) : rc;
}

static int settle_with(const struct instance_store *store, struct instance *instance, bool wait,
                       struct pv_error *err)
{
    pv_auto_fd int guard = take_guard(store, instance, wait, err);
    if (guard < 0)
        return guard == -ENOENT ? 1 : guard;
    if (instance->alive || is_marked(store, instance->id))
        return 0;
    return settle_dead(store, instance, err);
}

int instance_settle(const struct instance_store *store, struct instance *instance,
                    struct pv_error *err)
{
    if (instance->alive || is_marked(store, instance->id))
        return 0;
    return settle_with(store, instance, true, err);
}

static void finish_removals(const struct instance_store *store)
{
    int fd = openat(store->instances_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        pv_cleanup_fd(&fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));)
        if (pv_str_starts_with(entry->d_name, GONE_PREFIX)) {
            instance_store_remove_names_of(store, entry->d_name + strlen(GONE_PREFIX));
            instance_file_remove_tree(store->instances_fd, entry->d_name, NULL);
        }
    closedir(dir);
}

void instance_settle_all(const struct instance_store *store)
{
    pv_auto(pv_strv) struct pv_strv ids = {0};
    finish_removals(store);
    if (instance_store_list(store, &ids, NULL) < 0)
        return;
    for (size_t i = 0; i < ids.count; i++) {
        struct instance instance;
        if (is_marked(store, ids.items[i]) ||
            instance_open(store, ids.items[i], &instance, NULL) < 0)
            continue;
        if (!instance.alive)
            settle_with(store, &instance, false, NULL);
        instance_close(&instance);
    }
}

static void wait_and_settle(const struct instance_store *store, const char *id)
{
    struct instance instance;
    if (instance_open(store, id, &instance, NULL) < 0)
        return;
    instance_lock_wait(instance.dirfd, 0);
    instance_reload(&instance, NULL);
    instance_settle(store, &instance, NULL);
    instance_close(&instance);
}

/* Of the caller's descriptors only the store's stay: somebody may wait for the end of a pipe. */
static void close_others(const struct instance_store *store)
{
    int low = PV_MIN(store->instances_fd, store->names_fd);
    int high = PV_MAX(store->instances_fd, store->names_fd);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2; fd++)
        dup2(null_fd, fd);
    if (low > 3)
        close_range(3, (unsigned)low - 1, 0);
    if (high > low + 1)
        close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    close_range((unsigned)high + 1, ~0u, 0);
}

void instance_settle_later(const struct instance_store *store, const struct instance *instance)
{
    sigset_t none;
    pid_t pid = fork();
    if (pid != 0) {
        if (pid > 0)
            waitpid(pid, NULL, 0);
        return;
    }
    /* A grandchild, so that nobody has to reap it. */
    if (setsid() < 0 || fork() != 0)
        _exit(0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_NAME, "paravane-reaper");
    close_others(store);
    if (chdir("/") == 0)
        wait_and_settle(store, instance->id);
    _exit(0);
}
