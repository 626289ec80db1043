/* SPDX-License-Identifier: Apache-2.0
 *
 * test_user.c: the user-mode backend, with this test in the guest's place: it answers ARP, keeps
 * what the guest has no room for, never lets a frame through to the host itself, takes its ports.
 */
#include "net/table.h"

#include "support/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct pv_loop *loop;
    struct pv_loop_source *timer;
    struct net_link *link;
    unsigned received, refused;
    bool full; /* the guest has no room */
    uint8_t last[128];
    size_t last_bytes;
};

static int receive(void *data, const struct net_frame *frame)
{
    struct fixture *f = data;
    if (f->full) {
        f->refused++;
        return -EAGAIN;
    }
    f->received++;
    f->last_bytes = frame->bytes;
    memcpy(f->last, frame->iov[0].iov_base, PV_MIN(frame->bytes, sizeof(f->last)));
    assert_int_equal(frame->hdr.gso_type, 0);
    return 0;
}

static struct net_config config_of(const struct workload_port *ports, size_t num)
{
    struct net_config c = {.has4 = true, .has6 = true, .prefix4 = 24, .prefix6 = 64};
    c.ports = ports;
    c.num_ports = num;
    inet_pton(AF_INET, "10.0.2.15", &c.guest4);
    inet_pton(AF_INET, "10.0.2.2", &c.gateway4);
    inet_pton(AF_INET, "10.0.2.3", &c.dns4);
    inet_pton(AF_INET6, "fd00::15", &c.guest6);
    inet_pton(AF_INET6, "fd00::2", &c.gateway6);
    inet_pton(AF_INET6, "fd00::3", &c.dns6);
    return c;
}

static void on_timer(void *data)
{
    struct fixture *f = data;
    pv_loop_stop(f->loop, 0);
}

/* Lets the loop run for some milliseconds. */
static void turn(struct fixture *f)
{
    pv_loop_arm(f->timer, 5000000);
    assert_int_equal(pv_loop_run(f->loop), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct net_config c = config_of(NULL, 0);
    f->loop = pv_loop_new();
    f->timer = pv_loop_add_timer(f->loop, on_timer, f);
    assert_int_equal(net_backend_find("user")->open(&c, f->loop, &f->link, NULL), 0);
    f->link->upper = (struct net_upper){.receive = receive, .data = f};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    net_link_free(f->link);
    pv_loop_free(f->loop);
    free(f);
    return 0;
}

static void send_frame(struct fixture *f, const uint8_t *bytes, size_t len)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)bytes, len / 2},
                           {(void *)(uintptr_t)(bytes + len / 2), len - len / 2}};
    struct net_frame frame = {.iov = iov, .num_iov = 2, .bytes = len};
    assert_int_equal(net_link_send(f->link, &frame), 0);
}

static const uint8_t arp_request[42] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,  0, 0, 0,  1, 8, 6, 0, 1, 8, 0,  6, 4, 0,
    1,    2,    0,    0,    0,    0,    1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2};

static uint64_t counter(struct fixture *f, const char *label)
{
    struct pv_counter_group g;
    f->link->class->get_counters(f->link, "net0", &g);
    for (size_t i = 0; i < g.count; i++)
        if (strcmp(g.labels[i], label) == 0)
            return g.values[i];
    fail();
    return 0;
}

static void test_the_gateway_answers_arp(void **state)
{
    struct fixture *f = *state;
    send_frame(f, arp_request, sizeof(arp_request));
    turn(f);
    assert_true(f->received >= 1);
    assert_true(f->last_bytes >= 42);
    assert_int_equal(f->last[21], 2); /* a reply */
    assert_memory_equal(f->last + 28, "\x0a\x00\x02\x02", 4);
}

static void test_what_finds_no_room_waits(void **state)
{
    struct fixture *f = *state;
    f->full = true;
    for (unsigned i = 0; i < 3; i++)
        send_frame(f, arp_request, sizeof(arp_request));
    turn(f);
    assert_int_equal(f->received, 0);
    assert_int_equal(f->refused, 1); /* once refused, it waits to be told */
    assert_true(counter(f, "queued") >= 3);
    f->full = false;
    net_link_resume(f->link);
    assert_true(f->received >= 3);
}

/* A TCP SYN to the address. */
static void send_syn(struct fixture *f, const char *to)
{
    uint8_t b[14 + 40 + 20] = {0x52, 0x55, 10, 0, 2, 2, 2, 0, 0, 0, 0, 1};
    bool v6 = strchr(to, ':');
    uint8_t *ip = b + 14, *tcp = ip + (v6 ? 40 : 20);
    b[12] = v6 ? 0x86 : 8;
    b[13] = v6 ? 0xdd : 0;
    if (v6) {
        ip[0] = 0x60;
        ip[5] = 20;
        ip[6] = IPPROTO_TCP;
        ip[7] = 64;
        inet_pton(AF_INET6, "fd00::15", ip + 8);
        inet_pton(AF_INET6, to, ip + 24);
    } else {
        ip[0] = 0x45;
        ip[3] = 40;
        ip[8] = 64;
        ip[9] = IPPROTO_TCP;
        inet_pton(AF_INET, "10.0.2.15", ip + 12);
        inet_pton(AF_INET, to, ip + 16);
    }
    tcp[12] = 5 << 4;
    tcp[13] = 2;
    send_frame(f, b, (size_t)(tcp + 20 - b));
}

static void test_nothing_aims_at_the_host(void **state)
{
    struct fixture *f = *state;
    const char *hosts[] = {"127.0.0.1", "127.255.255.254",  "0.0.0.0",          "0.1.2.3",    "::1",
                           "::",        "::ffff:127.0.0.1", "::ffff:192.0.2.1", "::127.0.0.1"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(hosts); i++) {
        send_syn(f, hosts[i]);
        assert_int_equal(counter(f, "refused"), i + 1);
    }
    assert_int_equal(counter(f, "sent"), 0);
}

static void test_fragments_are_dropped(void **state)
{
    struct fixture *f = *state;
    uint8_t b[60] = {[12] = 8, [14] = 0x45, [17] = 46, [30] = 10, [32] = 2, [33] = 2};
    const uint8_t pieces[][2] = {{0x20, 0}, {0, 1}, {0x1f, 0xff}, {0x3f, 0xff}, {0x01, 0}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(pieces); i++) {
        memcpy(b + 20, pieces[i], 2);
        send_frame(f, b, sizeof(b));
        assert_int_equal(counter(f, "refused"), i + 1);
    }
    memcpy(b + 20, "\x40", 2); /* only: do not fragment */
    send_frame(f, b, sizeof(b));
    assert_int_equal(counter(f, "sent"), 1);
}

static void test_short_frames_are_dropped(void **state)
{
    struct fixture *f = *state;
    for (size_t len = 2; len <= sizeof(arp_request); len++)
        send_frame(f, arp_request, len);
    assert_int_equal(counter(f, "refused"), 12);
}

static void test_a_port_that_is_taken_is_refused_with_a_way_out(void **state)
{
    struct fixture *f = *state;
    for (int udp = 0; udp < 2; udp++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        struct pv_error err = PV_ERROR_INIT;
        pv_auto_fd int fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        if (!udp)
            assert_int_equal(listen(fd, 1), 0);
        getsockname(fd, (struct sockaddr *)&a, &len);
        struct workload_port port = {.udp = udp,
                                     .address = {127, 0, 0, 1},
                                     .host_port = ntohs(a.sin_port),
                                     .guest_port = 80};
        struct net_config c = config_of(&port, 1);
        struct net_link *link;
        assert_int_equal(net_backend_find("user")->open(&c, f->loop, &link, &err), -EADDRINUSE);
        assert_non_null(strstr(err.text, "in use by "));
        char me[32];
        snprintf(me, sizeof(me), "(process %d)", (int)getpid());
        assert_non_null(strstr(err.text, me));
    }
}

static void test_an_address_that_is_elsewhere_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    struct workload_port port = {.address = {203, 0, 113, 77}, .host_port = 8000, .guest_port = 80};
    struct net_config c = config_of(&port, 1);
    struct net_link *link;
    assert_int_equal(net_backend_find("user")->open(&c, f->loop, &link, &err), -EADDRNOTAVAIL);
    assert_non_null(strstr(err.text, "203.0.113.77"));
}

static void test_backends_are_found_by_name(void **state)
{
    for (unsigned i = 0; net_backends[i]; i++)
        assert_ptr_equal(net_backend_find(net_backends[i]->name), net_backends[i]);
    assert_null(net_backend_find("nosuch"));
    assert_true(net_backend_find("user")->keeps_network);
    assert_false(net_backend_find("tap")->keeps_network);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_gateway_answers_arp),
        TEST(test_what_finds_no_room_waits),
        TEST(test_nothing_aims_at_the_host),
        TEST(test_fragments_are_dropped),
        TEST(test_short_frames_are_dropped),
        TEST(test_a_port_that_is_taken_is_refused_with_a_way_out),
        TEST(test_an_address_that_is_elsewhere_is_refused),
        TEST(test_backends_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
