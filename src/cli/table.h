/* SPDX-License-Identifier: Apache-2.0
 *
 * table.h: rows of text in columns as wide as they need to be.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/str.h"

#include <stdio.h>

struct cli_table {
    size_t columns;
    struct pv_strv cells; /* row by row, the titles first */
};

/* Adds a cell; NULL is shown as "-". 0 or -ENOMEM. */
int cli_table_add(struct cli_table *table, const char *text);
/* Prints without control characters, and without blanks at the ends of lines. */
void cli_table_print(const struct cli_table *table, FILE *out);
void cli_table_done(struct cli_table *table);

/* "3 minutes ago" without the "ago"; for ages in nanoseconds. Returns buf. */
const char *cli_table_age(uint64_t ns, char *buf, size_t len);

#endif
