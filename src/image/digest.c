/* SPDX-License-Identifier: Apache-2.0
 *
 * digest.c: SHA-256 by libcrypto. A failure is remembered and told at the end.
 */
#include "image/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct image_digest {
    EVP_MD_CTX *context;
    bool failed;
};

struct image_digest *image_digest_new(void)
{
    struct image_digest *digest = calloc(1, sizeof(*digest));
    if (!digest)
        return NULL;
    digest->context = EVP_MD_CTX_new();
    if (!digest->context) {
        free(digest);
        return NULL;
    }
    digest->failed = !EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL);
    return digest;
}

void image_digest_free(struct image_digest *digest)
{
    if (!digest)
        return;
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

void image_digest_add(struct image_digest *digest, const void *bytes, size_t len)
{
    digest->failed |= !EVP_DigestUpdate(digest->context, bytes, len);
}

void image_digest_add_text(struct image_digest *digest, const char *text)
{
    image_digest_add(digest, text, strlen(text) + 1);
}

void image_digest_add_u64(struct image_digest *digest, uint64_t value)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    image_digest_add(digest, bytes, sizeof(bytes));
}

int image_digest_finish(struct image_digest *digest, char ret_hex[IMAGE_DIGEST_HEX])
{
    uint8_t bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (digest->failed || !EVP_DigestFinal_ex(digest->context, bytes, &len) ||
        len != IMAGE_DIGEST_HEX / 2)
        return -EIO;
    for (unsigned i = 0; i < len; i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}
