/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c: all backends.
 */
#include "net/table.h"

#include <string.h>

const struct net_backend *const net_backends[] = {&net_user_backend, &net_tap_backend, NULL};

const struct net_backend *net_backend_find(const char *name)
{
    for (unsigned i = 0; net_backends[i]; i++)
        if (strcmp(net_backends[i]->name, name) == 0)
            return net_backends[i];
    return NULL;
}
