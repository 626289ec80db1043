/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c: checks that the readers of this folder share.
 */
#include "wire/check_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

struct key_list {
    const char *const *keys;
    size_t count;
    struct pv_error *err;
};

static int visit_key(const char *key, const struct pv_json *value, void *data)
{
    const struct key_list *list = data;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(key, list->keys[i]) == 0)
            return 0;
    return pv_error_set(list->err, EINVAL, "'%.100s': unknown key", key);
}

int wire_check_keys(const struct pv_json *json, const char *const *keys, size_t count,
                    struct pv_error *err)
{
    if (!pv_json_is_object(json))
        return pv_error_set(err, EINVAL, "expected an object");
    struct key_list list = {.keys = keys, .count = count, .err = err};
    return pv_json_each(json, visit_key, &list);
}

int wire_check_path(const char *key, const char *text, struct pv_error *err)
{
    if (!text)
        return 0;
    if (text[0] != '/')
        return pv_error_set(err, EINVAL, "'%s': must be an absolute path", key);
    if (strlen(text) > WIRE_CHECK_PATH_MAX)
        return pv_error_set(err, ENAMETOOLONG, "'%s': longer than %d bytes", key,
                            WIRE_CHECK_PATH_MAX);
    return 0;
}

int wire_check_text(const char *key, const char *text, size_t max, bool may_be_empty,
                    struct pv_error *err)
{
    if (!text)
        return 0;
    if (!text[0] && !may_be_empty)
        return pv_error_set(err, EINVAL, "'%s': must not be empty", key);
    for (size_t i = 0; text[i]; i++) {
        if (i == max)
            return pv_error_set(err, ERANGE, "'%s': longer than %zu bytes", key, max);
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            return pv_error_set(err, EINVAL, "'%s': holds a control character", key);
    }
    return 0;
}

int wire_check_get_u32(const struct pv_json *o, const char *key, uint32_t min, uint32_t max,
                       uint32_t *ret_value, struct pv_error *err)
{
    uint64_t value = *ret_value;
    int rc = pv_json_get_u64(o, key, min, max, &value, err);
    if (rc == 0)
        *ret_value = (uint32_t)value;
    return rc;
}

int wire_check_get_u16(const struct pv_json *o, const char *key, uint16_t *ret_value,
                       struct pv_error *err)
{
    uint64_t value = *ret_value;
    int rc = pv_json_get_u64(o, key, 0, UINT16_MAX, &value, err);
    if (rc == 0)
        *ret_value = (uint16_t)value;
    return rc;
}

static bool is_address(const char *text)
{
    uint8_t bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

int wire_check_address(const char *key, const char *text, struct pv_error *err)
{
    if (!is_address(text))
        return pv_error_set(err, EINVAL, "'%s': '%.100s' is no IP address", key, text);
    return 0;
}

int wire_check_network(const char *key, const char *text, struct pv_error *err)
{
    char address[INET6_ADDRSTRLEN] = "";
    uint64_t length;
    size_t len = strcspn(text, "/");
    if (len < sizeof(address))
        memcpy(address, text, len);
    if (!is_address(address) || !text[len] ||
        pv_str_to_u64(text + len + 1, 1, strchr(address, ':') ? 128 : 32, &length) < 0)
        return pv_error_set(err, EINVAL, "'%s': '%.100s' is not ADDRESS/LENGTH", key, text);
    return 0;
}

int wire_check_mac(const char *key, const char *text, struct pv_error *err)
{
    static const char digits[] = "0123456789abcdef";
    bool good = strlen(text) == 17;
    for (size_t i = 0; good && i < 17; i++)
        good = i % 3 == 2 ? text[i] == ':' : strchr(digits, text[i]) != NULL;
    /* The lowest bit of the first byte makes an address that of a group. */
    if (!good || (strchr(digits, text[1]) - digits) & 1)
        return pv_error_set(err, EINVAL, "'%s': '%.100s' is no Ethernet address of a host", key,
                            text);
    return 0;
}

int wire_check_get_list(const struct pv_json *o, const char *key, size_t max,
                        const struct pv_json **ret_list, size_t *ret_count, struct pv_error *err)
{
    struct pv_strv none = {0};
    const struct pv_json *list = pv_json_get(o, key);
    size_t count = pv_json_array_length(list);
    if (list && !count && pv_json_get_strv(o, key, &none, NULL) < 0)
        return pv_error_set(err, EINVAL, "'%s': expected a list", key);
    if (count > max)
        return pv_error_set(err, E2BIG, "'%s': more than %zu", key, max);
    *ret_list = list;
    *ret_count = count;
    return 0;
}
