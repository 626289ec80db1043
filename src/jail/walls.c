/* SPDX-License-Identifier: Apache-2.0
 *
 * walls.c: the list of walls. Runs also after fork: no allocation, no locks.
 */
#include "jail/walls.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct jail_wall *jail_walls_find(const struct jail_walls *walls, const char *name)
{
    for (unsigned i = 0; i < walls->count; i++)
        if (strcmp(walls->list[i].name, name) == 0)
            return &walls->list[i];
    return NULL;
}

bool jail_walls_stands(const struct jail_walls *walls, const char *name)
{
    const struct jail_wall *wall = jail_walls_find(walls, name);
    return wall && wall->stands;
}

void jail_walls_set(struct jail_walls *walls, const char *name, bool stands, const char *fmt, ...)
{
    unsigned i = 0;
    while (i < walls->count && strcmp(walls->list[i].name, name) != 0)
        i++;
    assert(i < JAIL_WALLS_MAX);

    struct jail_wall *wall = &walls->list[i];
    wall->name = name;
    wall->stands = stands;
    va_list args;
    va_start(args, fmt);
    vsnprintf(wall->detail, sizeof(wall->detail), fmt, args);
    va_end(args);
    if (i == walls->count)
        walls->count++;
}
