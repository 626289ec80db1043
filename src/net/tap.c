/* SPDX-License-Identifier: Apache-2.0
 *
 * tap.c: a network interface of the host whose other end is the guest. Needs root to be made; what
 * is left then is one descriptor, and the interface goes when it is closed, however that happens.
 *
 * Runs on: the loop thread of the machine.
 * Trust:   frames come from whoever is on that network, and go there as the guest wrote them: the
 *          kernel checks the offload header again.
 */
#include "net/table.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define DEVICE "/dev/net/tun"
#define NAME_PATTERN "pv%d"
#define FRAMES_PER_TURN 64u
#define MTU_MIN 1280 /* IPv6 wants as much */
#define OFFLOADS (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6)
/* Since Linux 6.2, for headers that are older. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { COUNTER_SENT, COUNTER_RECEIVED, COUNTER_REFUSED, COUNTER_END };
static const char *const counter_labels[COUNTER_END] = {"sent", "received", "refused"};

struct tap {
    struct net_link link;
    int fd;
    struct pv_loop_source *source;
    uint32_t events; /* what the source waits for */
    size_t kept;     /* bytes of the frame that the guest has no room for; 0: none */
    uint64_t counters[COUNTER_END];
    struct virtio_net_hdr hdr;
    uint8_t frame[NET_FRAME_MAX];
};

static struct tap *tap_of(struct net_link *link)
{
    return PV_CONTAINER_OF(link, struct tap, link);
}

static void listen_for(struct tap *t, uint32_t events)
{
    t->events = events;
    pv_loop_set_events(t->source, events);
}

/* -- frames for the guest -- */

static int give(struct tap *t, size_t bytes)
{
    struct iovec iov = {t->frame, bytes};
    struct net_frame f = {.hdr = t->hdr, .iov = &iov, .num_iov = 1, .bytes = bytes};
    return t->link.upper.receive ? t->link.upper.receive(t->link.upper.data, &f) : 0;
}

static void receive_some(struct tap *t)
{
    for (unsigned i = 0; i < FRAMES_PER_TURN; i++) {
        struct iovec iov[] = {{&t->hdr, sizeof(t->hdr)}, {t->frame, sizeof(t->frame)}};
        ssize_t n = readv(t->fd, iov, 2);
        if (n < (ssize_t)sizeof(t->hdr) + ETH_HLEN)
            return; /* no more, or the interface is gone */
        t->counters[COUNTER_RECEIVED]++;
        size_t bytes = (size_t)n - sizeof(t->hdr);
        if (give(t, bytes) == -EAGAIN) {
            t->kept = bytes;
            listen_for(t, t->events & ~(uint32_t)EPOLLIN);
            return;
        }
    }
}

static void tap_resume(struct net_link *link)
{
    struct tap *t = tap_of(link);
    if (t->kept && give(t, t->kept) == -EAGAIN)
        return;
    t->kept = 0;
    listen_for(t, t->events | EPOLLIN);
}

static void on_event(void *data, int fd, uint32_t events)
{
    struct tap *t = data;
    if (events & (EPOLLERR | EPOLLHUP)) { /* somebody has deleted the interface */
        listen_for(t, 0);
        return;
    }
    if (events & EPOLLOUT) {
        listen_for(t, t->events & ~(uint32_t)EPOLLOUT);
        if (t->link.upper.sendable)
            t->link.upper.sendable(t->link.upper.data);
    }
    if (events & EPOLLIN)
        receive_some(t);
}

/* -- frames of the guest -- */

static int tap_send(struct net_link *link, const struct net_frame *frame)
{
    struct tap *t = tap_of(link);
    struct iovec iov[1 + NET_LINK_IOV_MAX];
    struct virtio_net_hdr hdr = frame->hdr;
    if (frame->num_iov > NET_LINK_IOV_MAX) {
        t->counters[COUNTER_REFUSED]++;
        return 0;
    }
    iov[0] = (struct iovec){&hdr, sizeof(hdr)};
    memcpy(iov + 1, frame->iov, frame->num_iov * sizeof(*iov));
    if (writev(t->fd, iov, (int)frame->num_iov + 1) >= 0) {
        t->counters[COUNTER_SENT]++;
        return 0;
    }
    if (errno == EAGAIN && t->events) {
        listen_for(t, t->events | EPOLLOUT);
        return -EAGAIN;
    }
    t->counters[COUNTER_REFUSED]++; /* the kernel did not like it, or the interface is down */
    return 0;
}

/* -- life -- */

static void tap_get_counters(const struct net_link *link, const char *name,
                             struct pv_counter_group *ret_group)
{
    const struct tap *t = PV_CONTAINER_OF(link, const struct tap, link);
    *ret_group = (struct pv_counter_group){
        .name = name, .labels = counter_labels, .values = t->counters, .count = COUNTER_END};
}

static void tap_free(struct net_link *link)
{
    struct tap *t = tap_of(link);
    pv_loop_remove(t->source);
    if (t->fd >= 0)
        close(t->fd);
    free(t);
}

static const struct net_link_class class = {
    .name = "tap",
    .send = tap_send,
    .resume = tap_resume,
    .get_counters = tap_get_counters,
    .free = tap_free,
};

static int make_interface(struct tap *t, struct ifreq *ifr, struct pv_error *err)
{
    t->fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (t->fd < 0)
        return pv_error_set(err, errno, "--net tap: open %s: %s%s", DEVICE, strerror(errno),
                            errno == ENOENT ? ": load the kernel's module tun" : "");
    *ifr =
        (struct ifreq){.ifr_name = NAME_PATTERN, .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (ioctl(t->fd, TUNSETIFF, ifr) < 0)
        return pv_error_set(err, errno, "--net tap: make an interface: %s%s", strerror(errno),
                            errno == EPERM ? ": run as root, or use --net user" : "");
    int header = sizeof(struct virtio_net_hdr);
    unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    t->link.send_offloads = t->link.receive_offloads = OFFLOADS;
    if (ioctl(t->fd, TUNSETVNETHDRSZ, &header) < 0)
        return pv_error_set(err, errno, "--net tap: header size: %s", strerror(errno));
    if (ioctl(t->fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) == 0) {
        t->link.send_offloads |= NET_OFFLOAD_USO;
        t->link.receive_offloads |= NET_OFFLOAD_USO;
    } else if (ioctl(t->fd, TUNSETOFFLOAD, offloads) < 0) {
        t->link.receive_offloads = 0;
    }
    return 0;
}

static uint32_t clamp_mtu(int mtu)
{
    return mtu < MTU_MIN ? MTU_MIN : mtu > (int)NET_MTU_MAX ? NET_MTU_MAX : (uint32_t)mtu;
}

/* Into the bridge, with its MTU; then up. */
static int connect_interface(struct tap *t, const char *bridge, struct ifreq *ifr,
                             struct pv_error *err)
{
    pv_auto_fd int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return pv_error_set(err, errno, "--net tap: socket: %s", strerror(errno));
    if (bridge) {
        struct ifreq br = {0}, mtu;
        strncpy(br.ifr_name, bridge, sizeof(br.ifr_name) - 1);
        mtu = br;
        br.ifr_ifindex = (int)if_nametoindex(ifr->ifr_name);
        if (ioctl(sock, SIOCGIFMTU, &mtu) < 0 || ioctl(sock, SIOCBRADDIF, &br) < 0)
            return pv_error_set(err, errno, "--net tap:%s: add interface %s to the bridge: %s%s",
                                bridge, ifr->ifr_name, strerror(errno),
                                errno == ENODEV       ? ": make it: ip link add NAME type bridge"
                                : errno == EOPNOTSUPP ? ": this interface is no bridge"
                                                      : "");
        memcpy(mtu.ifr_name, ifr->ifr_name, sizeof(mtu.ifr_name));
        t->link.mtu = clamp_mtu(mtu.ifr_mtu);
        mtu.ifr_mtu = (int)t->link.mtu;
        ioctl(sock, SIOCSIFMTU, &mtu); /* the kernel's 1500 is good enough */
    }
    if (ioctl(sock, SIOCGIFFLAGS, ifr) == 0) {
        ifr->ifr_flags |= IFF_UP;
        if (ioctl(sock, SIOCSIFFLAGS, ifr) == 0)
            return 0;
    }
    return pv_error_set(err, errno, "--net tap: raise %s: %s", ifr->ifr_name, strerror(errno));
}

static int tap_open(const struct net_config *config, struct pv_loop *loop,
                    struct net_link **ret_link, struct pv_error *err)
{
    struct ifreq ifr;
    struct tap *t = calloc(1, sizeof(*t));
    if (!t)
        return pv_error_set(err, ENOMEM, "--net tap: out of memory");
    *t = (struct tap){.link = {.class = &class, .mtu = ETH_DATA_LEN}, .fd = -1};
    int rc = make_interface(t, &ifr, err);
    if (rc == 0)
        rc = connect_interface(t, config->bridge, &ifr, err);
    t->events = EPOLLIN;
    if (rc == 0 && !(t->source = pv_loop_add_fd(loop, t->fd, EPOLLIN, on_event, t)))
        rc = pv_error_set(err, errno, "--net tap: watch the interface: %s", strerror(errno));
    if (rc < 0) {
        tap_free(&t->link);
        return rc;
    }
    *ret_link = &t->link;
    return 0;
}

static const struct net_syscall syscalls[] = {
    {"readv", "net: frames for the guest"},
    {"writev", "net: frames of the guest"},
    {NULL, NULL},
};

const struct net_backend net_tap_backend = {
    .name = "tap",
    .summary = "a network interface of the host, alone or in a bridge: needs root",
    .syscalls = syscalls,
    .open = tap_open,
};
