/* SPDX-License-Identifier: Apache-2.0
 *
 * text.h: bytes that were carried as JSON text.
 */
#ifndef INSTANCE_TEXT_H
#define INSTANCE_TEXT_H

#include "base/json.h"

#include <stddef.h>
#include <stdint.h>

/* Decodes base64 with padding. The caller frees *ret_bytes. 0, -EINVAL, -ENOMEM. */
int instance_text_decode_base64(const char *text, uint8_t **ret_bytes, size_t *ret_len);
/* The bytes of a JSON string as UTF-8, NUL characters included (pv_json_text ends at the first).
 * The caller frees *ret_bytes. 0, -EINVAL when value is no string, -ENOMEM. */
int instance_text_decode_string(const struct pv_json *value, uint8_t **ret_bytes, size_t *ret_len);

#endif
