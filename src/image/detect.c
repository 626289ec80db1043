/* SPDX-License-Identifier: Apache-2.0
 *
 * detect.c: superblocks, checked as far as the guest kernel would trip over them later.
 *
 * Trust: an image comes from anywhere. Only fixed fields are read here, nothing is followed.
 * Spec:  the layouts in Linux' fs/squashfs/squashfs_fs.h, fs/ext4/ext4.h, fs/erofs/erofs_fs.h.
 */
#include "image/detect.h"

#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#define HEAD_BYTES 4096
#define SECTOR 512u /* the guest sees whole sectors only */

struct head {
    uint8_t bytes[HEAD_BYTES]; /* zeros behind the end of the file */
    size_t len;
    uint64_t file_bytes;
};

static uint64_t get(const struct head *head, size_t offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = size; i > 0; i--)
        value = value << 8 | head->bytes[offset + i - 1];
    return value;
}

static bool has(const struct head *head, size_t offset, const void *magic, size_t len)
{
    return head->len >= offset + len && memcmp(head->bytes + offset, magic, len) == 0;
}

/* The file system must end within the file. */
static int check_size(const struct head *head, const char *type, uint64_t bytes,
                      struct pv_error *err)
{
    char have[32], need[32];
    if (bytes > head->file_bytes)
        return pv_error_set(err, EINVAL,
                            "truncated %s: the file has %s, its file system %s; copy it again",
                            type, pv_str_from_size(head->file_bytes, have, sizeof(have)),
                            pv_str_from_size(bytes, need, sizeof(need)));
    if (bytes > head->file_bytes / SECTOR * SECTOR)
        return pv_error_set(err, EINVAL,
                            "%s whose file is no multiple of %u bytes, so its end would be cut: "
                            "lengthen it with 'truncate -s %%%u FILE'",
                            type, SECTOR, SECTOR);
    return 0;
}

static int damaged(const char *type, const char *field, struct pv_error *err)
{
    return pv_error_set(err, EINVAL, "damaged %s: %s in its superblock makes no sense", type,
                        field);
}

static int check_squashfs(const struct head *head, struct pv_error *err)
{
    uint64_t block_size = get(head, 12, 4), block_log = get(head, 22, 2);
    uint64_t compressor = get(head, 20, 2), used = get(head, 40, 8);
    if (head->len < 96)
        return pv_error_set(err, EINVAL, "truncated squashfs: not even its superblock is there");
    if (get(head, 28, 2) != 4 || get(head, 30, 2) != 0)
        return pv_error_set(err, EINVAL,
                            "squashfs of version %" PRIu64 ".%" PRIu64 ": the guest kernel reads "
                            "4.0; pack it again with a current mksquashfs",
                            get(head, 28, 2), get(head, 30, 2));
    if (block_log < 12 || block_log > 20 || block_size != 1ull << block_log)
        return damaged("squashfs", "the block size", err);
    if (compressor < 1 || compressor > 6)
        return damaged("squashfs", "the compression", err);
    if (compressor == 2)
        return pv_error_set(err, EINVAL,
                            "squashfs compressed with lzma, which Linux cannot read: pack it again "
                            "with -comp zstd");
    /* id, xattr, inode, directory, fragment and export table; ~0 stands for none. */
    for (size_t offset = 48; offset < 96; offset += 8) {
        uint64_t start = get(head, offset, 8);
        if (start != UINT64_MAX && (start < 96 || start > used))
            return damaged("squashfs", "a table's place", err);
    }
    return check_size(head, "squashfs", used, err);
}

static int check_ext4(const struct head *head, struct pv_error *err)
{
    const size_t sb = 1024;
    uint64_t block_log = get(head, sb + 24, 4), incompatible = get(head, sb + 96, 4);
    uint64_t blocks = get(head, sb + 4, 4), inodes = get(head, sb, 4);
    if (head->len < 2048)
        return pv_error_set(err, EINVAL, "truncated ext4: not even its superblock is there");
    if (incompatible & 0x80) /* 64bit */
        blocks |= get(head, sb + 0x150, 4) << 32;
    if (block_log > 6)
        return damaged("ext4", "the block size", err);
    if (blocks == 0 || inodes == 0 || blocks > UINT64_MAX >> (10 + block_log))
        return damaged("ext4", "the size", err);
    if (incompatible & 0x8) /* journal_dev */
        return pv_error_set(err, EINVAL, "an external ext4 journal, no file system");
    int rc = check_size(head, "ext4", blocks << (10 + block_log), err);
    if (rc == 0 && (incompatible & 0x4)) /* recover: a read-only mount would fail in the guest */
        rc = pv_error_set(err, EUCLEAN,
                          "ext4 that was not unmounted cleanly, and an image is never written to: "
                          "repair it with 'e2fsck -p FILE'");
    return rc;
}

static int check_erofs(const struct head *head, struct pv_error *err)
{
    const size_t sb = 1024;
    uint64_t block_log = get(head, sb + 12, 1), blocks = get(head, sb + 36, 4);
    if (head->len < 1152)
        return pv_error_set(err, EINVAL, "truncated erofs: not even its superblock is there");
    if (block_log < 9 || block_log > 16)
        return damaged("erofs", "the block size", err);
    if (blocks == 0)
        return damaged("erofs", "the size", err);
    return check_size(head, "erofs", blocks << block_log, err);
}

/* What people take for an image, and what to do with it. */
static int name_other(const struct head *head, struct pv_error *err)
{
    static const struct {
        size_t offset;
        const char *magic;
        size_t len;
        const char *text;
    } kinds[] = {
        {0, "\x1f\x8b", 2, "a gzip file; if it is a tar archive, unpack it into a folder"},
        {0,
         "\xfd"
         "7zXZ",
         5, "an xz file; if it is a tar archive, unpack it into a folder"},
        {0, "\x28\xb5\x2f\xfd", 4, "a zstd file; if it is a tar archive, unpack it into a folder"},
        {0, "BZh", 3, "a bzip2 file; if it is a tar archive, unpack it into a folder"},
        {257, "ustar", 5, "a tar archive: unpack it into a folder and give that"},
        {0, "PK\x03\x04", 4, "a zip archive: unpack it into a folder and give that"},
        {0, "QFI\xfb", 4, "a qcow2 disk: convert it with 'qemu-img convert -O raw'"},
        {0,
         "\x7f"
         "ELF",
         4, "a program, not an image"},
        {0, "#!", 2, "a script, not an image"},
        {0, "sqsh", 4, "a big-endian squashfs, which Linux no longer reads"},
        {0, "XFSB", 4, "an xfs file system, which the guest kernel does not have"},
        {510, "\x55\xaa", 2, "a disk with partitions: give one partition's file system alone"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(kinds); i++)
        if (has(head, kinds[i].offset, kinds[i].magic, kinds[i].len))
            return pv_error_set(err, EINVAL, "%s", kinds[i].text);
    return pv_error_set(err, EINVAL,
                        "not an image: no squashfs, ext4 or erofs superblock; give such a file or "
                        "the folder of a root file system");
}

static int read_head(int fd, struct head *ret_head, struct pv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return pv_error_set(err, errno, "stat: %s", strerror(errno));
    if (st.st_size == 0)
        return pv_error_set(err, EINVAL, "the file is empty");
    memset(ret_head, 0, sizeof(*ret_head));
    ssize_t n = pread(fd, ret_head->bytes, HEAD_BYTES, 0);
    if (n < 0)
        return pv_error_set(err, errno, "read: %s", strerror(errno));
    ret_head->len = (size_t)n;
    ret_head->file_bytes = (uint64_t)st.st_size;
    return 0;
}

int image_detect_file(int fd, const char **ret_type, struct pv_error *err)
{
    static const struct {
        const char *type;
        size_t offset;
        const char *magic;
        size_t len;
        int (*check)(const struct head *head, struct pv_error *err);
    } types[] = {
        {"squashfs", 0, "hsqs", 4, check_squashfs},
        {"ext4", 1024 + 56, "\x53\xef", 2, check_ext4},
        {"erofs", 1024, "\xe2\xe1\xf5\xe0", 4, check_erofs},
    };
    struct head head;
    int rc = read_head(fd, &head, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < PV_ARRAY_SIZE(types); i++) {
        if (!has(&head, types[i].offset, types[i].magic, types[i].len))
            continue;
        rc = types[i].check(&head, err);
        if (rc == 0)
            *ret_type = types[i].type;
        return rc;
    }
    return name_other(&head, err);
}
