/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.h: is a file a guest kernel that the monitor can boot?
 */
#ifndef ISOLATION_KERNEL_H
#define ISOLATION_KERNEL_H

#include "base/error.h"

/* 0, or an error that says what the file is instead, or what it lacks. */
int isolation_kernel_check(const char *path, struct pv_error *err);

#endif
