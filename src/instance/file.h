/* SPDX-License-Identifier: Apache-2.0
 *
 * file.h: files in folders that a machine's monitor may write to, and whole trees.
 *
 * Under root a monitor runs as a user of its own and owns the folder of its state. What stands
 * there is read without following links and without waiting for a FIFO.
 */
#ifndef INSTANCE_FILE_H
#define INSTANCE_FILE_H

#include "base/error.h"

/* Opens a regular file for reading. -ENOENT, or -EINVAL when it is something else. */
int instance_file_open(int dirfd, const char *name, struct pv_error *err);
/* Reads it whole, at most max bytes; the caller frees *ret_text. */
int instance_file_read(int dirfd, const char *name, size_t max, char **ret_text, size_t *ret_len,
                       struct pv_error *err);
/* Removes a file, or a folder with all that is in it. Missing is success. */
int instance_file_remove_tree(int dirfd, const char *name, struct pv_error *err);

#endif
