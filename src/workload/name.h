/* SPDX-License-Identifier: Apache-2.0
 *
 * name.h: names for instances whose user gave none.
 */
#ifndef WORKLOAD_NAME_H
#define WORKLOAD_NAME_H

#include <stdint.h>

/* A name like "calm_otter", chosen by the random number. The caller frees; NULL: out of memory.
 * try_number > 0 adds it at the end, for when the first choice was taken. */
char *workload_name_make(uint32_t random, unsigned try_number);

#endif
