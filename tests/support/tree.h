/* SPDX-License-Identifier: Apache-2.0
 *
 * tree.h: folders for tests. Each function ends the program when it cannot do its work.
 */
#ifndef SUPPORT_TREE_H
#define SUPPORT_TREE_H

#include <stddef.h>

/* Makes an empty folder of mode 0755 below TMPDIR or /tmp. */
void support_tree_make(char *ret_path, size_t len);
/* Writes a file below top, with the folders that are missing. */
void support_tree_write(const char *top, const char *name, const char *text, unsigned mode);
/* Runs a shell command in top; its output is thrown away. */
void support_tree_shell(const char *top, const char *command);
/* Runs one and returns its standard output; the caller frees. */
char *support_tree_read_shell(const char *top, const char *command);
void support_tree_remove(const char *top);

#endif
