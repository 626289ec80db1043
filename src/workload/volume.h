/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.h: folders and files of the host that a workload sees.
 *
 * -v HOST:GUEST[:OPTION[,OPTION...]] as in Docker; options: ro, rw, cache=auto|none|always.
 */
#ifndef WORKLOAD_VOLUME_H
#define WORKLOAD_VOLUME_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define WORKLOAD_VOLUMES_MAX 16

struct workload_volume {
    char *host;        /* a folder; as written until found, then absolute and without links */
    char *only;        /* NULL; once found: the name in host of the one file that is shared */
    char *guest;       /* absolute, without "." and ".." */
    const char *cache; /* "auto", "none" or "always" */
    bool read_only;
};

struct workload_volumes {
    struct workload_volume items[WORKLOAD_VOLUMES_MAX];
    size_t count;
};

void workload_volumes_done(struct workload_volumes *volumes);
/* Adds what stands behind -v. Looks at no file. */
int workload_volumes_add(struct workload_volumes *volumes, const char *text, struct pv_error *err);
/* Finds the folders and files on the host, and orders the volumes so that one inside of another
 * comes after it. Refuses what is not there or cannot be shared. */
int workload_volumes_find(struct workload_volumes *volumes, struct pv_error *err);

#endif
