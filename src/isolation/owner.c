/* SPDX-License-Identifier: Apache-2.0
 *
 * owner.c: a user id per machine, so that a machine that broke out of its jail under root's
 * monitor is still no user that owns anything: no file, no other machine's process.
 *
 * The ids lie above what systemd gives to containers (up to 0x6fffffff) and below 2^31.
 */
#include "isolation/owner.h"

#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define OWNER_BASE 0x70000000u
#define OWNER_MASK 0x07ffffffu
#define OWNER_NOBODY 65534u

bool isolation_owner_is_mapped(const char *map, uint32_t id)
{
    unsigned long long inside, outside, count;
    int used;
    while (sscanf(map, " %llu %llu %llu%n", &inside, &outside, &count, &used) == 3) {
        if (id >= inside && id - inside < count)
            return true;
        map += used;
    }
    return false;
}

uint32_t isolation_owner_choose(const char *map, const char *instance_id)
{
    unsigned number = 0;
    sscanf(instance_id, "%8x", &number);
    uint32_t id = OWNER_BASE | (number & OWNER_MASK);
    return isolation_owner_is_mapped(map, id) ? id : OWNER_NOBODY;
}

static uint32_t pick(const char *map_path, const char *instance_id)
{
    pv_auto_free char *map = NULL;
    if (pv_fd_read_file(AT_FDCWD, map_path, 65536, &map, NULL, NULL) < 0)
        return OWNER_NOBODY;
    return isolation_owner_choose(map, instance_id);
}

void isolation_owner_pick(const char *instance_id, uint32_t *ret_uid, uint32_t *ret_gid)
{
    *ret_uid = pick("/proc/self/uid_map", instance_id);
    *ret_gid = pick("/proc/self/gid_map", instance_id);
}
