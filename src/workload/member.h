/* SPDX-License-Identifier: Apache-2.0
 *
 * member.h: who has a number of a private network, and how others call it.
 *
 * The folder of a network holds a file per member, members/<number>. Whoever makes an instance
 * writes it, the monitors of the other members read it.
 */
#ifndef WORKLOAD_MEMBER_H
#define WORKLOAD_MEMBER_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define WORKLOAD_MEMBER_FOLDER "members"
#define WORKLOAD_MEMBER_BYTES_MAX 8192
#define WORKLOAD_MEMBER_ALIASES_MAX 16

struct workload_member {
    char *id, *name;
    char *hostname; /* NULL: the short id */
    struct pv_strv aliases;
};

void workload_member_done(struct workload_member *member);
/* Reads and validates the text of a member's file. */
int workload_member_read(const char *text, size_t len, struct workload_member *ret_member,
                         struct pv_error *err);
/* The text of the file; the caller frees. NULL when out of memory. */
char *workload_member_write(const struct workload_member *member);
/* Is name, of len bytes, one of its names? Letters of any case are the same. */
bool workload_member_has_name(const struct workload_member *member, const char *name, size_t len);

#endif
