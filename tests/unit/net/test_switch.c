/* SPDX-License-Identifier: Apache-2.0
 *
 * test_switch.c: machines on a private network, several in one process, all honest.
 */
#include "switch_fixture.h"

#include "base/clock.h"
#include "support/tree.h"

#include <errno.h>
#include <stdio.h>

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

/* What this process has of rings, in KiB. */
static unsigned ring_pages(void)
{
    char line[256];
    bool is_ring = false;
    unsigned sum = 0, kib;
    FILE *file = fopen("/proc/self/smaps", "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (strchr(line, '-') && strstr(line, " r"))
            is_ring = strstr(line, "memfd:switch-ring");
        if (is_ring && sscanf(line, "Rss: %u kB", &kib) == 1)
            sum += kib;
    }
    fclose(file);
    return sum;
}

/* Rings that nobody uses keep no pages, and are used again. */
static void test_idle_rings(void **state)
{
    static uint8_t frame[60000];
    struct fixture *f = *state;
    make_ipv4(f, frame, 4, 5, sizeof(frame));
    for (unsigned i = 0; i < 20; i++) {
        send_bytes(&f->m[0], frame, sizeof(frame));
        wait_for(f, &f->m[1].received, i + 1);
    }
    assert_true(ring_pages() > 1000);
    for (int i = 0; i < 2; i++) { /* as if the time were over, twice: it was in use in the first */
        assert_true(switch_of(&f->m[0])->idle_runs);
        pv_loop_arm(switch_of(&f->m[0])->idle, 1);
        turn(f, 10000000);
    }
    assert_false(switch_of(&f->m[0])->idle_runs);
    assert_true(ring_pages() < 64);
    send_bytes(&f->m[0], frame, sizeof(frame));
    wait_for(f, &f->m[1].received, 21);
    assert_memory_equal(f->m[1].last, frame, sizeof(frame));
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
        SWITCH_TEST(test_rings_are_bounded),
        SWITCH_TEST(test_much_both_ways),
        SWITCH_TEST(test_forged_by_the_guest),
        SWITCH_TEST(test_path_too_long),
        SWITCH_TEST(test_idle_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
