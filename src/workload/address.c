/* SPDX-License-Identifier: Apache-2.0
 *
 * address.c: IP addresses and prefixes as plain data.
 */
#include "workload/address.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#define V4_BITS 96u /* before an IPv4 address */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct workload_address workload_address_from_v4(const uint8_t v4[4])
{
    struct workload_address a;
    memcpy(a.bytes, mapped, sizeof(mapped));
    memcpy(a.bytes + sizeof(mapped), v4, 4);
    return a;
}

struct workload_address workload_address_from_v6(const uint8_t v6[16])
{
    struct workload_address a;
    memcpy(a.bytes, v6, sizeof(a.bytes));
    return a;
}

bool workload_address_is_v4(const struct workload_address *a)
{
    return memcmp(a->bytes, mapped, sizeof(mapped)) == 0;
}

int workload_address_parse(const char *text, struct workload_address *ret_address)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, text, bytes) == 1) {
        *ret_address = workload_address_from_v4(bytes);
        return 0;
    }
    if (inet_pton(AF_INET6, text, bytes) != 1)
        return -EINVAL;
    struct workload_address a = workload_address_from_v6(bytes);
    if (workload_address_is_v4(&a))
        return -EINVAL;
    *ret_address = a;
    return 0;
}

const char *workload_address_text(const struct workload_address *a,
                                  char buf[WORKLOAD_ADDRESS_TEXT_MAX])
{
    if (workload_address_is_v4(a))
        inet_ntop(AF_INET, workload_address_v4(a), buf, WORKLOAD_ADDRESS_TEXT_MAX);
    else
        inet_ntop(AF_INET6, a->bytes, buf, WORKLOAD_ADDRESS_TEXT_MAX);
    return buf;
}

/* Zeroes the bits beyond the first `bits`; true when all of them were zero. */
static bool cut(struct workload_address *a, unsigned bits)
{
    bool clean = true;
    for (unsigned i = 0; i < sizeof(a->bytes); i++) {
        unsigned kept = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;
        uint8_t mask = (uint8_t)(0xff00u >> kept);
        clean &= !(a->bytes[i] & (uint8_t)~mask);
        a->bytes[i] &= mask;
    }
    return clean;
}

int workload_prefix_parse(const char *text, struct workload_prefix *ret_prefix)
{
    char address[WORKLOAD_ADDRESS_TEXT_MAX];
    struct workload_prefix p = {.bits = 128};
    size_t len = strcspn(text, "/");
    if (len >= sizeof(address))
        return -EINVAL;
    memcpy(address, text, len);
    address[len] = '\0';
    if (workload_address_parse(address, &p.address) < 0)
        return -EINVAL;
    if (text[len]) {
        unsigned before = workload_address_is_v4(&p.address) ? V4_BITS : 0;
        uint64_t bits;
        if (pv_str_to_u64(text + len + 1, 0, 128 - before, &bits) < 0)
            return -EINVAL;
        p.bits = (uint8_t)(bits + before);
    }
    bool clean = cut(&p.address, p.bits);
    *ret_prefix = p;
    return clean ? 0 : -ERANGE;
}

const char *workload_prefix_text(const struct workload_prefix *p,
                                 char buf[WORKLOAD_PREFIX_TEXT_MAX])
{
    char address[WORKLOAD_ADDRESS_TEXT_MAX];
    unsigned before = workload_address_is_v4(&p->address) ? V4_BITS : 0;
    workload_address_text(&p->address, address);
    if (p->bits == 128)
        snprintf(buf, WORKLOAD_PREFIX_TEXT_MAX, "%s", address);
    else
        snprintf(buf, WORKLOAD_PREFIX_TEXT_MAX, "%s/%u", address, p->bits - before);
    return buf;
}

bool workload_prefix_contains(const struct workload_prefix *p, const struct workload_address *a)
{
    struct workload_address network = *a;
    /* An IPv6 prefix that is short enough to hold the mapped addresses does not mean IPv4. */
    if (p->bits < V4_BITS && workload_address_is_v4(a))
        return false;
    cut(&network, p->bits);
    return workload_address_equal(&network, &p->address);
}

bool workload_prefix_covers(const struct workload_prefix *outer,
                            const struct workload_prefix *inner)
{
    return inner->bits >= outer->bits && workload_prefix_contains(outer, &inner->address);
}
