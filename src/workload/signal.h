/* SPDX-License-Identifier: Apache-2.0
 *
 * signal.h: signals by name, as a user writes them.
 */
#ifndef WORKLOAD_SIGNAL_H
#define WORKLOAD_SIGNAL_H

#include "base/error.h"

#include <stdint.h>

/* Parses "TERM", "SIGTERM", "term" or "15". */
int workload_signal_parse(const char *text, uint32_t *ret_signal, struct pv_error *err);

#endif
