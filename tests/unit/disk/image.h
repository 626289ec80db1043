/* SPDX-License-Identifier: Apache-2.0
 *
 * image.h: images made and judged by qemu-img, and requests to them, for the tests of disk/.
 */
#ifndef UNIT_DISK_IMAGE_H
#define UNIT_DISK_IMAGE_H

#include "disk/disk.h"

#include "support/unit.h"

#include <stdio.h>
#include <sys/wait.h>

/* Runs a shell line: its exit code. */
static inline int image_shell(const char *fmt, ...) PV_PRINTF(1, 2);
static inline int image_shell(const char *fmt, ...)
{
    char line[2048];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    assert_in_range(len, 1, sizeof(line) - 1);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A folder of its own, in which the test then is. False, with the reason, without qemu-img. */
static inline bool image_enter_folder(char folder[32])
{
    if (image_shell("qemu-img --version >/dev/null 2>&1") != 0) {
        printf("qemu-img is not installed\n");
        return false;
    }
    strcpy(folder, "/tmp/pv-qcow2-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    return true;
}

static inline void image_leave_folder(const char *folder)
{
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(image_shell("rm -r %s", folder), 0);
}

/* qemu-img check: 0 right, 3 only leaks, 2 damaged. */
static inline int image_check(const char *path)
{
    return image_shell("qemu-img check -q -f qcow2 %s >check.log 2>&1", path);
}

static inline int image_request(struct disk *disk, enum disk_op op, uint64_t offset, void *buf,
                                uint64_t bytes)
{
    struct iovec iov[] = {{buf, bytes / 3}, {(uint8_t *)buf + bytes / 3, bytes - bytes / 3}};
    struct disk_request r = {.op = op, .offset = offset, .bytes = bytes};
    if (op == DISK_READ || op == DISK_WRITE) {
        r.iov = iov;
        r.num_iov = 2;
    }
    assert_int_equal(disk_submit(disk, &r), 1); /* not started: it is done at once */
    return r.result;
}

/* A small generator whose sequences are the same everywhere. */
static inline uint32_t image_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33);
}

static inline void image_fill(uint64_t *seed, uint8_t *buf, size_t len)
{
    uint32_t v = image_random(seed);
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)((v + i * 2654435761u) >> 24 ^ i);
}

#endif
