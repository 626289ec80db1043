/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_check.c: what a frame says of its sender and its destination, when all addresses of a
 * machine follow from its number.
 *
 * Spec: RFC 826 (ARP), RFC 4861 (neighbour discovery), RFC 4291 (interface identifiers).
 */
#include "net/switch_internal.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <string.h>

#define ETH_LEN 14u
#define ARP_LEN 28u
#define IPV4_LEN 20u
#define IPV6_LEN 40u
#define NEIGHBOUR_LEN 24u /* neighbour solicitation and advertisement up to the target */
#define EXTENSIONS_MAX 4
#define DHCP_SERVER 67
#define DHCP6_SERVER 547

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* The number that an IPv4 address means; 0: it is no address of the subnet. */
static uint32_t number_of4(const struct workload_subnet *subnet, const uint8_t *address)
{
    uint32_t mask = ~0u << (32 - subnet->prefix), value = get32(address);
    return (value & mask) == subnet->address ? value & ~mask : 0;
}

/* The link-local address that a machine's kernel makes from its MAC. */
static void link_local(const struct workload_subnet *subnet, uint32_t number, uint8_t ret[16])
{
    uint8_t mac[WORKLOAD_SUBNET_MAC_LEN];
    workload_subnet_mac(subnet, number, mac);
    const uint8_t address[16] = {0xfe,       0x80,   0,      0,    0,    0,      0,      0,
                                 mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
    memcpy(ret, address, sizeof(address));
}

/* The same for IPv6: the address of the subnet, or the link-local one. */
static uint32_t number_of6(const struct workload_subnet *subnet, const uint8_t *address)
{
    uint8_t expected[16];
    uint32_t number = get32(address + 12);
    workload_subnet_ipv6(subnet, number, expected);
    if (memcmp(address, expected, sizeof(expected)) == 0)
        return number;
    const uint8_t v4[4] = {address[10], address[13], address[14], address[15]};
    number = number_of4(subnet, v4);
    link_local(subnet, number, expected);
    return memcmp(address, expected, sizeof(expected)) == 0 ? number : 0;
}

static bool is_machine(const struct workload_subnet *subnet, uint32_t number)
{
    return number >= WORKLOAD_SUBNET_FIRST && number <= workload_subnet_last(subnet);
}

static enum switch_way to_number(const struct workload_subnet *subnet, uint32_t own,
                                 uint32_t number, uint32_t *ret_number)
{
    if (number == own)
        return SWITCH_TO_NOBODY; /* it looks for others with its address: there are none */
    if (!is_machine(subnet, number))
        return SWITCH_TO_BELOW;
    *ret_number = number;
    return SWITCH_TO_MACHINE;
}

static enum switch_way choose_udp(const uint8_t *udp, size_t len)
{
    if (len < 4)
        return SWITCH_TO_NOBODY;
    uint16_t port = get16(udp + 2);
    return port == DHCP_SERVER || port == DHCP6_SERVER ? SWITCH_TO_BELOW : SWITCH_TO_ALL;
}

static enum switch_way choose_ipv4(const uint8_t *ip, size_t len)
{
    size_t header = len >= IPV4_LEN ? (ip[0] & 0xfu) * 4u : 0;
    if (header < IPV4_LEN || header > len)
        return SWITCH_TO_NOBODY;
    return ip[9] == IPPROTO_UDP ? choose_udp(ip + header, len - header) : SWITCH_TO_ALL;
}

static enum switch_way choose_ipv6(const struct workload_subnet *subnet, uint32_t own,
                                   const uint8_t *ip, size_t len, uint32_t *ret_number)
{
    if (len < IPV6_LEN)
        return SWITCH_TO_NOBODY;
    const uint8_t *rest = ip + IPV6_LEN;
    len -= IPV6_LEN;
    if (ip[6] == IPPROTO_UDP)
        return choose_udp(rest, len);
    if (ip[6] != IPPROTO_ICMPV6)
        return SWITCH_TO_ALL;
    if (len && rest[0] == ND_ROUTER_SOLICIT)
        return SWITCH_TO_BELOW;
    if (len < NEIGHBOUR_LEN || rest[0] != ND_NEIGHBOR_SOLICIT)
        return SWITCH_TO_ALL;
    return to_number(subnet, own, number_of6(subnet, rest + 8), ret_number);
}

/* A broadcast or multicast. What asks for one machine goes only there. */
static enum switch_way choose_group(const struct workload_subnet *subnet, uint32_t own,
                                    const uint8_t *head, size_t len, uint32_t *ret_number)
{
    const uint8_t *rest = head + ETH_LEN;
    len -= ETH_LEN;
    switch (get16(head + 12)) {
    case ETHERTYPE_ARP:
        if (len < ARP_LEN)
            return SWITCH_TO_NOBODY;
        return to_number(subnet, own, number_of4(subnet, rest + 24), ret_number);
    case ETHERTYPE_IP:
        return choose_ipv4(rest, len);
    case ETHERTYPE_IPV6:
        return choose_ipv6(subnet, own, rest, len, ret_number);
    default:
        return SWITCH_TO_NOBODY;
    }
}

enum switch_way switch_choose(const struct workload_subnet *subnet, uint32_t own,
                              const uint8_t *head, size_t len, uint32_t *ret_number)
{
    uint8_t mac[WORKLOAD_SUBNET_MAC_LEN];
    if (len < ETH_LEN)
        return SWITCH_TO_NOBODY;
    if (head[0] & 1)
        return choose_group(subnet, own, head, len, ret_number);
    uint32_t number = number_of4(subnet, head + 2);
    workload_subnet_mac(subnet, number, mac);
    if (memcmp(head, mac, sizeof(mac)) != 0)
        return SWITCH_TO_BELOW;
    return to_number(subnet, own, number, ret_number);
}

static bool is_honest_arp(const struct workload_subnet *subnet, uint32_t from, const uint8_t *mac,
                          const uint8_t *arp, size_t len)
{
    static const uint8_t ethernet_ipv4[6] = {0, 1, 8, 0, 6, 4};
    if (len < ARP_LEN || memcmp(arp, ethernet_ipv4, sizeof(ethernet_ipv4)) != 0)
        return false;
    if (memcmp(arp + 8, mac, WORKLOAD_SUBNET_MAC_LEN) != 0)
        return false;
    return get32(arp + 14) == 0 || number_of4(subnet, arp + 14) == from;
}

/* Neighbour and router messages in ICMPv6, the first header behind the IPv6 header. */
static bool is_honest_icmp6(const struct workload_subnet *subnet, uint32_t from,
                            const uint8_t *icmp, size_t len)
{
    if (len < 4)
        return false;
    switch (icmp[0]) {
    case ND_ROUTER_SOLICIT:
    case ND_ROUTER_ADVERT:
    case ND_REDIRECT:
        return false;
    case ND_NEIGHBOR_ADVERT:
        return len >= NEIGHBOUR_LEN && number_of6(subnet, icmp + 8) == from;
    default:
        return true;
    }
}

static bool is_neighbour_message(const uint8_t *icmp, size_t len)
{
    return len < 1 || (icmp[0] >= ND_ROUTER_SOLICIT && icmp[0] <= ND_REDIRECT);
}

/* Behind extension headers nobody honest speaks of neighbours, nor in pieces. */
static bool is_honest_extended(uint8_t next, const uint8_t *at, size_t len)
{
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        if (next == IPPROTO_ICMPV6)
            return !is_neighbour_message(at, len);
        if (next == IPPROTO_FRAGMENT)
            return len >= 8 && at[0] != IPPROTO_ICMPV6 && at[0] != IPPROTO_HOPOPTS &&
                   at[0] != IPPROTO_DSTOPTS && at[0] != IPPROTO_ROUTING;
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_ROUTING)
            return true;
        size_t size = len >= 8 ? (at[1] + 1u) * 8u : 0;
        if (!size || size > len)
            return false;
        next = at[0];
        at += size;
        len -= size;
    }
    return false;
}

static bool is_honest_ipv6(const struct workload_subnet *subnet, uint32_t from, const uint8_t *ip,
                           size_t len)
{
    static const uint8_t unspecified[16];
    if (len < IPV6_LEN || ip[0] >> 4 != 6)
        return false;
    if (number_of6(subnet, ip + 8) != from && memcmp(ip + 8, unspecified, 16) != 0)
        return false;
    if (ip[6] == IPPROTO_ICMPV6)
        return is_honest_icmp6(subnet, from, ip + IPV6_LEN, len - IPV6_LEN);
    return is_honest_extended(ip[6], ip + IPV6_LEN, len - IPV6_LEN);
}

bool switch_is_honest(const struct workload_subnet *subnet, uint32_t from, uint32_t to,
                      const uint8_t *frame, size_t len)
{
    uint8_t mac[WORKLOAD_SUBNET_MAC_LEN], own[WORKLOAD_SUBNET_MAC_LEN];
    if (len < ETH_LEN)
        return false;
    workload_subnet_mac(subnet, from, mac);
    workload_subnet_mac(subnet, to, own);
    if (memcmp(frame + 6, mac, sizeof(mac)) != 0)
        return false;
    if (!(frame[0] & 1) && memcmp(frame, own, sizeof(own)) != 0)
        return false;
    const uint8_t *rest = frame + ETH_LEN;
    len -= ETH_LEN;
    switch (get16(frame + 12)) {
    case ETHERTYPE_ARP:
        return is_honest_arp(subnet, from, mac, rest, len);
    case ETHERTYPE_IP:
        return len >= IPV4_LEN && rest[0] >> 4 == 4 && number_of4(subnet, rest + 12) == from;
    case ETHERTYPE_IPV6:
        return is_honest_ipv6(subnet, from, rest, len);
    default:
        return false;
    }
}
