/* SPDX-License-Identifier: Apache-2.0
 *
 * fields.h: JSON objects of tests: a valid one with one member put in, replaced or left out.
 */
#ifndef TESTS_UNIT_WIRE_FIELDS_H
#define TESTS_UNIT_WIRE_FIELDS_H

#include "base/json.h"
#include "support/unit.h"

#include <errno.h>

struct field {
    const char *key, *value; /* value: JSON text; NULL leaves the key out */
};

/* The valid fields with `change` in place of, or beside, the field of its name. */
static inline struct pv_json *fields_json(const struct field *valid, size_t count,
                                          struct field change)
{
    struct pv_str text __attribute__((cleanup(pv_str_auto))) = {0};
    const char *comma = "";
    pv_str_add(&text, "{");
    for (size_t i = 0; i < count; i++) {
        if (change.key && strcmp(valid[i].key, change.key) == 0)
            continue;
        pv_str_addf(&text, "%s\"%s\": %s", comma, valid[i].key, valid[i].value);
        comma = ",";
    }
    if (change.value)
        pv_str_addf(&text, "%s\"%s\": %s", comma, change.key, change.value);
    pv_str_add(&text, "}");

    struct pv_json *json = NULL;
    struct pv_error err = PV_ERROR_INIT;
    if (pv_json_parse(text.text, text.len, &json, &err) < 0)
        fail_msg("%s: %.200s", err.text, text.text);
    return json;
}

/* [item, item, ...], count times. The caller frees. */
static inline char *fields_list(const char *item, size_t count)
{
    struct pv_str text = {0};
    pv_str_add(&text, "[");
    for (size_t i = 0; i < count; i++)
        pv_str_addf(&text, "%s%s", i ? "," : "", item);
    pv_str_add(&text, "]");
    return pv_str_take(&text);
}

/* "ccc...", len of them, in quotes. The caller frees. */
static inline char *fields_text(const char *before, char c, size_t len)
{
    struct pv_str text = {0};
    pv_str_addf(&text, "\"%s", before);
    for (size_t i = 0; i < len; i++)
        pv_str_add_bytes(&text, &c, 1);
    pv_str_add(&text, "\"");
    return pv_str_take(&text);
}

#endif
