/* SPDX-License-Identifier: Apache-2.0
 *
 * detect.h: which file system is in an image file, and is the file whole?
 */
#ifndef IMAGE_DETECT_H
#define IMAGE_DETECT_H

#include "base/error.h"

/* Looks at the superblock of the file at fd. *ret_type: "squashfs", "ext4" or "erofs", a constant.
 * The error says what the file is instead, or what is missing, and what to do. */
int image_detect_file(int fd, const char **ret_type, struct pv_error *err);

#endif
