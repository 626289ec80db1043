/* SPDX-License-Identifier: Apache-2.0
 *
 * test_detect.c: superblocks, whole and broken.
 */
#include "support/unit.h"

#include "base/fd.h"
#include "image/detect.h"
#include "image/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES 65536

struct file {
    uint8_t bytes[FILE_BYTES];
};

static void put(struct file *f, size_t offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        f->bytes[offset + i] = (uint8_t)(value >> 8 * i);
}

static struct file squashfs(void)
{
    struct file f = {0};
    memcpy(f.bytes, "hsqs", 4);
    put(&f, 12, 131072, 4);
    put(&f, 20, 6, 2);
    put(&f, 22, 17, 2);
    put(&f, 28, 4, 2);
    put(&f, 40, FILE_BYTES - 100, 8);
    for (size_t offset = 48; offset < 96; offset += 8)
        put(&f, offset, offset == 56 ? UINT64_MAX : 1000, 8);
    return f;
}

static struct file ext4(void)
{
    struct file f = {0};
    put(&f, 1024, 16, 4);
    put(&f, 1024 + 4, FILE_BYTES / 1024, 4);
    put(&f, 1024 + 24, 0, 4);
    put(&f, 1024 + 56, 0xef53, 2);
    return f;
}

static struct file erofs(void)
{
    struct file f = {0};
    put(&f, 1024, 0xe0f5e1e2, 4);
    put(&f, 1024 + 12, 12, 1);
    put(&f, 1024 + 36, FILE_BYTES / 4096, 4);
    return f;
}

/* Detects the first len bytes of f. says: what the error must contain. */
static void expect(const struct file *f, size_t len, const char *type, const char *says)
{
    const char *found = NULL;
    struct pv_error err = PV_ERROR_INIT;
    pv_auto_fd int fd = memfd_create("image", MFD_CLOEXEC);
    assert_int_equal(write(fd, f->bytes, len), len);
    int rc = image_detect_file(fd, &found, &err);
    if (type) {
        assert_int_equal(rc, 0);
        assert_string_equal(found, type);
    } else {
        assert_true(rc < 0);
        assert_null(found);
        if (!strstr(err.text, says))
            fail_msg("'%s' does not say '%s'", err.text, says);
    }
}

static void test_whole_ones(void **state)
{
    struct file f = squashfs();
    expect(&f, FILE_BYTES, "squashfs", NULL);
    f = ext4();
    expect(&f, FILE_BYTES, "ext4", NULL);
    f = erofs();
    expect(&f, FILE_BYTES, "erofs", NULL);
}

static void test_truncated(void **state)
{
    struct file f = squashfs();
    expect(&f, FILE_BYTES - 1024, NULL, "truncated squashfs");
    expect(&f, 50, NULL, "truncated squashfs");
    f = ext4();
    expect(&f, FILE_BYTES - 1, NULL, "truncated ext4");
    expect(&f, 1024 + 100, NULL, "truncated ext4");
    f = erofs();
    expect(&f, FILE_BYTES - 1, NULL, "truncated erofs");
    expect(&f, 1024 + 100, NULL, "truncated erofs");
    expect(&f, 0, NULL, "empty");
}

/* The guest sees whole sectors: a file system that ends in a partial one would be cut. */
static void test_partial_sector(void **state)
{
    struct file f = squashfs();
    put(&f, 40, FILE_BYTES - 100, 8);
    expect(&f, FILE_BYTES - 100, NULL, "truncate -s %512");
    put(&f, 40, FILE_BYTES - 512, 8);
    expect(&f, FILE_BYTES - 100, "squashfs", NULL);
}

static void test_damaged(void **state)
{
    static const struct {
        size_t offset;
        uint64_t value;
        unsigned size;
        const char *says;
    } rows[] = {
        {12, 4095, 4, "block size"},
        {22, 11, 2, "block size"},
        {22, 21, 2, "block size"},
        {20, 0, 2, "compression"},
        {20, 7, 2, "compression"},
        {20, 2, 2, "lzma"},
        {28, 3, 2, "version 3.0"},
        {64, FILE_BYTES, 8, "table"},
        {72, 95, 8, "table"},
        {40, UINT64_MAX, 8, "truncated"},
        {40, UINT64_MAX - 1, 8, "truncated"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct file f = squashfs();
        put(&f, rows[i].offset, rows[i].value, rows[i].size);
        expect(&f, FILE_BYTES, NULL, rows[i].says);
    }
    struct file f = ext4();
    put(&f, 1024 + 24, 7, 4);
    expect(&f, FILE_BYTES, NULL, "block size");
    f = ext4();
    put(&f, 1024 + 4, 0, 4);
    expect(&f, FILE_BYTES, NULL, "the size");
    f = ext4();
    put(&f, 1024 + 96, 0x80, 4);
    put(&f, 1024 + 0x150, UINT32_MAX, 4);
    put(&f, 1024 + 24, 6, 4);
    expect(&f, FILE_BYTES, NULL, "ext4");
    f = ext4();
    put(&f, 1024 + 96, 0x4, 4);
    expect(&f, FILE_BYTES, NULL, "e2fsck");
    f = ext4();
    put(&f, 1024 + 96, 0x8, 4);
    expect(&f, FILE_BYTES, NULL, "journal");
    f = erofs();
    put(&f, 1024 + 12, 60, 1);
    expect(&f, FILE_BYTES, NULL, "block size");
}

static void test_other_files(void **state)
{
    static const struct {
        size_t offset;
        const char *magic, *says;
    } rows[] = {
        {0, "\x1f\x8b\x08", "gzip"},
        {257, "ustar", "tar archive"},
        {0, "QFI\xfb", "qcow2"},
        {0,
         "\x7f"
         "ELF",
         "program"},
        {510, "\x55\xaa", "partition"},
        {0, "hello", "not an image"},
        {0, "PK\x03\x04", "zip"},
        {0, "#!/bin/sh", "script"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct file f = {0};
        memcpy(f.bytes + rows[i].offset, rows[i].magic, strlen(rows[i].magic));
        expect(&f, FILE_BYTES, NULL, rows[i].says);
    }
    struct file f = {0};
    expect(&f, 1, NULL, "not an image");
    expect(&f, FILE_BYTES, NULL, "not an image");
}

/* What the real programs make. */
static void test_real_ones(void **state)
{
    char path[] = "/tmp/pv-detect-XXXXXX";
    const char *type = NULL;
    struct pv_error err = PV_ERROR_INIT;
    pv_auto_free char *mke2fs = NULL, *mksquashfs = NULL;
    if (image_program_find("mke2fs", "e2fsprogs", &mke2fs, NULL) < 0 ||
        image_program_find("mksquashfs", "squashfs-tools", &mksquashfs, NULL) < 0)
        skip();
    pv_auto_fd int fd = mkstemp(path);
    assert_int_equal(ftruncate(fd, 16 << 20), 0);
    const char *format[] = {mke2fs, "-q", "-F", "-t", "ext4", path, NULL};
    assert_int_equal(image_program_run(format, -1, &err), 0);
    assert_int_equal(image_detect_file(fd, &type, &err), 0);
    assert_string_equal(type, "ext4");

    const char *pack[] = {mksquashfs, "/etc/hostname", path, "-quiet", "-noappend", NULL};
    assert_int_equal(image_program_run(pack, -1, &err), 0);
    assert_int_equal(image_detect_file(fd, &type, &err), 0);
    assert_string_equal(type, "squashfs");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_ones),     cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_partial_sector), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_other_files),    cmocka_unit_test(test_real_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
