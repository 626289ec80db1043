/* SPDX-License-Identifier: Apache-2.0 */
#include "net/user_check.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

/* Addresses that libslirp would take for this host: they are nobody's business but the host's. */
static bool is_host4(const uint8_t *a)
{
    return a[0] == 127 || a[0] == 0;
}

static bool is_host6(const uint8_t *a)
{
    static const uint8_t zeroes[16];
    if (memcmp(a, zeroes, 10) != 0)
        return false;
    bool mapped = a[10] == 0xff && a[11] == 0xff;
    bool none = memcmp(a + 10, zeroes, 5) == 0 && a[15] <= 1; /* :: and ::1 */
    return none || mapped || (a[10] == 0 && a[11] == 0);      /* ::a.b.c.d */
}

static bool aims_at_host(const uint8_t *frame, size_t bytes)
{
    unsigned type = frame[12] << 8 | frame[13];
    if (type == ETH_P_IP)
        return bytes >= ETH_HLEN + 20u && is_host4(frame + ETH_HLEN + 16);
    /* Neighbour discovery asks from ::, but never asks for it. */
    return type == ETH_P_IPV6 && bytes >= ETH_HLEN + 40u && is_host6(frame + ETH_HLEN + 24);
}

/* A piece of a larger IPv4 packet. libslirp 4.7 corrupts its own memory when it is given enough odd
 * ones to put together (our fuzzing found that), and a guest has no need of them: its MTU takes
 * whatever fits into a datagram. */
static bool is_fragment(const uint8_t *frame, size_t bytes)
{
    unsigned type = frame[12] << 8 | frame[13];
    return type == ETH_P_IP && bytes >= ETH_HLEN + 20u && /* more fragments, or an offset */
           (frame[ETH_HLEN + 6] & 0x3f || frame[ETH_HLEN + 7]);
}

bool net_user_check_head(const uint8_t *head, size_t bytes)
{
    return !aims_at_host(head, bytes) && !is_fragment(head, bytes);
}

bool net_user_check_is_tcp(const uint8_t *head, size_t bytes)
{
    unsigned type = head[12] << 8 | head[13];
    return (type == ETH_P_IP && bytes > ETH_HLEN + 9u && head[ETH_HLEN + 9] == IPPROTO_TCP) ||
           (type == ETH_P_IPV6 && bytes > ETH_HLEN + 6u && head[ETH_HLEN + 6] == IPPROTO_TCP);
}
