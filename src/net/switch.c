/* SPDX-License-Identifier: Apache-2.0
 *
 * switch.c: the link of a machine on a private network: chooses the way of each frame.
 */
#include "net/switch.h"

#include "base/clock.h"
#include "base/fd.h"
#include "net/offload.h"
#include "net/switch_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Broadcasts go to everybody: a machine that sends nothing else must not keep the others busy. */
#define FLOOD_PER_SECOND 1000
#define FLOOD_BURST 200

static const char *const counter_labels[] = {
    "sent",   "received", "lines",     "unreachable", "dropped_slow", "flood",
    "forged", "broken",   "strangers", "rings",       "signs",
};
_Static_assert(PV_ARRAY_SIZE(counter_labels) == SWITCH_COUNTERS, "a label for each");

static struct net_switch *switch_of(const struct net_link *link)
{
    return PV_CONTAINER_OF(link, struct net_switch, base);
}

/* --- from the guest ---------------------------------------------------------------------------*/

static size_t copy_head(const struct net_frame *frame, uint8_t head[SWITCH_HEAD_MAX])
{
    size_t at = 0;
    for (unsigned i = 0; i < frame->num_iov && at < SWITCH_HEAD_MAX; i++) {
        size_t n = PV_MIN(frame->iov[i].iov_len, SWITCH_HEAD_MAX - at);
        memcpy(head + at, frame->iov[i].iov_base, n);
        at += n;
    }
    return at;
}

static int send_to(struct net_switch *s, uint32_t number, const struct net_frame *frame)
{
    struct switch_line *line = switch_line_get(s, number);
    if (line)
        return switch_line_send(line, frame, true);
    s->counters[SWITCH_UNREACHABLE]++;
    return 0;
}

/* To all that there is a line to, and those that live: whoever is not interested in anything of
 * ours so far may be now. */
static void send_to_all(struct net_switch *s, const struct net_frame *frame)
{
    if (pv_rate_take(&s->flood, 1, pv_time_monotonic_ns()) > 0) {
        s->counters[SWITCH_FLOOD]++;
        return;
    }
    switch_members_refresh(s);
    for (size_t i = 0; i < s->num_members; i++) {
        uint32_t number = s->members[i].number;
        struct switch_line *line = number == s->number ? NULL : switch_line_get(s, number);
        if (line)
            switch_line_send(line, frame, false);
    }
}

static int send_segment(void *data, const uint8_t *frame, size_t bytes)
{
    struct net_switch *s = data;
    struct iovec iov = {(void *)frame, bytes};
    return net_link_send(s->below, &(struct net_frame){.iov = &iov, .num_iov = 1, .bytes = bytes});
}

/* The way out may carry less than the lines do. */
static int send_simpler(struct net_switch *s, const struct net_frame *frame)
{
    size_t at = 0;
    for (unsigned i = 0; i < frame->num_iov; i++) {
        memcpy(s->whole + at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += frame->iov[i].iov_len;
    }
    if (frame->hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        net_offload_segment(&frame->hdr, s->whole, at, s->segment, send_segment, s);
        return 0; /* what it has no room for is lost, as on any network */
    }
    net_offload_complete(&frame->hdr, s->whole, at);
    return send_segment(s, s->whole, at);
}

static int send_below(struct net_switch *s, const struct net_frame *frame)
{
    if (!s->below) {
        s->counters[SWITCH_UNREACHABLE]++;
        return 0;
    }
    if (net_offload_of(&frame->hdr) & ~s->below->send_offloads)
        return send_simpler(s, frame);
    return net_link_send(s->below, frame);
}

static int send_frame(struct net_link *link, const struct net_frame *frame)
{
    struct net_switch *s = switch_of(link);
    uint8_t head[SWITCH_HEAD_MAX];
    uint32_t number = 0;
    size_t len = copy_head(frame, head);
    if (frame->bytes > NET_FRAME_MAX || len < 14 ||
        memcmp(head + WORKLOAD_SUBNET_MAC_LEN, s->mac, sizeof(s->mac)) != 0) {
        s->counters[SWITCH_FORGED]++;
        return 0;
    }
    switch (switch_choose(&s->subnet, s->number, head, len, &number)) {
    case SWITCH_TO_MACHINE:
        return send_to(s, number, frame);
    case SWITCH_TO_BELOW:
        return send_below(s, frame);
    case SWITCH_TO_ALL:
        send_to_all(s, frame);
        return 0;
    case SWITCH_TO_NOBODY:
        return 0;
    }
    return 0;
}

/* --- to the guest -----------------------------------------------------------------------------*/

int switch_deliver(struct net_switch *s, uint32_t number, struct net_frame *frame)
{
    const struct iovec *head = &frame->iov[0];
    if (net_offload_check(&frame->hdr, frame->bytes, SWITCH_ALL_OFFLOADS) < 0) {
        s->counters[SWITCH_BROKEN]++;
        return 0;
    }
    if (!switch_is_honest(&s->subnet, number, s->number, head->iov_base, head->iov_len)) {
        s->counters[SWITCH_FORGED]++;
        return 0;
    }
    if (!s->base.upper.receive)
        return 0;
    if (s->base.upper.receive(s->base.upper.data, frame) != -EAGAIN) {
        s->counters[SWITCH_RECEIVED]++;
        return 0;
    }
    switch_lines_stop(s, true);
    return -EAGAIN;
}

static void resume(struct net_link *link)
{
    struct net_switch *s = switch_of(link);
    if (s->has_kept) {
        s->has_kept = false;
        if (s->base.upper.receive(s->base.upper.data, &s->kept) == -EAGAIN) {
            s->has_kept = true;
            return;
        }
        s->counters[SWITCH_RECEIVED]++;
    }
    if (s->stopped)
        switch_lines_stop(s, false);
    if (s->below)
        net_link_resume(s->below);
}

static int receive_below(void *data, const struct net_frame *frame)
{
    struct net_switch *s = data;
    return s->base.upper.receive ? s->base.upper.receive(s->base.upper.data, frame) : 0;
}

static void sendable_below(void *data)
{
    struct net_switch *s = data;
    if (s->base.upper.sendable)
        s->base.upper.sendable(s->base.upper.data);
}

/* --- the object -------------------------------------------------------------------------------*/

static void get_counters(const struct net_link *link, const char *name,
                         struct pv_counter_group *ret_group)
{
    *ret_group = (struct pv_counter_group){name, counter_labels, switch_of(link)->counters,
                                           PV_ARRAY_SIZE(counter_labels)};
}

static void free_switch(struct net_link *link)
{
    struct net_switch *s = switch_of(link);
    switch_lines_free(s);
    switch_port_close(s);
    switch_members_free(s);
    net_link_free(s->below);
    free(s);
}

static const struct net_link_class switch_class = {
    .name = "switch",
    .send = send_frame,
    .resume = resume,
    .get_counters = get_counters,
    .free = free_switch,
};

const struct net_switch_syscall net_switch_syscalls[] = {
    {"socketpair", "switch: a line to another machine"},
    {"setsockopt", "switch: room for frames on a line"},
    {"getsockopt", "switch: is what another machine sent us a line?"},
    {"sendmsg", "switch: frames, lines"},
    {"sendto", "switch: bells"},
    {"recvmsg", "switch: frames, lines"},
    {"ftruncate", "switch: the size of a ring"},
    {"fstatfs", "switch: is what another machine sent us a ring?"},
    {"mmap", "switch: a ring"},
    {"munmap", "switch: a ring that is not used any more"},
    {"madvise", "switch: pages of a ring that is not used now"},
    {"timerfd_settime", "switch: machines that do not read, rings that are not used"},
    {"poll", "switch: does the other end of a line live?"},
    {"openat", "switch: names of machines"},
    {"getdents64", "switch: names of machines"},
    {"newfstatat", "switch: have the names of machines changed?"},
    {"fstat", "switch: have the names of machines changed?"},
    {"read", "switch: names of machines"},
    {"fcntl", "switch: the seals of a ring; names of machines"},
    {"close", "switch: lines, names of machines"},
    {NULL, NULL},
};

static void take_below(struct net_switch *s, struct net_link *below)
{
    s->below = below;
    s->base.below = below;
    s->base.mtu = NET_MTU_MAX;
    s->base.send_offloads = s->base.receive_offloads = SWITCH_ALL_OFFLOADS;
    if (!below)
        return;
    s->base.mtu = PV_MIN(s->base.mtu, below->mtu);
    below->upper = (struct net_upper){receive_below, sendable_below, s};
}

int net_switch_open(const struct net_switch_options *options, struct net_link **ret_link,
                    struct pv_error *err)
{
    struct net_switch *s = calloc(1, sizeof(*s));
    if (!s) {
        net_link_free(options->below);
        return pv_error_set(err, ENOMEM, "private network: out of memory");
    }
    s->base.class = &switch_class;
    s->loop = options->loop;
    s->subnet = options->subnet;
    s->number = options->number;
    s->folder_fd = s->port_fd = -1;
    workload_subnet_mac(&s->subnet, s->number, s->mac);
    pv_rate_init(&s->flood, FLOOD_PER_SECOND, FLOOD_BURST, pv_time_monotonic_ns());
    take_below(s, options->below);
    int rc = switch_lines_init(s, err);
    if (rc == 0)
        rc = switch_port_open(s, options->folder, err);
    if (rc < 0) {
        free_switch(&s->base);
        return rc;
    }
    *ret_link = &s->base;
    return 0;
}

int net_switch_folder_fd(const struct net_link *link)
{
    return switch_of(link)->folder_fd;
}

int net_switch_start(struct net_link *link, const char *folder, struct pv_error *err)
{
    struct net_switch *s = switch_of(link);
    if (strlen(folder) + sizeof("/ports/65535") > sizeof(s->folder))
        return pv_error_set(err, ENAMETOOLONG,
                            "private network: the path '%s' is too long for sockets: choose a "
                            "shorter PARAVANE_ROOT",
                            folder);
    pv_auto_fd int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return pv_error_set(err, errno,
                            "private network: the monitor cannot reach it from its jail, which "
                            "this host gives no root of its own: %s",
                            strerror(errno));
    strcpy(s->folder, folder);
    return 0;
}
