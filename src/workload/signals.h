/* SPDX-License-Identifier: Apache-2.0
 *
 * signals.h: signals by name, as a user writes them.
 */
#ifndef WORKLOAD_SIGNALS_H
#define WORKLOAD_SIGNALS_H

#include "base/error.h"

#include <stdint.h>

/* Parses "TERM", "SIGTERM", "term" or "15". */
int workload_signals_parse(const char *text, uint32_t *ret_signal, struct pv_error *err);

#endif
