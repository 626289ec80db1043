/* SPDX-License-Identifier: Apache-2.0
 *
 * user_datagrams.h: answers to datagrams that this host's own loopback sent to a published port;
 * for net/user.c.
 *
 * libslirp shows the guest such a peer as the gateway. With the host's loopback closed to the guest
 * it then drops the guest's answer, too: it cannot tell an answer from a datagram that the guest
 * thought of. So peers are remembered here, and what the guest sends to one of them is sent by us.
 */
#ifndef NET_USER_DATAGRAMS_H
#define NET_USER_DATAGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct net_user_datagrams;

struct net_user_datagrams *net_user_datagrams_new(void);    /* NULL when out of memory */
void net_user_datagrams_free(struct net_user_datagrams *d); /* accepts NULL */
/* A published port: fd is the host's socket (borrowed until it is forgotten with everything). */
int net_user_datagrams_publish(struct net_user_datagrams *d, int fd, bool v6, uint16_t guest_port);
/* A frame for the guest, from libslirp: notes the peer when it is the gateway (4 or 16 bytes). */
void net_user_datagrams_note(struct net_user_datagrams *d, const uint8_t *gateway4,
                             const uint8_t *gateway6, const uint8_t *frame, size_t bytes);
/* A frame of the guest, a copy of ours: true when it was an answer and has been sent. */
bool net_user_datagrams_answer(struct net_user_datagrams *d, const uint8_t *gateway4,
                               const uint8_t *gateway6, const uint8_t *frame, size_t bytes);

#endif
