/* SPDX-License-Identifier: Apache-2.0
 *
 * unit.h: cmocka with the headers that it needs before it, in their order.
 */
#ifndef SUPPORT_UNIT_H
#define SUPPORT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
