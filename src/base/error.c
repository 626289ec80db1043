/* SPDX-License-Identifier: Apache-2.0
 *
 * error.c: fills struct pv_error without allocating.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int pv_error_set(struct pv_error *err, int code, const char *fmt, ...)
{
    if (code <= 0)
        code = EIO;
    if (!err)
        return -code;

    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    err->code = code;
    return -code;
}

int pv_error_prefix(struct pv_error *err, const char *fmt, ...)
{
    if (!err)
        return -EIO;

    char before[PV_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(before, sizeof(before), fmt, args);
    va_end(args);

    char joined[2 * PV_ERROR_TEXT_MAX + 2];
    int len = snprintf(joined, sizeof(joined), "%s: %s", before, err->text);
    if (len >= (int)sizeof(err->text))
        len = sizeof(err->text) - 1;
    memcpy(err->text, joined, (size_t)len);
    err->text[len] = '\0';
    return -(err->code > 0 ? err->code : EIO);
}

const char *pv_error_text(const struct pv_error *err, int rc)
{
    if (err && err->text[0])
        return err->text;
    return strerror(rc < 0 ? -rc : rc);
}
