/* SPDX-License-Identifier: Apache-2.0
 *
 * net.h: the machine's network cards: addresses, routes, up.
 */
#ifndef AGENT_NET_H
#define AGENT_NET_H

#include "base/error.h"
#include "wire/setup.h"

/* Waits for each card of the set-up to be there, gives it its addresses, raises it and routes
 * through its gateways. A card without addresses is only raised: the workload sees to the rest.
 * /proc must be mounted. */
int agent_net_configure(const struct wire_setup *s, struct pv_error *err);

#endif
