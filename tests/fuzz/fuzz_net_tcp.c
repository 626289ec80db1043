/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_net_tcp.c: a guest's TCP segments, and a peer on the host's loopback that answers them.
 *
 * Input: a row of steps. A byte says what: a segment (then flags, how far sequence number and
 * acknowledgement are off, window, options, length), something that the peer does, the clock, a
 * guest without room. A quarter of the segments are right ones, or hardly any input would get
 * beyond the first. What is given to the guest must be whole frames whose sum is right.
 */
#include "net/offload.h"
#include "net/reply.h"
#include "net/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX 200
#define PORT_OF_GUEST 80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

struct world {
    struct pv_loop *loop;
    struct pv_loop_source *after;
    struct net_tcp *tcp;
    struct net_packet_ends ends;
    bool full;
    uint32_t seq, ack; /* the guest's, after the last thing that it was told */
    int peer, connected;
    unsigned turns;
};

static struct world *w;
static uint64_t now;
static int listener = -1;
static struct sockaddr_in listening, published;

static void must(bool what)
{
    if (!what)
        abort();
}

static uint64_t clock_of_ours(void)
{
    return now;
}

static uint8_t take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static int give(void *data, const struct net_frame *frame)
{
    static uint8_t bytes[NET_FRAME_MAX];
    struct virtio_net_hdr hdr = frame->hdr;
    struct net_packet p;
    size_t at = 0;
    if (w->full)
        return -EAGAIN;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        must(frame->iov[i].iov_len <= sizeof(bytes) - at);
        memcpy(bytes + at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += frame->iov[i].iov_len;
    }
    must(at == frame->bytes && net_offload_check(&hdr, at, NET_OFFLOAD_CSUM) == 0);
    if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        net_offload_complete(&hdr, bytes, at);
    must(net_packet_parse(bytes, at, &p) == 0 && p.end == at);
    if (p.ends.protocol != IPPROTO_TCP)
        return 0;
    w->ack =
        p.tcp_seq + (uint32_t)(p.end - p.payload) + !!(p.tcp_flags & (NET_TCP_SYN | NET_TCP_FIN));
    if (p.tcp_flags & NET_TCP_ACK)
        w->seq = p.tcp_ack;
    if (p.tcp_flags & NET_TCP_SYN)
        w->ends = (struct net_packet_ends){.src = p.ends.dst,
                                           .dst = p.ends.src,
                                           .src_port = p.ends.dst_port,
                                           .dst_port = p.ends.src_port,
                                           .protocol = IPPROTO_TCP};
    return 0;
}

/* -- turns of the loop -- */

static void on_after(void *data)
{
    if (w->turns++ < 2)
        pv_loop_wake(w->after);
    else
        pv_loop_stop(w->loop, 0);
}

static void turn(void)
{
    w->turns = 0;
    pv_loop_wake(w->after);
    pv_loop_run(w->loop);
}

/* -- steps -- */

static void say(struct input *in, bool right)
{
    static uint8_t bytes[NET_FRAME_MAX];
    struct net_reply_path path = {.ends = w->ends};
    struct net_packet p;
    uint8_t flags = take(in), how = take(in);
    uint32_t seq_off = right ? 0 : (uint32_t)(int8_t)take(in) << (how & 15);
    uint32_t ack_off = right ? 0 : (uint32_t)(int8_t)take(in) << (how >> 4);
    uint16_t window = (uint16_t)(take(in) << 8 | take(in));
    size_t options = right ? 0 : take(in) % 11 * 4u;
    size_t len = (size_t)take(in) << (take(in) % 9), header = 14 + 20 + 20;
    net_reply_segment(bytes, &path, w->seq + seq_off, w->ack + ack_off, flags, window, NULL, 0,
                      NULL, 0);
    for (size_t i = 0; i < options; i++)
        bytes[header + i] = take(in);
    if (len > 60000)
        len = 60000;
    memset(bytes + header + options, 'x', len);
    bytes[14 + 20 + 12] = (uint8_t)((20 + options) / 4 << 4);
    net_packet_put_u16(bytes + 16, (uint16_t)(40 + options + len));
    size_t total = header + options + len;
    must(net_packet_parse(bytes, total, &p) == 0);
    struct iovec iov[2] = {{bytes, header / 2}, {bytes + header / 2, total - header / 2}};
    net_tcp_input(w->tcp, &p, bytes, &(struct net_frame){.iov = iov, .num_iov = 2, .bytes = total});
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void peer_does(struct input *in)
{
    static uint8_t bytes[256u << 10];
    uint8_t what = take(in);
    int *fd = what & 0x80 ? &w->connected : &w->peer;
    switch (what % 7) {
    case 0:
        if (w->peer < 0)
            w->peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        break;
    case 1:
        send(*fd, bytes, (size_t)take(in) << (take(in) % 11), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 2:
        recv(*fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        break;
    case 3:
        shutdown(*fd, SHUT_WR);
        break;
    case 4:
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
        close_fd(fd);
        break;
    case 5:
        close_fd(fd);
        break;
    default: /* from the host into the guest */
        if (w->connected < 0) {
            w->connected = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            connect(w->connected, (struct sockaddr *)&published, sizeof(published));
        }
        break;
    }
}

static void step(struct input *in)
{
    uint8_t what = take(in);
    switch (what % 8) {
    case 0:
    case 1:
        say(in, false);
        break;
    case 2:
    case 3:
        say(in, true);
        break;
    case 4:
        turn();
        peer_does(in);
        turn();
        break;
    case 5:
        now += (uint64_t)take(in) << 26; /* up to 17 s */
        net_tcp_expire(w->tcp);
        break;
    case 6:
        w->full = what & 8;
        if (!w->full)
            net_tcp_resume(w->tcp);
        break;
    default:
        w->ends.src_port = (uint16_t)(40000 + (what >> 3) % 4);
        w->ends.dst_port = ntohs(listening.sin_port);
        break;
    }
}

/* -- the whole -- */

/* A port of the loopback that is free; the socket, when it is to listen. */
static int find_port(struct sockaddr_in *ret)
{
    socklen_t len = sizeof(*ret);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(fd >= 0 && bind(fd, (struct sockaddr *)ret, len) == 0);
    getsockname(fd, (struct sockaddr *)ret, &len);
    return fd;
}

static void begin_world(void)
{
    struct net_tcp_options o = {.loop = w->loop,
                                .mtu = NET_MTU_MAX,
                                .has4 = true,
                                .host_loopback = true,
                                .max = 8,
                                .now = clock_of_ours,
                                .give = give};
    inet_pton(AF_INET, "10.0.2.15", &o.guest4);
    inet_pton(AF_INET, "10.0.2.2", &o.gateway4);
    workload_address_parse("10.0.2.15", &w->ends.src);
    workload_address_parse("10.0.2.2", &w->ends.dst);
    w->ends.protocol = IPPROTO_TCP;
    w->ends.src_port = 40000;
    w->ends.dst_port = ntohs(listening.sin_port);
    w->tcp = net_tcp_new(&o);
    must(w->tcp != NULL);
    struct workload_port port = {.address = {127, 0, 0, 1},
                                 .host_port = ntohs(published.sin_port),
                                 .guest_port = PORT_OF_GUEST};
    net_tcp_publish(w->tcp, &port, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.peer = -1, .connected = -1};
    struct input in = {data, data + size};
    w = &world;
    if (listener < 0) {
        listener = find_port(&listening);
        must(listen(listener, 64) == 0);
        close(find_port(&published));
    }
    now = 1000000000;
    w->loop = pv_loop_new();
    must(w->loop != NULL);
    w->after = pv_loop_add_after(w->loop, on_after, NULL);
    begin_world();
    for (unsigned i = 0; i < STEPS_MAX && in.at < in.end; i++)
        step(&in);
    turn();
    net_tcp_free(w->tcp);
    close_fd(&w->peer);
    close_fd(&w->connected);
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;)
        close(fd);
    pv_loop_free(w->loop);
    return 0;
}
