/* SPDX-License-Identifier: Apache-2.0
 *
 * str.c: growing strings, string lists, numbers with units.
 */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void pv_str_done(struct pv_str *s)
{
    free(s->text);
    *s = (struct pv_str){0};
}

static int str_reserve(struct pv_str *s, size_t len)
{
    if (len >= SIZE_MAX / 4 || s->len >= SIZE_MAX / 4)
        return -ENOMEM;
    size_t need = s->len + len + 1;
    if (need <= s->cap)
        return 0;
    size_t cap = PV_MAX(s->cap, (size_t)64);
    while (cap < need)
        cap *= 2;
    char *text = realloc(s->text, cap);
    if (!text)
        return -ENOMEM;
    s->text = text;
    s->cap = cap;
    return 0;
}

int pv_str_add_bytes(struct pv_str *s, const void *bytes, size_t len)
{
    int rc = str_reserve(s, len);
    if (rc < 0)
        return rc;
    if (len)
        memcpy(s->text + s->len, bytes, len);
    s->len += len;
    s->text[s->len] = '\0';
    return 0;
}

int pv_str_add(struct pv_str *s, const char *text)
{
    return pv_str_add_bytes(s, text, strlen(text));
}

__attribute__((format(printf, 1, 0))) static char *vformat(const char *fmt, va_list args)
{
    char *text = NULL;
    return vasprintf(&text, fmt, args) < 0 ? NULL : text;
}

int pv_str_addf(struct pv_str *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    pv_auto_free char *text = vformat(fmt, args);
    va_end(args);
    return text ? pv_str_add(s, text) : -ENOMEM;
}

char *pv_str_take(struct pv_str *s)
{
    if (!s->text && pv_str_add(s, "") < 0)
        return NULL;
    char *text = s->text;
    *s = (struct pv_str){0};
    return text;
}

char *pv_strf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = vformat(fmt, args);
    va_end(args);
    return text;
}

void pv_strv_done(struct pv_strv *v)
{
    for (size_t i = 0; i < v->count; i++)
        free(v->items[i]);
    free(v->items);
    *v = (struct pv_strv){0};
}

int pv_strv_add_take(struct pv_strv *v, char *text)
{
    if (!text)
        return -ENOMEM;
    char **items = realloc(v->items, (v->count + 2) * sizeof(*items));
    if (!items) {
        free(text);
        return -ENOMEM;
    }
    v->items = items;
    v->items[v->count++] = text;
    v->items[v->count] = NULL;
    return 0;
}

int pv_strv_add(struct pv_strv *v, const char *text)
{
    return pv_strv_add_take(v, strdup(text));
}

int pv_strv_copy(struct pv_strv *dst, const struct pv_strv *src)
{
    for (size_t i = 0; i < src->count; i++) {
        int rc = pv_strv_add(dst, src->items[i]);
        if (rc < 0) {
            pv_strv_done(dst);
            return rc;
        }
    }
    return 0;
}

/* Reads the leading decimal digits of text. */
static int parse_digits(const char *text, uint64_t *ret_value, const char **ret_rest)
{
    uint64_t value = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return -ERANGE;
    }
    if (p == text)
        return -EINVAL;
    *ret_value = value;
    *ret_rest = p;
    return 0;
}

int pv_str_to_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    uint64_t value;
    const char *rest;
    int rc = parse_digits(text, &value, &rest);
    if (rc < 0)
        return rc;
    if (*rest)
        return -EINVAL;
    if (value < min || value > max)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int pv_str_to_size(const char *text, uint64_t *ret_bytes)
{
    static const char units[] = "bkmgt";
    uint64_t value;
    const char *rest;
    int rc = parse_digits(text, &value, &rest);
    if (rc < 0)
        return rc;

    unsigned shift = 0;
    if (*rest) {
        const char *unit = strchr(units, tolower((unsigned char)*rest));
        if (!unit)
            return -EINVAL;
        shift = 10 * (unsigned)(unit - units);
        rest++;
        if (shift && tolower((unsigned char)rest[0]) == 'i' &&
            tolower((unsigned char)rest[1]) == 'b')
            rest += 2;
        else if (shift && tolower((unsigned char)rest[0]) == 'b')
            rest++;
        if (*rest)
            return -EINVAL;
    }
    if (value > UINT64_MAX >> shift)
        return -ERANGE;
    *ret_bytes = value << shift;
    return 0;
}

const char *pv_str_from_size(uint64_t bytes, char *buf, size_t len)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < PV_ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    bool whole = unit == 0 || value >= 100 || value == (double)(uint64_t)value;
    snprintf(buf, len, whole ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buf;
}

bool pv_str_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool pv_str_is_name(const char *text)
{
    if (!isalnum((unsigned char)text[0]))
        return false;
    size_t len = 0;
    for (; text[len]; len++) {
        unsigned char c = (unsigned char)text[len];
        if (c >= 128 || (!isalnum(c) && c != '_' && c != '.' && c != '-'))
            return false;
    }
    return len <= 128;
}

/* The length of the UTF-8 sequence at p (RFC 3629), or 0 when it is none. */
static size_t utf8_sequence(const unsigned char *p, size_t len)
{
    if (p[0] < 0x80)
        return 1;
    size_t need = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                  : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                  : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                 : 0;
    if (need == 0 || need > len)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* No overlong forms, no surrogates, nothing above U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return need;
}

bool pv_str_is_utf8(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    while (len) {
        size_t n = utf8_sequence(p, len);
        if (n == 0)
            return false;
        p += n;
        len -= n;
    }
    return true;
}
