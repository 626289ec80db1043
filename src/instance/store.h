/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h: all instances of a user: their folders and their names.
 */
#ifndef INSTANCE_STORE_H
#define INSTANCE_STORE_H

#include "base/error.h"
#include "base/str.h"
#include "instance/place.h"

#define INSTANCE_ID_LEN 64
#define INSTANCE_SHORT_ID_LEN 12

struct instance_store {
    struct instance_place place;
    int instances_fd; /* <state>/instances: a folder per id */
    int names_fd;     /* <state>/names: a symbolic link per name, to its id */
};

int instance_store_open(struct instance_store *ret_store, struct pv_error *err);
void instance_store_close(struct instance_store *store);

/* The ids of all instances, sorted. */
int instance_store_list(const struct instance_store *store, struct pv_strv *ret_ids,
                        struct pv_error *err);
/* Finds by name, id, or the unique beginning of an id. */
int instance_store_find(const struct instance_store *store, const char *text,
                        char ret_id[INSTANCE_ID_LEN + 1], struct pv_error *err);
/* True for a whole id: 64 lower-case hexadecimal digits. */
bool instance_store_is_id(const char *text);

/* With the store's lock held: takes a name for id; -EEXIST when an instance has it (the error says
 * which). A link that points nowhere is replaced. */
int instance_store_add_name(const struct instance_store *store, const char *name, const char *id,
                            struct pv_error *err);
/* With the store's lock held: gives the name back if it is id's. */
void instance_store_remove_name(const struct instance_store *store, const char *name,
                                const char *id);
/* The same for whatever names id has, when its configuration cannot tell. */
void instance_store_remove_names_of(const struct instance_store *store, const char *id);

#endif
