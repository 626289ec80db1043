/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock.h: virtio socket device, streams only.   Spec: virtio 1.2, 5.10.
 *
 * Each live connection joins a port of the guest with one stream socket of the host. The
 * device pumps both ways without blocking; when one side does not read, the other one is not
 * read. The host is VMADDR_CID_HOST (2); packets for other CIDs are refused.
 */
#ifndef VIRTIO_DEVICE_VSOCK_H
#define VIRTIO_DEVICE_VSOCK_H

#include "virtio/device.h"

#define VIRTIO_VSOCK_CONNECTIONS_MAX 1024u
#define VIRTIO_VSOCK_LISTENERS_MAX 16u
/* Bytes from the guest that wait for the host's reader, per connection; also the credit. */
#define VIRTIO_VSOCK_BUFFER_BYTES 262144u

struct virtio_vsock_options {
    uint64_t guest_cid;       /* 3 or more, below 2^32 - 1 */
    unsigned max_connections; /* 1 .. VIRTIO_VSOCK_CONNECTIONS_MAX; 0: 256 */
    unsigned
        timeout_ms; /* for the answer to connecting or closing, and for a client's line; 0: 10 s */
    /* Where the guest's connections to a port of the host go that has no listener: returns a
     * connected stream socket (which the device takes) or -errno, without blocking. NULL: such
     * connections are refused. */
    int (*connect_host)(void *data, uint32_t host_port);
    void *data;
};

extern const struct virtio_device_class virtio_vsock_class;

/* The caller owns *ret_dev: virtio_device_free. -EINVAL for an option out of its range. */
int virtio_vsock_new(const struct virtio_vsock_options *options, struct pv_loop *loop,
                     struct virtio_device **ret_dev, struct pv_error *err);

/* rc: 0 connected; -ECONNREFUSED refused by the guest, -ETIMEDOUT no answer, -ECONNRESET the device
 * was reset. Called once. Must not free the device. */
typedef void virtio_vsock_connected_fn(void *data, int rc);
/* Connects fd, a connected stream socket, with guest_port. Takes fd, also on failure: it is
 * closed when the connection has ended or was refused. fn may be NULL. Returns 0 (fn will be
 * called, never from within this call), -ENOTCONN while no guest is active, -EMFILE when there are
 * too many connections, -ENOMEM or -errno; fn is not called then. */
int virtio_vsock_connect(struct virtio_device *dev, uint32_t guest_port, int fd,
                         virtio_vsock_connected_fn *fn, void *data);

/* The guest connected from guest_port. The callee takes fd: its end of a stream socket pair,
 * non-blocking, close-on-exec. Closing it ends the connection, shutdown() half of it. Must not
 * free the device. */
typedef void virtio_vsock_accepted_fn(void *data, int fd, uint32_t guest_port);
/* Listens on a port of the host, also across resets of the device. 0, -EADDRINUSE, -ENOSPC. */
int virtio_vsock_listen(struct virtio_device *dev, uint32_t host_port, virtio_vsock_accepted_fn *fn,
                        void *data);
void virtio_vsock_unlisten(struct virtio_device *dev, uint32_t host_port);

/* Serves a listening unix stream socket (taken, also on failure): a client sends
 * "CONNECT <guest port>\n", gets "OK <host port>\n" when the guest has accepted, and the bytes flow
 * from there. Otherwise its connection is closed. At most one such socket: -EBUSY. */
int virtio_vsock_serve(struct virtio_device *dev, int listen_fd);

unsigned virtio_vsock_get_connections(const struct virtio_device *dev);

#endif
