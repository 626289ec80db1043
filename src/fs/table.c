/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c: numbers for objects that the guest names: an index, and above it a generation, so that
 * a number of something that is gone finds nothing.
 * Runs on: whoever holds the server's lock.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define FIRST_SIZE 64u

static int grow(struct fs_table *t, uint32_t max)
{
    uint32_t size = t->size ? t->size * 2 : FIRST_SIZE;
    if (t->size >= max)
        return -ENFILE;
    void **items = reallocarray(t->items, size, sizeof(*items));
    if (items)
        t->items = items;
    uint32_t *generations = reallocarray(t->generations, size, sizeof(*generations));
    if (generations)
        t->generations = generations;
    uint32_t *next = reallocarray(t->next_free, size, sizeof(*next));
    if (next)
        t->next_free = next;
    if (!items || !generations || !next)
        return -ENOMEM;
    for (uint32_t i = t->size; i < size; i++) {
        t->items[i] = NULL;
        t->generations[i] = 0;
        t->next_free[i] = i + 1 < size ? i + 1 : NONE;
    }
    t->first_free = t->size;
    t->size = size;
    return 0;
}

int fs_table_add(struct fs_table *t, void *item, uint32_t max, uint64_t *ret_id)
{
    if (t->count >= max)
        return -ENFILE;
    if (t->size == 0 || t->first_free == NONE) {
        int rc = grow(t, max);
        if (rc < 0)
            return rc;
    }
    uint32_t index = t->first_free;
    t->first_free = t->next_free[index];
    t->items[index] = item;
    t->count++;
    /* Never 0 and never FS_ROOT_ID. */
    *ret_id = (uint64_t)++t->generations[index] << 32 | index;
    return 0;
}

void *fs_table_find(const struct fs_table *t, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    return index < t->size && t->generations[index] == id >> 32 ? t->items[index] : NULL;
}

void fs_table_remove(struct fs_table *t, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (!fs_table_find(t, id))
        return;
    t->items[index] = NULL;
    t->next_free[index] = t->first_free;
    t->first_free = index;
    t->count--;
}

void fs_table_done(struct fs_table *t)
{
    free(t->items);
    free(t->generations);
    free(t->next_free);
    *t = (struct fs_table){0};
}
