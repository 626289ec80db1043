/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h: from what the user calls an image to a file that a machine can have as its disk.
 */
#ifndef IMAGE_STORE_H
#define IMAGE_STORE_H

#include "base/error.h"
#include "image/pack.h"

struct image_ref {
    char *path;       /* absolute; a file */
    const char *type; /* "squashfs", "ext4" or "erofs": a constant */
};

/* Finds the image that text means: a squashfs, ext4 or erofs file, or a folder, which is packed
 * first. "/" is refused: a running system's root never stands still, and holds this cache. */
int image_store_resolve(const char *text, image_pack_say_fn *say, struct image_ref *ret_ref,
                        struct pv_error *err);
void image_store_ref_done(struct image_ref *ref);

#endif
