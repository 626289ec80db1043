/* SPDX-License-Identifier: Apache-2.0
 *
 * names.c: a hash table of chains by address. Dead pairs leave when their chain is walked, and all
 * of them before a live one has to.
 */
#include "net/names.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS 1024u

struct pair {
    struct pair *next;
    struct workload_address address;
    uint64_t expires_ns;
    char name[];
};

struct net_names {
    struct pair *buckets[BUCKETS];
    size_t count;
};

struct net_names *net_names_new(void)
{
    return calloc(1, sizeof(struct net_names));
}

void net_names_free(struct net_names *names)
{
    for (size_t i = 0; names && i < BUCKETS; i++) {
        while (names->buckets[i]) {
            struct pair *p = names->buckets[i];
            names->buckets[i] = p->next;
            free(p);
        }
    }
    free(names);
}

static struct pair **bucket_of(struct net_names *names, const struct workload_address *address)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof(address->bytes); i++)
        hash = (hash ^ address->bytes[i]) * 16777619u;
    return &names->buckets[(hash ^ hash >> 16) % BUCKETS];
}

static void drop(struct net_names *names, struct pair **at)
{
    struct pair *p = *at;
    *at = p->next;
    names->count--;
    free(p);
}

/* Room for one more: the pair that ends first goes. */
static void make_room(struct net_names *names)
{
    struct pair **first = NULL;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct pair **at = &names->buckets[i]; *at; at = &(*at)->next)
            if (!first || (*at)->expires_ns < (*first)->expires_ns)
                first = at;
    if (first)
        drop(names, first);
}

static void drop_dead(struct net_names *names, struct pair **at, uint64_t now_ns)
{
    while (*at) {
        if ((*at)->expires_ns <= now_ns)
            drop(names, at);
        else
            at = &(*at)->next;
    }
}

int net_names_add(struct net_names *names, const struct workload_address *address, const char *name,
                  uint64_t expires_ns)
{
    struct pair **bucket = bucket_of(names, address);
    for (struct pair *p = *bucket; p; p = p->next) {
        if (!workload_address_equal(&p->address, address) || strcmp(p->name, name) != 0)
            continue;
        if (p->expires_ns < expires_ns)
            p->expires_ns = expires_ns;
        return 0;
    }
    if (names->count >= NET_NAMES_MAX)
        make_room(names);
    size_t bytes = strlen(name) + 1;
    struct pair *p = malloc(sizeof(*p) + bytes);
    if (!p)
        return -ENOMEM;
    p->address = *address;
    p->expires_ns = expires_ns;
    memcpy(p->name, name, bytes);
    p->next = *bucket;
    *bucket = p;
    names->count++;
    return 0;
}

bool net_names_each(struct net_names *names, const struct workload_address *address,
                    uint64_t now_ns, bool (*visit)(void *data, const char *name), void *data)
{
    struct pair **bucket = bucket_of(names, address);
    drop_dead(names, bucket, now_ns);
    for (struct pair *p = *bucket; p; p = p->next)
        if (workload_address_equal(&p->address, address) && visit(data, p->name))
            return true;
    return false;
}

static bool take_first(void *data, const char *name)
{
    *(const char **)data = name;
    return true;
}

const char *net_names_find(struct net_names *names, const struct workload_address *address,
                           uint64_t now_ns)
{
    const char *name = NULL;
    net_names_each(names, address, now_ns, take_first, &name);
    return name;
}

size_t net_names_count(const struct net_names *names)
{
    return names->count;
}
