/* SPDX-License-Identifier: Apache-2.0
 *
 * json.c: JSON over json-c. struct pv_json is json-c's object under the house's name.
 */
#include "base/json.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

static struct json_object *raw(const struct pv_json *json)
{
    return (struct json_object *)json;
}

static struct pv_json *wrap(struct json_object *o)
{
    return (struct pv_json *)o;
}

int pv_json_parse(const char *text, size_t len, struct pv_json **ret_json, struct pv_error *err)
{
    if (len > INT32_MAX)
        return pv_error_set(err, EFBIG, "JSON: larger than 2 GiB");
    struct json_tokener *tok = json_tokener_new_ex(PV_JSON_DEPTH_MAX);
    if (!tok)
        return pv_error_set(err, ENOMEM, "JSON: out of memory");
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

    struct json_object *o = json_tokener_parse_ex(tok, text, (int)len);
    enum json_tokener_error why = json_tokener_get_error(tok);
    size_t end = json_tokener_get_parse_end(tok);
    if (why == json_tokener_continue && len) {
        /* A bare number or literal ends only with the text: show the parser the end. */
        o = json_tokener_parse_ex(tok, "", -1);
        why = json_tokener_get_error(tok);
        end = len;
    }
    json_tokener_free(tok);

    if (why != json_tokener_success) {
        json_object_put(o);
        return pv_error_set(err, EINVAL, "JSON: %s at byte %zu", json_tokener_error_desc(why), end);
    }
    while (end < len && strchr(" \t\r\n", text[end]) && text[end])
        end++;
    if (end < len) {
        json_object_put(o);
        return pv_error_set(err, EINVAL, "JSON: more text after the value at byte %zu", end);
    }
    if (!o) /* json-c has no object for null: nothing that we read may be a bare null */
        return pv_error_set(err, EINVAL, "JSON: null is no document");
    *ret_json = wrap(o);
    return 0;
}

void pv_json_free(struct pv_json *json)
{
    json_object_put(raw(json));
}

const struct pv_json *pv_json_get(const struct pv_json *object, const char *key)
{
    struct json_object *child = NULL;
    if (!pv_json_is_object(object) || !json_object_object_get_ex(raw(object), key, &child))
        return NULL;
    return wrap(child);
}

size_t pv_json_array_length(const struct pv_json *array)
{
    return json_object_is_type(raw(array), json_type_array) ? json_object_array_length(raw(array))
                                                            : 0;
}

const struct pv_json *pv_json_array_at(const struct pv_json *array, size_t index)
{
    if (index >= pv_json_array_length(array))
        return NULL;
    return wrap(json_object_array_get_idx(raw(array), index));
}

bool pv_json_is_object(const struct pv_json *json)
{
    return json && json_object_is_type(raw(json), json_type_object);
}

const char *pv_json_text(const struct pv_json *json)
{
    if (!json || !json_object_is_type(raw(json), json_type_string))
        return NULL;
    return json_object_get_string(raw(json));
}

int pv_json_each(const struct pv_json *object,
                 int (*visit)(const char *key, const struct pv_json *value, void *data), void *data)
{
    if (!pv_json_is_object(object))
        return 0;
    json_object_object_foreach(raw(object), key, value)
    {
        int rc = visit(key, wrap(value), data);
        if (rc)
            return rc;
    }
    return 0;
}

/* Finds a member of the type; 1 when there, 0 when missing (or null), -EINVAL otherwise. */
static int find_typed(const struct pv_json *o, const char *key, enum json_type type,
                      const char *type_name, struct json_object **ret_child, struct pv_error *err)
{
    struct json_object *child = raw(pv_json_get(o, key));
    if (!child)
        return 0;
    if (!json_object_is_type(child, type))
        return pv_error_set(err, EINVAL, "'%s': expected %s", key, type_name);
    *ret_child = child;
    return 1;
}

int pv_json_get_u64(const struct pv_json *o, const char *key, uint64_t min, uint64_t max,
                    uint64_t *ret_value, struct pv_error *err)
{
    struct json_object *child;
    int rc = find_typed(o, key, json_type_int, "a whole number", &child, err);
    if (rc <= 0)
        return rc;
    /* Negative numbers read as 0 through get_uint64: look at the sign first. */
    uint64_t value = json_object_get_uint64(child);
    if (json_object_get_int64(child) < 0 || value < min || value > max)
        return pv_error_set(err, ERANGE, "'%s': must be %llu to %llu", key, (unsigned long long)min,
                            (unsigned long long)max);
    *ret_value = value;
    return 0;
}

int pv_json_get_i64(const struct pv_json *o, const char *key, int64_t min, int64_t max,
                    int64_t *ret_value, struct pv_error *err)
{
    struct json_object *child;
    int rc = find_typed(o, key, json_type_int, "a whole number", &child, err);
    if (rc <= 0)
        return rc;
    int64_t value = json_object_get_int64(child);
    if (value < min || value > max || (value >= 0 && json_object_get_uint64(child) > INT64_MAX))
        return pv_error_set(err, ERANGE, "'%s': must be %lld to %lld", key, (long long)min,
                            (long long)max);
    *ret_value = value;
    return 0;
}

int pv_json_get_bool(const struct pv_json *o, const char *key, bool *ret_value,
                     struct pv_error *err)
{
    struct json_object *child;
    int rc = find_typed(o, key, json_type_boolean, "true or false", &child, err);
    if (rc <= 0)
        return rc;
    *ret_value = json_object_get_boolean(child);
    return 0;
}

/* Copies a string value, which must hold no NUL. */
static int copy_text(struct json_object *child, const char *key, char **ret_text,
                     struct pv_error *err)
{
    const char *text = json_object_get_string(child);
    if (strlen(text) != (size_t)json_object_get_string_len(child))
        return pv_error_set(err, EINVAL, "'%s': holds a NUL character", key);
    char *copy = strdup(text);
    if (!copy)
        return pv_error_set(err, ENOMEM, "'%s': out of memory", key);
    *ret_text = copy;
    return 0;
}

int pv_json_get_string(const struct pv_json *o, const char *key, char **ret_text,
                       struct pv_error *err)
{
    struct json_object *child;
    int rc = find_typed(o, key, json_type_string, "a string", &child, err);
    return rc <= 0 ? rc : copy_text(child, key, ret_text, err);
}

int pv_json_get_strv(const struct pv_json *o, const char *key, struct pv_strv *ret_list,
                     struct pv_error *err)
{
    struct json_object *array;
    int rc = find_typed(o, key, json_type_array, "a list of strings", &array, err);
    if (rc <= 0)
        return rc;

    struct pv_strv list __attribute__((cleanup(pv_strv_auto))) = {0};
    size_t count = json_object_array_length(array);
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(array, i);
        char *text = NULL;
        if (!json_object_is_type(item, json_type_string))
            return pv_error_set(err, EINVAL, "'%s': item %zu is no string", key, i);
        rc = copy_text(item, key, &text, err);
        if (rc < 0)
            return rc;
        if (pv_strv_add_take(&list, text) < 0)
            return pv_error_set(err, ENOMEM, "'%s': out of memory", key);
    }
    *ret_list = list;
    list = (struct pv_strv){0};
    return 0;
}

static int need(const struct pv_json *o, const char *key, struct pv_error *err)
{
    return pv_json_get(o, key) ? 0 : pv_error_set(err, EINVAL, "'%s': missing", key);
}

int pv_json_need_u64(const struct pv_json *o, const char *key, uint64_t min, uint64_t max,
                     uint64_t *ret_value, struct pv_error *err)
{
    int rc = need(o, key, err);
    return rc < 0 ? rc : pv_json_get_u64(o, key, min, max, ret_value, err);
}

int pv_json_need_string(const struct pv_json *o, const char *key, char **ret_text,
                        struct pv_error *err)
{
    int rc = need(o, key, err);
    return rc < 0 ? rc : pv_json_get_string(o, key, ret_text, err);
}

struct pv_json *pv_json_new_object(void)
{
    return wrap(json_object_new_object());
}

struct pv_json *pv_json_new_array(void)
{
    return wrap(json_object_new_array());
}

int pv_json_add(struct pv_json *parent, const char *key, struct pv_json *child)
{
    if (!child)
        return -ENOMEM;
    int rc = key ? json_object_object_add(raw(parent), key, raw(child))
                 : json_object_array_add(raw(parent), raw(child));
    if (rc == 0)
        return 0;
    json_object_put(raw(child));
    return -ENOMEM;
}

int pv_json_add_shared(struct pv_json *parent, const char *key, const struct pv_json *child)
{
    return pv_json_add(parent, key, child ? wrap(json_object_get(raw(child))) : NULL);
}

int pv_json_add_string(struct pv_json *parent, const char *key, const char *text)
{
    return text ? pv_json_add_string_len(parent, key, text, strlen(text)) : 0;
}

int pv_json_add_string_len(struct pv_json *parent, const char *key, const char *text, size_t len)
{
    return pv_json_add(parent, key, wrap(json_object_new_string_len(text, (int)len)));
}

int pv_json_add_u64(struct pv_json *parent, const char *key, uint64_t value)
{
    return pv_json_add(parent, key, wrap(json_object_new_uint64(value)));
}

int pv_json_add_i64(struct pv_json *parent, const char *key, int64_t value)
{
    return pv_json_add(parent, key, wrap(json_object_new_int64(value)));
}

int pv_json_add_bool(struct pv_json *parent, const char *key, bool value)
{
    return pv_json_add(parent, key, wrap(json_object_new_boolean(value)));
}

int pv_json_add_strv(struct pv_json *parent, const char *key, const struct pv_strv *list)
{
    struct pv_json *array = pv_json_new_array();
    if (!array)
        return -ENOMEM;
    for (size_t i = 0; i < list->count; i++) {
        if (pv_json_add_string(array, NULL, list->items[i]) < 0) {
            pv_json_free(array);
            return -ENOMEM;
        }
    }
    return pv_json_add(parent, key, array);
}

char *pv_json_print(const struct pv_json *json, bool pretty)
{
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE |
                (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : 0);
    const char *text = json_object_to_json_string_ext(raw(json), flags);
    return text ? strdup(text) : NULL;
}
