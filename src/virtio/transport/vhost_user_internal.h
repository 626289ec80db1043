/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user_internal.h: one connection, shared by the files of the vhost-user transport.
 *
 *   vhost_user.c          life of a connection, receiving, breaking
 *   vhost_user_message.c  the table of messages, its checks and the handlers
 *   vhost_user_ring.c     rings: addresses, kick and call descriptors, enabling
 *   vhost_user_notify.c   signals to the guest, on call and request sockets
 */
#ifndef VIRTIO_TRANSPORT_VHOST_USER_INTERNAL_H
#define VIRTIO_TRANSPORT_VHOST_USER_INTERNAL_H

#include "virtio/transport/vhost_user.h"
#include "virtio/transport/vhost_user_wire.h"

/* One more than any message may carry, so that too many are noticed. */
#define VHOST_USER_FDS_MAX (VHOST_USER_REGIONS_MAX + 1)

enum vhost_user_counter {
    VHOST_USER_COUNTER_MESSAGES,
    VHOST_USER_COUNTER_REFUSED,
    VHOST_USER_COUNTER_BROKEN,
    VHOST_USER_COUNTER_KICKS,
    VHOST_USER_COUNTER_CALLS,
    VHOST_USER_COUNTER_CALLS_PENDING, /* not sent: the guest has not read the last ones */
    VHOST_USER_COUNTERS,
};

/* A message while it is received and handled. */
struct vhost_user_message {
    struct vhost_user_header header;
    union vhost_user_payload payload;
    uint32_t received; /* bytes of header and payload that are here */
    int fds[VHOST_USER_FDS_MAX];
    unsigned num_fds; /* owned; a handler takes what it needs */
};

struct vhost_user_reply {
    uint32_t size;
    union vhost_user_payload payload;
};

struct vhost_user_ring {
    struct virtio_vhost_user *conn;
    uint16_t index;
    bool has_addr;
    bool enabled; /* as the front end says; it runs once it has its address and kick, too */
    struct vhost_user_vring_addr addr; /* user addresses: translated when the ring is enabled */
    int kick_fd, call_fd;              /* owned, or -1 */
    bool call_is_socket;
    struct pv_loop_source *kick_source;
};

struct virtio_vhost_user {
    struct virtio_vhost_user_options options;
    int sock; /* owned; -1: closed */
    struct pv_loop_source *source;
    struct pv_loop_source *farewell; /* timer: tells the owner that the connection has ended */
    const char *reason;              /* why it broke; NULL: the guest closed it */

    struct vhost_user_message message;
    bool draining; /* `message` waits for the device */

    uint64_t protocol_features;
    uint8_t status;
    struct memory_map map;
    uint64_t user_start[MEMORY_MAP_REGIONS_MAX]; /* the user address of map's region */
    struct virtio_guest guest;                   /* what the device gets */

    struct vhost_user_ring rings[VIRTIO_DEVICE_QUEUES_MAX];
    int request_fd; /* owned: socket for requests to the front end, or -1 */
    struct pv_loop_source *request_source;
    uint32_t requests; /* bits of rings to call in-band, and VHOST_USER_REQUEST_CONFIG */

    uint64_t counters[VHOST_USER_COUNTERS];
};

#define VHOST_USER_REQUEST_CONFIG (1u << 31)

static inline bool vhost_user_has(const struct virtio_vhost_user *conn,
                                  enum vhost_user_protocol_feature feature)
{
    return conn->protocol_features >> feature & 1;
}

/* vhost_user.c */

/* Ends the connection because of what the guest did; does nothing when it has ended already. */
void virtio_vhost_user_break(struct virtio_vhost_user *conn, const char *reason);
/* Sends the reply to conn->message; breaks the connection when the guest does not take it. */
void virtio_vhost_user_send_reply(struct virtio_vhost_user *conn, const void *payload,
                                  uint32_t size);
/* Closes the descriptors of conn->message that nobody took, makes room for the next message. */
void virtio_vhost_user_drop_message(struct virtio_vhost_user *conn);

/* vhost_user_message.c */

/* Checks conn->message, which is complete, handles and answers it. Returns false when that must
 * wait until the device has drained: call virtio_vhost_user_finish then. */
bool virtio_vhost_user_dispatch(struct virtio_vhost_user *conn);
void virtio_vhost_user_finish(struct virtio_vhost_user *conn);
/* Whether this header can begin a message; else the stream cannot be followed any more. */
const char *virtio_vhost_user_check_header(const struct vhost_user_header *header);

/* vhost_user_ring.c: all return 0 or -errno; `index` was checked by the dispatcher. */

void virtio_vhost_user_init_rings(struct virtio_vhost_user *conn);
int virtio_vhost_user_set_table(struct virtio_vhost_user *conn,
                                const struct vhost_user_mem_table *table, const int *fds,
                                unsigned num_fds);
/* fd is taken, also on failure; -1: none (poll mode). */
int virtio_vhost_user_set_kick(struct virtio_vhost_user *conn, unsigned index, int fd);
int virtio_vhost_user_set_call(struct virtio_vhost_user *conn, unsigned index, int fd);
/* Switches a ring on or off. One without address or kick descriptor begins to run when these
 * come. */
int virtio_vhost_user_enable(struct virtio_vhost_user *conn, unsigned index, bool on);
/* Rings need no enabling: they run as soon as they have all. None does yet. */
void virtio_vhost_user_enable_all(struct virtio_vhost_user *conn);
/* Stops a ring until it gets another address and kick descriptor: the next entry to take. */
uint16_t virtio_vhost_user_stop_ring(struct virtio_vhost_user *conn, unsigned index);
/* A ring may run from now on: looks at it, and without STATUS starts the device. */
int virtio_vhost_user_ring_runs(struct virtio_vhost_user *conn, unsigned index);
/* Forgets addresses and kick descriptors of all rings. The call descriptors stay until the guest
 * sends others or the connection ends: their end of file tells a guest that the device is gone. */
void virtio_vhost_user_reset_rings(struct virtio_vhost_user *conn);
/* Closes the call descriptors, when the connection ends. */
void virtio_vhost_user_close_calls(struct virtio_vhost_user *conn);
/* Whether fd is a connected unix stream socket: writing to one can be done without blocking. */
bool virtio_vhost_user_is_socket(int fd);

/* vhost_user_notify.c */

int virtio_vhost_user_set_request_fd(struct virtio_vhost_user *conn, int fd); /* takes fd */
void virtio_vhost_user_close_request_fd(struct virtio_vhost_user *conn);
/* virtio_guest.signal_queue and .signal_config. */
void virtio_vhost_user_signal_queue(void *transport, uint16_t queue);
void virtio_vhost_user_signal_config(void *transport);

#endif
