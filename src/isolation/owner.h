/* SPDX-License-Identifier: Apache-2.0
 *
 * owner.h: whom a machine's jail becomes when root starts it.
 */
#ifndef ISOLATION_OWNER_H
#define ISOLATION_OWNER_H

#include <stdbool.h>
#include <stdint.h>

/* True when id is mapped by text in the form of /proc/self/uid_map. */
bool isolation_owner_is_mapped(const char *map, uint32_t id);
/* A user id that no person and no other machine has, made from the instance's id (hex digits):
 * 0x70000000 and up, or 65534 where this user namespace does not know these. */
uint32_t isolation_owner_choose(const char *map, const char *instance_id);
/* The same for this process's user and group maps. */
void isolation_owner_pick(const char *instance_id, uint32_t *ret_uid, uint32_t *ret_gid);

#endif
