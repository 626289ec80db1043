/* SPDX-License-Identifier: Apache-2.0
 *
 * subnet.h: the addresses of a private network.
 *
 * A network has an IPv4 subnet and an IPv6 subnet of 64 bits. All addresses come from a number:
 * 10.89.3.7, fdxx:...::7 and the MAC 02:50:0a:59:03:07 are number 7 of 10.89.3.0/24. The first
 * numbers belong to the way out (gateway, DNS), machines have the others.
 */
#ifndef WORKLOAD_SUBNET_H
#define WORKLOAD_SUBNET_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define WORKLOAD_SUBNET_GATEWAY 2u /* number of the way out */
#define WORKLOAD_SUBNET_DNS 3u
#define WORKLOAD_SUBNET_FIRST 4u /* number of the first machine */
#define WORKLOAD_SUBNET_TEXT_MAX 64
#define WORKLOAD_SUBNET_MAC_LEN 6

struct workload_subnet {
    uint32_t address; /* host byte order, the bits of the number are 0 */
    uint8_t prefix;   /* 16 to 29 bits */
    uint8_t address6[16];
};

/* "10.89.3.0/24": a private range (RFC 1918, RFC 6598) without bits beyond its prefix. */
int workload_subnet_parse(const char *text, struct workload_subnet *subnet, struct pv_error *err);
/* "fd00:1::/64": a unique local range (RFC 4193) of 64 bits. */
int workload_subnet_parse6(const char *text, struct workload_subnet *subnet, struct pv_error *err);

/* The last number that a machine can have. */
uint32_t workload_subnet_last(const struct workload_subnet *subnet);
/* True when the ranges share an address. */
bool workload_subnet_overlaps(const struct workload_subnet *subnet, uint32_t address,
                              uint8_t prefix);
/* The number of an address as text: -EINVAL when it is none of the subnet, -ERANGE when no machine
 * can have it. */
int workload_subnet_number(const struct workload_subnet *subnet, const char *address,
                           uint32_t *ret_number);

uint32_t workload_subnet_ipv4(const struct workload_subnet *subnet, uint32_t number);
void workload_subnet_ipv6(const struct workload_subnet *subnet, uint32_t number, uint8_t ret[16]);
void workload_subnet_mac(const struct workload_subnet *subnet, uint32_t number,
                         uint8_t ret[WORKLOAD_SUBNET_MAC_LEN]);

/* As text, into buf (WORKLOAD_SUBNET_TEXT_MAX bytes), which is returned. */
const char *workload_subnet_text(const struct workload_subnet *subnet, char *buf);  /* with /24 */
const char *workload_subnet_text6(const struct workload_subnet *subnet, char *buf); /* with /64 */
const char *workload_subnet_ipv4_text(const struct workload_subnet *subnet, uint32_t number,
                                      char *buf);
const char *workload_subnet_ipv6_text(const struct workload_subnet *subnet, uint32_t number,
                                      char *buf);
const char *workload_subnet_mac_text(const struct workload_subnet *subnet, uint32_t number,
                                     char *buf);

#endif
