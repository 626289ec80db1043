/* SPDX-License-Identifier: Apache-2.0
 *
 * map.c: checked slices of guest memory.
 *
 * Trust: regions and addresses come from the guest. Every sum is avoided or checked first: an
 *        address plus a size may wrap, a difference of ordered numbers may not.
 */
#include "memory/map.h"

#include <errno.h>
#include <string.h>

void memory_map_init(struct memory_map *map, const struct memory *memory)
{
    memset(map, 0, sizeof(*map));
    map->memory = memory;
}

static bool overlaps(const struct memory_region *r, gpa_t start, uint64_t size)
{
    if (start.addr < r->start.addr)
        return size > r->start.addr - start.addr;
    return start.addr - r->start.addr < r->size;
}

int memory_map_add(struct memory_map *map, gpa_t start, uint64_t size, uint64_t offset)
{
    if (size == 0 || size - 1 > UINT64_MAX - start.addr) /* the last byte must have an address */
        return -EINVAL;
    if (!memory_at_reserved(map->memory, offset, size))
        return -EINVAL;
    for (unsigned i = 0; i < map->num_regions; i++)
        if (overlaps(&map->regions[i], start, size))
            return -EEXIST;
    if (map->num_regions == MEMORY_MAP_REGIONS_MAX)
        return -E2BIG;

    map->regions[map->num_regions++] =
        (struct memory_region){.start = start, .size = size, .offset = offset};
    return 0;
}

/* A region may reach to where the memory may grow, a slice only to where it has grown. */
static void *region_at(const struct memory *memory, const struct memory_region *r, gpa_t gpa,
                       uint64_t len)
{
    if (gpa.addr < r->start.addr)
        return NULL;
    uint64_t offset = gpa.addr - r->start.addr;
    if (offset >= r->size || len > r->size - offset)
        return NULL;
    return memory_at(memory, r->offset + offset, len);
}

void *memory_map_at(const struct memory_map *map, gpa_t gpa, uint64_t len)
{
    for (unsigned i = 0; i < map->num_regions; i++) {
        void *bytes = region_at(map->memory, &map->regions[i], gpa, len);
        if (bytes)
            return bytes;
    }
    return NULL;
}
