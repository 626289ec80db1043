/* SPDX-License-Identifier: Apache-2.0
 *
 * subnet.c: addresses from numbers, and back.
 */
#include "workload/subnet.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_MIN 16
#define PREFIX_MAX 29
#define PREFIX6 64

static uint32_t mask_of(uint8_t prefix)
{
    return prefix ? ~0u << (32 - prefix) : 0;
}

/* Splits "address/prefix"; false when it is not written so. */
static bool split(const char *text, char *address, size_t max, uint64_t prefix_max,
                  uint64_t *ret_prefix)
{
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : 0;
    if (!slash || len >= max)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    return pv_str_to_u64(slash + 1, 0, prefix_max, ret_prefix) == 0;
}

static bool is_private(uint32_t address, uint8_t prefix)
{
    static const struct {
        uint32_t address;
        uint8_t prefix;
    } ranges[] = {{0x0a000000, 8}, {0xac100000, 12}, {0xc0a80000, 16}, {0x64400000, 10}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(ranges); i++)
        if (prefix >= ranges[i].prefix &&
            (address & mask_of(ranges[i].prefix)) == ranges[i].address)
            return true;
    return false;
}

int workload_subnet_parse(const char *text, struct workload_subnet *subnet, struct pv_error *err)
{
    char address[INET_ADDRSTRLEN];
    struct in_addr in;
    uint64_t prefix;
    if (!split(text, address, sizeof(address), 32, &prefix) ||
        inet_pton(AF_INET, address, &in) != 1)
        return pv_error_set(err, EINVAL, "subnet '%s': write it as 10.89.3.0/24", text);
    uint32_t value = ntohl(in.s_addr);
    if (prefix < PREFIX_MIN || prefix > PREFIX_MAX)
        return pv_error_set(err, ERANGE, "subnet '%s': the prefix must be /%d to /%d", text,
                            PREFIX_MIN, PREFIX_MAX);
    if (value & ~mask_of((uint8_t)prefix)) {
        in.s_addr = htonl(value & mask_of((uint8_t)prefix));
        return pv_error_set(err, EINVAL, "subnet '%s': did you mean %s/%u?", text,
                            inet_ntop(AF_INET, &in, address, sizeof(address)), (unsigned)prefix);
    }
    if (!is_private(value, (uint8_t)prefix))
        return pv_error_set(err, EINVAL,
                            "subnet '%s' is not private: choose one in 10.0.0.0/8, 172.16.0.0/12, "
                            "192.168.0.0/16 or 100.64.0.0/10",
                            text);
    subnet->address = value;
    subnet->prefix = (uint8_t)prefix;
    return 0;
}

int workload_subnet_parse6(const char *text, struct workload_subnet *subnet, struct pv_error *err)
{
    static const uint8_t zero[8];
    char address[INET6_ADDRSTRLEN];
    uint8_t value[16];
    uint64_t prefix;
    if (!split(text, address, sizeof(address), 128, &prefix) ||
        inet_pton(AF_INET6, address, value) != 1)
        return pv_error_set(err, EINVAL, "IPv6 subnet '%s': write it as fd12:3456:789a::/64", text);
    if (prefix != PREFIX6)
        return pv_error_set(err, ERANGE, "IPv6 subnet '%s': the prefix must be /64", text);
    if (memcmp(value + 8, zero, 8) != 0)
        return pv_error_set(err, EINVAL, "IPv6 subnet '%s' has bits beyond its prefix", text);
    if ((value[0] & 0xfe) != 0xfc)
        return pv_error_set(err, EINVAL, "IPv6 subnet '%s' is not private: choose one in fd00::/8",
                            text);
    memcpy(subnet->address6, value, sizeof(value));
    return 0;
}

uint32_t workload_subnet_last(const struct workload_subnet *subnet)
{
    return ~mask_of(subnet->prefix) - 1; /* the broadcast address is nobody's */
}

bool workload_subnet_overlaps(const struct workload_subnet *subnet, uint32_t address,
                              uint8_t prefix)
{
    uint32_t mask = mask_of(PV_MIN(prefix, subnet->prefix));
    return (subnet->address & mask) == (address & mask);
}

int workload_subnet_number(const struct workload_subnet *subnet, const char *address,
                           uint32_t *ret_number)
{
    struct in_addr in;
    if (inet_pton(AF_INET, address, &in) != 1)
        return -EINVAL;
    uint32_t value = ntohl(in.s_addr);
    if ((value & mask_of(subnet->prefix)) != subnet->address)
        return -EINVAL;
    uint32_t number = value - subnet->address;
    if (number < WORKLOAD_SUBNET_FIRST || number > workload_subnet_last(subnet))
        return -ERANGE;
    *ret_number = number;
    return 0;
}

uint32_t workload_subnet_ipv4(const struct workload_subnet *subnet, uint32_t number)
{
    return subnet->address | number;
}

void workload_subnet_ipv6(const struct workload_subnet *subnet, uint32_t number, uint8_t ret[16])
{
    uint32_t low = htonl(number);
    memcpy(ret, subnet->address6, 12);
    memcpy(ret + 12, &low, sizeof(low));
}

void workload_subnet_mac(const struct workload_subnet *subnet, uint32_t number,
                         uint8_t ret[WORKLOAD_SUBNET_MAC_LEN])
{
    uint32_t address = htonl(workload_subnet_ipv4(subnet, number));
    ret[0] = 0x02; /* locally administered */
    ret[1] = 'P';
    memcpy(ret + 2, &address, sizeof(address));
}

const char *workload_subnet_ipv4_text(const struct workload_subnet *subnet, uint32_t number,
                                      char *buf)
{
    struct in_addr in = {htonl(workload_subnet_ipv4(subnet, number))};
    return inet_ntop(AF_INET, &in, buf, WORKLOAD_SUBNET_TEXT_MAX);
}

const char *workload_subnet_ipv6_text(const struct workload_subnet *subnet, uint32_t number,
                                      char *buf)
{
    uint8_t address[16];
    workload_subnet_ipv6(subnet, number, address);
    return inet_ntop(AF_INET6, address, buf, WORKLOAD_SUBNET_TEXT_MAX);
}

const char *workload_subnet_mac_text(const struct workload_subnet *subnet, uint32_t number,
                                     char *buf)
{
    uint8_t mac[WORKLOAD_SUBNET_MAC_LEN];
    workload_subnet_mac(subnet, number, mac);
    snprintf(buf, WORKLOAD_SUBNET_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
    return buf;
}

const char *workload_subnet_text(const struct workload_subnet *subnet, char *buf)
{
    workload_subnet_ipv4_text(subnet, 0, buf);
    size_t len = strlen(buf);
    snprintf(buf + len, WORKLOAD_SUBNET_TEXT_MAX - len, "/%u", subnet->prefix);
    return buf;
}

const char *workload_subnet_text6(const struct workload_subnet *subnet, char *buf)
{
    workload_subnet_ipv6_text(subnet, 0, buf);
    size_t len = strlen(buf);
    snprintf(buf + len, WORKLOAD_SUBNET_TEXT_MAX - len, "/%d", PREFIX6);
    return buf;
}
