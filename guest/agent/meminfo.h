/* SPDX-License-Identifier: Apache-2.0
 *
 * meminfo.h: numbers of /proc/meminfo.
 */
#ifndef AGENT_MEMINFO_H
#define AGENT_MEMINFO_H

#include <stdint.h>

/* The number behind "name:" in the text of meminfo, in bytes; 0 when it is not there. */
uint64_t agent_meminfo_bytes(const char *text, const char *name);

#endif
