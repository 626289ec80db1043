/* SPDX-License-Identifier: Apache-2.0
 *
 * net.c: rtnetlink(7), as much of it as a few addresses need.
 *
 * Nothing here waits for the network: addresses are ours alone, so nobody is asked whether they are
 * taken (duplicate address detection takes a second), and no router is listened to where the set-up
 * has told everything.
 */
#include "agent/net.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CARD_TIMEOUT_NS (5ull * 1000000000)
#define CARD_POLL_US 500
#define INDEX_MAX 256 /* of an interface: cards come early */

struct request {
    struct nlmsghdr header;
    union {
        struct ifinfomsg link;
        struct ifaddrmsg address;
        struct rtmsg route;
    };
    uint8_t attributes[128];
};

struct address {
    int family;
    uint8_t bytes[16];
    size_t len;
};

static void add_attribute(struct request *r, uint16_t type, const void *bytes, size_t len)
{
    struct rtattr *a = (struct rtattr *)((uint8_t *)r + NLMSG_ALIGN(r->header.nlmsg_len));
    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), bytes, len);
    r->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

/* Sends the request and waits for the kernel's answer: 0 or -errno. */
static int ask(int fd, struct request *r)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        uint8_t rest[256];
    } answer;
    r->header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (send(fd, r, r->header.nlmsg_len, 0) < 0)
        return -errno;
    ssize_t len = recv(fd, &answer, sizeof(answer), 0);
    if (len < 0)
        return -errno;
    if ((size_t)len < sizeof(answer.header) + sizeof(answer.error.error) ||
        answer.header.nlmsg_type != NLMSG_ERROR)
        return -EPROTO;
    return answer.error.error;
}

static int raise_card(int fd, int index)
{
    struct request r = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(r.link)), .nlmsg_type = RTM_NEWLINK},
        .link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP},
    };
    return ask(fd, &r);
}

static bool parse(const char *text, size_t len, struct address *a)
{
    char copy[INET6_ADDRSTRLEN];
    if (len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    bool v6 = strchr(copy, ':');
    *a = (struct address){.family = v6 ? AF_INET6 : AF_INET, .len = v6 ? 16 : 4};
    return inet_pton(a->family, copy, a->bytes) == 1;
}

/* text: "10.0.2.15/24", checked by the reader of the set-up. */
static int add_address(int fd, int index, const char *text)
{
    struct address a;
    uint64_t prefix;
    size_t len = strcspn(text, "/");
    if (!parse(text, len, &a) || pv_str_to_u64(text + len + 1, 1, a.len * 8, &prefix) < 0)
        return -EINVAL;
    struct request r = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(r.address)),
                   .nlmsg_type = RTM_NEWADDR,
                   .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE},
        .address = {.ifa_family = (uint8_t)a.family,
                    .ifa_prefixlen = (uint8_t)prefix,
                    .ifa_flags = IFA_F_PERMANENT | (a.family == AF_INET6 ? IFA_F_NODAD : 0),
                    .ifa_index = (uint32_t)index},
    };
    add_attribute(&r, IFA_LOCAL, a.bytes, a.len);
    add_attribute(&r, IFA_ADDRESS, a.bytes, a.len);
    if (a.family == AF_INET && prefix < 31) {
        uint32_t all, mask = htonl(~0u >> prefix);
        memcpy(&all, a.bytes, sizeof(all));
        all |= mask;
        add_attribute(&r, IFA_BROADCAST, &all, sizeof(all));
    }
    return ask(fd, &r);
}

static int add_gateway(int fd, int index, const char *text)
{
    struct address a;
    if (!parse(text, strlen(text), &a))
        return -EINVAL;
    struct request r = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(r.route)),
                   .nlmsg_type = RTM_NEWROUTE,
                   .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE},
        .route = {.rtm_family = (uint8_t)a.family,
                  .rtm_table = RT_TABLE_MAIN,
                  .rtm_protocol = RTPROT_BOOT,
                  .rtm_scope = RT_SCOPE_UNIVERSE,
                  .rtm_type = RTN_UNICAST,
                  .rtm_flags = RTNH_F_ONLINK},
    };
    add_attribute(&r, RTA_GATEWAY, a.bytes, a.len);
    add_attribute(&r, RTA_OIF, &index, sizeof(index));
    return ask(fd, &r);
}

/* The interface with this Ethernet address, its name in card->ifr_name: its index, or 0. */
static int find_card(int sock, const char *mac, struct ifreq *card)
{
    for (int index = 1; index <= INDEX_MAX; index++) {
        char text[18];
        *card = (struct ifreq){.ifr_ifindex = index};
        if (ioctl(sock, SIOCGIFNAME, card) < 0 || ioctl(sock, SIOCGIFHWADDR, card) < 0 ||
            card->ifr_hwaddr.sa_family != ARPHRD_ETHER)
            continue;
        const uint8_t *a = (const uint8_t *)card->ifr_hwaddr.sa_data;
        snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4],
                 a[5]);
        if (strcmp(text, mac) == 0)
            return index;
    }
    return 0;
}

/* Cards are probed while we run. */
static int wait_for_card(const char *mac, struct ifreq *ret_card, struct pv_error *err)
{
    uint64_t end = pv_time_monotonic_ns() + CARD_TIMEOUT_NS;
    pv_auto_fd int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return pv_error_set(err, errno, "network card %s: socket: %s", mac, strerror(errno));
    int index;
    while (!(index = find_card(sock, mac, ret_card))) {
        if (pv_time_monotonic_ns() >= end)
            return pv_error_set(err, ENXIO, "network card %s: the machine has no such card", mac);
        usleep(CARD_POLL_US);
    }
    return index;
}

/* Everything is told already: routers have nothing to add, and the link-local address is ours. */
static void be_quiet(const char *name)
{
    static const char *const settings[] = {"accept_ra", "accept_dad"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(settings); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", name, settings[i]);
        pv_auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, "0", 1) < 0)
            continue; /* a kernel without IPv6: add_address says so if it matters */
    }
}

static int configure_card(int fd, const struct wire_setup_net *net, struct pv_error *err)
{
    struct ifreq card;
    int index = wait_for_card(net->mac, &card, err), rc;
    if (index < 0)
        return index;
    if (net->addresses.count)
        be_quiet(card.ifr_name);
    rc = raise_card(fd, index);
    if (rc < 0)
        return pv_error_set(err, -rc, "raise %s: %s", card.ifr_name, strerror(-rc));
    for (size_t i = 0; i < net->addresses.count; i++)
        if ((rc = add_address(fd, index, net->addresses.items[i])) < 0)
            return pv_error_set(err, -rc, "address %s of %s: %s", net->addresses.items[i],
                                card.ifr_name, strerror(-rc));
    for (size_t i = 0; i < net->gateways.count; i++)
        if ((rc = add_gateway(fd, index, net->gateways.items[i])) < 0)
            return pv_error_set(err, -rc, "gateway %s of %s: %s", net->gateways.items[i],
                                card.ifr_name, strerror(-rc));
    return 0;
}

int agent_net_configure(const struct wire_setup *s, struct pv_error *err)
{
    if (s->num_nets == 0)
        return 0;
    pv_auto_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return pv_error_set(err, errno, "network: netlink: %s", strerror(errno));
    int rc = 0;
    for (uint32_t i = 0; i < s->num_nets && rc == 0; i++)
        rc = configure_card(fd, &s->nets[i], err);
    return rc;
}
