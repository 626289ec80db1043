/* SPDX-License-Identifier: Apache-2.0
 *
 * meminfo.c: numbers of /proc/meminfo.   Format: proc(5).
 */
#include "agent/meminfo.h"

#include <stdlib.h>
#include <string.h>

uint64_t agent_meminfo_bytes(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ':')
            return strtoull(line + len + 1, NULL, 10) * 1024;
    }
    return 0;
}
