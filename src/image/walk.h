/* SPDX-License-Identifier: Apache-2.0
 *
 * walk.h: the fingerprint of a directory tree.
 */
#ifndef IMAGE_WALK_H
#define IMAGE_WALK_H

#include "base/error.h"
#include "image/digest.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct image_walk_options {
    const char *salt; /* what else the fingerprint depends on: packer, options, id mapping */
    uint64_t avoid_dev, avoid_ino; /* a folder that must not be inside (the cache); 0: none */
    /* Owners that must not occur because they would be lost: */
    bool refuse_overflow;  /* 65534, which stands for "not mapped" */
    bool refuse_strangers; /* anyone but root and this user */
};

struct image_walk_result {
    char key[IMAGE_DIGEST_HEX];
    uint64_t entries;          /* files and folders, the top one included */
    uint64_t newest_change_ns; /* the newest ctime, CLOCK_REALTIME */
};

/* Walks the tree at dirfd (borrowed) in a fixed order, on its one file system. Sockets do not
 * count: they are not packed. The error names the path below the top folder. */
int image_walk_tree(int dirfd, const struct image_walk_options *options,
                    struct image_walk_result *ret_result, struct pv_error *err);

#endif
