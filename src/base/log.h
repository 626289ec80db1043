/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h: diagnostics of our own programs, a line each on standard error.
 *
 * Libraries fill a pv_error and stay silent; programs log it once. The level comes from
 * PARAVANE_LOG (error, warning, info, debug; default warning).
 */
#ifndef PV_BASE_LOG_H
#define PV_BASE_LOG_H

#include "base/attr.h"

enum pv_log_level { PV_LOG_ERROR, PV_LOG_WARNING, PV_LOG_INFO, PV_LOG_DEBUG };

/* Names the program in each line and reads PARAVANE_LOG. program must outlive all logging. */
void pv_log_init(const char *program);
/* Sends the lines to another descriptor (borrowed) than 2. */
void pv_log_to_fd(int fd);
void pv_log(enum pv_log_level level, const char *fmt, ...) PV_PRINTF(2, 3);

#endif
