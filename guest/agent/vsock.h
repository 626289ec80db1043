/* SPDX-License-Identifier: Apache-2.0
 *
 * vsock.h: the sockets between the machine and its monitor.
 */
#ifndef AGENT_VSOCK_H
#define AGENT_VSOCK_H

#include "base/error.h"

#include <stdint.h>

/* Connects with a port of the host; tries again for timeout_ms while the device or the listener is
 * not there yet. The socket is non-blocking and close-on-exec. */
int agent_vsock_connect(uint32_t port, unsigned timeout_ms, int *ret_fd, struct pv_error *err);
/* Listens on a port of the guest, non-blocking. */
int agent_vsock_listen(uint32_t port, int *ret_fd, struct pv_error *err);
/* Accepts a connection of the host: its descriptor, or -EAGAIN, or -EPERM for a peer inside the
 * machine (whose connection is closed): a session is root's, so only the host may open one. */
int agent_vsock_accept(int listen_fd);

#endif
