/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_port.c: ports: how monitors meet without anybody between them.
 *
 * Theory of operation: a port is a datagram socket, bound as "ports/<number>" in the network's
 * folder before the jail closes. Whoever needs a line (switch_line.c) makes a pair of connected
 * sockets and a ring (switch_ring.h), and sends one end and the ring to the other's port.
 *
 * Who is at the other end? The kernel tells the name that the sender of a message bound its port
 * to. In its jail a monitor can make sockets only in its run folder, which has no folder "ports",
 * and it can neither make one nor go elsewhere: so the name is the one from before the jail, of
 * the number that the starter gave it, and a line belongs to that number for as long as it is open.
 *
 * Both may make a line at the same time: the one of the lower number stays.
 *
 * Versions: a monitor that knows no rings takes the socket of a greeting; the kernel drops what it
 * has no room for. One that makes no ring sends none. Both go on without.
 */
#include "net/switch_internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PORTS "ports/"
#define GREETING "PVLINE1"
#define SEND_BUFFER (1 << 20) /* the host may give less */
#define STRANGERS_PER_TURN 8
#define FDS_MAX 2u /* the socket and the ring */

static void set_send_buffer(int fd)
{
    int size = SEND_BUFFER;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* Room for the descriptors of one greeting. */
union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static int greet(const struct net_switch *s, const struct sockaddr_un *address, const int *fds,
                 unsigned num_fds)
{
    union control control = {0};
    char greeting[] = GREETING;
    struct iovec iov = {greeting, sizeof(greeting)};
    struct msghdr msg = {.msg_name = (void *)address,
                         .msg_namelen = sizeof(*address),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = CMSG_LEN(num_fds * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS,
                          .cmsg_len = CMSG_LEN(num_fds * sizeof(int))};
    memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
    return sendmsg(s->port_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int switch_port_call(struct net_switch *s, uint32_t number, struct switch_ring **ret_ring)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int pair[2];
    if (!s->folder[0])
        return -ENOTCONN;
    if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/" PORTS "%u", s->folder, number) >=
        (int)sizeof(address.sun_path))
        return -ENAMETOOLONG;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    pv_auto_fd int theirs = pair[1];
    pv_auto_fd int ours = pair[0];
    set_send_buffer(ours);
    set_send_buffer(theirs);

    struct switch_ring *ring = NULL;
    pv_auto_fd int ring_fd = -1;
    if (s->num_rings < SWITCH_RINGS_MAX)
        switch_ring_make(&ring, &ring_fd); /* it is no harm that there is none */
    int fds[FDS_MAX] = {theirs, ring_fd};
    int rc = greet(s, &address, fds, ring ? 2 : 1);
    if (rc < 0) {
        switch_ring_free(ring);
        return rc;
    }
    *ret_ring = ring;
    return pv_take_fd(&ours);
}

/* The number in the sender's name; 0: it is none of this network. */
static uint32_t number_of(const struct sockaddr_un *address, socklen_t len,
                          const struct net_switch *s)
{
    uint64_t number;
    char text[sizeof(address->sun_path) + 1] = "";
    if (len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof(*address))
        return 0;
    memcpy(text, address->sun_path, len - offsetof(struct sockaddr_un, sun_path));
    if (!pv_str_starts_with(text, PORTS) ||
        pv_str_to_u64(text + strlen(PORTS), WORKLOAD_SUBNET_FIRST, workload_subnet_last(&s->subnet),
                      &number) < 0 ||
        number == s->number)
        return 0;
    return (uint32_t)number;
}

static bool is_line(int fd)
{
    int type = 0, domain = 0;
    socklen_t len = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET &&
           getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static bool is_dead(const struct switch_line *line)
{
    struct pollfd p = {.fd = line->fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

/* Takes fd, the end of a line that number made. ring_fd, borrowed: its ring, or -1. */
static void accept_line(struct net_switch *s, uint32_t number, int fd, int ring_fd)
{
    struct switch_line *old = switch_line_find(s, number);
    struct switch_ring *ring = NULL;
    if (old && number > s->number && !is_dead(old)) {
        close(fd); /* ours, made at the same time, stays */
        return;
    }
    if (old)
        switch_line_free(old);
    set_send_buffer(fd);
    if (ring_fd >= 0 && s->num_rings < SWITCH_RINGS_MAX)
        switch_ring_open(ring_fd, &ring); /* without, as with a monitor that knows none */
    switch_line_add(s, number, fd, ring, false);
}

/* One greeting. False: there is none now. */
static bool meet(struct net_switch *s)
{
    union control control;
    struct sockaddr_un address = {0};
    char greeting[sizeof(GREETING) + 1];
    struct iovec iov = {greeting, sizeof(greeting)};
    struct msghdr msg = {.msg_name = &address,
                         .msg_namelen = sizeof(address),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control, /* the kernel drops what is more */
                         .msg_controllen = CMSG_LEN(FDS_MAX * sizeof(int))};
    ssize_t n = recvmsg(s->port_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return false;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    pv_auto_fd int fd = -1;
    pv_auto_fd int ring_fd = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        if (c->cmsg_len >= CMSG_LEN(sizeof(int)))
            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        if (c->cmsg_len >= CMSG_LEN(2 * sizeof(int)))
            memcpy(&ring_fd, CMSG_DATA(c) + sizeof(fd), sizeof(ring_fd));
    }
    uint32_t number = number_of(&address, msg.msg_namelen, s);
    if (fd < 0 || !number || n != sizeof(GREETING) ||
        memcmp(greeting, GREETING, sizeof(GREETING)) != 0 || !is_line(fd))
        s->counters[SWITCH_STRANGERS]++;
    else
        accept_line(s, number, pv_take_fd(&fd), ring_fd);
    return true;
}

static void on_port(void *data, int port, uint32_t events)
{
    struct net_switch *s = data;
    for (int i = 0; i < STRANGERS_PER_TURN && meet(s); i++)
        ;
}

/* Binds by a name that is the same for all: relative to the network's folder. Under root the others
 * have other users: everybody who can come here may send. */
static int bind_port(struct net_switch *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), PORTS "%u", s->number);
    pv_auto_fd int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (back < 0 || fchdir(s->folder_fd) < 0)
        return -errno;
    int rc = unlink(address.sun_path) < 0 && errno != ENOENT ? -errno : 0;
    mode_t old = umask(geteuid() == 0 ? 0 : 077);
    if (rc == 0 && bind(s->port_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        rc = -errno;
    umask(old);
    if (fchdir(back) < 0 && rc == 0)
        rc = -errno;
    return rc;
}

int switch_port_open(struct net_switch *s, const char *folder, struct pv_error *err)
{
    s->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (s->folder_fd < 0)
        return pv_error_set(err, errno, "private network '%s': %s", folder, strerror(errno));
    s->port_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = s->port_fd < 0 ? -errno : bind_port(s);
    if (rc == 0 && !(s->port_source = pv_loop_add_fd(s->loop, s->port_fd, EPOLLIN, on_port, s)))
        rc = -errno;
    if (rc < 0)
        return pv_error_set(err, -rc, "port of private network '%s': %s", folder, strerror(-rc));
    return 0;
}

void switch_port_close(struct net_switch *s)
{
    pv_loop_remove(s->port_source);
    pv_cleanup_fd(&s->port_fd);
    pv_cleanup_fd(&s->folder_fd);
}
