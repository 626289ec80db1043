/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user_message.c: the messages of vhost-user: one table, its checks, the handlers.
 *
 * Spec: QEMU docs/interop/vhost-user; docs/guest-interface.md has what the guest kernel sends.
 * Trust: the dispatcher checks header, size, number of descriptors and ring index of each message
 *        against the table before a handler runs; the handler checks values.
 *
 * Two kinds of no. A message that contradicts the table breaks the connection: its sender does
 * not speak the protocol. A value that cannot be used is refused: the acknowledgement says so, the
 * guest's driver fails, the connection lives. Where no acknowledgement was asked for, a refusal
 * breaks the connection as well, since the guest would go on with a wrong belief.
 */
#include "virtio/transport/vhost_user_internal.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stddef.h>

typedef int handler_fn(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                       struct vhost_user_reply *ret_reply);

enum ring_index { NO_RING, RING_U32 /* first field */, RING_U64_LOW /* bits 0-7 of a u64 */ };
enum drain { NO_DRAIN, DRAIN_ALWAYS, DRAIN_WHEN_OFF /* when the value asks to switch off */ };

struct message_rule {
    uint32_t size_min, size_max;
    uint8_t fds_min, fds_max;
    enum ring_index ring;
    bool replies;   /* has a reply of its own: no acknowledgement */
    uint64_t needs; /* protocol features that must be negotiated */
    enum drain drain;
    handler_fn *handle; /* 0 or -errno: refused */
};

static int reply_u64(struct vhost_user_reply *reply, uint64_t value)
{
    reply->payload.u64 = value;
    reply->size = sizeof(value);
    return 0;
}

static struct virtio_queue *queue_at(struct virtio_vhost_user *conn, uint32_t index)
{
    return virtio_device_get_queue(conn->options.device, index);
}

/* -- features -- */

static int get_features(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                        struct vhost_user_reply *ret_reply)
{
    return reply_u64(ret_reply, virtio_device_get_features(conn->options.device) |
                                    1ull << VHOST_USER_F_PROTOCOL_FEATURES);
}

static bool any_ring_enabled(struct virtio_vhost_user *conn)
{
    for (uint16_t i = 0; i < virtio_device_get_num_queues(conn->options.device); i++)
        if (virtio_queue_is_enabled(queue_at(conn, i)))
            return true;
    return false;
}

static int set_features(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                        struct vhost_user_reply *ret_reply)
{
    struct virtio_device *dev = conn->options.device;
    uint64_t own = 1ull << VHOST_USER_F_PROTOCOL_FEATURES;
    /* Without STATUS a driver that starts over shows it only by negotiating again. Its rings are
     * off, so nothing is in flight. */
    if (virtio_device_is_active(dev) && !any_ring_enabled(conn) &&
        !vhost_user_has(conn, VHOST_USER_PROTOCOL_F_STATUS))
        virtio_device_reset(dev);
    int rc = virtio_device_set_features(dev, m->payload.u64 & ~own);
    if (rc < 0)
        conn->status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    else if (!(m->payload.u64 & own)) /* then nobody says ENABLE (QEMU's rng) */
        virtio_vhost_user_enable_all(conn);
    return rc;
}

static uint64_t offered_protocol_features(const struct virtio_vhost_user *conn)
{
    return 1u << VHOST_USER_PROTOCOL_F_MQ | 1u << VHOST_USER_PROTOCOL_F_REPLY_ACK |
           1u << VHOST_USER_PROTOCOL_F_BACKEND_REQ | 1u << VHOST_USER_PROTOCOL_F_CONFIG |
           1u << VHOST_USER_PROTOCOL_F_RESET_DEVICE |
           (conn->options.no_status ? 0 : 1u << VHOST_USER_PROTOCOL_F_STATUS) |
           (conn->options.offer_inband ? 1u << VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS : 0);
}

static int get_protocol_features(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                                 struct vhost_user_reply *ret_reply)
{
    return reply_u64(ret_reply, offered_protocol_features(conn));
}

static int set_protocol_features(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                                 struct vhost_user_reply *ret_reply)
{
    if (m->payload.u64 & ~offered_protocol_features(conn))
        return -EINVAL;
    conn->protocol_features = m->payload.u64;
    return 0;
}

static int get_queue_num(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                         struct vhost_user_reply *ret_reply)
{
    return reply_u64(ret_reply, virtio_device_get_num_queues(conn->options.device));
}

static int set_owner(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                     struct vhost_user_reply *ret_reply)
{
    return 0; /* the inherited socket has one owner from the start */
}

/* -- memory and rings -- */

static int set_mem_table(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                         struct vhost_user_reply *ret_reply)
{
    const struct vhost_user_mem_table *t = &m->payload.table;
    if (t->num > VHOST_USER_REGIONS_MAX ||
        m->header.size != offsetof(struct vhost_user_mem_table, regions) +
                              t->num * sizeof(struct vhost_user_region))
        return -EINVAL;
    return virtio_vhost_user_set_table(conn, t, m->fds, m->num_fds);
}

static int set_vring_num(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                         struct vhost_user_reply *ret_reply)
{
    return virtio_queue_set_size(queue_at(conn, m->payload.state.index), m->payload.state.num);
}

static int set_vring_addr(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                          struct vhost_user_reply *ret_reply)
{
    struct vhost_user_ring *ring = &conn->rings[m->payload.addr.index];
    if (m->payload.addr.flags) /* the only flag is for logging, which is not offered */
        return -EINVAL;
    if (virtio_queue_is_enabled(queue_at(conn, ring->index)))
        return -EBUSY;
    ring->addr = m->payload.addr;
    ring->has_addr = true;
    return 0;
}

static int set_vring_base(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                          struct vhost_user_reply *ret_reply)
{
    if (m->payload.state.num > UINT16_MAX)
        return -EINVAL;
    return virtio_queue_set_base(queue_at(conn, m->payload.state.index),
                                 (uint16_t)m->payload.state.num);
}

static int get_vring_base(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                          struct vhost_user_reply *ret_reply)
{
    uint32_t index = m->payload.state.index;
    ret_reply->payload.state = (struct vhost_user_vring_state){
        .index = index, .num = virtio_vhost_user_stop_ring(conn, index)};
    ret_reply->size = sizeof(ret_reply->payload.state);
    return 0;
}

/* The descriptor of a kick, call or err message into *ret_fd, -1 for poll mode. The flag and the
 * number of descriptors must agree. */
static int take_ring_fd(struct vhost_user_message *m, int *ret_fd)
{
    uint64_t value = m->payload.u64;
    bool none = value & VHOST_USER_VRING_NOFD;
    if (value & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NOFD) ||
        m->num_fds != (none ? 0u : 1u))
        return -EINVAL;
    *ret_fd = none ? -1 : pv_take_fd(&m->fds[0]);
    return 0;
}

static int set_vring_kick(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                          struct vhost_user_reply *ret_reply)
{
    int fd;
    int rc = take_ring_fd(m, &fd);
    unsigned index = m->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
    return rc < 0 ? rc : virtio_vhost_user_set_kick(conn, index, fd);
}

static int set_vring_call(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                          struct vhost_user_reply *ret_reply)
{
    int fd;
    int rc = take_ring_fd(m, &fd);
    unsigned index = m->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
    return rc < 0 ? rc : virtio_vhost_user_set_call(conn, index, fd);
}

/* Errors end the connection, so nobody would ever be told through this descriptor. */
static int set_vring_err(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                         struct vhost_user_reply *ret_reply)
{
    pv_auto_fd int fd = -1;
    return take_ring_fd(m, &fd);
}

static int activate(struct virtio_vhost_user *conn)
{
    int rc = virtio_device_activate(conn->options.device, &conn->guest, NULL);
    if (rc < 0)
        return rc;
    for (uint16_t i = 0; i < virtio_device_get_num_queues(conn->options.device); i++)
        virtio_device_kick(conn->options.device, i); /* what came before counts */
    return 0;
}

int virtio_vhost_user_ring_runs(struct virtio_vhost_user *conn, unsigned index)
{
    if (virtio_device_is_active(conn->options.device))
        virtio_device_kick(conn->options.device, index);
    else if (!vhost_user_has(conn, VHOST_USER_PROTOCOL_F_STATUS)) /* else at DRIVER_OK */
        return activate(conn);
    return 0;
}

static int set_vring_enable(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                            struct vhost_user_reply *ret_reply)
{
    uint32_t on = m->payload.state.num;
    return on > 1 ? -EINVAL : virtio_vhost_user_enable(conn, m->payload.state.index, on);
}

static int vring_kick(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                      struct vhost_user_reply *ret_reply)
{
    conn->counters[VHOST_USER_COUNTER_KICKS]++;
    virtio_device_kick(conn->options.device, m->payload.state.index);
    return 0;
}

static int set_backend_req_fd(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                              struct vhost_user_reply *ret_reply)
{
    return virtio_vhost_user_set_request_fd(conn, pv_take_fd(&m->fds[0]));
}

/* -- config space and status -- */

static int check_config(const struct vhost_user_message *m)
{
    const struct vhost_user_config *c = &m->payload.config;
    uint32_t bytes = m->header.size - VHOST_USER_CONFIG_HEADER_BYTES;
    /* Flag 1 (migration) is for writes that would be refused otherwise; none is offered. */
    if (c->size != bytes || c->flags || c->offset > VHOST_USER_CONFIG_BYTES_MAX ||
        c->size > VHOST_USER_CONFIG_BYTES_MAX - c->offset)
        return -EINVAL;
    return 0;
}

static int get_config(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                      struct vhost_user_reply *ret_reply)
{
    int rc = check_config(m);
    if (rc < 0)
        return rc;
    struct vhost_user_config *c = &ret_reply->payload.config;
    c->offset = m->payload.config.offset;
    c->size = m->payload.config.size;
    virtio_device_read_config(conn->options.device, c->offset, c->bytes, c->size);
    ret_reply->size = VHOST_USER_CONFIG_HEADER_BYTES + c->size;
    return 0;
}

static int set_config(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                      struct vhost_user_reply *ret_reply)
{
    int rc = check_config(m);
    const struct vhost_user_config *c = &m->payload.config;
    return rc < 0 ? rc
                  : virtio_device_write_config(conn->options.device, c->offset, c->bytes, c->size);
}

static void reset(struct virtio_vhost_user *conn)
{
    virtio_device_reset(conn->options.device);
    virtio_vhost_user_reset_rings(conn);
    conn->status = 0;
}

static int reset_device(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                        struct vhost_user_reply *ret_reply)
{
    reset(conn);
    return 0;
}

#define STATUS_OF_DRIVER                                                                           \
    ((uint64_t)(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK | \
                VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED))

/* Spec: virtio 1.2, 2.1 and 3.1.1. Bits are added one after the other and only reset clears. */
static int set_status(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                      struct vhost_user_reply *ret_reply)
{
    uint64_t status = m->payload.u64;
    if (status == 0) {
        reset(conn);
        return 0;
    }
    if (status & ~STATUS_OF_DRIVER || conn->status & ~status)
        return -EINVAL;
    if (!virtio_device_has_features(conn->options.device)) /* reading back tells the driver */
        status &= ~(uint64_t)VIRTIO_CONFIG_S_FEATURES_OK;
    uint64_t added = status & ~(uint64_t)conn->status;
    if (added & VIRTIO_CONFIG_S_DRIVER_OK) {
        int rc = virtio_device_is_active(conn->options.device) ? -EALREADY : activate(conn);
        if (rc < 0)
            return rc;
    }
    conn->status = (uint8_t)status;
    return 0;
}

static int get_status(struct virtio_vhost_user *conn, struct vhost_user_message *m,
                      struct vhost_user_reply *ret_reply)
{
    return reply_u64(ret_reply, conn->status);
}

/* -- the table -- */

#define U64 .size_min = 8, .size_max = 8
#define STATE .size_min = 8, .size_max = 8, .ring = RING_U32
#define FROM(first, last) .size_min = (first), .size_max = (last)
#define NEEDS(name) .needs = 1ull << VHOST_USER_PROTOCOL_F_##name

static const struct message_rule rules[] = {
    [VHOST_USER_GET_FEATURES] = {.replies = true, .handle = get_features},
    [VHOST_USER_SET_FEATURES] = {U64, .handle = set_features},
    [VHOST_USER_SET_OWNER] = {.handle = set_owner},
    [VHOST_USER_SET_MEM_TABLE] = {FROM(8 + 32, 8 + 32 * VHOST_USER_REGIONS_MAX), .fds_min = 1,
                                  .fds_max = VHOST_USER_REGIONS_MAX, .handle = set_mem_table},
    [VHOST_USER_SET_VRING_NUM] = {STATE, .handle = set_vring_num},
    [VHOST_USER_SET_VRING_ADDR] = {FROM(40, 40), .ring = RING_U32, .handle = set_vring_addr},
    [VHOST_USER_SET_VRING_BASE] = {STATE, .handle = set_vring_base},
    [VHOST_USER_GET_VRING_BASE] = {STATE, .replies = true, .drain = DRAIN_ALWAYS,
                                   .handle = get_vring_base},
    [VHOST_USER_SET_VRING_KICK] = {U64, .fds_max = 1, .ring = RING_U64_LOW,
                                   .handle = set_vring_kick},
    [VHOST_USER_SET_VRING_CALL] = {U64, .fds_max = 1, .ring = RING_U64_LOW,
                                   .handle = set_vring_call},
    [VHOST_USER_SET_VRING_ERR] = {U64, .fds_max = 1, .ring = RING_U64_LOW, .handle = set_vring_err},
    [VHOST_USER_GET_PROTOCOL_FEATURES] = {.replies = true, .handle = get_protocol_features},
    [VHOST_USER_SET_PROTOCOL_FEATURES] = {U64, .handle = set_protocol_features},
    [VHOST_USER_GET_QUEUE_NUM] = {.replies = true, .handle = get_queue_num, NEEDS(MQ)},
    [VHOST_USER_SET_VRING_ENABLE] = {STATE, .drain = DRAIN_WHEN_OFF, .handle = set_vring_enable},
    [VHOST_USER_SET_BACKEND_REQ_FD] = {.fds_min = 1,
                                       .fds_max = 1,
                                       .handle = set_backend_req_fd,
                                       NEEDS(BACKEND_REQ)},
    [VHOST_USER_GET_CONFIG] = {FROM(12 + 1, sizeof(struct vhost_user_config)), .replies = true,
                               .handle = get_config, NEEDS(CONFIG)},
    [VHOST_USER_SET_CONFIG] = {FROM(12 + 1, sizeof(struct vhost_user_config)), .handle = set_config,
                               NEEDS(CONFIG)},
    [VHOST_USER_RESET_DEVICE] = {.drain = DRAIN_ALWAYS,
                                 .handle = reset_device,
                                 NEEDS(RESET_DEVICE)},
    [VHOST_USER_VRING_KICK] = {STATE, .handle = vring_kick, NEEDS(INBAND_NOTIFICATIONS)},
    [VHOST_USER_SET_STATUS] = {U64, .drain = DRAIN_WHEN_OFF, .handle = set_status, NEEDS(STATUS)},
    [VHOST_USER_GET_STATUS] = {.replies = true, .handle = get_status, NEEDS(STATUS)},
};

/* -- dispatch -- */

const char *virtio_vhost_user_check_header(const struct vhost_user_header *h)
{
    if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
        h->flags & ~(VHOST_USER_VERSION_MASK | VHOST_USER_NEED_REPLY))
        return "a message has wrong flags";
    if (h->size > sizeof(union vhost_user_payload))
        return "a message is too long";
    return NULL;
}

/* The rule for the message, or NULL when it is not one that this connection speaks. */
static const struct message_rule *rule_of(const struct virtio_vhost_user *conn)
{
    uint32_t request = conn->message.header.request;
    if (request >= PV_ARRAY_SIZE(rules) || !rules[request].handle)
        return NULL;
    const struct message_rule *rule = &rules[request];
    return rule->needs & ~conn->protocol_features ? NULL : rule;
}

/* What of the message contradicts the table, or NULL. */
static const char *check_message(const struct virtio_vhost_user *conn,
                                 const struct message_rule *rule)
{
    const struct vhost_user_message *m = &conn->message;
    if (m->header.size < rule->size_min || m->header.size > rule->size_max)
        return "a message has a wrong size";
    if (m->num_fds < rule->fds_min || m->num_fds > rule->fds_max)
        return "a message has a wrong number of descriptors";
    uint64_t index = 0;
    if (rule->ring == RING_U32)
        index = m->payload.state.index;
    else if (rule->ring == RING_U64_LOW)
        index = m->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
    if (rule->ring != NO_RING && index >= virtio_device_get_num_queues(conn->options.device))
        return "a message names a queue that is not there";
    return NULL;
}

/* Answers a message that was handled (rc) and makes room for the next one. */
static void answer(struct virtio_vhost_user *conn, const struct message_rule *rule, int rc,
                   const struct vhost_user_reply *reply)
{
    bool acks = conn->message.header.flags & VHOST_USER_NEED_REPLY &&
                vhost_user_has(conn, VHOST_USER_PROTOCOL_F_REPLY_ACK);
    if (conn->sock < 0) /* the handler found a reason to end it */
        return;
    if (rc < 0)
        conn->counters[VHOST_USER_COUNTER_REFUSED]++;

    if (rule && rule->replies && rc == 0) {
        virtio_vhost_user_send_reply(conn, &reply->payload, reply->size);
    } else if (rc < 0 && (!acks || (rule && rule->replies))) {
        virtio_vhost_user_break(conn, rule ? "a message has a value that cannot be used"
                                           : "a message is unknown");
    } else if (acks) {
        uint64_t status = rc < 0;
        virtio_vhost_user_send_reply(conn, &status, sizeof(status));
    }
    virtio_vhost_user_drop_message(conn);
}

void virtio_vhost_user_finish(struct virtio_vhost_user *conn)
{
    const struct message_rule *rule = rule_of(conn);
    struct vhost_user_reply reply = {0};
    answer(conn, rule, rule->handle(conn, &conn->message, &reply), &reply);
}

static bool wants_drain(const struct message_rule *rule, const struct vhost_user_message *m)
{
    if (rule->drain != DRAIN_WHEN_OFF)
        return rule->drain == DRAIN_ALWAYS;
    return rule->ring == RING_U32 ? m->payload.state.num == 0 : m->payload.u64 == 0;
}

bool virtio_vhost_user_dispatch(struct virtio_vhost_user *conn)
{
    const struct message_rule *rule = rule_of(conn);
    if (!rule) {
        answer(conn, NULL, -EOPNOTSUPP, NULL);
        return true;
    }
    const char *wrong = check_message(conn, rule);
    if (wrong) {
        virtio_vhost_user_break(conn, wrong);
        return true;
    }
    if (wants_drain(rule, &conn->message) &&
        virtio_device_drain(conn->options.device) == -EINPROGRESS)
        return false;
    virtio_vhost_user_finish(conn);
    return true;
}
