/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_qcow2.c: an image of an enemy: opened, read, written, grown, closed, and opened again.
 *
 * Input: a byte of flags (1: read-only, 2: the file is longer than the input), a byte that seeds
 * the requests, then the file. What comes out matters to nobody; it may take no forbidden path, and
 * an image that could be opened for writing and was not found to be corrupt can be opened again.
 */
#include "disk/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define REQUESTS 24u
#define REQUEST_BYTES_MAX (64u * 1024u)
#define FILE_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void request(struct disk *disk, uint32_t *seed)
{
    static const enum disk_op ops[] = {DISK_READ,         DISK_WRITE,  DISK_WRITE,
                                       DISK_READ,         DISK_FLUSH,  DISK_WRITE_ZEROES,
                                       DISK_UNMAP_ZEROES, DISK_DISCARD};
    static uint8_t buf[REQUEST_BYTES_MAX];
    uint64_t size = disk_get_size(disk);
    uint64_t sectors = size / DISK_SECTOR_BYTES;
    struct disk_request r = {.op = ops[next(seed) % PV_ARRAY_SIZE(ops)]};
    r.offset = (next(seed) % 4 ? next(seed) % PV_MIN(sectors, (uint64_t)256)
                               : ((uint64_t)next(seed) << 24 | next(seed)) % sectors) *
               DISK_SECTOR_BYTES;
    r.bytes = PV_MIN(size - r.offset, (uint64_t)(1 + next(seed) % 16) * DISK_SECTOR_BYTES);
    if (next(seed) % 8 == 0)
        r.bytes = PV_MIN(size - r.offset, (uint64_t)REQUEST_BYTES_MAX);
    struct iovec iov = {buf, r.bytes};
    if (r.op == DISK_READ || r.op == DISK_WRITE) {
        r.iov = &iov;
        r.num_iov = 1;
    }
    if (r.op == DISK_WRITE)
        memset(buf, (int)next(seed), r.bytes);
    if (r.op == DISK_FLUSH)
        r.offset = r.bytes = 0;
    if (disk_submit(disk, &r) != 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    if (size < 2 || size > FILE_BYTES_MAX)
        return 0;
    uint32_t seed = data[1];
    struct disk_options options = {
        .format = "qcow2", .read_only = data[0] & 1, .no_backing = true, .no_io_uring = true};
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, data + 2, size - 2, 0) != (ssize_t)(size - 2) ||
        ((data[0] & 2) && ftruncate(fd, FILE_BYTES_MAX) < 0))
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    for (int life = 0; life < 2; life++) {
        struct disk *disk = NULL;
        struct pv_error err = PV_ERROR_INIT;
        int rc = disk_open(path, &options, &disk, &err);
        if (rc < 0) {
            if (!err.text[0])
                abort();
            break;
        }
        for (unsigned i = 0; i < REQUESTS; i++)
            request(disk, &seed);
        if (next(&seed) % 4 == 0)
            disk_resize(disk, disk_get_size(disk) + (next(&seed) % 4096 + 1ull) * 512, &err);
        disk_close(disk);
    }
    close(fd);
    return 0;
}
