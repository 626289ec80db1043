/* SPDX-License-Identifier: Apache-2.0
 *
 * say.c: error messages.
 */
#include "cli/say.h"

#include "cli/verb.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

void cli_say_safely(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        fputc((c < ' ' && c != '\n' && c != '\t') || c == 0x7f ? '?' : c, out);
    }
}

int cli_say_error(int code, const char *fmt, ...)
{
    pv_auto_free char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    fputs("paravane: ", stderr);
    if (len >= 0)
        cli_say_safely(stderr, text, (size_t)len);
    fputc('\n', stderr);
    return code;
}

void cli_say_warnings(const struct pv_strv *warnings)
{
    for (size_t i = 0; i < warnings->count; i++)
        cli_say_error(0, "warning: %s", warnings->items[i]);
}

void cli_say_progress(const char *text)
{
    if (isatty(2))
        cli_say_error(0, "%s", text);
}

int cli_say_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno == EPIPE) /* the reader has had enough */
        return code;
    return cli_say_error(CLI_EXIT_FAILED, "write to standard output: %s", strerror(errno));
}
