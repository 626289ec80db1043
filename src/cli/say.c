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

void cli_say_cpu_limit(const struct pv_json *limit)
{
    pv_auto_free char *kept_by = NULL;
    pv_auto_free char *why = NULL;
    uint64_t milli = 0;
    if (!limit || pv_json_get_string(limit, "kept_by", &kept_by, NULL) < 0 ||
        pv_json_get_string(limit, "no_host_cgroup", &why, NULL) < 0 ||
        pv_json_get_u64(limit, "cpu_milli", 0, UINT32_MAX, &milli, NULL) < 0 || !kept_by ||
        strcmp(kept_by, "guest kernel") != 0)
        return;
    cli_say_error(0,
                  "warning: --cpus %g: kept by the guest's kernel, which could exceed it: this "
                  "host gives no CPU control group%s%s",
                  (double)milli / 1000, why ? ": " : "", why ? why : "");
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
