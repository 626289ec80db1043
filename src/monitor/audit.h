/* SPDX-License-Identifier: Apache-2.0
 *
 * audit.h: what a machine was denied, as lines of JSON in the instance's audit log.
 *
 * {"time", "direction": "out", "protocol", "address", "port", "name", "rule"}: protocol is tcp,
 * udp, icmp, other (with ip_protocol), dns or vsock; what does not apply is left out. A guest
 * decides how much it tries, so at most some lines a second are written; the next one says how many
 * were not ("suppressed"), and two files hold at most MONITOR_AUDIT_BYTES together.
 */
#ifndef MONITOR_AUDIT_H
#define MONITOR_AUDIT_H

#include "net/fence.h"

struct monitor_audit;

#define MONITOR_AUDIT_FILE "audit.jsonl"
#define MONITOR_AUDIT_OLD_FILE "audit.1.jsonl"
#define MONITOR_AUDIT_BYTES (2u << 20)
#define MONITOR_AUDIT_LINES_PER_SECOND 20u
#define MONITOR_AUDIT_LINES_BURST 200u

/* Opens audit.jsonl in state_dirfd (borrowed) at the first line. NULL: out of memory. */
struct monitor_audit *monitor_audit_new(int state_dirfd);
void monitor_audit_free(struct monitor_audit *audit); /* accepts NULL */
void monitor_audit_add(struct monitor_audit *audit, const struct net_denial *denial);
/* A connection to a vsock port of the host. */
void monitor_audit_add_vsock(struct monitor_audit *audit, uint32_t port);

#endif
