/* SPDX-License-Identifier: Apache-2.0
 *
 * port_owner.h: who has a port of this host.
 */
#ifndef NET_PORT_OWNER_H
#define NET_PORT_OWNER_H

#include "workload/network.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes " by PROGRAM (process PID)" into buf and returns it: of a process that listens on the TCP
 * port, or has the UDP port. "" when that cannot be seen: processes of others are root's to look
 * into. For error messages only: the answer may be old when it is given. */
const char *net_port_owner(bool udp, uint16_t port, char *buf, size_t len);

/* Says why a published port cannot be had (code: an errno). Returns -code. */
int net_port_refuse(const struct workload_port *port, int code, struct pv_error *err);

#endif
