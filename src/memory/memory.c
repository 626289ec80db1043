/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.c: guest memory: one sealed memfd, mapped once.
 *
 * The seals keep the file's size for ever: an access through the mapping can then not end in
 * SIGBUS for want of a page behind the end of file, whatever the guest does with its descriptor.
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
    uint64_t size;
    dev_t dev; /* identity of the file, to know it again */
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
    if (fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return pv_error_set(err, errno, "seal guest memory: %s", strerror(errno));

    struct stat st;
    if (fstat(m->fd, &st) < 0)
        return pv_error_set(err, errno, "stat guest memory: %s", strerror(errno));
    m->dev = st.st_dev;
    m->ino = st.st_ino;

    void *base = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, 0);
    if (base == MAP_FAILED)
        return pv_error_set(err, errno,
                            "map %llu bytes of guest memory: %s: give the machine less memory or "
                            "raise RLIMIT_AS",
                            (unsigned long long)m->size, strerror(errno));
    m->base = base;
    madvise(base, m->size, MADV_DONTDUMP); /* a core file of the monitor holds no guest data */
    madvise(base, m->size, MADV_DONTFORK); /* a helper process must not reach it */
    return 0;
}

int memory_new(uint64_t bytes, struct memory **ret_memory, struct pv_error *err)
{
    if (bytes == 0 || bytes > INT64_MAX || bytes % (uint64_t)sysconf(_SC_PAGESIZE) != 0)
        return pv_error_set(err, EINVAL, "guest memory of %llu bytes: give a multiple of the page",
                            (unsigned long long)bytes);

    pv_auto(memory) struct memory *m = calloc(1, sizeof(*m));
    if (!m)
        return pv_error_set(err, ENOMEM, "create guest memory: out of memory");
    m->fd = -1;
    m->size = bytes;
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
        munmap(m->base, m->size);
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
