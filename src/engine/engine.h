/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.h: what executes a guest kernel. One engine exists: hosted (a jailed process of the host).
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/error.h"
#include "base/loop.h"
#include "base/str.h"
#include "jail/cgroup.h"
#include "jail/walls.h"
#include "memory/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct engine;

/* A device of the guest: the far end of its vhost-user socket. */
struct engine_device {
    int sock;           /* borrowed; the guest gets a duplicate */
    uint16_t virtio_id; /* virtio 1.2, 5 */
};

struct engine_options {
    struct pv_loop *loop;
    const struct memory *memory;
    int kernel_fd;    /* the guest kernel, executable; borrowed */
    int initramfs_fd; /* borrowed */
    uint32_t cpus;
    bool strict;                     /* programs of the guest are kept from its kernel; cpus is 1 */
    const struct pv_strv *host_cpus; /* one host CPU for each vCPU, or empty: not bound */
    const struct engine_device *devices; /* in the order in which the guest numbers them */
    size_t num_devices;
    struct jail_cgroup *cgroup; /* NULL: none */
    uid_t uid;                  /* whom the guest becomes when we are root */
    gid_t gid;
    uint32_t log_level;        /* of the guest kernel, 0: quiet */
    const char *extra_cmdline; /* more options of the guest kernel, separated by blanks, or NULL */

    /* Text of the guest kernel that did not come through a device: early messages, a panic. */
    void (*on_console)(void *data, const void *bytes, size_t len);
    /* The guest has ended, and all its text was delivered: status as waitpid(2) gives it. Called
     * once. May free the engine. */
    void (*on_end)(void *data, int status);
    void *data;
};

/* Starts the guest in its jail. The caller owns *ret_engine. */
int engine_start(const struct engine_options *options, struct engine **ret_engine,
                 struct pv_error *err);
/* Ends the guest at once; on_end follows. */
void engine_kill(struct engine *engine);
/* The guest kernel's process on the host. */
pid_t engine_get_pid(const struct engine *engine);
const struct jail_walls *engine_get_walls(const struct engine *engine);
/* Ends the guest if it still runs, waits for it, frees. on_end is not called. Accepts NULL. */
void engine_free(struct engine *engine);
PV_DEFINE_AUTO(engine, struct engine *, engine_free)

/* The system calls of an engine while it serves, for the monitor's jail: name and reason. A NULL
 * name ends the list. */
struct engine_syscall {
    const char *name, *reason;
};
extern const struct engine_syscall engine_syscalls[];

#endif
