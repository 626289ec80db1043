/* SPDX-License-Identifier: Apache-2.0
 *
 * map.h: which guest physical addresses lead to which part of a memory: checked slices.
 *
 * A map is plain data that its owner embeds. Regions may come from the guest: every function
 * checks them. Single-threaded.
 */
#ifndef MEMORY_MAP_H
#define MEMORY_MAP_H

#include "memory/memory.h"

#define MEMORY_MAP_REGIONS_MAX 8

struct memory_region {
    gpa_t start;
    uint64_t size;   /* > 0; start + size does not wrap */
    uint64_t offset; /* into the memfd */
};

struct memory_map {
    const struct memory *memory; /* borrowed */
    struct memory_region regions[MEMORY_MAP_REGIONS_MAX];
    unsigned num_regions;
};

/* An empty map over `memory`, which must outlive it. */
void memory_map_init(struct memory_map *map, const struct memory *memory);
/* Adds a region. Returns 0, or without any change: -EINVAL for size 0, for an address range that
 * wraps or for a slice outside of what the memory may grow to, -EEXIST when guest addresses overlap
 * a region that is there, -E2BIG when the map is full. */
int memory_map_add(struct memory_map *map, gpa_t start, uint64_t size, uint64_t offset);
/* The len bytes at guest address gpa, which must lie in one region and in the memory as it is now;
 * NULL when they do not.
 * Borrowed, valid as long as the memory. The bytes may change at any time. */
void *memory_map_at(const struct memory_map *map, gpa_t gpa, uint64_t len);

#endif
