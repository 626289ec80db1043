/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.c: guest memory: one sealed memfd, mapped once.
 *
 * The seals keep the file from shrinking: an access through the mapping to what was there once can
 * then not end in SIGBUS for want of a page behind the end of file, whatever the guest does with
 * its descriptor. A file that has its final size is sealed against growing, too.
 */
#include "memory/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

struct memory {
    int fd;
    uint8_t *base;
    uint64_t size; /* of the file; only memory_grow changes it */
    uint64_t max;  /* of the mapping */
    dev_t dev;     /* identity of the file, to know it again */
    ino_t ino;
};

/* The file is mapped executable by the guest but never executed as a file. */
static int create_file(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("guest-memory", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* an older kernel */
        fd = memfd_create("guest-memory", flags);
    return fd;
}

static int set_up(struct memory *m, struct pv_error *err)
{
    m->fd = create_file();
    if (m->fd < 0)
        return pv_error_set(err, errno, "create guest memory: %s", strerror(errno));
    if (ftruncate(m->fd, (off_t)m->size) < 0)
        return pv_error_set(err, errno, "size guest memory to %llu bytes: %s",
                            (unsigned long long)m->size, strerror(errno));
    int grow = m->max == m->size ? F_SEAL_GROW : 0;
    if (fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL | grow) < 0)
        return pv_error_set(err, errno, "seal guest memory: %s", strerror(errno));

    struct stat st;
    if (fstat(m->fd, &st) < 0)
        return pv_error_set(err, errno, "stat guest memory: %s", strerror(errno));
    m->dev = st.st_dev;
    m->ino = st.st_ino;

    void *base = mmap(NULL, m->max, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, 0);
    if (base == MAP_FAILED)
        return pv_error_set(err, errno,
                            "map %llu bytes of guest memory: %s: give the machine less memory or "
                            "raise RLIMIT_AS",
                            (unsigned long long)m->max, strerror(errno));
    m->base = base;
    madvise(base, m->max, MADV_DONTDUMP); /* a core file of the monitor holds no guest data */
    madvise(base, m->max, MADV_DONTFORK); /* a helper process must not reach it */
    return 0;
}

static bool is_size(uint64_t bytes)
{
    return bytes != 0 && bytes <= INT64_MAX && bytes % (uint64_t)sysconf(_SC_PAGESIZE) == 0;
}

int memory_new(uint64_t bytes, struct memory **ret_memory, struct pv_error *err)
{
    return memory_new_growing(bytes, bytes, ret_memory, err);
}

int memory_new_growing(uint64_t bytes, uint64_t max, struct memory **ret_memory,
                       struct pv_error *err)
{
    if (!is_size(bytes) || !is_size(max) || max < bytes)
        return pv_error_set(err, EINVAL,
                            "guest memory of %llu, at most %llu bytes: give multiples of the page",
                            (unsigned long long)bytes, (unsigned long long)max);

    pv_auto(memory) struct memory *m = calloc(1, sizeof(*m));
    if (!m)
        return pv_error_set(err, ENOMEM, "create guest memory: out of memory");
    m->fd = -1;
    m->size = bytes;
    m->max = max;
    int rc = set_up(m, err);
    if (rc < 0)
        return rc;
    *ret_memory = pv_take_ptr(m);
    return 0;
}

void memory_free(struct memory *m)
{
    if (!m)
        return;
    if (m->base)
        munmap(m->base, m->max);
    if (m->fd >= 0)
        close(m->fd);
    free(m);
}

int memory_get_fd(const struct memory *m)
{
    return m->fd;
}

uint64_t memory_get_size(const struct memory *m)
{
    return m->size;
}

uint64_t memory_get_max(const struct memory *m)
{
    return m->max;
}

int memory_grow(struct memory *m, uint64_t bytes, struct pv_error *err)
{
    if (bytes <= m->size)
        return 0;
    if (bytes > m->max)
        return pv_error_set(err, ERANGE, "grow guest memory to %llu bytes: at most %llu",
                            (unsigned long long)bytes, (unsigned long long)m->max);
    if (ftruncate(m->fd, (off_t)bytes) < 0)
        return pv_error_set(err, errno, "grow guest memory to %llu bytes: %s",
                            (unsigned long long)bytes, strerror(errno));
    m->size = bytes;
    return 0;
}

int memory_discard(const struct memory *m, uint64_t offset, uint64_t len)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!memory_at(m, offset, len))
        return -ERANGE;
    /* fallocate would zero the bytes of a page that is only partly meant. */
    uint64_t start = (offset + page - 1) / page * page;
    uint64_t end = (offset + len) / page * page;
    if (start >= end)
        return 0;
    return fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
                     (off_t)(end - start)) < 0
               ? -errno
               : 0;
}

void *memory_at_reserved(const struct memory *m, uint64_t offset, uint64_t len)
{
    if (offset > m->max || len > m->max - offset)
        return NULL;
    return m->base + offset;
}

void *memory_at(const struct memory *m, uint64_t offset, uint64_t len)
{
    if (offset > m->size || len > m->size - offset) /* subtract, so nothing wraps */
        return NULL;
    return m->base + offset;
}

bool memory_is_fd(const struct memory *m, int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == m->dev && st.st_ino == m->ino;
}

int memory_get_in_use(const struct memory *m, uint64_t *ret_bytes)
{
    struct stat st;
    if (fstat(m->fd, &st) < 0)
        return -errno;
    *ret_bytes = (uint64_t)st.st_blocks * 512u; /* st_blocks counts 512 bytes, whatever the page */
    return 0;
}
