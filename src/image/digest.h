/* SPDX-License-Identifier: Apache-2.0
 *
 * digest.h: SHA-256. Home of libcrypto: nobody else includes it.
 */
#ifndef IMAGE_DIGEST_H
#define IMAGE_DIGEST_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define IMAGE_DIGEST_HEX 65 /* with the NUL */

struct image_digest;

struct image_digest *image_digest_new(void);         /* NULL when out of memory */
void image_digest_free(struct image_digest *digest); /* accepts NULL */
PV_DEFINE_AUTO(image_digest, struct image_digest *, image_digest_free)
void image_digest_add(struct image_digest *digest, const void *bytes, size_t len);
/* Text with its NUL, so that "ab","c" and "a","bc" differ. */
void image_digest_add_text(struct image_digest *digest, const char *text);
void image_digest_add_u64(struct image_digest *digest, uint64_t value); /* little-endian */
/* The digest in lower-case hexadecimal. To be called once. 0 or -EIO. */
int image_digest_finish(struct image_digest *digest, char ret_hex[IMAGE_DIGEST_HEX]);

#endif
