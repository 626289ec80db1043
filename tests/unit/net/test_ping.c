/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ping.c: echo requests to the loopback of a network namespace of the test's own.
 */
#include "net/ping.h"

#include "base/fd.h"
#include "net/packet.h"
#include "net/reply.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADERS (NET_ETHERNET_BYTES + 40u + 8u)

static const uint8_t guest[16] = {0xfd, [15] = 0x15};
static const uint8_t loopback[16] = {[15] = 1};
static const uint8_t nowhere[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 9};

static struct {
    struct pv_loop *loop;
    struct net_ping *ping;
    unsigned given;
    uint8_t frame[65600];
    size_t bytes;
    struct net_packet packet;
} f;

static void give(void *data, const uint8_t *frame, size_t bytes)
{
    f.given++;
    assert_in_range(bytes, HEADERS, sizeof(f.frame));
    memcpy(f.frame, frame, bytes);
    f.bytes = bytes;
    assert_int_equal(net_packet_parse(f.frame, bytes, &f.packet), 0);
    pv_loop_stop(f.loop, 0);
}

static int set_up(void **state)
{
    memset(&f, 0, sizeof(f));
    f.loop = pv_loop_new();
    struct net_ping_options o = {.loop = f.loop, .give = give};
    o.own.address.bytes[0] = 0xfd;
    o.own.bits = 64;
    f.ping = net_ping_new(&o);
    return f.ping ? 0 : -1;
}

static int tear_down(void **state)
{
    net_ping_free(f.ping);
    pv_loop_free(f.loop);
    return 0;
}

/* A request of the guest with len bytes of data. */
static bool ask(const uint8_t to[16], uint16_t id, uint16_t number, size_t len)
{
    static uint8_t frame[66000];
    struct net_reply_path path = {.src_mac = {2, 1}, .dst_mac = {2, 2}};
    uint8_t body[4] = {(uint8_t)(id >> 8), (uint8_t)id, (uint8_t)(number >> 8), (uint8_t)number};
    static uint8_t data[65536];
    memcpy(data, body, 4);
    memset(data + 4, 'x', len);
    path.ends.src = workload_address_from_v6(guest);
    memcpy(path.ends.dst.bytes, to, 16);
    size_t bytes = net_reply_echo6(frame, &path, data, 4 + len);
    frame[NET_ETHERNET_BYTES + 40] = 128; /* a request; the host counts its checksum itself */
    return net_ping_request(f.ping, frame, bytes);
}

static void test_a_reply_comes_back(void **state)
{
    static const size_t sizes[] = {0, 1, 56, 1400, 65000};
    for (size_t i = 0; i < PV_ARRAY_SIZE(sizes); i++) {
        assert_true(ask(loopback, 77, (uint16_t)i, sizes[i]));
        assert_int_equal(pv_loop_run(f.loop), 0);
        assert_int_equal(f.given, i + 1);
        assert_int_equal(f.bytes, HEADERS + sizes[i]);
        assert_int_equal(f.packet.icmp_type, 129);
        assert_memory_equal(f.packet.ends.src.bytes, loopback, 16);
        assert_memory_equal(f.packet.ends.dst.bytes, guest, 16);
        assert_int_equal(f.packet.dst_mac[1], 1);
        assert_int_equal(f.packet.src_mac[1], 2);
        assert_int_equal(net_packet_u16(f.frame + HEADERS - 4), 77);
        assert_int_equal(net_packet_u16(f.frame + HEADERS - 2), i);
        if (sizes[i])
            assert_int_equal(f.frame[f.bytes - 1], 'x');
    }
}

static void test_many_identifiers_use_few_sockets(void **state)
{
    int first = dup(0);
    for (unsigned id = 0; id < 300; id++)
        assert_true(ask(loopback, (uint16_t)id, 0, 8));
    int last = dup(0);
    assert_in_range(last - first, 1, 80);
    close(first);
    close(last);
}

static void test_no_way_is_told_at_once(void **state)
{
    assert_true(ask(nowhere, 1, 1, 8));
    assert_int_equal(f.given, 1);
    assert_int_equal(f.packet.icmp_type, 1);
    assert_int_equal(f.packet.icmp_code, 0);
    assert_true(f.packet.is_error);
    assert_memory_equal(f.packet.inner.dst.bytes, nowhere, 16);
}

static void test_what_is_somebody_elses(void **state)
{
    static const uint8_t router[16] = {0xfd, [15] = 2}, local[16] = {0xfe, 0x80, [15] = 2},
                         all[16] = {0xff, 2, [15] = 1};
    assert_false(ask(router, 1, 1, 8));
    assert_false(ask(local, 1, 1, 8));
    assert_false(ask(all, 1, 1, 8));
    assert_int_equal(f.given, 0);
}

static void test_what_is_no_request(void **state)
{
    uint8_t frame[HEADERS + 8];
    struct net_reply_path path = {0};
    path.ends.src = workload_address_from_v6(guest);
    path.ends.dst = workload_address_from_v6(nowhere);
    size_t bytes = net_reply_echo6(frame, &path, "12345678", 8);
    assert_false(net_ping_request(f.ping, frame, bytes)); /* a reply */
    frame[NET_ETHERNET_BYTES + 40] = 128;
    for (size_t len = 0; len < bytes; len++)
        assert_false(net_ping_request(f.ping, frame, len)); /* cut off */
    frame[NET_ETHERNET_BYTES + 41] = 1;
    assert_false(net_ping_request(f.ping, frame, bytes)); /* a code */
    frame[NET_ETHERNET_BYTES + 41] = 0;
    frame[NET_ETHERNET_BYTES + 6] = 17;
    assert_false(net_ping_request(f.ping, frame, bytes)); /* UDP */
    assert_int_equal(f.given, 0);
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && pv_fd_write_full(fd, text, strlen(text)) == 0;
    pv_cleanup_fd(&fd);
    return ok;
}

/* First: a new network lets nobody, until its owner says otherwise. */
static void test_a_host_that_lets_nobody_ping(void **state)
{
    assert_true(ask(loopback, 1, 1, 8));
    assert_int_equal(f.given, 1);
    assert_int_equal(f.packet.icmp_type, 1);
    assert_int_equal(f.packet.icmp_code, 1);
    assert_true(write_file("/proc/sys/net/ipv4/ping_group_range", "0 0"));
}

/* A network of our own, with nothing but a loopback, in which we are root. */
static bool enter_network(void)
{
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    char map[32];
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)getgid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    bool ok = write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/gid_map", map);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ok = ok && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
    close(fd);
    return ok;
}

#define PING_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PING_TEST(test_a_host_that_lets_nobody_ping),     PING_TEST(test_a_reply_comes_back),
        PING_TEST(test_many_identifiers_use_few_sockets), PING_TEST(test_no_way_is_told_at_once),
        PING_TEST(test_what_is_somebody_elses),           PING_TEST(test_what_is_no_request),
    };
    if (!enter_network()) {
        puts("this host gives us no network namespace");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
