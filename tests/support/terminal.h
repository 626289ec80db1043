/* SPDX-License-Identifier: Apache-2.0
 *
 * terminal.h: a shell line on a terminal of its own, and somebody who reads before typing.
 */
#ifndef SUPPORT_TERMINAL_H
#define SUPPORT_TERMINAL_H

#include "base/bytes.h"

#include <stdbool.h>
#include <sys/types.h>

struct support_terminal {
    int fd;
    pid_t pid;
    struct pv_bytes text; /* what was shown and not yet expected */
};

/* Runs a line of sh on a new terminal of that size. Aborts when there is none. */
void support_terminal_open(struct support_terminal *t, const char *line, unsigned rows,
                           unsigned columns);
/* Types. */
void support_terminal_type(struct support_terminal *t, const char *keys);
/* Reads until the text was shown, and forgets everything up to its end. False when the line ends
 * or half a minute passes before. */
bool support_terminal_expect(struct support_terminal *t, const char *text);
/* Waits for the end of the line and closes. Its exit code; 137 when it had to be killed. */
int support_terminal_close(struct support_terminal *t);

#endif
