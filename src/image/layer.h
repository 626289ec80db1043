/* SPDX-License-Identifier: Apache-2.0
 *
 * layer.h: the writable layer of an instance: an empty ext4 file system in a sparse file.
 */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Creates the file `name` in dirfd: an ext4 of `bytes` (whole MiB). journal: it has to survive a
 * crash; a layer that is thrown away needs none. The first call per size makes a template with
 * mke2fs, kept in the cache; later calls copy its few written blocks. On failure nothing is left.
 */
int image_layer_create(uint64_t bytes, bool journal, int dirfd, const char *name,
                       struct pv_error *err);

#endif
