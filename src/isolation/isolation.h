/* SPDX-License-Identifier: Apache-2.0
 *
 * isolation.h: the one interface to the levels of isolation, and the table of them.
 *
 * An isolation turns a workload into a description (prepare), starts what serves it (start), and
 * removes what a dead one left on the host outside the instance's directories (clean).
 */
#ifndef ISOLATION_ISOLATION_H
#define ISOLATION_ISOLATION_H

#include "base/error.h"
#include "base/str.h"
#include "wire/machine.h"
#include "workload/spec.h"
#include "workload/subnet.h"

#include <sys/types.h>

/* The private network that the instance is on, and its number there. All borrowed. */
struct isolation_private_network {
    const char *folder; /* absolute */
    struct workload_subnet subnet;
    uint32_t number;
    bool internal; /* has no way out */
};

/* What prepare makes a description from. All borrowed. */
struct isolation_request {
    const struct workload_spec *spec; /* valid, its environment complete */
    const char *id, *name;
    const char *state_dir, *run_dir;     /* absolute; they exist when start is called */
    const char *image_path, *image_type; /* absolute; "squashfs", "ext4", "erofs" */
    const char *layer_path;              /* absolute; NULL: no writable layer on disk */
    const struct pv_strv *busy_cpus;     /* host CPUs of other instances, one entry per use */
    const struct isolation_private_network *private_network; /* NULL: none */
    bool attached;          /* a client waits to be the primary one */
    uint16_t rows, columns; /* of its terminal; 0: unknown */
};

struct isolation_start {
    int lock_fd;   /* the instance's life lock: handed to what serves it */
    int error_fd;  /* its stderr */
    int cancel_fd; /* readable: give up, leave nothing running; -1: never */
};

struct isolation_class {
    const char *name; /* as written behind --isolation */
    /* Fills *ret_machine (the caller's to wire_machine_done) and adds to warnings what the user
     * should know. Refuses what this host cannot give. */
    int (*prepare)(const struct isolation_request *request, struct wire_machine *ret_machine,
                   struct pv_strv *warnings, struct pv_error *err);
    /* Starts what serves the machine and waits until it says that it runs. -ECANCELED when
     * cancel_fd became readable. On failure nothing runs. *ret_pid is a child of the caller. */
    int (*start)(const struct wire_machine *machine, const struct isolation_start *how,
                 pid_t *ret_pid, struct pv_error *err);
    /* Removes cgroups and the like of a machine that is dead. cgroups: as its state names them. */
    int (*clean)(const char *id, const struct pv_strv *cgroups, struct pv_error *err);
};

extern const struct isolation_class isolation_paravirt_class;

/* Finds by name; NULL and "auto" are paravirt. One that this version lacks is refused by name. */
int isolation_find(const char *name, const struct isolation_class **ret_class,
                   struct pv_error *err);

#endif
