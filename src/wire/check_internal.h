/* SPDX-License-Identifier: Apache-2.0
 *
 * check_internal.h: checks that the readers of this folder share. Each fills err with the name of
 * the key and returns 0 or -errno.
 */
#ifndef WIRE_CHECK_INTERNAL_H
#define WIRE_CHECK_INTERNAL_H

#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>

#define WIRE_CHECK_PATH_MAX 4095 /* PATH_MAX without the NUL */

/* json must be an object with no other keys than the count given. */
int wire_check_keys(const struct pv_json *json, const char *const *keys, size_t count,
                    struct pv_error *err);
/* An absolute path, not empty and not too long. text may be NULL: nothing to check. */
int wire_check_path(const char *key, const char *text, struct pv_error *err);
/* At most max bytes, none of them a control character; not empty unless may_be_empty. text may be
 * NULL. */
int wire_check_text(const char *key, const char *text, size_t max, bool may_be_empty,
                    struct pv_error *err);

/* Bounded getters of 16 and 32 bit; like pv_json_get_u64. */
int wire_check_get_u32(const struct pv_json *o, const char *key, uint32_t min, uint32_t max,
                       uint32_t *ret_value, struct pv_error *err);
int wire_check_get_u16(const struct pv_json *o, const char *key, uint16_t *ret_value,
                       struct pv_error *err);

/* An IPv4 or IPv6 address; one with the length of its network ("192.0.2.5/24"); an Ethernet address
 * of one host ("02:00:5e:10:20:30", lower case). */
int wire_check_address(const char *key, const char *text, struct pv_error *err);
int wire_check_network(const char *key, const char *text, struct pv_error *err);
int wire_check_mac(const char *key, const char *text, struct pv_error *err);
/* The list of that name with at most max elements; a missing one is empty. Borrowed. */
int wire_check_get_list(const struct pv_json *o, const char *key, size_t max,
                        const struct pv_json **ret_list, size_t *ret_count, struct pv_error *err);

#endif
