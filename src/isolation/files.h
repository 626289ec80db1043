/* SPDX-License-Identifier: Apache-2.0
 *
 * files.h: where the programs and files of a machine are: beside us in the build tree, or
 * installed.
 */
#ifndef ISOLATION_FILES_H
#define ISOLATION_FILES_H

#include "base/error.h"

struct isolation_files {
    char *monitor, *kernel, *initramfs; /* absolute, readable */
};

/* Finds all three. kernel: what the user asked for, or NULL for PARAVANE_KERNEL or ours; another
 * kernel than ours is checked (kernel.h). The error names where was looked. */
int isolation_files_find(const char *kernel, struct isolation_files *ret_files,
                         struct pv_error *err);
/* Finds the monitor alone; the caller frees. */
int isolation_files_find_monitor(char **ret_path, struct pv_error *err);
void isolation_files_done(struct isolation_files *files);

#endif
