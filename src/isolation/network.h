/* SPDX-License-Identifier: Apache-2.0
 *
 * network.h: from the network that a user asks for to the cards of a machine.
 */
#ifndef ISOLATION_NETWORK_H
#define ISOLATION_NETWORK_H

#include "isolation/isolation.h"

/* Fills the cards of m, and what of its set-up is about them. Refuses what this user cannot have.
 */
int isolation_network_fill(const struct isolation_request *request, struct wire_machine *m,
                           struct pv_error *err);

#endif
