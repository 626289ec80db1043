/* SPDX-License-Identifier: Apache-2.0
 *
 * str.h: growing strings, string lists, numbers with units.
 */
#ifndef PV_BASE_STR_H
#define PV_BASE_STR_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* A growing byte string, always NUL-terminated once anything was added. Zero is a valid start. */
struct pv_str {
    char *text; /* owned; NULL while empty */
    size_t len, cap;
};

void pv_str_done(struct pv_str *s);
static inline void pv_str_auto(struct pv_str *s)
{
    pv_str_done(s);
}
/* Each returns 0 or -ENOMEM; on failure the string is unchanged. */
int pv_str_add(struct pv_str *s, const char *text);
int pv_str_add_bytes(struct pv_str *s, const void *bytes, size_t len);
int pv_str_addf(struct pv_str *s, const char *fmt, ...) PV_PRINTF(2, 3);
/* Hands the text over (an empty string becomes ""); NULL when out of memory. */
char *pv_str_take(struct pv_str *s);

/* asprintf that returns the string (the caller frees it) or NULL. */
char *pv_strf(const char *fmt, ...) PV_PRINTF(1, 2);

/* A NULL-terminated list of owned strings. Zero is a valid start. */
struct pv_strv {
    char **items; /* owned, NULL-terminated; NULL while empty */
    size_t count;
};
void pv_strv_done(struct pv_strv *v);
static inline void pv_strv_auto(struct pv_strv *v)
{
    pv_strv_done(v);
}
int pv_strv_add(struct pv_strv *v, const char *text); /* copies; 0 or -ENOMEM */
int pv_strv_add_take(struct pv_strv *v, char *text);  /* takes, also on failure; NULL: -ENOMEM */
int pv_strv_copy(struct pv_strv *dst, const struct pv_strv *src); /* dst must be empty */

/* Parses a whole decimal number in [min, max]. Returns 0, -EINVAL or -ERANGE. */
int pv_str_to_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);
/* Parses a size: digits with an optional unit b, k, m, g, t (powers of 1024, any case, optional
 * trailing "b" or "ib"). Returns 0, -EINVAL or -ERANGE. */
int pv_str_to_size(const char *text, uint64_t *ret_bytes);
/* Writes "1.5 GiB" and the like into buf and returns buf. */
const char *pv_str_from_size(uint64_t bytes, char *buf, size_t len);

bool pv_str_starts_with(const char *text, const char *prefix);
/* True when the bytes are whole UTF-8 sequences (RFC 3629), as JSON needs them. */
bool pv_str_is_utf8(const void *bytes, size_t len);
/* True for [a-zA-Z0-9][a-zA-Z0-9_.-]* of at most 128 characters: a name as Docker takes it. */
bool pv_str_is_name(const char *text);

#endif
