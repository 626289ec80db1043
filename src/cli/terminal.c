/* SPDX-License-Identifier: Apache-2.0
 *
 * terminal.c: termios. The one global of the program: there is one terminal, and exit must find
 * its settings.
 */
#include "cli/terminal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

static struct termios saved;
static bool is_raw, has_exit_handler;

static int set_raw(void)
{
    struct termios raw = saved;
    cfmakeraw(&raw);
    return tcsetattr(0, TCSADRAIN, &raw) < 0 ? -errno : 0;
}

int cli_terminal_enter(struct pv_error *err)
{
    if (is_raw)
        return 0;
    if (tcgetattr(0, &saved) < 0)
        return pv_error_set(err, errno, "terminal: %s", strerror(errno));
    if (!has_exit_handler)
        has_exit_handler = atexit(cli_terminal_leave) == 0;
    int rc = set_raw();
    is_raw = rc == 0;
    return rc == 0 ? 0 : pv_error_set(err, -rc, "terminal: %s", strerror(-rc));
}

void cli_terminal_reenter(void)
{
    if (is_raw)
        set_raw();
}

void cli_terminal_leave(void)
{
    if (is_raw)
        tcsetattr(0, TCSADRAIN, &saved);
    is_raw = false;
}

void cli_terminal_size(uint16_t *ret_rows, uint16_t *ret_columns)
{
    struct winsize size = {0};
    if (ioctl(1, TIOCGWINSZ, &size) < 0)
        ioctl(0, TIOCGWINSZ, &size);
    *ret_rows = size.ws_row;
    *ret_columns = size.ws_col;
}
