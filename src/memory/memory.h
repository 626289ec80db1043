/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h: guest memory: one sealed memfd, mapped once, owned by the monitor.
 *
 * Runs on: any thread; the object does not change after memory_new.
 * Trust:   the guest may write every byte at any time and may punch holes, but it can neither
 *          resize the file nor replace the mapping. Bytes that matter are fetched once, then
 *          checked, then used.
 */
#ifndef MEMORY_MEMORY_H
#define MEMORY_MEMORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* A guest physical address. A struct, so that C refuses to dereference it or to calculate with
 * it: the way to bytes is memory_map_at() in memory/map.h. */
typedef struct {
    uint64_t addr;
} gpa_t;

struct memory;

/* Creates memory of `bytes` (> 0, whole pages): memfd, size, seals (shrink, grow, seal), one
 * shared mapping. Pages are taken from the host when they are first touched. The caller owns
 * *ret_memory: memory_free. Returns 0, -EINVAL, or -errno of the step that failed. */
int memory_new(uint64_t bytes, struct memory **ret_memory, struct pv_error *err);
/* Unmaps and closes. Nothing may use the memory any more. Accepts NULL. */
void memory_free(struct memory *memory);
PV_DEFINE_AUTO(memory, struct memory *, memory_free)

/* The memfd: borrowed, close-on-exec. The guest gets a duplicate of it. */
int memory_get_fd(const struct memory *memory);
uint64_t memory_get_size(const struct memory *memory);
/* len bytes at offset in the file, or NULL when they are not all inside. Borrowed. */
void *memory_at(const struct memory *memory, uint64_t offset, uint64_t len);
/* Whether fd is this very memfd, whoever opened it. Never maps or reads fd. */
bool memory_is_fd(const struct memory *memory, int fd);
/* How many bytes of the host the memory occupies now. Returns 0 or -errno. */
int memory_get_in_use(const struct memory *memory, uint64_t *ret_bytes);

#endif
