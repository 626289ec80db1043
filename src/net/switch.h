/* SPDX-License-Identifier: Apache-2.0
 *
 * switch.h: a private network: frames between the machines that are on it.
 *
 * There is no switch process. Each machine's monitor has a port, a socket in the network's folder,
 * and monitors send each other frames directly. Whoever has a frame for a machine that it has no
 * line to makes a pair of connected sockets and sends one of them to that machine's port; dead
 * machines have no port that listens. So nothing has to be told when a machine comes or goes.
 *
 * Addresses are not learned but known: number, MAC and IP addresses of a member are the same thing
 * (workload/subnet.h). So ARP and neighbour solicitations go to the one machine that they ask for,
 * and what a machine sends must come from its own addresses.
 *
 * With a way out, a link below (the user-mode stack) has the addresses that are no machine's.
 *
 * With each line comes memory that both share, when there is enough of it (switch_ring.h): frames
 * are copied into it by one monitor and out of it by the other.
 *
 * Runs on: the loop thread of the machine.
 * Trust:   the monitor at the other end of a line may have been taken over by its guest. Whose port
 *          a message comes from is told by the kernel (see switch_port.c); everything else in it is
 *          input. A peer that does not read is waited for a moment, then loses frames; it never
 *          stops anybody.
 */
#ifndef NET_SWITCH_H
#define NET_SWITCH_H

#include "base/loop.h"
#include "net/link.h"
#include "workload/address.h"
#include "workload/subnet.h"

struct net_switch_options {
    struct pv_loop *loop;
    const char *folder; /* absolute: the network's (instance/network.h) */
    struct workload_subnet subnet;
    uint32_t number;        /* of this machine */
    struct net_link *below; /* the way out, taken also on failure; NULL: there is none */
};

/* Opens the folder and takes the port: before the jail closes. The caller owns *ret_link. */
int net_switch_open(const struct net_switch_options *options, struct net_link **ret_link,
                    struct pv_error *err);
/* The descriptor of the folder, for the jail: it stays open as long as the link. */
int net_switch_folder_fd(const struct net_link *link);
/* Where the folder is from now on: inside the jail. Until then nobody is called. -ENAMETOOLONG. */
int net_switch_start(struct net_link *link, const char *folder, struct pv_error *err);

/* The addresses of the machines that are called so and live: how many (at most max), or -ENOENT. */
int net_switch_lookup(struct net_link *link, const char *name, struct workload_address *addresses,
                      unsigned max);

/* The system calls that it makes while it serves: name and reason, ended by NULL. Beside them
 * memfd_create(MFD_CLOEXEC | MFD_ALLOW_SEALING, on newer kernels | MFD_NOEXEC_SEAL), for rings. */
struct net_switch_syscall {
    const char *name, *reason;
};
extern const struct net_switch_syscall net_switch_syscalls[];

#endif
