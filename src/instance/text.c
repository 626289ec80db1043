/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c: base64 (RFC 4648, 4) and the escapes of JSON strings (RFC 8259, 7).
 */
#include "instance/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(digits, c) : NULL;
    return found ? (int)(found - digits) : -1;
}

int instance_text_decode_base64(const char *text, uint8_t **ret_bytes, size_t *ret_len)
{
    size_t len = strlen(text), digits = strcspn(text, "="), out = 0;
    uint32_t group = 0;
    if (len % 4 != 0 || len - digits > 2 || strspn(text + digits, "=") != len - digits)
        return -EINVAL;
    pv_auto_free uint8_t *bytes = malloc(len / 4 * 3 + 1);
    if (!bytes)
        return -ENOMEM;
    for (size_t i = 0; i < digits; i++) {
        int value = base64_value(text[i]);
        if (value < 0)
            return -EINVAL;
        group = group << 6 | (uint32_t)value;
        if (i % 4 != 0) /* the 2nd, 3rd and 4th digit complete a byte each */
            bytes[out++] = (uint8_t)(group >> 2 * (3 - i % 4));
    }
    *ret_bytes = pv_take_ptr(bytes);
    *ret_len = out;
    return 0;
}

static uint32_t hex4(const char *p)
{
    char digits[5] = "";
    memcpy(digits, p, strnlen(p, 4));
    return (uint32_t)strtoul(digits, NULL, 16);
}

static size_t put_utf8(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/* Decodes the escape at p ("\n", "\u0000", a surrogate pair) into out. Returns its length. */
static size_t decode_escape(const char *p, uint8_t *out, size_t *ret_out)
{
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *name = p[1] ? strchr(names, p[1]) : NULL;
    if (p[1] != 'u') {
        out[0] = (uint8_t)(name ? values[name - names] : p[1]);
        *ret_out = 1;
        return 2;
    }
    uint32_t c = hex4(p + 2);
    if (c >= 0xd800 && c < 0xdc00 && strlen(p) >= 12 && p[6] == '\\' && p[7] == 'u') {
        *ret_out = put_utf8(out, 0x10000 + ((c & 0x3ff) << 10) + (hex4(p + 8) & 0x3ff));
        return 12;
    }
    *ret_out = put_utf8(out, c);
    return 6;
}

int instance_text_decode_string(const struct pv_json *value, uint8_t **ret_bytes, size_t *ret_len)
{
    if (!pv_json_text(value))
        return -EINVAL;
    pv_auto_free char *quoted = pv_json_print(value, false); /* well-formed: it was printed here */
    size_t len = quoted ? strlen(quoted) : 0, out = 0;
    pv_auto_free uint8_t *bytes = quoted ? malloc(len + 1) : NULL;
    if (!bytes)
        return -ENOMEM;
    for (size_t i = 1; i + 1 < len;) {
        if (quoted[i] == '\\') {
            size_t n = 0;
            i += decode_escape(quoted + i, bytes + out, &n);
            out += n;
        } else {
            bytes[out++] = (uint8_t)quoted[i++];
        }
    }
    *ret_bytes = pv_take_ptr(bytes);
    *ret_len = out;
    return 0;
}
