/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_fixture.c: a guest's end of net/tcp, by hand.
 */
#include "tcp_fixture.h"

#include "net/offload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define TCP_BYTES 20u

uint64_t tcp_fixture_now;
const uint8_t tcp_fixture_options[8] = {2, 4, 65480 >> 8, 65480 & 255, 1, 3, 3, 7};

static const uint8_t guest_mac[6] = {2, 0, 0, 0, 0, 1}, gateway_mac[6] = {0x52, 0x55, 10, 0, 2, 2};

static uint64_t clock_of_ours(void)
{
    return tcp_fixture_now;
}

/* -- what the guest is given -- */

static void read_options(const uint8_t *bytes, struct told *t)
{
    const uint8_t *at = bytes + t->p.l4 + TCP_BYTES, *end = bytes + t->p.payload;
    t->scale = -1;
    while (at < end && *at) {
        if (at[0] == 2)
            t->mss = net_packet_u16(at + 2);
        if (at[0] == 3)
            t->scale = at[2];
        at += *at == 1 ? 1 : at[1];
    }
}

/* Pseudo header and segment must add up, once what was left open is done. */
static void check_sum(const struct net_packet *p, const uint8_t *bytes)
{
    uint8_t tail[8] = {0};
    size_t n = p->v6 ? 16 : 4;
    net_packet_put_u32(tail, (uint32_t)(p->end - p->l4));
    tail[7] = IPPROTO_TCP;
    uint32_t sum = net_packet_sum(0, p->ends.src.bytes + 16 - n, n);
    sum = net_packet_sum(sum, p->ends.dst.bytes + 16 - n, n);
    sum = net_packet_sum(sum, tail, sizeof(tail));
    assert_int_equal(net_packet_sum_finish(net_packet_sum(sum, bytes + p->l4, p->end - p->l4)), 0);
}

static void answer_with_reset(struct fixture *f, const struct net_packet *p)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_packet reset;
    struct iovec iov = {frame, net_reply_reset(frame, p)};
    assert_int_equal(net_packet_parse(frame, iov.iov_len, &reset), 0);
    net_tcp_input(f->tcp, &reset, frame,
                  &(struct net_frame){.iov = &iov, .num_iov = 1, .bytes = iov.iov_len});
}

static int give(void *data, const struct net_frame *frame)
{
    static uint8_t bytes[NET_FRAME_MAX];
    struct fixture *f = data;
    struct net_packet p;
    size_t at = 0;
    if (f->full) {
        f->refused++;
        return -EAGAIN;
    }
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(bytes + at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += frame->iov[i].iov_len;
    }
    assert_int_equal(at, frame->bytes);
    struct virtio_net_hdr hdr = frame->hdr;
    assert_int_equal(net_offload_check(&hdr, at, NET_OFFLOAD_CSUM), 0);
    if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        net_offload_complete(&hdr, bytes, at);
    assert_int_equal(net_packet_parse(bytes, at, &p), 0);
    assert_int_equal(p.end, at);
    assert_memory_equal(p.dst_mac, guest_mac, 6);
    assert_memory_equal(p.src_mac, gateway_mac, 6);
    if (p.ends.protocol == IPPROTO_TCP)
        check_sum(&p, bytes);
    if (f->cutting) {
        answer_with_reset(f, &p);
        return 0;
    }
    if (f->lose && f->lose(f, &p, p.end - p.payload))
        return 0;
    assert_true(f->num_told < SEGMENTS_MAX);
    struct told *t = &f->told[f->num_told++];
    *t = (struct told){.p = p, .len = p.end - p.payload};
    if (p.ends.protocol == IPPROTO_TCP)
        read_options(bytes, t);
    t->data = malloc(t->len + 1);
    memcpy(t->data, bytes + p.payload, t->len);
    return 0;
}

void tcp_fixture_forget(struct fixture *f)
{
    while (f->num_told)
        free(f->told[--f->num_told].data);
}

const struct told *tcp_fixture_last(struct fixture *f)
{
    assert_true(f->num_told > 0);
    return &f->told[f->num_told - 1];
}

uint64_t tcp_fixture_counter(struct fixture *f, enum net_tcp_counter counter)
{
    return net_tcp_counters(f->tcp)[counter];
}

/* -- life -- */

static void on_timer(void *data)
{
    struct fixture *f = data;
    pv_loop_stop(f->loop, 0);
}

void tcp_fixture_turn(struct fixture *f)
{
    pv_loop_arm(f->timer, 2000000);
    assert_int_equal(pv_loop_run(f->loop), 0);
}

void tcp_fixture_pass(struct fixture *f, uint64_t ms)
{
    tcp_fixture_now += ms * 1000000;
    net_tcp_expire(f->tcp);
    tcp_fixture_turn(f);
}

static void listen_here(struct fixture *f)
{
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *a = f->v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
    socklen_t len = f->v6 ? sizeof(a6) : sizeof(a4);
    f->listener = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int rc = f->listener < 0 ? -1 : bind(f->listener, a, len);
    if (rc < 0 && f->v6 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
        printf("this host has no IPv6\n");
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(listen(f->listener, 64), 0);
    getsockname(f->listener, a, &len);
    f->port = ntohs(f->v6 ? a6.sin6_port : a4.sin_port);
}

void tcp_fixture_restart(struct fixture *f)
{
    net_tcp_free(f->tcp);
    f->tcp = net_tcp_new(&f->options);
    assert_non_null(f->tcp);
}

static int set_up(void **state, bool v6)
{
    struct fixture *f = calloc(1, sizeof(*f));
    tcp_fixture_now = 1000000000;
    f->loop = pv_loop_new();
    f->timer = pv_loop_add_timer(f->loop, on_timer, f);
    f->v6 = v6;
    f->peer = -1;
    f->options = (struct net_tcp_options){.loop = f->loop,
                                          .mtu = NET_MTU_MAX,
                                          .has4 = true,
                                          .has6 = true,
                                          .prefix6 = 64,
                                          .host_loopback = true,
                                          .now = clock_of_ours,
                                          .give = give,
                                          .data = f};
    memcpy(f->options.guest_mac, guest_mac, 6);
    memcpy(f->options.gateway_mac, gateway_mac, 6);
    inet_pton(AF_INET, "10.0.2.15", &f->options.guest4);
    inet_pton(AF_INET, "10.0.2.2", &f->options.gateway4);
    inet_pton(AF_INET6, "fd00::15", &f->options.guest6);
    inet_pton(AF_INET6, "fd00::2", &f->options.gateway6);
    tcp_fixture_restart(f);
    *state = f;
    listen_here(f);
    f->ends.src_port = GUEST_PORT;
    f->ends.dst_port = f->port;
    f->ends.protocol = IPPROTO_TCP;
    assert_int_equal(workload_address_parse(v6 ? "fd00::15" : "10.0.2.15", &f->ends.src), 0);
    assert_int_equal(workload_address_parse(v6 ? "fd00::2" : "10.0.2.2", &f->ends.dst), 0);
    f->seq = GUEST_SEQ;
    f->window = 65535;
    return 0;
}

int tcp_fixture_set_up(void **state)
{
    return set_up(state, false);
}

int tcp_fixture_set_up_v6(void **state)
{
    return set_up(state, true);
}

int tcp_fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    tcp_fixture_forget(f);
    net_tcp_free(f->tcp);
    pv_loop_free(f->loop);
    close(f->listener);
    if (f->peer >= 0)
        close(f->peer);
    free(f);
    return 0;
}

/* -- what the guest says -- */

void tcp_fixture_say_raw(struct fixture *f, uint8_t flags, uint32_t seq, uint32_t ack,
                         uint16_t window, const uint8_t *options, size_t option_bytes,
                         const void *data, size_t len)
{
    static uint8_t bytes[NET_FRAME_MAX];
    struct net_reply_path path = {.ends = f->ends};
    struct net_packet p;
    memcpy(path.src_mac, guest_mac, 6);
    memcpy(path.dst_mac, gateway_mac, 6);
    /* Options behind a header without them: lengths and offset are set right afterwards. */
    size_t ip = f->v6 ? 40 : 20, header = 14 + ip + TCP_BYTES;
    net_reply_segment(bytes, &path, seq, ack, flags, window, NULL, 0, NULL, 0);
    bytes[14 + ip + 12] = (uint8_t)((TCP_BYTES + option_bytes) / 4 << 4);
    net_packet_put_u16(bytes + (f->v6 ? 18 : 16),
                       (uint16_t)((f->v6 ? 0 : 20) + TCP_BYTES + option_bytes + len));
    if (option_bytes)
        memcpy(bytes + header, options, option_bytes);
    if (len)
        memcpy(bytes + header + option_bytes, data, len);
    size_t total = header + option_bytes + len;
    assert_int_equal(net_packet_parse(bytes, total, &p), 0);
    /* In pieces, as a guest's buffers are: one ends in the middle of the data. */
    size_t first = header + option_bytes + len / 3;
    struct iovec iov[3] = {{bytes, 14}, {bytes + 14, first - 14}, {bytes + first, total - first}};
    net_tcp_input(f->tcp, &p, bytes, &(struct net_frame){.iov = iov, .num_iov = 3, .bytes = total});
}

void tcp_fixture_say(struct fixture *f, uint8_t flags, const void *data, size_t len)
{
    bool syn = flags & NET_TCP_SYN;
    tcp_fixture_say_raw(f, flags, f->seq, f->ack, f->window, tcp_fixture_options, syn ? 8 : 0, data,
                        len);
    f->seq += (uint32_t)len + syn + !!(flags & NET_TCP_FIN);
}

void tcp_fixture_open(struct fixture *f)
{
    tcp_fixture_say(f, NET_TCP_SYN, NULL, 0);
    tcp_fixture_turn(f);
    const struct told *t = tcp_fixture_last(f);
    assert_int_equal(t->p.tcp_flags, NET_TCP_SYN | NET_TCP_ACK);
    assert_int_equal(t->p.tcp_ack, f->seq);
    f->ack = t->p.tcp_seq + 1;
    tcp_fixture_say(f, NET_TCP_ACK, NULL, 0);
    f->peer = accept(f->listener, NULL, NULL);
    assert_true(f->peer >= 0);
    tcp_fixture_turn(f);
    assert_int_equal(tcp_fixture_counter(f, NET_TCP_OPENED), 1);
    tcp_fixture_forget(f);
}

void tcp_fixture_peer_reads(struct fixture *f, void *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(f->peer, (uint8_t *)buf + at, len - at, MSG_DONTWAIT);
        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        assert_true(n < 0 && errno == EAGAIN);
        tcp_fixture_turn(f);
    }
}

size_t tcp_fixture_take(struct fixture *f, uint8_t *buf, size_t room)
{
    size_t at = 0;
    for (unsigned i = 0; i < f->num_told; i++) {
        const struct told *t = &f->told[i];
        bool fin = t->p.tcp_flags & NET_TCP_FIN;
        if (t->p.tcp_seq != f->ack || !(t->len || fin))
            continue;
        assert_true(at + t->len <= room);
        if (t->len)
            memcpy(buf + at, t->data, t->len);
        at += t->len;
        f->ack += (uint32_t)t->len + fin;
    }
    tcp_fixture_forget(f);
    tcp_fixture_say(f, NET_TCP_ACK, NULL, 0);
    return at;
}
