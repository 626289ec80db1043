/* SPDX-License-Identifier: Apache-2.0
 *
 * test_switch.c: machines on a private network, several in one process, honest and hostile.
 */
#include "net/switch_internal.h"

#include "support/unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "support/tree.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SECOND_NS 1000000000ull
#define MACHINES 3
#define HOSTILE 7u /* the number of a peer that the tests play */
#define ETH 14

/* A machine: what the card would be. */
struct machine {
    struct net_link *link;
    uint32_t number;
    unsigned received, sendable;
    bool full; /* receive says -EAGAIN */
    uint8_t last[NET_FRAME_MAX];
    size_t last_bytes;
    struct virtio_net_hdr last_hdr;
};

struct fixture {
    char top[64];
    struct pv_loop *loop;
    struct pv_loop_source *timer;
    bool time_out;
    struct workload_subnet subnet;
    struct machine m[MACHINES];
};

static int on_receive(void *data, const struct net_frame *frame)
{
    struct machine *m = data;
    if (m->full)
        return -EAGAIN;
    m->received++;
    m->last_hdr = frame->hdr;
    m->last_bytes = 0;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(m->last + m->last_bytes, frame->iov[i].iov_base, frame->iov[i].iov_len);
        m->last_bytes += frame->iov[i].iov_len;
    }
    assert_int_equal(m->last_bytes, frame->bytes);
    return 0;
}

static void on_sendable(void *data)
{
    ((struct machine *)data)->sendable++;
}

static struct net_switch *switch_of(const struct machine *m)
{
    return PV_CONTAINER_OF(m->link, struct net_switch, base);
}

static uint64_t counter(const struct machine *m, enum switch_counter which)
{
    return switch_of(m)->counters[which];
}

static void open_machine(struct fixture *f, struct machine *m, uint32_t number,
                         struct net_link *below)
{
    struct pv_error err = PV_ERROR_INIT;
    struct net_switch_options options = {
        .loop = f->loop, .folder = f->top, .subnet = f->subnet, .number = number, .below = below};
    *m = (struct machine){.number = number};
    if (net_switch_open(&options, &m->link, &err) < 0 ||
        net_switch_start(m->link, f->top, &err) < 0)
        fail_msg("%s", err.text);
    m->link->upper = (struct net_upper){on_receive, on_sendable, m};
}

static void write_member(struct fixture *f, uint32_t number, const char *name)
{
    pv_auto_free char *line =
        pv_strf("echo '{\"id\":\"id%u\",\"name\":\"%s\",\"hostname\":\"host\"}' > members/.tmp && "
                "mv members/.tmp members/%u",
                number, name, number);
    support_tree_shell(f->top, line);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    support_tree_make(f->top, sizeof(f->top));
    support_tree_shell(f->top, "mkdir members ports");
    assert_int_equal(workload_subnet_parse("10.89.3.0/24", &f->subnet, NULL), 0);
    assert_int_equal(workload_subnet_parse6("fd12:3456:789a::/64", &f->subnet, NULL), 0);
    f->loop = pv_loop_new();
    for (unsigned i = 0; i < MACHINES; i++) {
        char name[8];
        snprintf(name, sizeof(name), "m%u", 4 + i);
        write_member(f, 4 + i, name);
        open_machine(f, &f->m[i], 4 + i, NULL);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < MACHINES; i++)
        net_link_free(f->m[i].link);
    pv_loop_free(f->loop);
    support_tree_remove(f->top);
    free(f);
    return 0;
}

static void on_timer(void *data)
{
    struct fixture *f = data;
    f->time_out = true;
    pv_loop_stop(f->loop, 0);
}

/* Turns the loop for so long. */
static void turn(struct fixture *f, uint64_t ns)
{
    f->timer = pv_loop_add_timer(f->loop, on_timer, f);
    pv_loop_arm(f->timer, ns);
    pv_loop_run(f->loop);
    pv_loop_remove(f->timer);
}

/* Turns the loop until the value is there. */
static void wait_for(struct fixture *f, const unsigned *value, unsigned wanted)
{
    uint64_t begin = pv_time_monotonic_ns();
    while (*value < wanted) {
        if (pv_time_monotonic_ns() - begin > 5 * SECOND_NS)
            fail_msg("%u instead of %u", *value, wanted);
        turn(f, 1000000);
    }
}

/* An IPv4 frame from one number to another. */
static size_t make_ipv4(struct fixture *f, uint8_t *frame, uint32_t from, uint32_t to, size_t bytes)
{
    uint32_t a = htonl(workload_subnet_ipv4(&f->subnet, from)),
             b = htonl(workload_subnet_ipv4(&f->subnet, to));
    for (size_t i = 0; i < bytes; i++)
        frame[i] = (uint8_t)(i * 7);
    workload_subnet_mac(&f->subnet, to, frame);
    workload_subnet_mac(&f->subnet, from, frame + 6);
    frame[12] = 8;
    frame[13] = 0;
    frame[ETH] = 0x45;
    frame[ETH + 9] = IPPROTO_TCP;
    memcpy(frame + ETH + 12, &a, 4);
    memcpy(frame + ETH + 16, &b, 4);
    return bytes;
}

static size_t make_arp(struct fixture *f, uint8_t *frame, uint32_t from, uint32_t target)
{
    static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint32_t a = htonl(workload_subnet_ipv4(&f->subnet, from)),
             b = htonl(workload_subnet_ipv4(&f->subnet, target));
    memset(frame, 0, 42);
    memset(frame, 0xff, 6);
    workload_subnet_mac(&f->subnet, from, frame + 6);
    frame[12] = 8;
    frame[13] = 6;
    memcpy(frame + ETH, request, sizeof(request));
    workload_subnet_mac(&f->subnet, from, frame + ETH + 8);
    memcpy(frame + ETH + 14, &a, 4);
    memcpy(frame + ETH + 24, &b, 4);
    return 42;
}

static int send_bytes(struct machine *m, const void *bytes, size_t len)
{
    struct iovec iov = {(void *)bytes, len};
    return net_link_send(m->link, &(struct net_frame){.iov = &iov, .num_iov = 1, .bytes = len});
}

static void test_frames_of_all_sizes(void **state)
{
    static uint8_t frame[NET_FRAME_MAX];
    static const size_t sizes[] = {34, 60, 1514, 65534, NET_FRAME_MAX};
    struct fixture *f = *state;
    for (size_t i = 0; i < PV_ARRAY_SIZE(sizes); i++) {
        make_ipv4(f, frame, 4, 5, sizes[i]);
        assert_int_equal(send_bytes(&f->m[0], frame, sizes[i]), 0);
        wait_for(f, &f->m[1].received, (unsigned)i + 1);
        assert_int_equal(f->m[1].last_bytes, sizes[i]);
        assert_memory_equal(f->m[1].last, frame, sizes[i]);
        make_ipv4(f, frame, 5, 4, sizes[i]);
        assert_int_equal(send_bytes(&f->m[1], frame, sizes[i]), 0);
        wait_for(f, &f->m[0].received, (unsigned)i + 1);
    }
    assert_int_equal(f->m[2].received, 0);
    assert_int_equal(counter(&f->m[0], SWITCH_LINES_MADE), 1);
    assert_int_equal(counter(&f->m[1], SWITCH_LINES_MADE), 1);
}

static void test_offloads_pass(void **state)
{
    static uint8_t frame[60000];
    struct fixture *f = *state;
    make_ipv4(f, frame, 4, 5, sizeof(frame));
    frame[ETH + 20 + 12] = 0x50; /* a TCP header of 20 bytes */
    struct iovec iov[100];
    for (unsigned i = 0; i < 100; i++)
        iov[i] = (struct iovec){frame + i * 600, 600};
    struct net_frame big = {.hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                    .gso_size = 1460,
                                    .hdr_len = 54,
                                    .csum_start = 34,
                                    .csum_offset = 16},
                            .iov = iov,
                            .num_iov = 100,
                            .bytes = sizeof(frame)};
    assert_int_equal(net_link_send(f->m[0].link, &big), 0);
    wait_for(f, &f->m[1].received, 1);
    assert_int_equal(f->m[1].last_hdr.gso_size, 1460);
    assert_int_equal(f->m[1].last_hdr.csum_start, 34);
    assert_memory_equal(f->m[1].last, frame, sizeof(frame));
}

static void test_questions_go_to_whom_they_ask_for(void **state)
{
    uint8_t frame[64];
    struct fixture *f = *state;
    send_bytes(&f->m[0], frame, make_arp(f, frame, 4, 5));
    wait_for(f, &f->m[1].received, 1);
    send_bytes(&f->m[0], frame, make_arp(f, frame, 4, 6));
    wait_for(f, &f->m[2].received, 1);
    assert_int_equal(f->m[1].received, 1);
    send_bytes(&f->m[0], frame, make_arp(f, frame, 4, 4)); /* about itself: nobody's business */
    send_bytes(&f->m[0], frame, make_arp(f, frame, 4, 9)); /* nobody has that */
    assert_int_equal(counter(&f->m[0], SWITCH_UNREACHABLE), 1);
}

static void test_broadcasts_are_bounded(void **state)
{
    uint8_t frame[60];
    struct fixture *f = *state;
    make_ipv4(f, frame, 4, 5, sizeof(frame));
    memset(frame, 0xff, 6);
    assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    wait_for(f, &f->m[1].received, 1);
    wait_for(f, &f->m[2].received, 1);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    assert_true(counter(&f->m[0], SWITCH_FLOOD) > 1000);
    turn(f, 1000000);
}

static void test_full_receiver(void **state)
{
    uint8_t frame[1000];
    struct fixture *f = *state;
    make_ipv4(f, frame, 4, 5, sizeof(frame));
    f->m[1].full = true;
    for (uint8_t i = 0; i < 10; i++) {
        frame[999] = i;
        assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    }
    turn(f, 20000000);
    assert_int_equal(f->m[1].received, 0);
    net_link_resume(f->m[1].link); /* it was wrong: still full */
    f->m[1].full = false;
    net_link_resume(f->m[1].link);
    wait_for(f, &f->m[1].received, 10);
    assert_int_equal(f->m[1].last[999], 9);
    assert_int_equal(counter(&f->m[0], SWITCH_SLOW), 0);
}

/* A machine whose monitor stands still costs the others a moment, then its own frames. */
static void test_slow_peer(void **state)
{
    static uint8_t frame[60000];
    struct fixture *f = *state;
    make_ipv4(f, frame, 4, 5, sizeof(frame));
    f->m[1].full = true;
    int rc = 0;
    for (int i = 0; i < 1000 && rc == 0; i++) {
        rc = send_bytes(&f->m[0], frame, sizeof(frame));
        turn(f, 100000);
    }
    assert_int_equal(rc, -EAGAIN);
    wait_for(f, &f->m[0].sendable, 1); /* patience is over */
    assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    assert_int_equal(counter(&f->m[0], SWITCH_SLOW), 1);
    frame[0] = frame[0]; /* others are served */
    static uint8_t other[100];
    make_ipv4(f, other, 4, 6, sizeof(other));
    send_bytes(&f->m[0], other, sizeof(other));
    wait_for(f, &f->m[2].received, 1);
    /* It reads again: nothing more is lost. */
    unsigned before = f->m[1].received;
    f->m[1].full = false;
    net_link_resume(f->m[1].link);
    turn(f, 50000000);
    assert_true(f->m[1].received > before);
    before = f->m[1].received;
    assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    wait_for(f, &f->m[1].received, before + 1);
    assert_int_equal(counter(&f->m[0], SWITCH_SLOW), 1);
}

static void test_dead_peer_and_its_return(void **state)
{
    uint8_t frame[100];
    struct fixture *f = *state;
    make_ipv4(f, frame, 4, 5, sizeof(frame));
    send_bytes(&f->m[0], frame, sizeof(frame));
    wait_for(f, &f->m[1].received, 1);
    net_link_free(f->m[1].link);
    f->m[1].link = NULL;
    turn(f, 10000000);
    assert_int_equal(switch_of(&f->m[0])->num_lines, 0);
    send_bytes(&f->m[0], frame, sizeof(frame));
    assert_int_equal(counter(&f->m[0], SWITCH_UNREACHABLE), 1);
    open_machine(f, &f->m[1], 5, NULL); /* over the socket that the dead one left */
    send_bytes(&f->m[0], frame, sizeof(frame));
    wait_for(f, &f->m[1].received, 1);
}

/* Both begin at the same time: one line stays, and what is sent later arrives. */
static void test_both_make_a_line(void **state)
{
    uint8_t there[100], back[100];
    struct fixture *f = *state;
    make_ipv4(f, there, 4, 5, sizeof(there));
    make_ipv4(f, back, 5, 4, sizeof(back));
    send_bytes(&f->m[0], there, sizeof(there));
    send_bytes(&f->m[1], back, sizeof(back));
    turn(f, 20000000);
    assert_int_equal(switch_of(&f->m[0])->num_lines, 1);
    assert_int_equal(switch_of(&f->m[1])->num_lines, 1);
    unsigned a = f->m[0].received, b = f->m[1].received;
    send_bytes(&f->m[0], there, sizeof(there));
    send_bytes(&f->m[1], back, sizeof(back));
    wait_for(f, &f->m[0].received, a + 1);
    wait_for(f, &f->m[1].received, b + 1);
}

static void test_names(void **state)
{
    char text[WORKLOAD_ADDRESS_TEXT_MAX];
    struct workload_address found[4];
    struct fixture *f = *state;
    struct net_link *link = f->m[0].link;
    assert_int_equal(net_switch_lookup(link, "M5", found, 4), 2);
    assert_string_equal(workload_address_text(&found[0], text), "10.89.3.5");
    assert_string_equal(workload_address_text(&found[1], text), "fd12:3456:789a::5");
    assert_int_equal(net_switch_lookup(link, "m4", found, 1), 1); /* itself */
    assert_int_equal(net_switch_lookup(link, "host", found, 4), 4);
    assert_int_equal(net_switch_lookup(link, "m8", found, 4), -ENOENT);
    write_member(f, 8, "m8");
    assert_int_equal(net_switch_lookup(link, "m8", found, 4), -ENOENT); /* it does not live */
    struct machine m8;
    open_machine(f, &m8, 8, NULL);
    assert_int_equal(net_switch_lookup(link, "m8", found, 4), 2);
    net_link_free(m8.link);
    turn(f, 10000000);
    assert_int_equal(net_switch_lookup(link, "m8", found, 4), -ENOENT);
    support_tree_shell(f->top, "echo broken > members/9; echo > members/x; mkdir members/10");
    assert_int_equal(net_switch_lookup(link, "m5", found, 4), 2);
}

/* --- the way out ------------------------------------------------------------------------------*/

struct fake_below {
    struct net_link link;
    unsigned sent, resumed;
    bool full;
};

static int below_send(struct net_link *link, const struct net_frame *frame)
{
    struct fake_below *b = PV_CONTAINER_OF(link, struct fake_below, link);
    assert_int_equal(frame->hdr.flags, 0);
    assert_int_equal(frame->hdr.gso_type, 0);
    b->sent += !b->full;
    return b->full ? -EAGAIN : 0;
}

static void below_resume(struct net_link *link)
{
    PV_CONTAINER_OF(link, struct fake_below, link)->resumed++;
}

static void below_free(struct net_link *link)
{
}

static const struct net_link_class below_class = {
    .name = "fake", .send = below_send, .resume = below_resume, .free = below_free};

static void test_way_out(void **state)
{
    static uint8_t frame[3014];
    struct fixture *f = *state;
    struct machine m8;
    struct fake_below below = {.link = {.class = &below_class, .mtu = 9000}};
    open_machine(f, &m8, 8, &below.link);
    assert_int_equal(m8.link->mtu, 9000);
    send_bytes(&m8, frame, make_arp(f, frame, 8, 2));
    assert_int_equal(below.sent, 1);
    make_ipv4(f, frame, 8, 5, 100); /* to any other MAC */
    memcpy(frame, "\x52\x55\x0a\x59\x03\x02", 6);
    send_bytes(&m8, frame, 100);
    assert_int_equal(below.sent, 2);
    send_bytes(&m8, frame, make_arp(f, frame, 8, 5)); /* a machine's */
    wait_for(f, &f->m[1].received, 1);
    assert_int_equal(below.sent, 2);
    /* It cannot segment: that is done before. */
    make_ipv4(f, frame, 8, 2, sizeof(frame));
    memcpy(frame, "\x52\x55\x0a\x59\x03\x02", 6);
    frame[ETH + 2] = 3000 >> 8;
    frame[ETH + 3] = 3000 & 0xff;
    frame[ETH + 6] = frame[ETH + 7] = 0;
    frame[ETH + 20 + 12] = 0x50;
    struct iovec iov = {frame, sizeof(frame)};
    struct net_frame big = {.hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                    .gso_size = 1480,
                                    .hdr_len = 54,
                                    .csum_start = 34,
                                    .csum_offset = 16},
                            .iov = &iov,
                            .num_iov = 1,
                            .bytes = sizeof(frame)};
    assert_int_equal(net_link_send(m8.link, &big), 0);
    assert_int_equal(below.sent, 4);
    below.full = true;
    assert_int_equal(send_bytes(&m8, frame, 100), -EAGAIN);
    below.link.upper.sendable(below.link.upper.data);
    assert_int_equal(m8.sendable, 1);
    iov.iov_len = 100;
    struct net_frame small = {.iov = &iov, .num_iov = 1, .bytes = 100};
    m8.full = true;
    assert_int_equal(below.link.upper.receive(below.link.upper.data, &small), -EAGAIN);
    m8.full = false;
    net_link_resume(m8.link);
    assert_int_equal(below.resumed, 1);
    net_link_free(m8.link);
}

/* --- hostile neighbours -----------------------------------------------------------------------*/

static int bind_as(struct fixture *f, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    pv_auto_fd int back = open(".", O_PATH | O_CLOEXEC);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
    assert_int_equal(chdir(f->top), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fchdir(back), 0);
    return fd;
}

static void greet(struct fixture *f, int port, const void *greeting, size_t len, const int *fds,
                  unsigned num_fds)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/ports/4", f->top);
    char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec iov = {(void *)greeting, len};
    struct msghdr msg = {.msg_name = &address,
                         .msg_namelen = sizeof(address),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = num_fds ? control : NULL,
                         .msg_controllen = num_fds ? CMSG_SPACE(num_fds * sizeof(int)) : 0};
    if (num_fds) {
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
    }
    assert_true(sendmsg(port, &msg, 0) >= 0);
    turn(f, 2000000);
}

/* A line to machine 4, as number HOSTILE. */
static int hostile_line(struct fixture *f, int *ret_port)
{
    int pair[2];
    *ret_port = bind_as(f, "ports/7");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    greet(f, *ret_port, "PVLINE1", 8, &pair[1], 1);
    close(pair[1]);
    assert_int_equal(counter(&f->m[0], SWITCH_LINES_MADE), 1);
    return pair[0];
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_strangers(void **state)
{
    struct fixture *f = *state;
    int pair[2], dgram[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, dgram), 0);
    pv_auto_fd int unbound = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    pv_auto_fd int elsewhere = bind_as(f, "7");
    pv_auto_fd int longer = bind_as(f, "./ports/8");
    pv_auto_fd int name = bind_as(f, "ports/x7");
    pv_auto_fd int router = bind_as(f, "ports/2");
    pv_auto_fd int port = bind_as(f, "ports/7");
    pv_auto_fd int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int many[3] = {pair[1], pair[1], pair[1]};
    unsigned before = count_fds();
    greet(f, unbound, "PVLINE1", 8, &pair[1], 1);
    greet(f, elsewhere, "PVLINE1", 8, &pair[1], 1);
    greet(f, longer, "PVLINE1", 8, &pair[1], 1);
    greet(f, name, "PVLINE1", 8, &pair[1], 1);
    greet(f, router, "PVLINE1", 8, &pair[1], 1);
    greet(f, port, "PVLINE1", 8, NULL, 0);
    greet(f, port, "PVLINE1", 7, &pair[1], 1);
    greet(f, port, "PVLINE2", 8, &pair[1], 1);
    greet(f, port, "PVLINE1..........", 17, &pair[1], 1);
    greet(f, port, "PVLINE1", 8, &dgram[1], 1);
    greet(f, port, "PVLINE1", 8, &null_fd, 1);
    assert_int_equal(counter(&f->m[0], SWITCH_STRANGERS), 11);
    assert_int_equal(counter(&f->m[0], SWITCH_LINES_MADE), 0);
    assert_int_equal(count_fds(), before);
    greet(f, port, "PVLINE1", 8, many, 3); /* the first is a line, the kernel keeps the rest */
    assert_int_equal(counter(&f->m[0], SWITCH_LINES_MADE), 1);
    assert_int_equal(count_fds(), before + 1);
    for (int i = 0; i < 2; i++) {
        close(pair[i]);
        close(dgram[i]);
    }
}

static void say(struct fixture *f, int line, const struct virtio_net_hdr *hdr, const void *frame,
                size_t len)
{
    struct iovec iov[2] = {{(void *)hdr, sizeof(*hdr)}, {(void *)frame, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    sendmsg(line, &msg, MSG_NOSIGNAL);
    turn(f, 2000000);
}

static void test_hostile_frames(void **state)
{
    static uint8_t frame[NET_FRAME_MAX + 100];
    static const struct virtio_net_hdr plain,
        broken[] = {
            {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 90, .csum_offset = 20},
            {.gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 0},
            {.gso_type = 77, .gso_size = 100},
        };
    struct fixture *f = *state;
    pv_auto_fd int port = -1;
    pv_auto_fd int line = hostile_line(f, &port);
    int size = 1 << 20;
    setsockopt(line, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    make_ipv4(f, frame, HOSTILE, 4, sizeof(frame));
    say(f, line, &plain, frame, 100);
    assert_int_equal(f->m[0].received, 1);

    say(f, line, &plain, frame, 0);
    say(f, line, &plain, frame, NET_FRAME_MAX + 1);
    send(line, "x", 1, 0);
    for (size_t i = 0; i < PV_ARRAY_SIZE(broken); i++)
        say(f, line, &broken[i], frame, 100);
    assert_int_equal(counter(&f->m[0], SWITCH_BROKEN), 3 + PV_ARRAY_SIZE(broken));

    say(f, line, &plain, frame, 13);
    say(f, line, &plain, frame, 30);
    make_ipv4(f, frame, 5, 4, 100); /* as another */
    say(f, line, &plain, frame, 100);
    make_ipv4(f, frame, HOSTILE, 5, 100); /* for another */
    say(f, line, &plain, frame, 100);
    make_ipv4(f, frame, HOSTILE, 4, 100);
    frame[ETH + 15]++; /* from another's IP address */
    say(f, line, &plain, frame, 100);
    make_ipv4(f, frame, HOSTILE, 4, 100);
    frame[12] = 0x81; /* a VLAN */
    say(f, line, &plain, frame, 100);
    make_arp(f, frame, HOSTILE, 4);
    frame[ETH + 17] = 2; /* "I am the gateway" */
    say(f, line, &plain, frame, 42);
    assert_int_equal(counter(&f->m[0], SWITCH_FORGED), 6); /* 13 bytes are no frame */
    assert_int_equal(f->m[0].received, 1);

    make_arp(f, frame, HOSTILE, 4);
    say(f, line, &plain, frame, 42);
    assert_int_equal(f->m[0].received, 2);
}

/* A line to machine 4 with a ring of the liar's, as number HOSTILE. */
struct liar {
    int port, line;
    struct switch_ring *ring;
    struct switch_ring_way *ways; /* ways[0] is what the liar sends */
    uint8_t *records;
};

static void liar_open(struct fixture *f, struct liar *l)
{
    int pair[2], ring_fd;
    l->port = bind_as(f, "ports/7");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(switch_ring_make(&l->ring, &ring_fd), 0);
    void *memory =
        mmap(NULL, SWITCH_RING_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    assert_true(memory != MAP_FAILED);
    l->ways = memory;
    l->records = (uint8_t *)memory + SWITCH_RING_WORDS;
    l->line = pair[0];
    greet(f, l->port, "PVLINE1", 8, (int[]){pair[1], ring_fd}, 2);
    close(pair[1]);
    close(ring_fd);
    assert_int_equal(counter(&f->m[0], SWITCH_RINGS_MADE), 1);
    char sign = 0;
    assert_int_equal(recv(l->line, &sign, 1, MSG_DONTWAIT), 1);
    assert_int_equal(sign, 'R');
}

static void liar_close(struct liar *l)
{
    switch_ring_free(l->ring);
    munmap(l->ways, SWITCH_RING_FILE_BYTES);
    close(l->line);
    close(l->port);
}

static void ring_bell(struct fixture *f, struct liar *l)
{
    send(l->line, "B", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    turn(f, 2000000);
}

static bool line_has_ended(struct liar *l)
{
    char byte;
    ssize_t n;
    while ((n = recv(l->line, &byte, 1, MSG_DONTWAIT)) > 0)
        ;
    return n == 0;
}

static void liar_says(struct fixture *f, struct liar *l, const struct virtio_net_hdr *hdr,
                      const void *bytes, size_t len)
{
    struct iovec iov = {(void *)bytes, len};
    struct net_frame frame = {.hdr = *hdr, .iov = &iov, .num_iov = 1, .bytes = len};
    assert_true(switch_ring_send(l->ring, &frame) >= 0);
    ring_bell(f, l);
}

/* Frames by a ring are judged as all others are. */
static void test_hostile_frames_by_ring(void **state)
{
    static uint8_t frame[NET_FRAME_MAX];
    static const struct virtio_net_hdr plain,
        broken = {.gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 0};
    struct fixture *f = *state;
    struct liar l;
    liar_open(f, &l);
    make_ipv4(f, frame, HOSTILE, 4, sizeof(frame));
    liar_says(f, &l, &plain, frame, sizeof(frame));
    assert_int_equal(f->m[0].received, 1);
    assert_int_equal(f->m[0].last_bytes, sizeof(frame));
    liar_says(f, &l, &broken, frame, 1000);
    assert_int_equal(counter(&f->m[0], SWITCH_BROKEN), 1);
    liar_says(f, &l, &plain, frame, 13);
    make_ipv4(f, frame, 5, 4, 1000);
    liar_says(f, &l, &plain, frame, 1000);
    make_ipv4(f, frame, HOSTILE, 5, 1000);
    liar_says(f, &l, &plain, frame, 1000);
    assert_int_equal(counter(&f->m[0], SWITCH_FORGED), 2);
    assert_int_equal(counter(&f->m[0], SWITCH_BROKEN), 2); /* 13 bytes are no frame */
    assert_int_equal(f->m[0].received, 1);
    send(l.line, "x", 1, 0); /* no sign that anybody knows */
    turn(f, 2000000);
    assert_int_equal(counter(&f->m[0], SWITCH_BROKEN), 3);
    make_ipv4(f, frame, HOSTILE, 4, 1000); /* a message does, too */
    send(l.line, "\0\0\0\0\0\0\0\0\0\0", 10, 0);
    assert_int_equal(switch_of(&f->m[0])->num_lines, 1);
    liar_close(&l);
}

/* What cannot be ends the line, and only that. */
static void test_a_ring_that_lies(void **state)
{
    static uint8_t frame[60000];
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4; i++) {
        struct liar l;
        f->m[0].link = (net_link_free(f->m[0].link), NULL);
        open_machine(f, &f->m[0], 4, NULL);
        liar_open(f, &l);
        if (i == 0) { /* an index */
            l.ways[0].sent = 2 * SWITCH_RING_BYTES;
            ring_bell(f, &l);
        } else if (i == 1) { /* a length */
            struct switch_ring_record record = {.bytes = NET_FRAME_MAX + 1};
            memcpy(l.records, &record, sizeof(record));
            l.ways[0].sent = SWITCH_RING_BYTES;
            ring_bell(f, &l);
        } else { /* what was taken of ours */
            l.ways[1].taken = i == 2 ? 0x80000000u : 1;
            make_ipv4(f, frame, 4, HOSTILE, sizeof(frame));
            for (unsigned n = 0; n < 100 && !counter(&f->m[0], SWITCH_BROKEN); n++)
                send_bytes(&f->m[0], frame, sizeof(frame));
            turn(f, 2000000);
        }
        assert_int_equal(counter(&f->m[0], SWITCH_BROKEN), 1);
        assert_int_equal(switch_of(&f->m[0])->num_lines, 0);
        assert_int_equal(switch_of(&f->m[0])->num_rings, 0);
        assert_true(line_has_ended(&l));
        liar_close(&l);
        support_tree_shell(f->top, "rm ports/7");
        make_ipv4(f, frame, 4, 5, 100);
        unsigned before = f->m[1].received;
        send_bytes(&f->m[0], frame, 100);
        wait_for(f, &f->m[1].received, before + 1);
    }
}

/* Bells without end, and bells that were never asked for, cost a look each. */
static void test_a_liar_that_only_rings(void **state)
{
    uint8_t frame[100];
    struct fixture *f = *state;
    struct liar l;
    liar_open(f, &l);
    for (int i = 0; i < 300; i++)
        send(l.line, i & 1 ? "B" : "R", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    make_ipv4(f, frame, 4, 5, 100);
    send_bytes(&f->m[0], frame, 100);
    wait_for(f, &f->m[1].received, 1);
    turn(f, 20000000);
    assert_int_equal(switch_of(&f->m[0])->num_lines, 2);
    liar_close(&l);
    turn(f, 20000000);
    assert_int_equal(switch_of(&f->m[0])->num_lines, 1);
}

/* One that takes nothing: the sender's guest waits once. */
static void test_a_ring_that_stays_full(void **state)
{
    static uint8_t frame[60000];
    struct fixture *f = *state;
    struct liar l;
    liar_open(f, &l);
    make_ipv4(f, frame, 4, HOSTILE, sizeof(frame));
    int rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++)
        rc = send_bytes(&f->m[0], frame, sizeof(frame));
    assert_int_equal(rc, -EAGAIN);
    ring_bell(f, &l); /* there is no room */
    assert_int_equal(f->m[0].sendable, 0);
    wait_for(f, &f->m[0].sendable, 1);
    assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    assert_int_equal(counter(&f->m[0], SWITCH_SLOW), 1);
    /* It takes all: nothing more is lost. */
    while (switch_ring_peek(l.ring, true, &(struct switch_ring_frame){0}) == 1)
        if (switch_ring_release(l.ring))
            ring_bell(f, &l);
    for (int i = 0; i < 10; i++)
        assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    assert_int_equal(counter(&f->m[0], SWITCH_SLOW), 1);
    liar_close(&l);
}

/* What it sent before it ended arrives. */
static void test_last_words(void **state)
{
    uint8_t frame[1000];
    struct fixture *f = *state;
    struct liar l;
    struct iovec iov = {frame, sizeof(frame)};
    liar_open(f, &l);
    make_ipv4(f, frame, HOSTILE, 4, sizeof(frame));
    for (int i = 0; i < 50; i++)
        switch_ring_send(l.ring,
                         &(struct net_frame){.iov = &iov, .num_iov = 1, .bytes = sizeof(frame)});
    liar_close(&l);
    turn(f, 20000000);
    assert_int_equal(f->m[0].received, 50);
    assert_int_equal(switch_of(&f->m[0])->num_lines, 0);
}

/* One that knows no rings makes lines, and gets some, as ever. */
static void test_a_neighbour_without_rings(void **state)
{
    uint8_t frame[1000], buf[2000];
    struct fixture *f = *state;
    pv_auto_fd int port = -1;
    pv_auto_fd int line = hostile_line(f, &port);
    static const struct virtio_net_hdr plain;
    assert_int_equal(counter(&f->m[0], SWITCH_RINGS_MADE), 0);
    make_ipv4(f, frame, HOSTILE, 4, sizeof(frame));
    say(f, line, &plain, frame, sizeof(frame));
    assert_int_equal(f->m[0].received, 1);
    make_ipv4(f, frame, 4, HOSTILE, sizeof(frame));
    send_bytes(&f->m[0], frame, sizeof(frame));
    assert_int_equal(recv(line, buf, sizeof(buf), 0), sizeof(plain) + sizeof(frame));
    close(pv_take_fd(&line));
    turn(f, 10000000);
    /* Called by machine 4, it takes the socket, and does not say that it has the ring. */
    for (int i = 0; i < 3; i++)
        send_bytes(&f->m[0], frame, sizeof(frame));
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {buf, sizeof(buf)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = CMSG_LEN(sizeof(int))};
    assert_int_equal(recvmsg(port, &msg, MSG_CMSG_CLOEXEC), 8);
    assert_string_equal((char *)buf, "PVLINE1");
    assert_int_equal(control.header.cmsg_len, CMSG_LEN(sizeof(int)));
    memcpy(&line, CMSG_DATA(&control.header), sizeof(line));
    for (int i = 0; i < 3; i++)
        assert_int_equal(recv(line, buf, sizeof(buf), 0), sizeof(plain) + sizeof(frame));
    make_ipv4(f, frame, HOSTILE, 4, sizeof(frame));
    say(f, line, &plain, frame, sizeof(frame));
    assert_int_equal(f->m[0].received, 2);
}

/* More machines than there may be rings. */
static void test_rings_are_bounded(void **state)
{
    enum { MANY = SWITCH_RINGS_MAX + 3 };
    struct fixture *f = *state;
    static struct machine many[MANY];
    uint8_t frame[100];
    for (unsigned i = 0; i < MANY; i++)
        open_machine(f, &many[i], 20 + i, NULL);
    for (unsigned round = 1; round <= 2; round++)
        for (unsigned i = 0; i < MANY; i++) {
            make_ipv4(f, frame, 4, 20 + i, sizeof(frame));
            send_bytes(&f->m[0], frame, sizeof(frame));
            wait_for(f, &many[i].received, round);
        }
    assert_int_equal(switch_of(&f->m[0])->num_lines, MANY);
    assert_int_equal(switch_of(&f->m[0])->num_rings, SWITCH_RINGS_MAX);
    for (unsigned i = 0; i < MANY; i++)
        net_link_free(many[i].link);
    turn(f, 20000000);
    assert_int_equal(switch_of(&f->m[0])->num_rings, 0);
}

/* Both directions at once, with receivers that have no room at times: nothing is lost or mixed. */
static void test_much_both_ways(void **state)
{
    static uint8_t frame[2][30000];
    struct fixture *f = *state;
    unsigned sent[2] = {0, 0};
    make_ipv4(f, frame[0], 4, 5, sizeof(frame[0]));
    make_ipv4(f, frame[1], 5, 4, sizeof(frame[1]));
    send_bytes(&f->m[0], frame[0], 100); /* the line: not both at once */
    wait_for(f, &f->m[1].received, 1);
    f->m[1].received = 0;
    for (unsigned round = 0; round < 400; round++) {
        for (unsigned i = 0; i < 2; i++) {
            for (unsigned k = 0; k < 10 && send_bytes(&f->m[i], frame[i], sizeof(frame[i])) == 0;
                 k++)
                sent[i]++;
            f->m[i].full = round % 3 == i;
            if (!f->m[i].full)
                net_link_resume(f->m[i].link);
        }
        turn(f, 100000);
    }
    for (unsigned i = 0; i < 2; i++) {
        f->m[i].full = false;
        net_link_resume(f->m[i].link);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(counter(&f->m[i], SWITCH_SLOW), 0);
        wait_for(f, &f->m[1 - i].received, sent[i]);
        assert_int_equal(f->m[1 - i].received, sent[i]);
        assert_memory_equal(f->m[1 - i].last, frame[i], sizeof(frame[i]));
    }
    assert_true(counter(&f->m[0], SWITCH_RINGS_MADE) >= 1);
}

static size_t make_ipv6(struct fixture *f, uint8_t *frame, uint8_t next, const uint8_t *rest,
                        size_t len)
{
    memset(frame, 0, ETH + 40);
    workload_subnet_mac(&f->subnet, 4, frame);
    workload_subnet_mac(&f->subnet, HOSTILE, frame + 6);
    frame[12] = 0x86;
    frame[13] = 0xdd;
    frame[ETH] = 0x60;
    frame[ETH + 6] = next;
    workload_subnet_ipv6(&f->subnet, HOSTILE, frame + ETH + 8);
    workload_subnet_ipv6(&f->subnet, 4, frame + ETH + 24);
    memcpy(frame + ETH + 40, rest, len);
    return ETH + 40 + len;
}

static bool is_honest6(struct fixture *f, uint8_t next, const void *rest, size_t len)
{
    uint8_t frame[256];
    size_t bytes = make_ipv6(f, frame, next, rest, len);
    return switch_is_honest(&f->subnet, HOSTILE, 4, frame, bytes);
}

static void test_neighbours_of_ipv6(void **state)
{
    struct fixture *f = *state;
    uint8_t advert[24] = {136}, link_local[16] = {0xfe, 0x80, 0,    0,    0,    0,    0, 0,
                                                  0,    0x50, 0x0a, 0xff, 0xfe, 0x59, 3, HOSTILE};
    workload_subnet_ipv6(&f->subnet, HOSTILE, advert + 8);
    assert_true(is_honest6(f, 58, advert, 24));
    memcpy(advert + 8, link_local, 16);
    assert_true(is_honest6(f, 58, advert, 24));
    assert_false(is_honest6(f, 58, advert, 23));
    link_local[15]++;
    memcpy(advert + 8, link_local, 16);
    assert_false(is_honest6(f, 58, advert, 24));
    workload_subnet_ipv6(&f->subnet, 2, advert + 8); /* the gateway */
    assert_false(is_honest6(f, 58, advert, 24));
    assert_true(is_honest6(f, 58, "\x80\0\0\0\0\0\0\0", 8));  /* echo */
    assert_false(is_honest6(f, 58, "\x86\0\0\0\0\0\0\0", 8)); /* router advertisement */
    assert_false(is_honest6(f, 58, "\x89\0\0\0\0\0\0\0", 8)); /* redirect */
    assert_false(is_honest6(f, 58, "", 0));
    assert_true(is_honest6(f, 6, "", 0));
    /* Behind extension headers. */
    assert_true(is_honest6(f, 0, "\x3a\0\0\0\0\0\0\0\x8f\0\0\0", 12)); /* multicast listener */
    assert_false(is_honest6(f, 0, "\x3a\0\0\0\0\0\0\0\x88\0\0\0", 12));
    assert_false(is_honest6(f, 60, "\x2b\0\0\0\0\0\0\0\x3a\0\0\0\0\0\0\0\x86", 17));
    assert_false(is_honest6(f, 0, "\x3a\1\0\0\0\0\0\0", 8)); /* longer than the frame */
    assert_false(is_honest6(f, 44, "\x3a\0\0\0\0\0\0\0\x80", 9));
    assert_false(is_honest6(f, 44, "\x3c\0\0\0\0\0\0\0\x80", 9));
    assert_true(is_honest6(f, 44, "\x11\0\0\0\0\0\0\0\x80", 9));
    uint8_t chain[48] = {0};
    assert_false(is_honest6(f, 0, chain, sizeof(chain)));
}

static void test_ways_of_ipv6(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[256], solicit[24] = {135};
    uint32_t number = 0;
    workload_subnet_ipv6(&f->subnet, 5, solicit + 8);
    size_t len = make_ipv6(f, frame, 58, solicit, 24);
    memcpy(frame, "\x33\x33\xff\0\0\5", 6);
    assert_int_equal(switch_choose(&f->subnet, 4, frame, len, &number), SWITCH_TO_MACHINE);
    assert_int_equal(number, 5);
    assert_int_equal(switch_choose(&f->subnet, 5, frame, len, &number), SWITCH_TO_NOBODY);
    frame[ETH + 40 + 23] = 2;
    assert_int_equal(switch_choose(&f->subnet, 4, frame, len, &number), SWITCH_TO_BELOW);
    frame[ETH + 40] = 133; /* router solicitation */
    assert_int_equal(switch_choose(&f->subnet, 4, frame, len, &number), SWITCH_TO_BELOW);
    len = make_ipv6(f, frame, 17, (const uint8_t *)"\x14\xe9\x14\xe9", 4); /* mDNS */
    memcpy(frame, "\x33\x33\0\0\0\xfb", 6);
    assert_int_equal(switch_choose(&f->subnet, 4, frame, len, &number), SWITCH_TO_ALL);
    len = make_ipv6(f, frame, 17, (const uint8_t *)"\2\x22\2\x23", 4); /* DHCPv6 */
    frame[0] = 0x33;
    assert_int_equal(switch_choose(&f->subnet, 4, frame, len, &number), SWITCH_TO_BELOW);
    for (size_t n = 0; n < len; n++) /* no length is too short */
        switch_choose(&f->subnet, 4, frame, n, &number);
}

static void test_forged_by_the_guest(void **state)
{
    uint8_t frame[100];
    struct fixture *f = *state;
    make_ipv4(f, frame, 6, 5, sizeof(frame));
    assert_int_equal(send_bytes(&f->m[0], frame, sizeof(frame)), 0);
    assert_int_equal(send_bytes(&f->m[0], frame, 13), 0);
    assert_int_equal(counter(&f->m[0], SWITCH_FORGED), 2);
    assert_int_equal(counter(&f->m[0], SWITCH_SENT), 0);
}

static void test_path_too_long(void **state)
{
    char path[120];
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    memset(path, 'x', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(net_switch_start(f->m[0].link, path, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, "PARAVANE_ROOT"));
}

#define SWITCH_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SWITCH_TEST(test_frames_of_all_sizes),
        SWITCH_TEST(test_offloads_pass),
        SWITCH_TEST(test_questions_go_to_whom_they_ask_for),
        SWITCH_TEST(test_broadcasts_are_bounded),
        SWITCH_TEST(test_full_receiver),
        SWITCH_TEST(test_slow_peer),
        SWITCH_TEST(test_dead_peer_and_its_return),
        SWITCH_TEST(test_both_make_a_line),
        SWITCH_TEST(test_names),
        SWITCH_TEST(test_way_out),
        SWITCH_TEST(test_strangers),
        SWITCH_TEST(test_hostile_frames),
        SWITCH_TEST(test_hostile_frames_by_ring),
        SWITCH_TEST(test_a_ring_that_lies),
        SWITCH_TEST(test_a_liar_that_only_rings),
        SWITCH_TEST(test_a_ring_that_stays_full),
        SWITCH_TEST(test_last_words),
        SWITCH_TEST(test_a_neighbour_without_rings),
        SWITCH_TEST(test_rings_are_bounded),
        SWITCH_TEST(test_much_both_ways),
        SWITCH_TEST(test_neighbours_of_ipv6),
        SWITCH_TEST(test_ways_of_ipv6),
        SWITCH_TEST(test_forged_by_the_guest),
        SWITCH_TEST(test_path_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
