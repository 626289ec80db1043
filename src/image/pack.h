/* SPDX-License-Identifier: Apache-2.0
 *
 * pack.h: a directory tree as a squashfs file in the cache.
 */
#ifndef IMAGE_PACK_H
#define IMAGE_PACK_H

#include "base/error.h"

/* Says in one line what takes long now. May be NULL. */
typedef void image_pack_say_fn(const char *text);

/* Packs the tree at path (its top folder is dirfd) unless the cache has it already. *ret_path: the
 * absolute path of the packed file, which the caller frees. */
int image_pack_folder(int dirfd, const char *path, image_pack_say_fn *say, char **ret_path,
                      struct pv_error *err);

#endif
