/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.h: shared folders: what the monitor serves (volumes of a machine) and what the agent
 * mounts (mounts of a set-up). They meet by their tags.
 */
#ifndef WIRE_VOLUME_H
#define WIRE_VOLUME_H

#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

#define WIRE_VOLUMES_MAX 17 /* one may be the root */
#define WIRE_VOLUME_TAG_MAX 36

struct wire_volume {
    char *tag;   /* letters and digits, unique */
    char *path;  /* of a folder of the host, absolute */
    char *only;  /* the one name in it that is shared; NULL: all */
    char *cache; /* "auto", "none", "always"; NULL: auto */
    bool read_only;
};

struct wire_volumes {
    struct wire_volume items[WIRE_VOLUMES_MAX];
    uint32_t count;
};

struct wire_mount {
    char *tag;
    char *target; /* in the guest: absolute, no "." or ".." */
    char *only;   /* target is a file: this name in what the tag mounts; NULL: a folder */
    bool read_only;
};

struct wire_mounts {
    struct wire_mount items[WIRE_VOLUMES_MAX];
    uint32_t count;
};

/* Lists as JSON, and back with every field checked; `key` names the list in errors. An absent list
 * is empty. On failure too the done functions have to be called. The writers return 0 or -ENOMEM
 * and write nothing for an empty list. */
int wire_volumes_read(const struct pv_json *o, const char *key, struct wire_volumes *volumes,
                      struct pv_error *err);
int wire_volumes_write(struct pv_json *o, const char *key, const struct wire_volumes *volumes);
void wire_volumes_done(struct wire_volumes *volumes);
int wire_mounts_read(const struct pv_json *o, const char *key, struct wire_mounts *mounts,
                     struct pv_error *err);
int wire_mounts_write(struct pv_json *o, const char *key, const struct wire_mounts *mounts);
void wire_mounts_done(struct wire_mounts *mounts);

#endif
