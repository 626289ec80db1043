/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.h: the host system calls of a hosted guest kernel.   Spec: docs/guest-interface.md, 8.
 */
#ifndef ENGINE_HOSTED_FILTER_H
#define ENGINE_HOSTED_FILTER_H

#include "jail/filter.h"

/* Builds the filter that guest kernel and stubs live under; strict: the kernel traces the stubs.
 * The caller owns *ret_program. */
int engine_hosted_filter(bool strict, struct jail_filter_program **ret_program,
                         struct pv_error *err);

#endif
