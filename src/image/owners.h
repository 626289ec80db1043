/* SPDX-License-Identifier: Apache-2.0
 *
 * owners.h: as whom a directory tree is read, so that its owners reach the guest as they are meant.
 */
#ifndef IMAGE_OWNERS_H
#define IMAGE_OWNERS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define IMAGE_OWNERS_RANGES_MAX 8

enum image_owners_kind {
    IMAGE_OWNERS_AS_THEY_ARE, /* root, or a tree that belongs to root and that we can read */
    IMAGE_OWNERS_MAPPED,      /* read inside a user namespace in which we are root */
    IMAGE_OWNERS_ALL_ROOT,    /* no user namespaces here: all that is ours becomes root's */
};

struct image_owners_range {
    uint32_t inside, outside, count;
};

struct image_owners {
    enum image_owners_kind kind;
    struct image_owners_range users[IMAGE_OWNERS_RANGES_MAX], groups[IMAGE_OWNERS_RANGES_MAX];
    unsigned num_users, num_groups;
};

/* Plans for a tree whose top folder has this stat. See owners.c for the rules. */
void image_owners_plan(const struct stat *top, struct image_owners *ret_owners);
/* Adds the plan to text (for the fingerprint): "as-is", "all-root", "u:0:1000:1,...". */
void image_owners_describe(const struct image_owners *owners, char *text, size_t len);
/* Reads ranges of `name` or `id` from a file like /etc/subuid, at most max. Returns the number. */
unsigned image_owners_read_ranges(const char *path, const char *name, uint32_t id,
                                  struct image_owners_range *ret_ranges, unsigned max);
/* The rules for one kind of id: how the top folder's owner becomes 0. own: our id; sub: the ranges
 * that are ours. Returns the number of ranges written, at least 1. */
unsigned image_owners_map(uint32_t top, uint32_t own, const struct image_owners_range *sub,
                          unsigned num_sub, struct image_owners_range *ret_ranges);

/* Runs work(data) in a child process that reads as planned, with dirfd as its current directory;
 * what it writes to shared memory stays. Returns work's result (0 or -errno), or the failure to get
 * there. A plan of MAPPED turns into ALL_ROOT when the host forbids user namespaces. */
int image_owners_run(struct image_owners *owners, int dirfd, int (*work)(void *data), void *data,
                     struct pv_error *err);

#endif
