/* SPDX-License-Identifier: Apache-2.0
 *
 * isolation.c: the table of isolations.
 */
#include "isolation/isolation.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *name;
    const struct isolation_class *class; /* NULL: this version does not have it */
} levels[] = {
    {"host", NULL},
    {"container", NULL},
    {"paravirt", &isolation_paravirt_class},
    {"full", NULL},
};

int isolation_find(const char *name, const struct isolation_class **ret_class, struct pv_error *err)
{
    if (!name || strcmp(name, "auto") == 0)
        name = "paravirt"; /* the only one; a choice to explain comes with the second */
    for (size_t i = 0; i < PV_ARRAY_SIZE(levels); i++) {
        if (strcmp(levels[i].name, name) != 0)
            continue;
        if (!levels[i].class)
            return pv_error_set(err, EOPNOTSUPP,
                                "--isolation %s: not available in this version; use paravirt",
                                name);
        *ret_class = levels[i].class;
        return 0;
    }
    return pv_error_set(err, EINVAL, "--isolation '%s': unknown; write paravirt or auto", name);
}
