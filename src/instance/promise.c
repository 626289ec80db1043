/* SPDX-License-Identifier: Apache-2.0
 *
 * promise.c: memory of the host that living machines were given and may still take.
 *
 * Of a machine two numbers count: what it was given, which its configuration says, and what of that
 * it occupies, which its monitor knows. The difference is promised: it is free on the host now, but
 * not for others. Machines of other users are not seen.
 */
#include "instance/promise.h"

#include "instance/control.h"
#include "instance/instance.h"
#include "wire/control.h"

#include <string.h>

#define ANSWER_NS (500ull * 1000000)

static uint64_t occupied_by(const struct instance *instance)
{
    uint64_t bytes = 0;
    pv_auto(pv_json) struct pv_json *stats = NULL;
    if (instance_control_request(instance, WIRE_CONTROL_STATS, NULL, ANSWER_NS, &stats, NULL) < 0 ||
        pv_json_get_u64(stats, "memory_used_bytes", 0, INT64_MAX, &bytes, NULL) < 0)
        return 0;
    return bytes;
}

/* ask: whether what is occupied is subtracted. */
static int add_up(const struct instance_store *store, const char *id, bool ask,
                  struct isolation_demand *demand, struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv ids = {0};
    int rc = instance_store_list(store, &ids, err);
    demand->promised_bytes = 0;
    for (size_t i = 0; rc == 0 && i < ids.count; i++) {
        struct instance other;
        if (instance_open(store, ids.items[i], &other, NULL) < 0)
            continue;
        bool self = id && strcmp(id, other.id) == 0;
        uint64_t given = other.alive ? other.config.machine.memory_bytes : 0;
        uint64_t occupied = other.alive && ask ? PV_MIN(occupied_by(&other), given) : 0;
        if (self)
            demand->occupied_bytes = occupied;
        else
            demand->promised_bytes += given - occupied;
        instance_close(&other);
    }
    return rc;
}

int instance_promise_find(const struct instance_store *store, const char *id, uint64_t memory_bytes,
                          const struct isolation_capacity *capacity,
                          struct isolation_demand *ret_demand, struct pv_error *err)
{
    struct isolation_demand demand = {.memory_bytes = memory_bytes};
    int rc = add_up(store, id, false, &demand, err);
    if (rc == 0 && memory_bytes + demand.promised_bytes > capacity->memory_available)
        rc = add_up(store, id, true, &demand, err);
    if (rc == 0)
        *ret_demand = demand;
    return rc;
}

int instance_promise_check(const struct instance_store *store, const char *id,
                           uint64_t memory_bytes, struct pv_strv *warnings, struct pv_error *err)
{
    struct isolation_capacity capacity;
    struct isolation_demand demand;
    int rc = isolation_capacity_read(&capacity, err);
    if (rc == 0)
        rc = instance_promise_find(store, id, memory_bytes, &capacity, &demand, err);
    return rc < 0 ? rc : isolation_capacity_check(&capacity, &demand, warnings, err);
}
