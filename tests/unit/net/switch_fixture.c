/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_fixture.c: machines on a private network, several in one process.
 */
#include "switch_fixture.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "support/tree.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

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

struct net_switch *switch_of(const struct machine *m)
{
    return PV_CONTAINER_OF(m->link, struct net_switch, base);
}

uint64_t counter(const struct machine *m, enum switch_counter which)
{
    return switch_of(m)->counters[which];
}

void open_machine(struct fixture *f, struct machine *m, uint32_t number, struct net_link *below)
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

void write_member(struct fixture *f, uint32_t number, const char *name)
{
    pv_auto_free char *line =
        pv_strf("echo '{\"id\":\"id%u\",\"name\":\"%s\",\"hostname\":\"host\"}' > members/.tmp && "
                "mv members/.tmp members/%u",
                number, name, number);
    support_tree_shell(f->top, line);
}

int set_up(void **state)
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

int tear_down(void **state)
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

void turn(struct fixture *f, uint64_t ns)
{
    f->timer = pv_loop_add_timer(f->loop, on_timer, f);
    pv_loop_arm(f->timer, ns);
    pv_loop_run(f->loop);
    pv_loop_remove(f->timer);
}

void wait_for(struct fixture *f, const unsigned *value, unsigned wanted)
{
    uint64_t begin = pv_time_monotonic_ns();
    while (*value < wanted) {
        if (pv_time_monotonic_ns() - begin > 5 * SECOND_NS)
            fail_msg("%u instead of %u", *value, wanted);
        turn(f, 1000000);
    }
}

size_t make_ipv4(struct fixture *f, uint8_t *frame, uint32_t from, uint32_t to, size_t bytes)
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

size_t make_arp(struct fixture *f, uint8_t *frame, uint32_t from, uint32_t target)
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

int send_bytes(struct machine *m, const void *bytes, size_t len)
{
    struct iovec iov = {(void *)bytes, len};
    return net_link_send(m->link, &(struct net_frame){.iov = &iov, .num_iov = 1, .bytes = len});
}

int bind_as(struct fixture *f, const char *name)
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

void greet(struct fixture *f, int port, const void *greeting, size_t len, const int *fds,
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
