/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c: the output of ps and stats.
 */
#include "cli/table.h"

#include "cli/say.h"

#include <inttypes.h>
#include <string.h>

#define GAP 3
#define COLUMNS_MAX 16

int cli_table_add(struct cli_table *table, const char *text)
{
    return pv_strv_add(&table->cells, text && *text ? text : "-");
}

void cli_table_print(const struct cli_table *table, FILE *out)
{
    size_t widths[COLUMNS_MAX] = {0}, n = table->columns;
    for (size_t i = 0; i < table->cells.count; i++)
        widths[i % n] = PV_MAX(widths[i % n], strlen(table->cells.items[i]));
    for (size_t i = 0; i < table->cells.count; i++) {
        const char *text = table->cells.items[i];
        cli_say_safely(out, text, strlen(text));
        if (i % n == n - 1)
            fputc('\n', out);
        else
            fprintf(out, "%*s", (int)(widths[i % n] - strlen(text) + GAP), "");
    }
}

void cli_table_done(struct cli_table *table)
{
    pv_strv_done(&table->cells);
}

const char *cli_table_age(uint64_t ns, char *buf, size_t len)
{
    static const struct {
        uint64_t seconds;
        const char *name;
    } units[] = {
        {365 * 86400, "year"}, {86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"},
    };
    uint64_t seconds = ns / 1000000000;
    for (size_t i = 0; i < PV_ARRAY_SIZE(units); i++) {
        uint64_t count = seconds / units[i].seconds;
        if (count == 0 && units[i].seconds > 1)
            continue;
        snprintf(buf, len, "%" PRIu64 " %s%s", count, units[i].name, count == 1 ? "" : "s");
        break;
    }
    return buf;
}
