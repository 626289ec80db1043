/* SPDX-License-Identifier: Apache-2.0
 *
 * json.h: JSON, read with limits and typed getters. Home of json-c: nobody else includes it.
 *
 * Getters take the object, the key and a default policy: a `need` getter fails with the key's name
 * when the key is missing, a `get` getter keeps *ret_value untouched then. A key of the wrong type
 * always fails. Documents may come from a guest: depth and size are bounded.
 */
#ifndef PV_BASE_JSON_H
#define PV_BASE_JSON_H

#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define PV_JSON_DEPTH_MAX 16

struct pv_json; /* a value: object, array, string, number, boolean or null */

/* Parses text of len bytes, exactly one value. The caller owns *ret_json: pv_json_free. */
int pv_json_parse(const char *text, size_t len, struct pv_json **ret_json, struct pv_error *err);
void pv_json_free(struct pv_json *json); /* accepts NULL */
PV_DEFINE_AUTO(pv_json, struct pv_json *, pv_json_free)

/* Borrowed children. NULL when missing or of another type. */
const struct pv_json *pv_json_get(const struct pv_json *object, const char *key);
size_t pv_json_array_length(const struct pv_json *array); /* 0 when it is no array */
const struct pv_json *pv_json_array_at(const struct pv_json *array, size_t index);
bool pv_json_is_object(const struct pv_json *json);
const char *pv_json_text(const struct pv_json *json); /* a string value's text, else NULL */
/* Calls visit for each member, until it returns non-zero, which is returned. */
int pv_json_each(const struct pv_json *object,
                 int (*visit)(const char *key, const struct pv_json *value, void *data),
                 void *data);

int pv_json_get_u64(const struct pv_json *o, const char *key, uint64_t min, uint64_t max,
                    uint64_t *ret_value, struct pv_error *err);
int pv_json_get_i64(const struct pv_json *o, const char *key, int64_t min, int64_t max,
                    int64_t *ret_value, struct pv_error *err);
int pv_json_get_bool(const struct pv_json *o, const char *key, bool *ret_value,
                     struct pv_error *err);
/* Strings are copied: the caller frees. An embedded NUL is refused. */
int pv_json_get_string(const struct pv_json *o, const char *key, char **ret_text,
                       struct pv_error *err);
int pv_json_get_strv(const struct pv_json *o, const char *key, struct pv_strv *ret_list,
                     struct pv_error *err);
int pv_json_need_u64(const struct pv_json *o, const char *key, uint64_t min, uint64_t max,
                     uint64_t *ret_value, struct pv_error *err);
int pv_json_need_string(const struct pv_json *o, const char *key, char **ret_text,
                        struct pv_error *err);

/* Building. The add functions take over the child, also on failure, and return 0 or -ENOMEM.
 * key is NULL when the parent is an array. A NULL text adds nothing and returns 0. */
struct pv_json *pv_json_new_object(void);
struct pv_json *pv_json_new_array(void);
int pv_json_add(struct pv_json *parent, const char *key, struct pv_json *child);
/* The same child for a second parent: it must not change any more. The first one keeps it, too. */
int pv_json_add_shared(struct pv_json *parent, const char *key, const struct pv_json *child);
int pv_json_add_string(struct pv_json *parent, const char *key, const char *text);
int pv_json_add_string_len(struct pv_json *parent, const char *key, const char *text, size_t len);
int pv_json_add_u64(struct pv_json *parent, const char *key, uint64_t value);
int pv_json_add_i64(struct pv_json *parent, const char *key, int64_t value);
int pv_json_add_bool(struct pv_json *parent, const char *key, bool value);
int pv_json_add_strv(struct pv_json *parent, const char *key, const struct pv_strv *list);
/* The value as text. The caller frees it; NULL when out of memory. */
char *pv_json_print(const struct pv_json *json, bool pretty);

#endif
