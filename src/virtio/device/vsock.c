/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock.c: virtio socket device: packets from and to the guest.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.10.
 * Trust:   packet headers are guest input: copied once, checked, then used.
 *
 * Theory of operation: what the guest is owed is never queued as packets. A connection has a bit
 * per kind of packet and its data stays in its socket; connections that owe something stand in the
 * ready list, and get a buffer of the guest's in turn. Only resets for packets without a
 * connection need a queue of their own: it is short, and while it is full the guest's packets are
 * left in its ring.
 */
#include "virtio/device/vsock.h"

#include "virtio/device/vsock_internal.h"

#include "base/clock.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#define PACKETS_PER_TURN 64u
#define BYTES_PER_TURN (1024u * 1024u)
#define HEADER_BYTES sizeof(struct virtio_vsock_hdr)
#define CONNECTIONS_DEFAULT 256u

static const char *const counter_labels[VSOCK_COUNTER_END - VIRTIO_COUNTER_OWN] = {
    "connections", "refused", "connection_resets", "to_host_bytes", "to_guest_bytes",
};

static uint64_t features(const struct virtio_device *dev)
{
    return 0; /* streams need no feature bit */
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    const struct vsock *v = PV_CONTAINER_OF(dev, const struct vsock, base);
    struct virtio_vsock_config config = {.guest_cid = htole64(v->options.guest_cid)};
    memcpy(buf, (const uint8_t *)&config + offset, len);
}

/* -- to the guest -- */

static uint32_t give_rst(struct vsock *v, const struct virtio_chain *chain)
{
    struct vsock_rst rst = v->rsts[v->first_rst];
    v->first_rst = (v->first_rst + 1) % VSOCK_RSTS_MAX;
    v->num_rsts--;
    struct virtio_vsock_hdr h = {
        .src_cid = htole64(VSOCK_HOST_CID),
        .dst_cid = htole64(v->options.guest_cid),
        .src_port = htole32(rst.host_port),
        .dst_port = htole32(rst.guest_port),
        .type = htole16(rst.type),
        .op = htole16(VIRTIO_VSOCK_OP_RST),
    };
    return (uint32_t)virtio_chain_write(chain, 0, &h, sizeof(h));
}

static uint32_t give_packet(struct vsock *v, const struct virtio_chain *chain)
{
    if (v->num_rsts)
        return give_rst(v, chain);
    struct vsock_connection *c = TAILQ_FIRST(&v->ready);
    TAILQ_REMOVE(&v->ready, c, ready);
    c->is_ready = false;
    return virtio_vsock_connection_give(c, chain);
}

/* Fills the guest's buffers, for one turn: as virtio_device_class.process_queue. */
static int fill(struct vsock *v)
{
    int rc = 0;
    unsigned packets = 0;
    while (v->num_rsts || !TAILQ_EMPTY(&v->ready)) {
        struct virtio_chain chain;
        rc = packets++ == PACKETS_PER_TURN ? 1 : 0;
        if (rc > 0)
            break;
        rc = virtio_device_pop(&v->base, VSOCK_RX, &chain);
        if (rc <= 0)
            break;
        rc = 0;
        if (chain.writable_bytes <= HEADER_BYTES) { /* no data fits: the driver is lost */
            rc = -EPROTO;
            break;
        }
        uint32_t len = give_packet(v, &chain);
        if (len > 0)
            virtio_queue_push(v->base.queues[VSOCK_RX], chain.head, len);
        else
            virtio_queue_unpop(v->base.queues[VSOCK_RX], &chain);
    }
    virtio_device_signal(&v->base, VSOCK_RX);

    if (v->tx_waits && v->num_rsts < VSOCK_RSTS_MAX) {
        v->tx_waits = false;
        virtio_device_again(&v->base, VSOCK_TX);
    }
    return rc;
}

void virtio_vsock_pump(struct vsock *v)
{
    if (!v->base.guest || v->base.needs_reset)
        return;
    int rc = fill(v);
    if (rc > 0)
        virtio_device_again(&v->base, VSOCK_RX);
    else if (rc < 0)
        virtio_device_break(&v->base, rc);
}

/* -- from the guest -- */

/* Answers a packet that belongs to no connection. There is room: the caller looked. */
static void refuse(struct vsock *v, const struct virtio_vsock_hdr *h)
{
    if (h->op == VIRTIO_VSOCK_OP_RST)
        return;
    unsigned at = (v->first_rst + v->num_rsts++) % VSOCK_RSTS_MAX;
    v->rsts[at] =
        (struct vsock_rst){.guest_port = h->src_port, .host_port = h->dst_port, .type = h->type};
}

static void accept_request(struct vsock *v, const struct virtio_vsock_hdr *h)
{
    struct vsock_connection *c = NULL;
    if (v->num_connections < v->options.max_connections) {
        int fd = virtio_vsock_host_open(v, h->src_port, h->dst_port);
        c = fd >= 0 ? virtio_vsock_connection_new(v, fd, VSOCK_ESTABLISHED) : NULL;
    }
    if (!c) {
        v->base.counters[VSOCK_COUNTER_REFUSED]++;
        refuse(v, h);
        return;
    }
    v->base.counters[VSOCK_COUNTER_CONNECTIONS]++;
    virtio_vsock_connection_name(c, h->src_port, h->dst_port);
    c->guest_alloc = h->buf_alloc;
    c->guest_forwarded = h->fwd_cnt;
    virtio_vsock_connection_owe(c, VSOCK_SEND_RESPONSE);
}

static void take_packet(struct vsock *v, const struct virtio_vsock_hdr *h,
                        const struct virtio_chain *chain)
{
    if (h->src_cid != v->options.guest_cid) { /* nobody else can be answered */
        v->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        return;
    }
    if (h->dst_cid != VSOCK_HOST_CID || h->type != VIRTIO_VSOCK_TYPE_STREAM) {
        refuse(v, h);
        return;
    }
    struct vsock_connection *c = virtio_vsock_connection_find(v, h->src_port, h->dst_port);
    if (c)
        virtio_vsock_connection_take(c, h, chain);
    else if (h->op == VIRTIO_VSOCK_OP_REQUEST)
        accept_request(v, h);
    else
        refuse(v, h);
}

/* The header in our byte order: false when the chain is too short for it or for its payload. */
static bool read_header(const struct virtio_chain *chain, struct virtio_vsock_hdr *h)
{
    struct virtio_vsock_hdr raw;
    if (virtio_chain_read(chain, 0, &raw, sizeof(raw)) < sizeof(raw))
        return false;
    *h = (struct virtio_vsock_hdr){
        .src_cid = le64toh(raw.src_cid),
        .dst_cid = le64toh(raw.dst_cid),
        .src_port = le32toh(raw.src_port),
        .dst_port = le32toh(raw.dst_port),
        .len = le32toh(raw.len),
        .type = le16toh(raw.type),
        .op = le16toh(raw.op),
        .flags = le32toh(raw.flags),
        .buf_alloc = le32toh(raw.buf_alloc),
        .fwd_cnt = le32toh(raw.fwd_cnt),
    };
    return h->len <= chain->readable_bytes - sizeof(raw);
}

static int transmit(struct vsock *v)
{
    struct virtio_queue *q = v->base.queues[VSOCK_TX];
    uint64_t bytes = 0;
    int rc = 1;
    for (unsigned i = 0; i < PACKETS_PER_TURN && bytes < BYTES_PER_TURN; i++) {
        if (v->num_rsts == VSOCK_RSTS_MAX) { /* goes on when the guest has taken one */
            v->tx_waits = true;
            rc = 0;
            break;
        }
        struct virtio_chain chain;
        rc = virtio_device_pop(&v->base, VSOCK_TX, &chain);
        if (rc <= 0)
            break;
        struct virtio_vsock_hdr h;
        if (read_header(&chain, &h))
            take_packet(v, &h, &chain);
        else
            v->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        bytes += chain.readable_bytes;
        virtio_queue_push(q, chain.head, 0);
    }
    virtio_device_signal(&v->base, VSOCK_TX);
    return rc;
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct vsock *v = vsock_of(dev);
    if (queue == VSOCK_RX)
        return fill(v);
    if (queue == VSOCK_EVENT) /* its buffers wait for a migration */
        return 0;

    int more = transmit(v);
    int rc = more < 0 ? more : fill(v); /* answers */
    if (rc > 0)
        virtio_device_again(dev, VSOCK_RX);
    return rc < 0 ? rc : more;
}

/* -- life -- */

void virtio_vsock_arm(struct vsock *v, uint64_t deadline_ns)
{
    if (v->next_deadline_ns && v->next_deadline_ns <= deadline_ns)
        return;
    uint64_t now = pv_time_monotonic_ns();
    v->next_deadline_ns = deadline_ns;
    pv_loop_arm(v->deadlines, deadline_ns > now ? deadline_ns - now : 1);
}

static void on_deadline(void *data)
{
    struct vsock *v = data;
    uint64_t now = pv_time_monotonic_ns(), next = UINT64_MAX;
    struct vsock_connection *c = TAILQ_FIRST(&v->connections);
    while (c) {
        struct vsock_connection *following = TAILQ_NEXT(c, all);
        if (c->deadline_ns && c->deadline_ns <= now) {
            virtio_vsock_connection_tell(c, -ETIMEDOUT);
            virtio_vsock_connection_kill(c);
        } else if (c->deadline_ns) {
            next = PV_MIN(next, c->deadline_ns);
        }
        c = following;
    }
    v->next_deadline_ns = next == UINT64_MAX ? 0 : next;
    if (v->next_deadline_ns)
        pv_loop_arm(v->deadlines, next - now);
    virtio_vsock_host_resume_serving(v);
    virtio_vsock_pump(v);
}

static void reset(struct virtio_device *dev)
{
    struct vsock *v = vsock_of(dev);
    struct vsock_connection *c = TAILQ_FIRST(&v->connections);
    while (c) {
        struct vsock_connection *following = TAILQ_NEXT(c, all);
        virtio_vsock_connection_linger(c, -ECONNRESET);
        c = following;
    }
    v->num_rsts = 0;
    v->tx_waits = false;
}

static void free_vsock(struct virtio_device *dev)
{
    struct vsock *v = vsock_of(dev);
    virtio_vsock_host_stop_serving(v);
    while (!TAILQ_EMPTY(&v->connections))
        virtio_vsock_connection_free(TAILQ_FIRST(&v->connections));
    pv_loop_remove(v->deadlines);
    virtio_device_done(dev);
    free(v);
}

static const struct virtio_syscall syscalls[] = {
    {"socketpair", "vsock: the two ends of a connection to a listener in the monitor"},
    {"accept4", "vsock: clients of the serving socket"},
    {"recvmsg", "vsock: from the host's side into guest buffers"},
    {"recvfrom", "vsock: the line of a client, byte by byte"},
    {"sendmsg", "vsock: from guest buffers to the host's side"},
    {"sendto", "vsock: what waited for the host's side"},
    {"shutdown", "vsock: pass half-closes on"},
    {"epoll_ctl", "vsock: watch connections"},
    {"timerfd_settime", "vsock: time limits for connecting and closing"},
    {"clock_gettime", "vsock: time limits, where the vDSO cannot"},
    {"close", "vsock: ended connections"},
    {NULL, NULL},
};

const struct virtio_device_class virtio_vsock_class = {
    .name = "vsock",
    .virtio_id = VIRTIO_ID_VSOCK,
    .num_queues = VSOCK_QUEUES,
    .queue_size_max = 256,
    .config_bytes = sizeof(struct virtio_vsock_config),
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .process_queue = process_queue,
    .reset = reset,
    .free = free_vsock,
};

int virtio_vsock_new(const struct virtio_vsock_options *options, struct pv_loop *loop,
                     struct virtio_device **ret_dev, struct pv_error *err)
{
    if (options->guest_cid <= VSOCK_HOST_CID || options->guest_cid >= UINT32_MAX)
        return pv_error_set(err, EINVAL, "create device vsock: guest CID %llu: give 3 or more",
                            (unsigned long long)options->guest_cid);
    if (options->max_connections > VIRTIO_VSOCK_CONNECTIONS_MAX)
        return pv_error_set(err, EINVAL, "create device vsock: %u connections: give %u or less",
                            options->max_connections, VIRTIO_VSOCK_CONNECTIONS_MAX);
    struct vsock *v = calloc(1, sizeof(*v));
    if (!v)
        return pv_error_set(err, ENOMEM, "create device vsock: out of memory");
    v->options = *options;
    if (!v->options.max_connections)
        v->options.max_connections = CONNECTIONS_DEFAULT;
    if (!v->options.timeout_ms)
        v->options.timeout_ms = VSOCK_TIMEOUT_MS;
    TAILQ_INIT(&v->connections);
    TAILQ_INIT(&v->ready);
    v->serve_fd = -1;
    int rc = virtio_device_init(&v->base, &virtio_vsock_class, loop, err);
    if (rc == 0 && !(v->deadlines = pv_loop_add_timer(loop, on_deadline, v)))
        rc = pv_error_set(err, errno, "create device vsock: timer: %s", strerror(errno));
    if (rc < 0) {
        free_vsock(&v->base);
        return rc;
    }
    *ret_dev = &v->base;
    return 0;
}

unsigned virtio_vsock_get_connections(const struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, const struct vsock, base)->num_connections;
}
