/* SPDX-License-Identifier: Apache-2.0
 *
 * error.h: the story of a failure.
 *
 * Functions return 0 (or a count) or -errno; whoever can tell more fills a struct pv_error that
 * lives on the caller's stack. Nothing here allocates, so it works after fork and under seccomp.
 */
#ifndef PV_BASE_ERROR_H
#define PV_BASE_ERROR_H

#include "base/attr.h"

#define PV_ERROR_TEXT_MAX 1024

struct pv_error {
    int code;                     /* positive errno, 0 while nothing failed */
    char text[PV_ERROR_TEXT_MAX]; /* one line, without a newline: object, cause, way out */
};

#define PV_ERROR_INIT                                                                              \
    {                                                                                              \
        .code = 0, .text = ""                                                                      \
    }

/* Sets the error's text and returns -code, to be returned at once. code: a positive errno.
 * err may be NULL. Text that is too long is cut. */
int pv_error_set(struct pv_error *err, int code, const char *fmt, ...) PV_PRINTF(3, 4);

/* Puts "<what>: " before the text: what the upper layer was doing. Returns -err->code (or -EIO
 * when err is NULL), so `return pv_error_prefix(...)` passes the failure on. */
int pv_error_prefix(struct pv_error *err, const char *fmt, ...) PV_PRINTF(2, 3);

/* The text, or strerror(-rc) when there is none. Borrowed: valid as long as err. */
const char *pv_error_text(const struct pv_error *err, int rc);

#endif
