/* SPDX-License-Identifier: Apache-2.0
 *
 * place.h: where instances live on this host, for root and for everybody else.
 */
#ifndef INSTANCE_PLACE_H
#define INSTANCE_PLACE_H

#include "base/error.h"

struct instance_place {
    char *state; /* absolute: holds instances/ and names/ */
    char *run;   /* absolute: holds a folder per running instance, with its sockets */
};

/* Chooses and creates both (see place.c for the rules). The error says how to choose another. */
int instance_place_find(struct instance_place *ret_place, struct pv_error *err);
void instance_place_done(struct instance_place *place);

/* Creates the folders of an absolute path that are missing, with this mode. */
int instance_place_make(const char *path, unsigned mode, struct pv_error *err);

#endif
