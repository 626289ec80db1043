/* SPDX-License-Identifier: Apache-2.0
 *
 * console.h: what the guest kernel says: a bounded file, and the last lines at hand.
 */
#ifndef MONITOR_CONSOLE_H
#define MONITOR_CONSOLE_H

#include "base/error.h"

#include <stddef.h>

#define MONITOR_CONSOLE_FILE "console.log"
#define MONITOR_CONSOLE_FILE_MAX (1024u * 1024)
#define MONITOR_CONSOLE_TAIL_MAX 16384u

struct monitor_console;

/* Creates console.log in state_dirfd anew. */
int monitor_console_open(int state_dirfd, struct monitor_console **ret_console,
                         struct pv_error *err);
void monitor_console_free(struct monitor_console *console); /* accepts NULL */

/* Adds bytes. A file that has reached its limit starts again from its beginning. */
void monitor_console_add(struct monitor_console *console, const void *bytes, size_t len);

/* The last whole lines, at most max_lines of them, as printable text: control characters but tab
 * and newline become '?'. Written into buf (with NUL); returns the length. */
size_t monitor_console_tail(const struct monitor_console *console, unsigned max_lines, char *buf,
                            size_t size);

/* The last line that holds `word`, from there on and printable as above. Written into buf (with
 * NUL); returns its length, 0 when no line of the tail holds it. */
size_t monitor_console_find(const struct monitor_console *console, const char *word, char *buf,
                            size_t size);

#endif
