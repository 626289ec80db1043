/* SPDX-License-Identifier: Apache-2.0
 *
 * resolver.h: how this host resolves names: resolv.conf(5).
 */
#ifndef NET_RESOLVER_H
#define NET_RESOLVER_H

#include "base/error.h"
#include "base/str.h"

#define NET_RESOLVER_FILE "/etc/resolv.conf"
#define NET_RESOLVER_SERVERS_MAX 8
#define NET_RESOLVER_SEARCHES_MAX 32

/* Parses the text of a resolv.conf: adds its name servers (IP addresses without a zone) and the
 * domains of its last `search` or `domain` line. What it does not understand it leaves out. Either
 * list may be NULL. 0 or -ENOMEM. */
int net_resolver_parse(const char *text, struct pv_strv *servers, struct pv_strv *searches);
/* The same of a file. One that is missing says nothing. 0, or -errno of a file that is there. */
int net_resolver_read(const char *path, struct pv_strv *servers, struct pv_strv *searches,
                      struct pv_error *err);
/* Whether only this host can reach the name server: an address of its loopback. */
bool net_resolver_is_local(const char *server);

#endif
