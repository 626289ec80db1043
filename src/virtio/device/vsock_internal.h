/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock_internal.h: the parts of the vsock device.
 *
 *   vsock.c             the class: packets from the guest, packets to the guest
 *   vsock_connection.c  one connection: states, pumps, credit
 *   vsock_host.c        the host's side: listeners, connecting, the serving socket
 */
#ifndef VIRTIO_DEVICE_VSOCK_INTERNAL_H
#define VIRTIO_DEVICE_VSOCK_INTERNAL_H

#include "virtio/device/vsock.h"
#include "virtio/device_internal.h"

#include "base/bytes.h"

#include <linux/virtio_vsock.h>
#include <sys/queue.h>

#define VSOCK_HOST_CID 2u
#define VSOCK_BUCKETS 256u
#define VSOCK_RSTS_MAX 64u
#define VSOCK_TIMEOUT_MS 10000u
#define VSOCK_LINE_MAX 32u /* "CONNECT 4294967295\n" is shorter */

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

enum vsock_counter {
    VSOCK_COUNTER_CONNECTIONS = VIRTIO_COUNTER_OWN, /* established, ever */
    VSOCK_COUNTER_REFUSED,                          /* of the guest, or of the host by the guest */
    VSOCK_COUNTER_RESETS,                           /* connections that ended by RST */
    VSOCK_COUNTER_TO_HOST_BYTES,
    VSOCK_COUNTER_TO_GUEST_BYTES,
    VSOCK_COUNTER_END,
};

enum vsock_state {
    VSOCK_LINE,        /* the client of the serving socket has not said CONNECT yet */
    VSOCK_CONNECTING,  /* REQUEST to the guest */
    VSOCK_ESTABLISHED, /* also half closed */
    VSOCK_DEAD,        /* only its RST has still to go to the guest */
    VSOCK_LINGERING,   /* the guest has gone, its last bytes go to the host's reader */
};

/* What a connection owes the guest, sent when there is a buffer. */
enum vsock_pending {
    VSOCK_SEND_REQUEST = 1 << 0,
    VSOCK_SEND_RESPONSE = 1 << 1,
    VSOCK_SEND_RST = 1 << 2,
    VSOCK_SEND_SHUTDOWN = 1 << 3,
    VSOCK_SEND_CREDIT_UPDATE = 1 << 4,
    VSOCK_SEND_CREDIT_REQUEST = 1 << 5,
};

struct vsock_connection {
    struct vsock *vsock;
    TAILQ_ENTRY(vsock_connection) all;      /* vsock.connections */
    TAILQ_ENTRY(vsock_connection) ready;    /* vsock.ready, when is_ready */
    LIST_ENTRY(vsock_connection) in_bucket; /* vsock.buckets, when is_named */
    bool is_ready, is_named;
    enum vsock_state state;
    uint32_t guest_port, host_port;
    unsigned pending;     /* enum vsock_pending */
    uint64_t deadline_ns; /* 0: none */

    int fd; /* owned, or -1 */
    struct pv_loop_source *source;
    bool readable;  /* reading fd may give something */
    bool host_eof;  /* the host sends no more */
    bool host_deaf; /* the host reads no more: what the guest sends is dropped */
    unsigned shut_by_guest, shut_by_host; /* VIRTIO_VSOCK_SHUTDOWN_*, the latter as told */
    bool shut_write_done; /* shutdown(SHUT_WR) has passed the guest's end of file on */

    /* Credit, spec 5.10.6.3: free-running byte counts. */
    uint32_t sent, guest_alloc, guest_forwarded; /* to the guest */
    uint32_t forwarded, told_forwarded;          /* to the host */
    bool asked_credit;

    struct pv_bytes to_host; /* from the guest, not yet taken by fd */
    bool is_client;          /* came by the serving socket: is owed "OK" */
    char line[VSOCK_LINE_MAX];
    size_t line_len;
    virtio_vsock_connected_fn *connected;
    void *connected_data;
};

struct vsock_listener {
    uint32_t port;
    virtio_vsock_accepted_fn *accepted; /* NULL: free */
    void *data;
};

/* A reset for packets that belong to no connection. */
struct vsock_rst {
    uint32_t guest_port, host_port;
    uint16_t type;
};

struct vsock {
    struct virtio_device base;
    struct virtio_vsock_options options;
    TAILQ_HEAD(, vsock_connection) connections;
    TAILQ_HEAD(, vsock_connection) ready;
    LIST_HEAD(, vsock_connection) buckets[VSOCK_BUCKETS];
    unsigned num_connections;
    uint32_t next_host_port;
    struct vsock_rst rsts[VSOCK_RSTS_MAX]; /* ring */
    unsigned first_rst, num_rsts;
    bool tx_waits; /* the guest's packets wait until there is room for resets */
    struct vsock_listener listeners[VIRTIO_VSOCK_LISTENERS_MAX];
    int serve_fd; /* owned, or -1 */
    struct pv_loop_source *serve_source;
    bool serve_paused;                /* no descriptor was free for a client */
    struct pv_loop_source *deadlines; /* timer, armed while a connection has one */
    uint64_t next_deadline_ns;        /* when it is due; 0: not armed */
};

static inline struct vsock *vsock_of(struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct vsock, base);
}

/* vsock.c */

/* Sends what is owed to the guest, after something changed outside of the queues. The device may
 * be reset when it returns: call it last. */
void virtio_vsock_pump(struct vsock *v);

/* vsock_connection.c */

/* A connection over fd (taken, also on failure), in state LINE or with the ports as given. NULL
 * when there are too many or out of memory. */
struct vsock_connection *virtio_vsock_connection_new(struct vsock *v, int fd,
                                                     enum vsock_state state);
/* Gives it its name towards the guest. */
void virtio_vsock_connection_name(struct vsock_connection *c, uint32_t guest_port,
                                  uint32_t host_port);
struct vsock_connection *virtio_vsock_connection_find(struct vsock *v, uint32_t guest_port,
                                                      uint32_t host_port);
void virtio_vsock_connection_free(struct vsock_connection *c);
/* Handles a packet for this connection; its payload is what follows the header in the chain. The
 * connection may be gone when it returns. */
void virtio_vsock_connection_take(struct vsock_connection *c, const struct virtio_vsock_hdr *h,
                                  const struct virtio_chain *chain);
/* Writes one packet into the chain, which has room for a header: bytes written, or 0 when there is
 * nothing to send after all. The connection may be gone when it returns. */
uint32_t virtio_vsock_connection_give(struct vsock_connection *c, const struct virtio_chain *chain);
/* Ends it with a RST to the guest. */
void virtio_vsock_connection_kill(struct vsock_connection *c);
/* The guest has gone: what it sent still goes to the host, then it ends. */
void virtio_vsock_connection_linger(struct vsock_connection *c, int rc);
/* Sends from our side: sets pending bits, puts it into the ready list when it has something. */
void virtio_vsock_connection_owe(struct vsock_connection *c, unsigned pending);
/* The other side must do something within the timeout; or need not any more. */
void virtio_vsock_connection_set_deadline(struct vsock_connection *c);
void virtio_vsock_connection_clear_deadline(struct vsock_connection *c);
void virtio_vsock_arm(struct vsock *v, uint64_t deadline_ns); /* vsock.c: timer, at the latest */
/* Fills a header for a packet to the guest and notes the credit that it tells. */
void virtio_vsock_connection_header(struct vsock_connection *c, uint16_t op, uint32_t flags,
                                    uint32_t len, struct virtio_vsock_hdr *ret_header);
/* Tells whoever waits for it how connecting ended; once. */
void virtio_vsock_connection_tell(struct vsock_connection *c, int rc);

/* vsock_host.c */

/* The guest asks for a connection to a port of the host: a connected socket or -errno. */
int virtio_vsock_host_open(struct vsock *v, uint32_t guest_port, uint32_t host_port);
/* The client of the serving socket wrote something: reads its line. The connection may be gone. */
void virtio_vsock_host_read_line(struct vsock_connection *c);
/* A free port of the host for a connection to the guest. */
uint32_t virtio_vsock_host_pick_port(struct vsock *v, uint32_t guest_port);
void virtio_vsock_host_stop_serving(struct vsock *v);
void virtio_vsock_host_resume_serving(struct vsock *v);

#endif
