/* SPDX-License-Identifier: Apache-2.0
 *
 * table.h: the backends: what carries a machine's frames out of it.
 */
#ifndef NET_TABLE_H
#define NET_TABLE_H

#include "base/loop.h"
#include "net/link.h"
#include "workload/network.h"

#include <netinet/in.h>

/* A system call that a backend or a stage makes while it serves, for the monitor's list. */
struct net_syscall {
    const char *name;
    const char *reason;
};

/* What a backend needs to know of the machine. Borrowed for the duration of open. */
struct net_config {
    uint8_t mac[6]; /* of the guest */
    bool has4, has6;
    struct in_addr guest4, gateway4, dns4;
    struct in6_addr guest6, gateway6, dns6;
    unsigned prefix4, prefix6;
    const struct workload_port *ports; /* to be led to the guest */
    size_t num_ports;
    const char *bridge; /* to be added to; NULL: none */
    bool host_loopback; /* the gateway's address leads to the host's loopback */
};

struct net_backend {
    const char *name;    /* as in a machine's description */
    const char *summary; /* one line, for people */
    /* It makes sockets while it serves: the monitor's jail leaves it the host's network. */
    bool keeps_network;
    const struct net_syscall *syscalls; /* a NULL name ends the list */
    /* Opens everything that has a name on the host. The caller owns *ret_link: net_link_free. */
    int (*open)(const struct net_config *config, struct pv_loop *loop, struct net_link **ret_link,
                struct pv_error *err);
};

extern const struct net_backend net_user_backend, net_tap_backend;

/* All of them. The list ends with NULL. */
extern const struct net_backend *const net_backends[];
/* The backend of that name, or NULL. */
const struct net_backend *net_backend_find(const char *name);

#endif
