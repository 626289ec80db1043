/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user.h: the back end of vhost-user: one device on one connected unix stream socket.
 *
 * The front end is the guest kernel itself: each message, size, descriptor and address is guest
 * input. A lie breaks this one connection: descriptors are closed, the device is reset, the owner
 * is told. Nothing blocks on the peer.
 *
 * Runs on: the machine's loop thread.   Spec: QEMU docs/interop/vhost-user,
 * docs/guest-interface.md.
 */
#ifndef VIRTIO_TRANSPORT_VHOST_USER_H
#define VIRTIO_TRANSPORT_VHOST_USER_H

#include "virtio/device.h"

struct virtio_vhost_user;

struct virtio_vhost_user_options {
    struct pv_loop *loop;         /* borrowed */
    const struct memory *memory;  /* borrowed: the memory that the guest's memory table must name */
    struct virtio_device *device; /* borrowed: one transport per device at a time */
    bool offer_inband;            /* offer VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS */
    /* Do not offer VHOST_USER_PROTOCOL_F_STATUS: the device begins with its first ring. For QEMU
     * 7.2, which never says DRIVER_OK to an rng or a shared folder. */
    bool no_status;
    /* Accept eventfds as call descriptors. A front end could make a write to one of them block, so
     * this is only for a front end that is a trusted program; a guest kernel passes sockets. */
    bool trust_call_fds;
    /* The guest broke the protocol or a ring; `reason` is one constant line. Called once, on a
     * later turn of the loop; the connection is closed and the device reset already. Connection and
     * device may be freed from within the call. */
    void (*on_broken)(void *data, const char *reason);
    /* The guest closed its end in an orderly way (it ended). As on_broken otherwise. */
    void (*on_closed)(void *data);
    void *data;
};

/* Starts to serve on sock, which it takes, also on failure. The caller owns *ret_conn. Either
 * callback may be NULL. */
int virtio_vhost_user_new(const struct virtio_vhost_user_options *options, int sock,
                          struct virtio_vhost_user **ret_conn, struct pv_error *err);
/* Closes the connection and resets the device; calls nobody. Accepts NULL. */
void virtio_vhost_user_free(struct virtio_vhost_user *conn);
PV_DEFINE_AUTO(virtio_vhost_user, struct virtio_vhost_user *, virtio_vhost_user_free)

/* Whether the connection serves still. */
bool virtio_vhost_user_is_open(const struct virtio_vhost_user *conn);
/* messages, refused (answered with an error), broken, calls, calls_dropped, descriptors ... */
void virtio_vhost_user_get_counters(const struct virtio_vhost_user *conn, const char *name,
                                    struct pv_counter_group *ret_group);
/* The system calls of the transport, with reasons, for the jail. A NULL name ends the list. */
extern const struct virtio_syscall virtio_vhost_user_syscalls[];

#endif
