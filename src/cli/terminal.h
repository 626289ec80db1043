/* SPDX-License-Identifier: Apache-2.0
 *
 * terminal.h: the user's terminal: raw mode, size, and back to what it was on every way out.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "base/error.h"

#include <stdint.h>

/* Raw mode for the terminal on standard input: every key goes to the guest. Restored by leave and
 * at exit. */
int cli_terminal_enter(struct pv_error *err);
/* Again, after the process was stopped and continued; does nothing outside of raw mode. */
void cli_terminal_reenter(void);
void cli_terminal_leave(void);
/* The size of the terminal; zeros when there is none. */
void cli_terminal_size(uint16_t *ret_rows, uint16_t *ret_columns);

#endif
