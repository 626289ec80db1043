/* SPDX-License-Identifier: Apache-2.0
 *
 * terminal.h: a pseudo terminal between a session and its process.
 */
#ifndef AGENT_TERMINAL_H
#define AGENT_TERMINAL_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Opens a pair in the devpts directory devpts_fd (or -1: /dev/pts), with the size given (0: 24 and
 * 80). The master is non-blocking, both are close-on-exec; the caller owns them. */
int agent_terminal_open(int devpts_fd, uint16_t rows, uint16_t columns, int *ret_master,
                        int *ret_slave, struct pv_error *err);
int agent_terminal_resize(int master, uint16_t rows, uint16_t columns);

/* Tells the process that its input has ended, as a user does with ^D: writes the terminal's end of
 * file character while it is canonical; twice when a line is unfinished, since the first one then
 * only hands over that line. In raw mode there is no such thing as the end of input, and nothing
 * is written. Returns 0, or -EAGAIN when the terminal takes nothing now: call again later. */
int agent_terminal_send_eof(int master, bool unfinished_line);

#endif
