/* SPDX-License-Identifier: Apache-2.0
 *
 * test_switch_hostile.c: a private network with a monitor that was taken over: what it says to
 * ports, on lines and in rings, and what frames say of their senders.
 */
#include "switch_fixture.h"

#include "base/fd.h"
#include "support/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

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
    ring_bell(f, &l); /* there is no room: only its time ends the wait */
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

#define SWITCH_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SWITCH_TEST(test_strangers),
        SWITCH_TEST(test_hostile_frames),
        SWITCH_TEST(test_hostile_frames_by_ring),
        SWITCH_TEST(test_a_ring_that_lies),
        SWITCH_TEST(test_a_liar_that_only_rings),
        SWITCH_TEST(test_a_ring_that_stays_full),
        SWITCH_TEST(test_last_words),
        SWITCH_TEST(test_a_neighbour_without_rings),
        SWITCH_TEST(test_neighbours_of_ipv6),
        SWITCH_TEST(test_ways_of_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
