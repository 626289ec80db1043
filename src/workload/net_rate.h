/* SPDX-License-Identifier: Apache-2.0
 *
 * net_rate.h: how fast the network of a workload may be.
 */
#ifndef WORKLOAD_NET_RATE_H
#define WORKLOAD_NET_RATE_H

#include "base/error.h"
#include "base/rate.h"

/* The same for each direction. */
struct workload_net_rate {
    struct pv_rate_limit bytes, frames;
};

/* What stands behind --net-rate: LIMIT[,LIMIT...], each bps=SIZE (bytes a second), pps=N (frames a
 * second), bps-burst=SIZE or pps-burst=N; 0 takes a limit away. */
int workload_net_rate_parse(const char *text, struct workload_net_rate *ret_rate,
                            struct pv_error *err);

#endif
