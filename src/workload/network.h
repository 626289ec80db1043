/* SPDX-License-Identifier: Apache-2.0
 *
 * network.h: how a workload is connected: which network, which ports of the host lead to it, how
 * names are resolved. Plain data that owns its strings.
 */
#ifndef WORKLOAD_NETWORK_H
#define WORKLOAD_NETWORK_H

#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* The addresses on the user-mode network. Each machine has this network for itself. */
#define WORKLOAD_NETWORK_USER_ADDRESS4 "10.0.2.15/24"
#define WORKLOAD_NETWORK_USER_GATEWAY4 "10.0.2.2"
#define WORKLOAD_NETWORK_USER_DNS4 "10.0.2.3"
#define WORKLOAD_NETWORK_USER_ADDRESS6 "fd00::15/64"
#define WORKLOAD_NETWORK_USER_GATEWAY6 "fd00::2"
#define WORKLOAD_NETWORK_USER_DNS6 "fd00::3"

#define WORKLOAD_NETWORK_PORTS_MAX 1024
#define WORKLOAD_NETWORK_NAMESERVERS_MAX 8
#define WORKLOAD_NETWORK_ALIASES_MAX 16
#define WORKLOAD_NETWORK_BRIDGE_MAX 15 /* IFNAMSIZ without the NUL */

struct workload_network {
    char *name;           /* "user", "none", "tap", or a private network's; NULL: "user" */
    char *bridge;         /* with tap: the bridge to be added to; NULL: none */
    struct pv_strv ports; /* one per port: workload_port_parse reads them */
    /* --ip, --gateway: "192.0.2.5/24", "192.0.2.1"; on a private network "10.89.0.7" */
    struct pv_strv addresses, gateways;
    struct pv_strv aliases;     /* more names on a private network */
    struct pv_strv nameservers; /* whom our DNS asks; empty: the host's */
    struct pv_strv searches;    /* domains; empty: the host's */
    struct pv_strv hosts;       /* lines of /etc/hosts: "192.0.2.1 name" */
};

/* A port of the host that leads to one of the machine. */
struct workload_port {
    bool udp, v6;
    uint8_t address[16];            /* of the host; 4 or 16 bytes in network order; zeroes: all */
    uint16_t host_port, guest_port; /* 1 .. 65535 */
};

void workload_network_done(struct workload_network *n);

/* What stands behind --net: user, none, tap, tap:BRIDGE or a network's name. */
int workload_network_set(struct workload_network *n, const char *text, struct pv_error *err);
/* What stands behind -p: [ADDR:]HOST:GUEST[/tcp|/udp], HOST and GUEST ports or ranges of them of
 * the same length, ADDR an IPv4 address or an IPv6 address in brackets. Adds one port after the
 * other. */
int workload_network_add_ports(struct workload_network *n, const char *text, struct pv_error *err);
/* --ip ADDR/LEN (ADDR alone where the network is known), --gateway ADDR, --dns ADDR, --dns-search
 * DOMAIN, --add-host NAME:ADDR. */
int workload_network_add_address(struct workload_network *n, const char *text,
                                 struct pv_error *err);
int workload_network_add_gateway(struct workload_network *n, const char *text,
                                 struct pv_error *err);
int workload_network_add_nameserver(struct workload_network *n, const char *text,
                                    struct pv_error *err);
int workload_network_add_search(struct workload_network *n, const char *text, struct pv_error *err);
int workload_network_add_host(struct workload_network *n, const char *text, struct pv_error *err);
int workload_network_add_alias(struct workload_network *n, const char *text, struct pv_error *err);
/* Whether all that belongs together. */
int workload_network_validate(const struct workload_network *n, struct pv_error *err);

/* "user" unless something else was set. */
const char *workload_network_name(const struct workload_network *n);
/* It is the name of a network that a user made. */
bool workload_network_is_private(const struct workload_network *n);

/* One port as workload_network keeps it: "127.0.0.1:8080:80/tcp", "[::1]:53:53/udp". */
int workload_port_parse(const char *text, struct workload_port *ret_port, struct pv_error *err);
/* The same as text; the caller frees. NULL when out of memory. */
char *workload_port_text(const struct workload_port *port);
/* "192.0.2.5/24" or "2001:db8::5/64" in parts. -EINVAL. */
int workload_network_parse_address(const char *text, bool *ret_v6, uint8_t ret_address[16],
                                   unsigned *ret_prefix);

#endif
