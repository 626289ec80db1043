/* SPDX-License-Identifier: Apache-2.0
 *
 * address.h: IP addresses and prefixes as plain data.
 *
 * One form for both families: 16 bytes, an IPv4 address as the IPv4-mapped IPv6 address
 * (::ffff:a.b.c.d). So addresses are compared, hashed and matched without looking at the family;
 * a mapped address that stands in an IPv6 packet is never taken for IPv4 (net/packet.c drops it).
 */
#ifndef WORKLOAD_ADDRESS_H
#define WORKLOAD_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct workload_address {
    uint8_t bytes[16];
};

struct workload_prefix {
    struct workload_address address; /* bits beyond bits are zero */
    uint8_t bits;                    /* 0 .. 128; an IPv4 prefix of n bits has 96 + n */
};

#define WORKLOAD_ADDRESS_TEXT_MAX 48
#define WORKLOAD_PREFIX_TEXT_MAX 52

struct workload_address workload_address_from_v4(const uint8_t v4[4]);
struct workload_address workload_address_from_v6(const uint8_t v6[16]);
bool workload_address_is_v4(const struct workload_address *a);
/* The four bytes of an IPv4 address; borrowed. */
static inline const uint8_t *workload_address_v4(const struct workload_address *a)
{
    return a->bytes + 12;
}
static inline bool workload_address_equal(const struct workload_address *a,
                                          const struct workload_address *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}
/* Parses "192.0.2.1" or "2001:db8::1" (no brackets, no zone), all of text. 0 or -EINVAL; an
 * IPv6 text that means a mapped address is refused. */
int workload_address_parse(const char *text, struct workload_address *ret_address);
/* Writes the usual text into buf and returns it. */
const char *workload_address_text(const struct workload_address *a,
                                  char buf[WORKLOAD_ADDRESS_TEXT_MAX]);

/* Parses "ADDRESS/LENGTH"; without a length, the address alone. 0, -EINVAL, or -ERANGE when the
 * address has bits beyond the length (*ret_prefix is then the network itself). */
int workload_prefix_parse(const char *text, struct workload_prefix *ret_prefix);
/* Writes "ADDRESS/LENGTH" (the address alone when it is a single one) into buf and returns it. */
const char *workload_prefix_text(const struct workload_prefix *p,
                                 char buf[WORKLOAD_PREFIX_TEXT_MAX]);
bool workload_prefix_contains(const struct workload_prefix *p, const struct workload_address *a);
/* True when every address of inner is one of outer. */
bool workload_prefix_covers(const struct workload_prefix *outer,
                            const struct workload_prefix *inner);

#endif
