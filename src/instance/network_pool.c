/* SPDX-License-Identifier: Apache-2.0
 *
 * network_pool.c: a subnet that is nobody's yet.
 *
 * A subnet of a private network exists only in its machines, so one that the host uses too does no
 * harm to the host. But a machine could not reach that part of the host's world any more.
 */
#include "instance/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define POOL 0x0a590000u /* 10.89.0.0/16, then on to 10.127.0.0/16 */
#define POOL_END 0x0a800000u
#define STEP 0x100u
#define PREFIX 24
#define ROUTES_MAX 4096

struct route {
    uint32_t address;
    uint8_t prefix;
};

/* "iface destination gateway flags refcnt use metric mask ...", hexadecimal, in network order. */
static size_t read_routes(const char *text, struct route *routes, size_t max)
{
    size_t n = 0;
    for (const char *line = strchr(text, '\n'); line && n < max; line = strchr(line + 1, '\n')) {
        uint32_t destination, mask;
        if (sscanf(line + 1, "%*s %x %*x %*x %*d %*d %*d %x", &destination, &mask) != 2)
            continue;
        if (mask) /* the default route is everybody's */
            routes[n++] = (struct route){ntohl(destination), (uint8_t)__builtin_popcount(mask)};
    }
    return n;
}

static bool is_free(const struct workload_subnet *subnet, const struct workload_subnet *taken,
                    size_t num_taken, const struct route *routes, size_t num_routes)
{
    for (size_t i = 0; i < num_taken; i++)
        if (workload_subnet_overlaps(subnet, taken[i].address, taken[i].prefix))
            return false;
    for (size_t i = 0; i < num_routes; i++)
        if (workload_subnet_overlaps(subnet, routes[i].address, routes[i].prefix))
            return false;
    return true;
}

int instance_network_choose(const struct workload_subnet *taken, size_t num_taken,
                            const char *routes, struct workload_subnet *ret_subnet,
                            struct pv_error *err)
{
    struct route *list = calloc(ROUTES_MAX, sizeof(*list));
    if (!list)
        return pv_error_set(err, ENOMEM, "choose a subnet: out of memory");
    size_t n = read_routes(routes, list, ROUTES_MAX);
    struct workload_subnet subnet = {.prefix = PREFIX};
    for (subnet.address = POOL; subnet.address < POOL_END; subnet.address += STEP)
        if (is_free(&subnet, taken, num_taken, list, n))
            break;
    free(list);
    if (subnet.address >= POOL_END)
        return pv_error_set(err, ENOSPC, "no subnet is free: choose one with --subnet");
    ret_subnet->address = subnet.address;
    ret_subnet->prefix = subnet.prefix;
    return 0;
}

void instance_network_choose6(struct workload_subnet *subnet)
{
    memset(subnet->address6, 0, sizeof(subnet->address6));
    subnet->address6[0] = 0xfd;
    while (getrandom(subnet->address6 + 1, 5, 0) != 5)
        ;
}
