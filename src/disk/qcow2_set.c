/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_set.c: sets and lists of numbers that grow.
 */
#include "disk/qcow2_internal.h"

#include <errno.h>

static size_t slot_of(const struct qcow2_set *set, uint64_t number)
{
    size_t at = (size_t)(number * 0x9e3779b97f4a7c15ull >> 20) & (set->cap - 1);
    while (set->slots[at] && set->slots[at] != number + 1)
        at = (at + 1) & (set->cap - 1);
    return at;
}

static int grow_set(struct qcow2_set *set)
{
    struct qcow2_set larger = {.cap = set->cap ? 2 * set->cap : 64, .num = set->num};
    larger.slots = calloc(larger.cap, sizeof(*larger.slots));
    if (!larger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < set->cap; i++)
        if (set->slots[i])
            larger.slots[slot_of(&larger, set->slots[i] - 1)] = set->slots[i];
    free(set->slots);
    *set = larger;
    return 0;
}

int qcow2_set_add(struct qcow2_set *set, uint64_t number)
{
    if (2 * (set->num + 1) > set->cap && grow_set(set) < 0)
        return -ENOMEM;
    size_t at = slot_of(set, number);
    if (set->slots[at])
        return -EEXIST;
    set->slots[at] = number + 1;
    set->num++;
    return 0;
}

bool qcow2_set_has(const struct qcow2_set *set, uint64_t number)
{
    return set->num > 0 && set->slots[slot_of(set, number)];
}

/* Those behind the hole may have been pushed there by it: they are put in again. */
void qcow2_set_remove(struct qcow2_set *set, uint64_t number)
{
    if (!qcow2_set_has(set, number))
        return;
    size_t at = slot_of(set, number);
    set->slots[at] = 0;
    set->num--;
    for (at = (at + 1) & (set->cap - 1); set->slots[at]; at = (at + 1) & (set->cap - 1)) {
        uint64_t moved = set->slots[at];
        set->slots[at] = 0;
        set->slots[slot_of(set, moved - 1)] = moved;
    }
}

/* Room for one more in an array of num. */
static int reserve(void **list, size_t num, size_t *cap, size_t size)
{
    if (num < *cap)
        return 0;
    size_t larger = *cap ? 2 * *cap : 16;
    void *moved = reallocarray(*list, larger, size);
    if (!moved)
        return -ENOMEM;
    *list = moved;
    *cap = larger;
    return 0;
}

int qcow2_changes_add(struct qcow2_changes *c, uint32_t index)
{
    if (c->num > 0 && c->index[c->num - 1] == index)
        return 0;
    if (reserve((void **)&c->index, c->num, &c->cap, sizeof(*c->index)) < 0)
        return -ENOMEM;
    c->index[c->num++] = index;
    return 0;
}

int qcow2_drops_add(struct qcow2_drops *d, uint64_t cluster, bool punch)
{
    if (reserve((void **)&d->list, d->num, &d->cap, sizeof(*d->list)) < 0)
        return -ENOMEM;
    d->list[d->num++] = (struct qcow2_drop){cluster, punch};
    return 0;
}
