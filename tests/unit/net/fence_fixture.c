/* SPDX-License-Identifier: Apache-2.0
 *
 * fence_fixture.c: a fence between a guest and an outside that note what reaches them.
 */
#include "net/fence_fixture.h"

#include "base/attr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

uint64_t fixture_now = 1000 * SECOND;

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0, 0, 1};
static const uint8_t outside_mac[6] = {0x52, 0x55, 0, 0, 0, 2};

uint64_t fixture_clock(void)
{
    return fixture_now;
}

struct workload_address fixture_address(const char *text)
{
    struct workload_address a;
    if (workload_address_parse(text, &a) < 0)
        fail_msg("%s is no address", text);
    return a;
}

static int see(struct seen *s, const struct net_frame *frame)
{
    if (s->full)
        return -EAGAIN;
    size_t at = 0;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(s->frame + at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += frame->iov[i].iov_len;
    }
    assert_int_equal(at, frame->bytes);
    s->len = at;
    s->count++;
    assert_int_equal(net_packet_parse(s->frame, s->len, &s->p), 0);
    return 0;
}

static int below_send(struct net_link *link, const struct net_frame *frame)
{
    return see(&PV_CONTAINER_OF(link, struct fixture, below)->outside, frame);
}

static void below_resume(struct net_link *link)
{
    PV_CONTAINER_OF(link, struct fixture, below)->outside.again++;
}

static void below_free(struct net_link *link)
{
}

static const struct net_link_class below_class = {
    .name = "fixture", .send = below_send, .resume = below_resume, .free = below_free};

static int upper_receive(void *data, const struct net_frame *frame)
{
    return see(&((struct fixture *)data)->guest, frame);
}

static void upper_sendable(void *data)
{
    ((struct fixture *)data)->guest.again++;
}

static void on_denied(void *data, const struct net_denial *denial)
{
    struct fixture *f = data;
    f->denials++;
    f->denial = *denial;
    f->denied_name[0] = '\0';
    if (denial->name)
        strcpy(f->denied_name, denial->name);
    if (denial->address)
        f->denied_address = *denial->address;
}

/* -- the name server -- */

static size_t make_answer(struct fixture *f, const uint8_t *question, size_t len, bool tcp,
                          uint8_t *message)
{
    struct net_dns_question q;
    struct net_dns_builder b;
    unsigned code = NET_DNS_NXDOMAIN;
    assert_int_equal(net_dns_message_question(question, len, &q), 0);
    for (const struct fixture_answer *a = f->answers; a && a->name; a++)
        if (strcmp(a->name, q.name) == 0)
            code = a->code;
    net_dns_message_begin(&b, message, f->truncate && !tcp ? 20 : 60000, &q, code);
    const char *name = q.name;
    for (const struct fixture_answer *a = f->answers; a && a->name; a++) {
        if (strcmp(a->name, name) != 0 || !a->says)
            continue;
        if (a->type == NET_DNS_CNAME) {
            uint8_t wire[NET_DNS_MESSAGE_MAX];
            size_t question_len = net_dns_message_build_question(wire, 0, a->says, 1);
            net_dns_message_add(&b, name, NET_DNS_CNAME, a->ttl, wire + NET_DNS_HEADER,
                                question_len - NET_DNS_HEADER - 4 - 11, false);
            name = a->says;
        } else if (a->type == q.type) {
            struct workload_address address = fixture_address(a->says);
            bool v4 = a->type == NET_DNS_A;
            net_dns_message_add(&b, name, a->type, a->ttl,
                                v4 ? workload_address_v4(&address) : address.bytes, v4 ? 4 : 16,
                                false);
        }
    }
    return net_dns_message_end(&b, &q, NET_DNS_EDE_NONE);
}

static void on_question(void *data, int fd, uint32_t events)
{
    struct fixture *f = data;
    uint8_t question[2048];
    static uint8_t message[NET_DNS_MESSAGE_MAX];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    ssize_t n = recvfrom(fd, question, sizeof(question), 0, (struct sockaddr *)&from, &from_len);
    f->questions++;
    if (n < 0 || f->silent)
        return;
    size_t len = make_answer(f, question, (size_t)n, false, message);
    sendto(fd, message, len, 0, (struct sockaddr *)&from, from_len);
}

static void on_client(void *data, int fd, uint32_t events)
{
    struct fixture *f = data;
    uint8_t question[2048];
    static uint8_t message[2 + NET_DNS_MESSAGE_MAX];
    ssize_t n = recv(fd, question, sizeof(question), 0);
    assert_true(n > 2 && n == 2 + net_packet_u16(question));
    size_t len = make_answer(f, question + 2, (size_t)n - 2, true, message + 2);
    net_packet_put_u16(message, (uint16_t)len);
    assert_int_equal(send(fd, message, len + 2, 0), len + 2);
    pv_loop_remove(f->server_client);
    f->server_client = NULL;
    close(fd);
}

static void on_stream(void *data, int fd, uint32_t events)
{
    struct fixture *f = data;
    int client = accept(fd, NULL, NULL);
    assert_true(client >= 0 && !f->server_client);
    f->server_client = pv_loop_add_fd(f->loop, client, EPOLLIN, on_client, f);
}

/* A port that both protocols have free. */
static bool bind_both(struct fixture *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    f->server_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    f->server_tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->server_fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(f->server_fd, (struct sockaddr *)&at, &len), 0);
    f->server_port = ntohs(at.sin_port);
    if (bind(f->server_tcp_fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return true;
    close(f->server_fd);
    close(f->server_tcp_fd);
    return false;
}

static void start_server(struct fixture *f)
{
    bool bound = false;
    for (unsigned i = 0; i < 100 && !bound; i++)
        bound = bind_both(f);
    assert_true(bound);
    assert_int_equal(listen(f->server_tcp_fd, 8), 0);
    f->server = pv_loop_add_fd(f->loop, f->server_fd, EPOLLIN, on_question, f);
    f->server_tcp = pv_loop_add_fd(f->loop, f->server_tcp_fd, EPOLLIN, on_stream, f);
}

/* -- life -- */

static void on_give_up(void *data)
{
    pv_loop_stop(((struct fixture *)data)->loop, 1);
}

int fixture_set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = pv_loop_new();
    start_server(f);
    f->give_up = pv_loop_add_timer(f->loop, on_give_up, f);
    f->below = (struct net_link){.class = &below_class, .mtu = 65520};
    f->options = (struct net_fence_options){.loop = f->loop,
                                            .num_addresses = 2,
                                            .num_dns = 2,
                                            .policy = {.num_others = 2, .num_host_loop = 2},
                                            .num_servers = 1,
                                            .denied = on_denied,
                                            .denied_data = f,
                                            .now = fixture_clock};
    memcpy(f->options.mac, guest_mac, 6);
    f->options.addresses[0] = fixture_address(GUEST);
    f->options.addresses[1] = fixture_address(GUEST6);
    f->options.dns[0] = fixture_address(DNS);
    f->options.dns[1] = fixture_address(DNS6);
    workload_prefix_parse("10.0.2.0/24", &f->options.policy.others[0]);
    workload_prefix_parse("fd00::/64", &f->options.policy.others[1]);
    f->options.policy.host_loop[0] = fixture_address("10.0.2.2");
    f->options.policy.host_loop[1] = fixture_address("fd00::2");
    f->options.servers[0] = (struct net_upstream_server){.address = fixture_address("127.0.0.1"),
                                                         .port = f->server_port};
    *state = f;
    return 0;
}

void fixture_start(struct fixture *f)
{
    if (f->fence)
        return;
    f->options.grants = &f->grants;
    assert_int_equal(net_fence_new(&f->options, &f->below, &f->fence, NULL), 0);
    f->fence->upper =
        (struct net_upper){.receive = upper_receive, .sendable = upper_sendable, .data = f};
}

int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    net_link_free(f->fence);
    pv_loop_remove(f->server);
    pv_loop_remove(f->server_tcp);
    close(f->server_fd);
    close(f->server_tcp_fd);
    pv_loop_free(f->loop);
    workload_grants_done(&f->grants);
    free(f);
    return 0;
}

static void change(struct fixture *f, const char *text, bool add)
{
    struct workload_grant g;
    assert_int_equal(workload_grant_parse(text, &g, NULL), 0);
    assert_int_equal(
        add ? workload_grants_add(&f->grants, &g) : workload_grants_remove(&f->grants, &g), 0);
    if (f->fence)
        assert_int_equal(net_fence_set_grants(f->fence, &f->grants), 0);
}

void fixture_grant(struct fixture *f, const char *text)
{
    change(f, text, true);
}

void fixture_revoke(struct fixture *f, const char *text)
{
    change(f, text, false);
}

/* -- frames -- */

/* In two pieces, the first of which ends within the headers. */
static struct net_frame in_pieces(const uint8_t *frame, size_t len, struct iovec pieces[2])
{
    size_t first = PV_MIN(len, (size_t)20);
    pieces[0] = (struct iovec){.iov_base = (void *)frame, .iov_len = first};
    pieces[1] = (struct iovec){.iov_base = (uint8_t *)frame + first, .iov_len = len - first};
    return (struct net_frame){.iov = pieces, .num_iov = 2, .bytes = len};
}

int fixture_send(struct fixture *f, const uint8_t *frame, size_t len)
{
    struct iovec pieces[2];
    struct net_frame whole = in_pieces(frame, len, pieces);
    fixture_start(f);
    return net_link_send(f->fence, &whole);
}

int fixture_receive(struct fixture *f, const uint8_t *frame, size_t len)
{
    struct iovec pieces[2];
    struct net_frame whole = in_pieces(frame, len, pieces);
    fixture_start(f);
    return f->below.upper.receive(f->below.upper.data, &whole);
}

static struct net_reply_path path(const char *to, uint16_t port, uint8_t protocol)
{
    struct net_reply_path p;
    memcpy(p.src_mac, guest_mac, 6);
    memcpy(p.dst_mac, outside_mac, 6);
    p.ends = (struct net_packet_ends){.src = fixture_address(strchr(to, ':') ? GUEST6 : GUEST),
                                      .dst = fixture_address(to),
                                      .src_port = 40000,
                                      .dst_port = port,
                                      .protocol = protocol};
    return p;
}

int fixture_tcp(struct fixture *f, const char *to, uint16_t port, uint8_t flags)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path p = path(to, port, IPPROTO_TCP);
    return fixture_send(f, frame,
                        net_reply_segment(frame, &p, 100, 500, flags, 1000, NULL, 0, NULL, 0));
}

int fixture_udp(struct fixture *f, const char *to, uint16_t port)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path p = path(to, port, IPPROTO_UDP);
    return fixture_send(f, frame, net_reply_datagram(frame, &p, "data", 4));
}

int fixture_tcp_in(struct fixture *f, const char *from, uint16_t port, uint8_t flags)
{
    uint8_t frame[NET_REPLY_BYTES_MAX];
    struct net_reply_path to = path(from, port, IPPROTO_TCP), p = to;
    memcpy(p.src_mac, to.dst_mac, 6);
    memcpy(p.dst_mac, to.src_mac, 6);
    p.ends.src = to.ends.dst;
    p.ends.dst = to.ends.src;
    p.ends.src_port = to.ends.dst_port;
    p.ends.dst_port = to.ends.src_port;
    return fixture_receive(f, frame,
                           net_reply_segment(frame, &p, 500, 101, flags, 1000, NULL, 0, NULL, 0));
}

struct until {
    struct fixture *f;
    unsigned count;
};

static void look(void *data)
{
    struct until *u = data;
    if (u->f->guest.count >= u->count)
        pv_loop_stop(u->f->loop, 0);
    else
        pv_loop_defer(u->f->loop, look, u);
}

void fixture_wait(struct fixture *f, unsigned count)
{
    struct until u = {.f = f, .count = count};
    struct pv_loop_source *timer = pv_loop_add_timer(f->loop, look, &u);
    pv_loop_arm(f->give_up, 5 * SECOND);
    while (f->guest.count < count) {
        pv_loop_arm(timer, SECOND / 1000);
        u.count = f->guest.count; /* look() then stops at once */
        if (pv_loop_run(f->loop) != 0)
            break;
    }
    pv_loop_arm(f->give_up, 0);
    pv_loop_remove(timer);
    assert_true(f->guest.count >= count);
}

void fixture_turn(struct fixture *f)
{
    struct until u = {.f = f};
    struct pv_loop_source *timer = pv_loop_add_timer(f->loop, look, &u);
    for (unsigned i = 0; i < 3; i++) {
        pv_loop_arm(timer, SECOND / 500);
        pv_loop_run(f->loop);
    }
    pv_loop_remove(timer);
}

uint64_t fixture_counter(struct fixture *f, const char *label)
{
    struct pv_counter_group group;
    f->fence->class->get_counters(f->fence, "fence", &group);
    for (size_t i = 0; i < group.count; i++)
        if (strcmp(group.labels[i], label) == 0)
            return group.values[i];
    fail_msg("no counter %s", label);
    return 0;
}

/* -- questions -- */

static int note_record(void *data, const struct net_dns_record *r)
{
    void **both = data;
    struct fixture_told *told = both[0];
    const uint8_t *message = both[1];
    told->records += !r->authority;
    if (r->authority || (r->type != NET_DNS_A && r->type != NET_DNS_AAAA))
        return 0;
    told->ttl = r->ttl;
    if (told->addresses++ == 0)
        told->first = r->type == NET_DNS_A ? workload_address_from_v4(message + r->data)
                                           : workload_address_from_v6(message + r->data);
    return 0;
}

void fixture_read_answer(const uint8_t *message, size_t len, struct fixture_told *told)
{
    struct net_dns_answer a;
    void *both[2] = {told, (void *)message};
    *told = (struct fixture_told){0};
    assert_int_equal(net_dns_message_answer(message, len, &a), 0);
    assert_int_equal(net_dns_message_each(&a, note_record, both), 0);
    told->code = a.code;
    told->truncated = a.truncated;
}

struct fixture_told fixture_ask(struct fixture *f, const char *name, uint16_t type)
{
    static uint8_t message[NET_DNS_MESSAGE_MAX];
    uint8_t frame[1024];
    struct fixture_told told;
    struct net_reply_path p = path(DNS, 53, IPPROTO_UDP);
    const struct net_packet *got = &f->guest.p;
    unsigned before = f->guest.count;
    size_t len = net_dns_message_build_question(message, 0x5566, name, type);
    assert_int_equal(fixture_send(f, frame, net_reply_datagram(frame, &p, message, len)), 0);
    /* A reset of the fence's own may still be on its way before the answer. */
    do {
        fixture_wait(f, before + 1);
        before = f->guest.count;
    } while (got->ends.protocol != IPPROTO_UDP);
    assert_int_equal(got->ends.src_port, 53);
    assert_int_equal(got->ends.dst_port, 40000);
    fixture_read_answer(f->guest.frame + got->payload, got->end - got->payload, &told);
    return told;
}
