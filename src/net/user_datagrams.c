/* SPDX-License-Identifier: Apache-2.0
 *
 * user_datagrams.c: answers to the host's own datagrams.
 *
 * Trust: the guest writes the frames. It can reach the peers that have asked it something lately,
 *        from the port that they asked, and nobody else of the host's loopback.
 */
#include "net/user_datagrams.h"

#include "base/attr.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define PEERS_MAX 256u /* the oldest is forgotten */
#define UDP_BYTES 8u

struct port {
    int fd;
    bool v6;
    uint16_t guest_port;
};

struct peer {
    bool v6;
    uint16_t guest_port, port; /* guest_port 0: none */
};

struct net_user_datagrams {
    struct port *ports;
    size_t num_ports;
    struct peer peers[PEERS_MAX];
    unsigned next_peer;
};

/* A UDP datagram in a frame. */
struct datagram {
    bool v6;
    const uint8_t *source, *destination; /* addresses */
    uint16_t source_port, destination_port;
    const uint8_t *payload;
    size_t len;
};

struct net_user_datagrams *net_user_datagrams_new(void)
{
    return calloc(1, sizeof(struct net_user_datagrams));
}

void net_user_datagrams_free(struct net_user_datagrams *d)
{
    if (d)
        free(d->ports);
    free(d);
}

int net_user_datagrams_publish(struct net_user_datagrams *d, int fd, bool v6, uint16_t guest_port)
{
    struct port *ports = reallocarray(d->ports, d->num_ports + 1, sizeof(*ports));
    if (!ports)
        return -ENOMEM;
    d->ports = ports;
    d->ports[d->num_ports++] = (struct port){.fd = fd, .v6 = v6, .guest_port = guest_port};
    return 0;
}

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* Finds a whole datagram; fragments and extension headers are none. */
static bool find(const uint8_t *frame, size_t bytes, struct datagram *ret)
{
    size_t at = ETH_HLEN, ip_bytes;
    if (bytes < ETH_HLEN + 20u + UDP_BYTES)
        return false;
    unsigned type = get16(frame + 12);
    const uint8_t *ip = frame + at;
    ret->v6 = type == ETH_P_IPV6;
    if (type == ETH_P_IP) {
        ip_bytes = (ip[0] & 0xfu) * 4u;
        if (ip[9] != IPPROTO_UDP || ip_bytes < 20 || (get16(ip + 6) & 0x3fff))
            return false;
        ret->source = ip + 12;
        ret->destination = ip + 16;
    } else if (ret->v6 && bytes >= ETH_HLEN + 40u + UDP_BYTES) {
        ip_bytes = 40;
        if (ip[6] != IPPROTO_UDP)
            return false;
        ret->source = ip + 8;
        ret->destination = ip + 24;
    } else {
        return false;
    }
    at += ip_bytes;
    if (bytes < at + UDP_BYTES)
        return false;
    size_t len = get16(frame + at + 4);
    if (len < UDP_BYTES || len > bytes - at)
        return false;
    ret->source_port = get16(frame + at);
    ret->destination_port = get16(frame + at + 2);
    ret->payload = frame + at + UDP_BYTES;
    ret->len = len - UDP_BYTES;
    return true;
}

static const struct port *find_port(const struct net_user_datagrams *d, bool v6,
                                    uint16_t guest_port)
{
    for (size_t i = 0; i < d->num_ports; i++)
        if (d->ports[i].v6 == v6 && d->ports[i].guest_port == guest_port)
            return &d->ports[i];
    return NULL;
}

static bool is_peer(const struct net_user_datagrams *d, const struct peer *peer)
{
    for (unsigned i = 0; i < PEERS_MAX; i++)
        if (d->peers[i].v6 == peer->v6 && d->peers[i].guest_port == peer->guest_port &&
            d->peers[i].port == peer->port)
            return true;
    return false;
}

static bool is_gateway(bool v6, const uint8_t *address, const uint8_t *gateway4,
                       const uint8_t *gateway6)
{
    return v6 ? memcmp(address, gateway6, 16) == 0 : memcmp(address, gateway4, 4) == 0;
}

void net_user_datagrams_note(struct net_user_datagrams *d, const uint8_t *gateway4,
                             const uint8_t *gateway6, const uint8_t *frame, size_t bytes)
{
    struct datagram g;
    if (!d->num_ports || !find(frame, bytes, &g) ||
        !is_gateway(g.v6, g.source, gateway4, gateway6) || !find_port(d, g.v6, g.destination_port))
        return;
    struct peer peer = {.v6 = g.v6, .guest_port = g.destination_port, .port = g.source_port};
    if (!is_peer(d, &peer))
        d->peers[d->next_peer++ % PEERS_MAX] = peer;
}

bool net_user_datagrams_answer(struct net_user_datagrams *d, const uint8_t *gateway4,
                               const uint8_t *gateway6, const uint8_t *frame, size_t bytes)
{
    struct datagram g;
    if (!d->num_ports || !find(frame, bytes, &g) ||
        !is_gateway(g.v6, g.destination, gateway4, gateway6))
        return false;
    struct peer peer = {.v6 = g.v6, .guest_port = g.source_port, .port = g.destination_port};
    const struct port *port = find_port(d, g.v6, g.source_port);
    if (!port || !is_peer(d, &peer))
        return false;
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons(g.destination_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons(g.destination_port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    sendto(port->fd, g.payload, g.len, MSG_DONTWAIT | MSG_NOSIGNAL,
           g.v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
           g.v6 ? sizeof(v6) : sizeof(v4)); /* a datagram may get lost */
    return true;
}
