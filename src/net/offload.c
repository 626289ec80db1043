/* SPDX-License-Identifier: Apache-2.0
 *
 * offload.c: checksums and segmentation in software.
 */
#include "net/offload.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#define VLAN_BYTES 4u
#define TCP_CSUM_AT 16u
#define UDP_CSUM_AT 6u
#define GSO_KIND(hdr) ((hdr)->gso_type & ~VIRTIO_NET_HDR_GSO_ECN)

static unsigned offload_of_gso(const struct virtio_net_hdr *hdr)
{
    switch (GSO_KIND(hdr)) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return NET_OFFLOAD_TSO4;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return NET_OFFLOAD_TSO6;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
        return NET_OFFLOAD_USO;
    default:
        return 0;
    }
}

int net_offload_check(struct virtio_net_hdr *hdr, size_t bytes, unsigned allowed)
{
    bool partial = hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
    if (bytes < ETH_HLEN || bytes > NET_FRAME_MAX)
        return -EINVAL;
    hdr->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
    if (!partial) {
        hdr->csum_start = hdr->csum_offset = 0;
    } else {
        if (!(allowed & NET_OFFLOAD_CSUM) || hdr->csum_start < ETH_HLEN ||
            (size_t)hdr->csum_start + hdr->csum_offset + sizeof(uint16_t) > bytes)
            return -EINVAL;
        hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM; /* a partial checksum is not a valid one */
    }
    if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
        hdr->gso_size = hdr->hdr_len = 0;
        return 0;
    }
    if (!partial || !hdr->gso_size || !(offload_of_gso(hdr) & allowed))
        return -EINVAL;
    hdr->hdr_len = (uint16_t)PV_MIN((size_t)hdr->hdr_len, bytes);
    return 0;
}

unsigned net_offload_of(const struct virtio_net_hdr *hdr)
{
    return (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? NET_OFFLOAD_CSUM : 0u) | offload_of_gso(hdr);
}

/* Words of 32 bits add up in 64 bits without a carry to look after: 2^32 of them would be needed.*/
uint64_t net_offload_sum(uint64_t sum, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint64_t sums[4] = {0};
    for (; len >= 32; len -= 32, at += 32) {
        uint32_t words[8];
        memcpy(words, at, sizeof(words));
        sums[0] += (uint64_t)words[0] + words[4];
        sums[1] += (uint64_t)words[1] + words[5];
        sums[2] += (uint64_t)words[2] + words[6];
        sums[3] += (uint64_t)words[3] + words[7];
    }
    for (; len >= 2; len -= 2, at += 2) {
        uint16_t word;
        memcpy(&word, at, sizeof(word));
        sums[0] += word;
    }
    if (len) {
        uint8_t last[2] = {*at, 0};
        uint16_t word;
        memcpy(&word, last, sizeof(word));
        sums[1] += word;
    }
    for (unsigned i = 0; i < 4; i++) {
        uint64_t folded = (sums[i] & UINT32_MAX) + (sums[i] >> 32);
        sum += folded;
    }
    return sum;
}

uint16_t net_offload_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

/* The field holds the sum of the pseudo header already. */
void net_offload_complete(const struct virtio_net_hdr *hdr, uint8_t *frame, size_t bytes)
{
    uint8_t *field = frame + hdr->csum_start + hdr->csum_offset;
    uint64_t sum = net_offload_sum(0, frame + hdr->csum_start, bytes - hdr->csum_start);
    uint16_t checksum = (uint16_t)~net_offload_fold(sum);
    if (!checksum) /* in UDP zero says that there is none; elsewhere both mean the same */
        checksum = 0xffff;
    memcpy(field, &checksum, sizeof(checksum));
}

/* -- segmentation -- */

/* Where things are in a frame that is to be cut. */
struct layout {
    size_t ip, transport, payload; /* offsets */
    bool v4, tcp;
};

static int find_layout(const struct virtio_net_hdr *hdr, const uint8_t *frame, size_t bytes,
                       struct layout *l)
{
    size_t ip = ETH_HLEN;
    if (get16(frame + 12) == ETH_P_8021Q)
        ip += VLAN_BYTES;
    *l = (struct layout){.ip = ip,
                         .transport = hdr->csum_start,
                         .v4 = GSO_KIND(hdr) == VIRTIO_NET_HDR_GSO_TCPV4,
                         .tcp = GSO_KIND(hdr) != VIRTIO_NET_HDR_GSO_UDP_L4};
    if (l->transport > bytes || ip + 1 > l->transport)
        return -EINVAL;
    unsigned version = frame[ip] >> 4;
    if (!l->tcp)
        l->v4 = version == 4;
    size_t ip_bytes = l->v4 ? (frame[ip] & 0xfu) * 4u : sizeof(struct ip6_hdr);
    if (version != (l->v4 ? 4 : 6) || ip_bytes < sizeof(struct iphdr) ||
        ip + ip_bytes > l->transport)
        return -EINVAL;

    size_t least = l->tcp ? sizeof(struct tcphdr) : sizeof(struct udphdr);
    if (bytes - l->transport < least || hdr->csum_offset != (l->tcp ? TCP_CSUM_AT : UDP_CSUM_AT))
        return -EINVAL;
    size_t own = l->tcp ? (frame[l->transport + 12] >> 4) * 4u : least;
    if (own < least || own > bytes - l->transport)
        return -EINVAL;
    l->payload = l->transport + own;
    return 0;
}

static void fix_ip(const struct layout *l, uint8_t *segment, size_t bytes, uint16_t index)
{
    uint8_t *ip = segment + l->ip;
    if (!l->v4) {
        put16(ip + 4, bytes - l->ip - sizeof(struct ip6_hdr));
        return;
    }
    put16(ip + 2, bytes - l->ip);
    put16(ip + 4, (uint16_t)(get16(ip + 4) + index));
    put16(ip + 10, 0);
    size_t ip_bytes = (ip[0] & 0xfu) * 4u;
    uint16_t checksum = (uint16_t)~net_offload_fold(net_offload_sum(0, ip, ip_bytes));
    memcpy(ip + 10, &checksum, sizeof(checksum));
}

/* The sum of the pseudo header: addresses, protocol, length. */
static uint64_t pseudo_sum(const struct layout *l, const uint8_t *segment, size_t bytes)
{
    uint8_t tail[8] = {0};
    const uint8_t *ip = segment + l->ip;
    put32(tail, (uint32_t)(bytes - l->transport));
    tail[7] = l->tcp ? IPPROTO_TCP : IPPROTO_UDP;
    uint64_t sum = net_offload_sum(0, tail, sizeof(tail));
    return l->v4 ? net_offload_sum(sum, ip + 12, 8) : net_offload_sum(sum, ip + 8, 32);
}

static void fix_transport(const struct layout *l, uint8_t *segment, size_t bytes, size_t offset,
                          bool last)
{
    uint8_t *t = segment + l->transport;
    uint8_t *field = t + (l->tcp ? TCP_CSUM_AT : UDP_CSUM_AT);
    if (l->tcp) {
        put32(t + 4, get32(t + 4) + (uint32_t)offset);
        if (!last)
            t[13] &= (uint8_t) ~(TH_FIN | TH_PUSH);
        if (offset)
            t[13] &= (uint8_t)~0x80; /* CWR: told once */
    } else {
        put16(t + 4, bytes - l->transport);
    }
    put16(field, 0);
    uint64_t sum = net_offload_sum(pseudo_sum(l, segment, bytes), t, bytes - l->transport);
    uint16_t checksum = (uint16_t)~net_offload_fold(sum);
    if (!checksum)
        checksum = 0xffff;
    memcpy(field, &checksum, sizeof(checksum));
}

int net_offload_segment(const struct virtio_net_hdr *hdr, const uint8_t *frame, size_t bytes,
                        uint8_t *scratch, net_offload_emit_fn *emit, void *data)
{
    struct layout l;
    int rc = find_layout(hdr, frame, bytes, &l);
    if (rc < 0)
        return rc;
    size_t total = bytes - l.payload, offset = 0;
    uint16_t index = 0;
    do {
        size_t part = PV_MIN(total - offset, (size_t)hdr->gso_size);
        memcpy(scratch, frame, l.payload);
        memcpy(scratch + l.payload, frame + l.payload + offset, part);
        fix_ip(&l, scratch, l.payload + part, index++);
        fix_transport(&l, scratch, l.payload + part, offset, offset + part == total);
        rc = emit(data, scratch, l.payload + part);
        offset += part;
    } while (rc == 0 && offset < total);
    return rc;
}
