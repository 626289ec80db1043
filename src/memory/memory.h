/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h: guest memory: one sealed memfd, mapped once, owned by the monitor.
 *
 * Runs on: the loop thread; slices that were handed out may be used on any thread.
 * Trust:   the guest may write every byte at any time and may punch holes, but it can neither
 *          shrink the file nor replace the mapping. A file that may grow is not sealed against
 *          that: its guest must not have a system call that grows it (the jail's list has none,
 *          and RLIMIT_FSIZE ends write(2)). Bytes that matter are fetched once, then checked, then
 *          used.
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
/* The same with addresses for `max` bytes (>= bytes, whole pages), up to which it may grow. What is
 * behind the size costs nothing. */
int memory_new_growing(uint64_t bytes, uint64_t max, struct memory **ret_memory,
                       struct pv_error *err);
/* Makes it at least `bytes` large, at most its max (else -ERANGE); it never shrinks. Where the
 * bytes are mapped does not change. */
int memory_grow(struct memory *memory, uint64_t bytes, struct pv_error *err);
/* Gives the pages that lie whole in [offset, offset + len) back to the host; they read as zeroes
 * afterwards. -ERANGE when it is not all inside, or -errno. */
int memory_discard(const struct memory *memory, uint64_t offset, uint64_t len);
/* Unmaps and closes. Nothing may use the memory any more. Accepts NULL. */
void memory_free(struct memory *memory);
PV_DEFINE_AUTO(memory, struct memory *, memory_free)

/* The memfd: borrowed, close-on-exec. The guest gets a duplicate of it. */
int memory_get_fd(const struct memory *memory);
uint64_t memory_get_size(const struct memory *memory); /* now */
uint64_t memory_get_max(const struct memory *memory);
/* len bytes at offset in the file, or NULL when they are not all inside. Borrowed. */
void *memory_at(const struct memory *memory, uint64_t offset, uint64_t len);
/* The same for bytes that need not be there yet, up to the max: not to be touched before they are,
 * which memory_at tells. */
void *memory_at_reserved(const struct memory *memory, uint64_t offset, uint64_t len);
/* Whether fd is this very memfd, whoever opened it. Never maps or reads fd. */
bool memory_is_fd(const struct memory *memory, int fd);
/* How many bytes of the host the memory occupies now. Returns 0 or -errno. */
int memory_get_in_use(const struct memory *memory, uint64_t *ret_bytes);

#endif
