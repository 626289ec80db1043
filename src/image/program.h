/* SPDX-License-Identifier: Apache-2.0
 *
 * program.h: helper programs of the host: found, started, and heard when they fail.
 */
#ifndef IMAGE_PROGRAM_H
#define IMAGE_PROGRAM_H

#include "base/error.h"

#include <sys/types.h>

/* The absolute path of a program in PATH or the system's folders (sbin is often missing from a
 * user's PATH). package: the Debian package to name when it is missing. The caller frees. */
int image_program_find(const char *name, const char *package, char **ret_path,
                       struct pv_error *err);
/* Adds what identifies this build of the program (size, time, inode) to text. */
int image_program_stamp(const char *path, char *text, size_t len, struct pv_error *err);
/* Runs it to its end; keep_fd (-1: none) stays open in it, all other descriptors close. Its own
 * words are the error when it fails. It dies with us. */
int image_program_run(const char *const argv[], int keep_fd, struct pv_error *err);

#endif
