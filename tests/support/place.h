/* SPDX-License-Identifier: Apache-2.0
 *
 * place.h: a host for instances in a test: folders of its own, and the fake monitor to serve them.
 */
#ifndef SUPPORT_PLACE_H
#define SUPPORT_PLACE_H

#include <stddef.h>

struct support_place {
    char top[64];       /* root/, cache/, lib/ and image/ are in it */
    char image[96];     /* a tiny squashfs */
    char paravane[512]; /* the program */
};

/* Makes the folders and points PARAVANE_ROOT, PARAVANE_CACHE and PARAVANE_LIBEXEC at them. */
void support_place_make(struct support_place *place);
void support_place_remove(struct support_place *place);
/* Runs a shell line, in the top folder, in which $P is the program and $I the image; `$W COMMAND`
 * repeats a command until it succeeds, for half a minute at most. Returns its exit code; the caller
 * frees *ret_out and *ret_error, which may be NULL. */
int support_place_run(const struct support_place *place, const char *line, char **ret_out,
                      char **ret_error);

#endif
