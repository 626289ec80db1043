/* SPDX-License-Identifier: Apache-2.0
 *
 * network.h: private networks: their folders, and which instance has which address of them.
 *
 * The folder of a network, <state>/networks/<name>:
 *   network.json       its subnets; it is there last, so a folder without it is half made
 *   members/<number>   who has this number, and so its addresses (workload/member.h)
 *   ports/<number>     the socket of its monitor
 *
 * A number is taken when the instance is made and given back when it is removed: addresses stay
 * over stop and start. A member whose instance is gone is swept by whoever comes next.
 */
#ifndef INSTANCE_NETWORK_H
#define INSTANCE_NETWORK_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "instance/store.h"
#include "workload/member.h"
#include "workload/subnet.h"

#include <stdbool.h>
#include <stdint.h>

#define INSTANCE_NETWORK_PORTS_FOLDER "ports"

struct instance_network {
    char *name;
    char *path; /* absolute, of its folder */
    char *created_at;
    struct workload_subnet subnet;
    bool internal; /* has no way out */
    int dirfd;
};

void instance_network_done(struct instance_network *network);

/* Checks that a network can be called so: -EINVAL for other words that --net takes. */
int instance_network_check_name(const char *name, struct pv_error *err);
/* Makes a network. subnet, subnet6: as the user wrote them; NULL: a free one is chosen. */
int instance_network_create(const struct instance_store *store, const char *name,
                            const char *subnet, const char *subnet6, bool internal,
                            struct pv_error *err);
/* The names of all networks, sorted. */
int instance_network_list(const struct instance_store *store, struct pv_strv *ret_names,
                          struct pv_error *err);
int instance_network_open(const struct instance_store *store, const char *name,
                          struct instance_network *ret_network, struct pv_error *err);
/* Removes a network. -EBUSY with the names of its members while it has some. */
int instance_network_remove(const struct instance_store *store, const char *name,
                            struct pv_error *err);

/* Takes a number for the member: that of address, or the lowest free one when it is NULL. */
int instance_network_join(const struct instance_store *store,
                          const struct instance_network *network,
                          const struct workload_member *member, const char *address,
                          uint32_t *ret_number, struct pv_error *err);
/* Gives all numbers of this instance back, in all networks. Missing ones are success. */
void instance_network_leave(const struct instance_store *store, const char *id);
/* Removes the socket of a member that is dead. folder: of the network, absolute. */
void instance_network_clean(const char *folder, uint32_t number);

/* Calls visit for each member, in the order of their numbers, until it returns non-zero, which is
 * returned. Damaged members are left out. */
int instance_network_each(const struct instance_network *network,
                          int (*visit)(uint32_t number, const struct workload_member *member,
                                       void *data),
                          void *data, struct pv_error *err);

/* network_pool.c: chooses a subnet of /24 that overlaps neither those taken nor a route of the host
 * (text in the form of /proc/net/route). */
int instance_network_choose(const struct workload_subnet *taken, size_t num_taken,
                            const char *routes, struct workload_subnet *ret_subnet,
                            struct pv_error *err);
/* A random IPv6 subnet, as RFC 4193 wants it. */
void instance_network_choose6(struct workload_subnet *subnet);

#endif
