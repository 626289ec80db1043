/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_net_frame.c: frames and offload headers of a guest, through the software that completes
 * them and through the user-mode backend.
 *
 * Input: 10 bytes of virtio_net_hdr, then the frame. What is emitted must be a frame that needs
 * nothing any more.
 */
#include "net/offload.h"
#include "net/table.h"
#include "net/user_datagrams.h"

#include <arpa/inet.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct net_link *link_of_all;
static bool is_alone; /* in a network namespace without a way out */
static uint8_t frame[NET_FRAME_MAX], scratch[NET_FRAME_MAX];

static void must(bool what)
{
    if (!what)
        abort();
}

static int receive(void *data, const struct net_frame *f)
{
    size_t sum = 0;
    for (unsigned i = 0; i < f->num_iov; i++)
        sum += f->iov[i].iov_len;
    must(sum == f->bytes && f->bytes <= NET_FRAME_MAX);
    return 0;
}

/* Without published ports and without a loop that runs: what libslirp makes of a frame at once. */
static struct net_link *open_link(void)
{
    struct net_config c = {.has4 = true, .has6 = true, .prefix4 = 24, .prefix6 = 64};
    struct pv_loop *loop = pv_loop_new();
    inet_pton(AF_INET, "10.0.2.15", &c.guest4);
    inet_pton(AF_INET, "10.0.2.2", &c.gateway4);
    inet_pton(AF_INET, "10.0.2.3", &c.dns4);
    inet_pton(AF_INET6, "fd00::2", &c.gateway6);
    inet_pton(AF_INET6, "fd00::3", &c.dns6);
    struct net_link *link;
    must(loop && net_backend_find("user")->open(&c, loop, &link, NULL) == 0);
    link->upper = (struct net_upper){.receive = receive};
    return link;
}

/* Nothing must leave this machine, nor open sockets by the thousand: only what libslirp answers
 * itself goes in, which is ARP, ICMP and what is said to its own addresses. */
static bool stays_here(const uint8_t *f, size_t bytes)
{
    unsigned type = f[12] << 8 | f[13];
    if (type == 0x0800)
        return bytes >= 34 && memcmp(f + 30, "\x0a\x00\x02\x02", 4) == 0;
    if (type == 0x86dd) /* ICMPv6; echo requests to others only where there are none */
        return bytes >= 54 && f[20] == 58 && (is_alone || f[38] == 0xfd || f[38] >= 0xfe);
    return true;
}

static int emit(void *data, const uint8_t *f, size_t bytes)
{
    unsigned *count = data;
    must(f == scratch && bytes >= 14 && bytes <= NET_FRAME_MAX);
    return ++*count > 4096 ? -1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct virtio_net_hdr hdr;
    if (size < sizeof(hdr))
        return 0;
    memcpy(&hdr, data, sizeof(hdr));
    size_t bytes = PV_MIN(size - sizeof(hdr), sizeof(frame));
    memcpy(frame, data + sizeof(hdr), bytes);
    if (net_offload_check(&hdr, bytes, ~0u) < 0)
        return 0;
    must(net_offload_check(&hdr, bytes, ~0u) == 0); /* once plain, it stays so */

    unsigned count = 0;
    if (hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE)
        net_offload_segment(&hdr, frame, bytes, scratch, emit, &count);
    else if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        net_offload_complete(&hdr, frame, bytes);

    if (!link_of_all) {
        is_alone = unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
        link_of_all = open_link();
    }
    struct iovec iov = {frame, bytes};
    struct net_frame f = {.hdr = {.flags = hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                  .csum_start = hdr.csum_start,
                                  .csum_offset = hdr.csum_offset},
                          .iov = &iov,
                          .num_iov = 1,
                          .bytes = bytes};
    if (stays_here(frame, bytes))
        must(net_link_send(link_of_all, &f) == 0);

    static const uint8_t gateway4[4] = {10, 0, 2, 2};
    static const uint8_t gateway6[16] = {0xfd, [15] = 2};
    struct net_user_datagrams *d = net_user_datagrams_new();
    must(d && net_user_datagrams_publish(d, -1, false, 53) == 0);
    net_user_datagrams_note(d, gateway4, gateway6, frame, bytes);
    net_user_datagrams_answer(d, gateway4, gateway6, frame, bytes);
    net_user_datagrams_free(d);
    return 0;
}
