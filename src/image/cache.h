/* SPDX-License-Identifier: Apache-2.0
 *
 * cache.h: files that can be made again: packed images and empty layers.
 *
 * A file of the cache appears whole, under its final name, or not at all.
 */
#ifndef IMAGE_CACHE_H
#define IMAGE_CACHE_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>

struct image_cache {
    int dirfd;
    char *path; /* absolute */
};

/* Opens the folder `part` ("images", "layers") of the cache, creating it: in PARAVANE_CACHE, else
 * XDG_CACHE_HOME/paravane, else HOME/.cache/paravane, else /var/tmp/paravane-cache-UID. */
int image_cache_open(const char *part, struct image_cache *ret_cache, struct pv_error *err);
void image_cache_close(struct image_cache *cache);

/* Waits until no other process makes a file here. Returns a descriptor; closing it unlocks. What
 * interrupted makers left is removed. */
int image_cache_lock(const struct image_cache *cache, struct pv_error *err);

/* A file that is being made. It vanishes unless committed, also when we are killed. */
struct image_cache_file {
    int fd;
    char temporary[64]; /* its name where the file system knows no unnamed files; else "" */
};
int image_cache_begin(const struct image_cache *cache, struct image_cache_file *ret_file,
                      struct pv_error *err);
/* Gives it its final name and mode (0400), durably. */
int image_cache_commit(const struct image_cache *cache, struct image_cache_file *file,
                       const char *name, struct pv_error *err);
/* Throws it away; does nothing after commit. */
void image_cache_abort(const struct image_cache *cache, struct image_cache_file *file);

#endif
