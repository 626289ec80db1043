/* SPDX-License-Identifier: Apache-2.0
 *
 * names.h: which names the instance's addresses were told under, and until when.
 *
 * The own DNS (dns.h) notes each address that it hands to the guest, with the name that the guest
 * asked for. An address counts for a name only while that answer lives.
 */
#ifndef NET_NAMES_H
#define NET_NAMES_H

#include "workload/address.h"

struct net_names;

#define NET_NAMES_MAX 8192u /* pairs of address and name */

struct net_names *net_names_new(void); /* NULL: out of memory */
void net_names_free(struct net_names *names);
/* The address is an answer for name until expires_ns; a later expiry of a pair replaces an earlier
 * one. When the table is full, the pair that ends first goes. 0 or -ENOMEM. */
int net_names_add(struct net_names *names, const struct workload_address *address, const char *name,
                  uint64_t expires_ns);
/* Calls visit for each live name of the address until it returns true; whether one did. */
bool net_names_each(struct net_names *names, const struct workload_address *address,
                    uint64_t now_ns, bool (*visit)(void *data, const char *name), void *data);
/* One live name of the address, or NULL; borrowed until the next call that adds. */
const char *net_names_find(struct net_names *names, const struct workload_address *address,
                           uint64_t now_ns);
size_t net_names_count(const struct net_names *names); /* dead pairs included */

#endif
