/* SPDX-License-Identifier: Apache-2.0
 *
 * test_qcow2.c: which images are opened, what is refused and with which words, repair, growth, and
 * disks of the host that fill up.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const struct disk_options writable = {.format = "qcow2"};
static const struct disk_options read_only = {.format = "qcow2", .read_only = true};
static const struct disk_options guess = {0};

static int set_up(void **state)
{
    char *folder = calloc(1, 32);
    *state = folder;
    if (!image_enter_folder(folder))
        folder[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    char *folder = *state;
    if (folder[0])
        image_leave_folder(folder);
    free(folder);
    return 0;
}

#define NEEDS_QEMU_IMG(state)                                                                      \
    if (!*(char *)*(state))                                                                        \
    skip()

#define MAKE(...) assert_int_equal(image_shell(__VA_ARGS__), 0)

static void poke(const char *path, uint64_t offset, uint64_t value, size_t len)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * (len - 1 - i));
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(offset + i)), 1);
    }
    close(fd);
}

static uint64_t peek(const char *path, uint64_t offset)
{
    uint8_t bytes[8];
    uint64_t value = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, bytes, 8, (off_t)offset), 8);
    close(fd);
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* Opening fails so, with these words in the story. */
static void refused(const char *path, const struct disk_options *o, int rc, const char *words)
{
    struct disk *disk = NULL;
    struct pv_error err = PV_ERROR_INIT;
    int is = disk_open(path, o, &disk, &err);
    if (is != rc || !strstr(err.text, words))
        fail_msg("%s: %d instead of %d (%s): %s", path, is, rc, words, err.text);
    assert_null(disk);
    assert_non_null(strstr(err.text, path));
}

static struct disk *opened(const char *path, const struct disk_options *o)
{
    struct disk *disk = NULL;
    struct pv_error err = PV_ERROR_INIT;
    if (disk_open(path, o, &disk, &err) < 0)
        fail_msg("%s", err.text);
    return disk;
}

static int read_byte(struct disk *disk, uint64_t offset)
{
    uint8_t buf[512];
    int rc = image_request(disk, DISK_READ, offset, buf, sizeof(buf));
    return rc < 0 ? rc : buf[0];
}

static int write_byte(struct disk *disk, uint64_t offset, int value)
{
    uint8_t buf[512];
    memset(buf, value, sizeof(buf));
    return image_request(disk, DISK_WRITE, offset, buf, sizeof(buf));
}

/* -- formats -- */

static void test_the_format_is_found_only_when_nobody_says_it(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("echo secret > secret && truncate -s 1M secret");
    MAKE("qemu-img create -q -f qcow2 -b secret -F raw i 1M");
    struct disk *disk = opened("i", &guess);
    assert_string_equal(disk_get_format(disk), "qcow2");
    assert_int_equal(read_byte(disk, 0), 's');
    disk_close(disk);

    /* A raw disk whose guest wrote this to it stays raw. */
    const struct disk_options raw = {.format = "raw"};
    disk = opened("i", &raw);
    assert_string_equal(disk_get_format(disk), "raw");
    assert_int_equal(read_byte(disk, 0), 'Q');
    disk_close(disk);

    const struct disk_options alone = {.no_backing = true};
    refused("i", &alone, -EPERM, "stands on 'secret'");
    const struct disk_options other = {.format = "vmdk"};
    refused("i", &other, -EINVAL, "raw or qcow2");
    refused("secret", &writable, -EINVAL, "no qcow2 image");
}

static void test_features_that_are_not_known_are_refused_by_name(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 -o data_file=d i 1M");
    refused("i", &read_only, -ENOTSUP, "external data file");
    MAKE("qemu-img create -q -f qcow2 -o extended_l2=on i 1M");
    refused("i", &read_only, -ENOTSUP, "extended L2");
    MAKE("qemu-img create -q -f qcow2 i 1M");
    poke("i", 72, 1ull << 40, 8);
    refused("i", &read_only, -ENOTSUP, "feature bit 40");
    MAKE("qemu-img create -q -f qcow2 i 1M");
    poke("i", 32, 1, 4);
    refused("i", &read_only, -ENOTSUP, "encryption");
    MAKE("qemu-img create -q -f qcow2 i 1M");
    poke("i", 4, 4, 4);
    refused("i", &read_only, -ENOTSUP, "version");
}

static void test_headers_that_make_no_sense_are_refused(void **state)
{
    NEEDS_QEMU_IMG(state);
    static const struct {
        uint64_t offset, value;
        size_t len;
        int rc;
        const char *words;
    } cases[] = {
        {20, 8, 4, -EUCLEAN, "cluster size"},
        {20, 22, 4, -EUCLEAN, "cluster size"},
        {24, UINT64_MAX, 8, -ENOTSUP, "more content"},
        {24, 1ull << 40, 8, -EUCLEAN, "L1 table is shorter"},
        {36, UINT32_MAX, 4, -ENOTSUP, "L1 table above"},
        {40, 1, 8, -EUCLEAN, "L1 table lies outside"},
        {40, 1ull << 50, 8, -EUCLEAN, "L1 table lies outside"},
        {40, 0, 8, -EUCLEAN, "L1 table lies outside"},
        {48, 1ull << 50, 8, -EUCLEAN, "refcount table lies outside"},
        {56, UINT32_MAX, 4, -ENOTSUP, "refcount table above"},
        {56, 0, 4, -EUCLEAN, "refcount table lies outside"},
        {60, UINT32_MAX, 4, -ENOTSUP, "snapshots"},
        {60, 1, 4, -EUCLEAN, "snapshot table"},
        {96, 7, 4, -EUCLEAN, "refcounts"},
        {100, 103, 4, -EUCLEAN, "header"},
        {100, UINT32_MAX, 4, -EUCLEAN, "header"},
        {104, 1, 1, -EUCLEAN, "compression type"},
        {8, 0xffffff, 8, -EUCLEAN, "backing file"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        MAKE("qemu-img create -q -f qcow2 -o cluster_size=64k i 1M");
        poke("i", 16, 5, 4); /* the length of the name below, for the last case */
        poke("i", cases[i].offset, cases[i].value, cases[i].len);
        refused("i", &read_only, cases[i].rc, cases[i].words);
    }
    MAKE("truncate -s 4 i && printf 'QFI\\373' > i");
    refused("i", &read_only, -ENOTSUP, "version");
}

/* -- what is below -- */

static void test_what_is_below_is_found_or_named(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("mkdir sub && qemu-img create -q -f qcow2 sub/b 1M && "
         "qemu-io -f qcow2 -c 'write -P 65 0 64k' sub/b >/dev/null && "
         "qemu-img create -q -f qcow2 -b b -F qcow2 sub/i 2M");
    struct disk *disk = opened("sub/i", &writable); /* relative to the image, not to us */
    assert_int_equal(read_byte(disk, 0), 65);
    assert_int_equal(read_byte(disk, (1 << 20)), 0);
    assert_int_equal(read_byte(disk, (1 << 20) - 512), 0);

    struct disk *other = opened("sub/b", &read_only); /* shared with other readers */
    refused("sub/b", &writable, -EBUSY, "another machine");
    disk_close(other);
    disk_close(disk);
    disk = opened("sub/b", &writable);
    refused("sub/i", &writable, -EBUSY, "backing file of 'sub/i'");
    disk_close(disk);

    MAKE("mv sub/b sub/c");
    refused("sub/i", &writable, -ENOENT, "sub/b");
    MAKE("qemu-img rebase -f qcow2 -u -b nbd://host/x -F raw sub/i");
    refused("sub/i", &writable, -ENOTSUP, "nbd://host/x");
    MAKE("qemu-img rebase -f qcow2 -u -b c -F vmdk sub/i");
    refused("sub/i", &writable, -EINVAL, "vmdk");
}

static void test_a_format_below_that_nobody_wrote_down(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 -o compat=v2 b 1M && truncate -s 1M r");
    MAKE("qemu-img create -q -f qcow2 -o compat=v2 -b b -F qcow2 i 1M");
    /* Takes the extension away: its type becomes one that nobody knows. */
    poke("i", 72, 0x12345678, 4);
    refused("i", &read_only, -EINVAL, "rebase");
    MAKE("mv r b"); /* now it can only be raw */
    disk_close(opened("i", &read_only));
}

static void test_loops_and_long_chains_are_refused(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 a 1M && qemu-img create -q -f qcow2 -b a -F qcow2 b && "
         "qemu-img rebase -f qcow2 -u -b b -F qcow2 a");
    refused("a", &writable, -ELOOP, "stands on itself");
    refused("b", &read_only, -ELOOP, "stands on itself");
    MAKE("qemu-img create -q -f qcow2 s 1M && qemu-img rebase -f qcow2 -u -b s -F qcow2 s");
    refused("s", &writable, -ELOOP, "stands on itself");

    MAKE("qemu-img create -q -f qcow2 n0 1M; for i in $(seq 17); do "
         "qemu-img create -q -u -f qcow2 -b n$((i-1)) -F qcow2 n$i 1M; done");
    disk_close(opened("n16", &writable));
    refused("n17", &writable, -ELOOP, "more than 16");
    const struct disk_options few = {.files_max = 2};
    disk_close(opened("n2", &few));
    refused("n3", &few, -ELOOP, "more than 2");
}

/* -- damage -- */

#define AT_L1 peek("i", 40)

static void test_a_damaged_image_is_not_written(void **state)
{
    NEEDS_QEMU_IMG(state);
    const char *make =
        "qemu-img create -q -f qcow2 i 1M && qemu-io -f qcow2 -c 'write -P 1 0 128k' "
        "i >/dev/null";
    MAKE("%s", make); /* an L2 table in the header */
    poke("i", AT_L1, 1ull << 63, 8);
    poke("i", AT_L1 + 6, 2, 1); /* offset 512 */
    refused("i", &writable, -EUCLEAN, "an L2 table");
    struct disk *disk = opened("i", &read_only);
    assert_int_equal(read_byte(disk, 0), -EIO);
    disk_close(disk);

    MAKE("%s", make); /* over the refcount table */
    poke("i", AT_L1, peek("i", 48) | 1ull << 63, 8);
    refused("i", &writable, -EUCLEAN, "an L2 table");
    MAKE("%s", make); /* behind the end */
    poke("i", AT_L1, 1ull << 63 | 1ull << 40, 8);
    refused("i", &writable, -EUCLEAN, "an L2 table");
    MAKE("%s", make);
    poke("i", peek("i", 48), 1ull << 40, 8);
    refused("i", &writable, -EUCLEAN, "a refcount block");
}

static void test_damage_that_shows_late_stops_writing(void **state)
{
    NEEDS_QEMU_IMG(state);
    static const uint64_t entries[] = {
        1ull << 63 | 1ull << 40,      /* behind the end */
        1ull << 63 | 0x10200,         /* not aligned */
        1ull << 63,                   /* handled below: over the L2 table */
        1ull << 62 | 0xfffffffffffff, /* compressed, behind the end */
        1ull << 63 | 2,               /* reserved bits */
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(entries); i++) {
        MAKE("qemu-img create -q -f qcow2 i 1M && qemu-io -f qcow2 -c 'write -P 1 0 128k' i "
             ">/dev/null");
        uint64_t l2 = peek("i", AT_L1) & 0x00fffffffffffe00ull;
        bool over = entries[i] == 1ull << 63;
        poke("i", l2, entries[i] | (over ? l2 : 0), 8);
        struct disk *disk = opened("i", &writable);
        assert_int_equal(read_byte(disk, 64 << 10), 1);
        if (!over)
            assert_int_equal(read_byte(disk, 0), -EIO);
        assert_int_equal(write_byte(disk, 0, 7), -EIO);
        assert_int_equal(write_byte(disk, 64 << 10, 7), -EIO); /* nothing is written any more */
        assert_int_equal(read_byte(disk, 64 << 10), 1);
        disk_close(disk);
        refused("i", &writable, -EUCLEAN, "marked as corrupt");
        disk_close(opened("i", &read_only));
    }
}

static void test_a_dirty_image_is_repaired(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE(
        "qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k i 8M && "
        "qemu-io -f qcow2 -c 'write -P 1 0 3M' i >/dev/null && qemu-img snapshot -c a i && "
        "(qemu-io -f qcow2 -c 'write -P 2 1M 4M' -c 'flush' -c 'sigraise 9' i; :) >/dev/null 2>&1");
    assert_int_equal(peek("i", 72) & 1, 1); /* dirty */
    assert_int_equal(image_check("i"), 2);
    struct disk *disk = opened("i", &read_only); /* as it is */
    assert_int_equal(read_byte(disk, 2 << 20), 2);
    disk_close(disk);
    assert_int_equal(peek("i", 72) & 1, 1);

    disk = opened("i", &writable);
    assert_int_equal(read_byte(disk, 0), 1);
    assert_int_equal(read_byte(disk, 2 << 20), 2);
    assert_int_equal(write_byte(disk, 7 << 20, 3), 0);
    assert_int_equal(write_byte(disk, 0, 3), 0);
    disk_close(disk);
    assert_int_equal(peek("i", 72) & 1, 0);
    assert_int_equal(image_check("i"), 0);
    MAKE("qemu-img snapshot -a a i");
    disk = opened("i", &read_only);
    assert_int_equal(read_byte(disk, 0), 1);
    assert_int_equal(read_byte(disk, 2 << 20), 1);
    disk_close(disk);

    /* Two owners and no snapshot: that is no matter of refcounts. */
    MAKE(
        "qemu-img create -q -f qcow2 i 1M && qemu-io -f qcow2 -c 'write -P 1 0 128k' i >/dev/null");
    uint64_t l2 = peek("i", AT_L1) & 0x00fffffffffffe00ull;
    poke("i", l2 + 8, peek("i", l2), 8);
    poke("i", 72, 1, 8);
    refused("i", &writable, -EUCLEAN, "two owners");
    disk_close(opened("i", &read_only));
}

#define IS_MARKED(path) (peek(path, 72) & 1)
#define FLUSH(disk) assert_int_equal(image_request(disk, DISK_FLUSH, 0, NULL, 0), 0)

static void test_an_image_says_that_it_is_being_written(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 i 8M");
    struct disk *disk = opened("i", &writable);
    assert_int_equal(write_byte(disk, 0, 1), 0);
    assert_int_equal(IS_MARKED("i"), 0); /* nothing is in the file yet */
    FLUSH(disk);
    assert_int_equal(IS_MARKED("i"), 1);
    assert_int_equal(write_byte(disk, 1 << 20, 2), 0);
    FLUSH(disk);
    MAKE("cp i copy"); /* as after a kill */
    disk_close(disk);
    assert_int_equal(IS_MARKED("i"), 0);
    assert_int_equal(image_check("i"), 0);

    disk = opened("i", &writable); /* what is written in place needs no mark */
    assert_int_equal(write_byte(disk, 0, 3), 0);
    FLUSH(disk);
    assert_int_equal(IS_MARKED("i"), 0);
    MAKE("cp i whole");
    assert_int_equal(image_request(disk, DISK_DISCARD, 1 << 20, NULL, 65536), 0);
    FLUSH(disk); /* the reference is gone, the count not yet */
    assert_int_equal(IS_MARKED("i"), 1);
    disk_close(disk);
    MAKE("mv whole i");

    /* A copy of it, and what stands below, is taken as it is unless it is to be written. */
    assert_int_equal(image_check("copy"), 0);
    MAKE("qemu-img create -q -f qcow2 -b copy -F qcow2 top && cp copy before");
    disk = opened("top", &writable);
    assert_int_equal(read_byte(disk, 0), 1);
    assert_int_equal(write_byte(disk, 0, 4), 0);
    disk_close(disk);
    disk = opened("copy", &read_only);
    assert_int_equal(read_byte(disk, 1 << 20), 2);
    assert_false(disk_get_repair(disk).done);
    disk_close(disk);
    MAKE("cmp copy before");
    MAKE("cp copy other && qemu-io -f qcow2 -c 'write -P 5 2M 4k' other >/dev/null 2>&1");
    assert_int_equal(IS_MARKED("other"), 0); /* QEMU knows the mark, too */
    assert_int_equal(image_check("other"), 0);
    disk = opened("copy", &writable);
    assert_true(disk_get_repair(disk).done);
    assert_int_equal(IS_MARKED("copy"), 0);
    disk_close(disk);
}

/* Clusters 100 and 101 are counted, the second one behind the end of the file. */
static void make_leaks(const char *options)
{
    MAKE("qemu-img create -q -f qcow2 -o cluster_size=4k,%s i 1M && qemu-io -f qcow2 -c "
         "'write -P 1 0 64k' i >/dev/null && truncate -s %d i",
         options, 101 * 4096);
    assert_int_equal(image_check("i"), 0);
    poke("i", peek("i", peek("i", 48)) + 200, 0x10001, 4);
    assert_int_equal(image_check("i"), 3);
}

static uint64_t leaks(void)
{
    return peek("i", peek("i", peek("i", 48)) + 200) >> 32;
}

static void test_leaks_are_freed(void **state)
{
    NEEDS_QEMU_IMG(state);
    make_leaks("compat=v3");
    disk_close(opened("i", &writable)); /* closed cleanly, it says: nobody looks */
    assert_int_equal(leaks(), 0x10001);
    poke("i", 72, 1, 8);
    for (int version = 3; version >= 2; version--) {
        if (version == 2)
            make_leaks("compat=v2");
        disk_close(opened("i", &read_only));
        assert_int_equal(leaks(), 0x10001);
        struct disk *disk = opened("i", &writable);
        struct disk_repair repair = disk_get_repair(disk);
        assert_true(repair.done);
        assert_int_equal(repair.clusters, 2);
        assert_int_equal(read_byte(disk, 0), 1);
        disk_close(disk);
        assert_int_equal(leaks(), 0);
        assert_int_equal(image_check("i"), 0);
    }
}

static void test_leaks_of_version_2_are_left_alone(void **state)
{
    NEEDS_QEMU_IMG(state);
    make_leaks("compat=v2"); /* somebody else may own clusters */
    poke("i", 72, 0x12345678, 4);
    disk_close(opened("i", &writable));
    assert_int_equal(leaks(), 0x10001);

    make_leaks("compat=v2"); /* a cluster in use is not counted: that is no matter of leaks */
    uint64_t l2 = peek("i", AT_L1) & 0x00fffffffffffe00ull;
    uint64_t cluster = (peek("i", l2) & 0x00fffffffffffe00ull) / 4096;
    poke("i", peek("i", peek("i", 48)) + 2 * cluster, 0, 2);
    struct disk *disk = opened("i", &writable);
    assert_false(disk_get_repair(disk).done);
    disk_close(disk);
    assert_int_equal(leaks(), 0x10001);
}

/* More clusters than a repair counts: such an image must not need one. */
static void test_a_huge_image_is_not_marked(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 -o cluster_size=512 i 1M && truncate -s 33G i");
    struct disk *disk = opened("i", &writable);
    assert_int_equal(write_byte(disk, 0, 1), 0);
    FLUSH(disk);
    assert_int_equal(IS_MARKED("i"), 0);
    disk_close(disk);
    poke("i", 72, 1, 8);
    refused("i", &writable, -EUCLEAN, "too large to be repaired");
    disk_close(opened("i", &read_only));
}

/* What is freed may be a bitmap's: so the bitmaps are declared void before. */
static void test_a_repair_voids_bitmaps(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 i 8M && qemu-img bitmap --add i b && "
         "qemu-io -f qcow2 -c 'write -P 1 0 1M' i >/dev/null");
    assert_int_equal(peek("i", 88) & 1, 1);
    poke("i", 72, 1, 8);
    disk_close(opened("i", &writable));
    assert_int_equal(peek("i", 88) & 1, 0);
    assert_int_equal(image_check("i"), 0);
}

/* -- growth -- */

static void test_images_grow(void **state)
{
    NEEDS_QEMU_IMG(state);
    struct pv_error err = PV_ERROR_INIT;
    MAKE("qemu-img create -q -f raw b 4M && qemu-io -f raw -c 'write -P 9 0 4M' b >/dev/null && "
         "qemu-img create -q -f qcow2 -o cluster_size=512 -b b -F raw i 1000k");
    struct disk *disk = opened("i", &writable);
    assert_int_equal(write_byte(disk, 0, 1), 0);
    assert_int_equal(disk_resize(disk, 512, &err), -EINVAL);
    assert_int_equal(disk_resize(disk, 40 << 20, &err), 0);
    assert_int_equal(disk_get_size(disk), 40 << 20);
    assert_int_equal(read_byte(disk, 0), 1);
    assert_int_equal(read_byte(disk, 999 << 10), 9);
    assert_int_equal(read_byte(disk, 1000 << 10), 0); /* what is below stays hidden */
    assert_int_equal(read_byte(disk, 2 << 20), 0);
    assert_int_equal(write_byte(disk, (40 << 20) - 512, 5), 0);
    disk_close(disk);
    assert_int_equal(image_check("i"), 0);
    disk = opened("i", &writable);
    assert_int_equal(disk_get_size(disk), 40 << 20);
    assert_int_equal(read_byte(disk, 1000 << 10), 0);
    assert_int_equal(read_byte(disk, (40 << 20) - 512), 5);
    assert_int_equal(disk_resize(disk, 1ull << 60, &err), -EFBIG);
    assert_non_null(strstr(err.text, "i"));
    assert_int_equal(disk_get_size(disk), 40 << 20);
    disk_close(disk);
    assert_int_equal(image_check("i"), 0);

    MAKE("qemu-img create -q -f qcow2 -o compat=v2 i 1M && qemu-img snapshot -c a i");
    disk = opened("i", &writable);
    assert_int_equal(disk_resize(disk, 2 << 20, &err), -ENOTSUP);
    disk_close(disk);
}

/* With the smallest clusters the refcount table is full after 8 MiB. */
static void test_the_refcount_table_grows(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 i 48M");
    struct disk *disk = opened("i", &writable);
    uint64_t table = peek("i", 48);
    static uint8_t buf[1 << 20];
    for (uint64_t at = 0; at < 48; at++) {
        memset(buf, (int)at + 1, sizeof(buf));
        assert_int_equal(image_request(disk, DISK_WRITE, at << 20, buf, sizeof(buf)), 0);
    }
    disk_close(disk);
    assert_int_not_equal(peek("i", 48), table);
    assert_int_equal(image_check("i"), 0);
    disk = opened("i", &read_only);
    for (int at = 0; at < 48; at++)
        assert_int_equal(read_byte(disk, (uint64_t)at << 20), at + 1);
    disk_close(disk);
}

/* -- the host's space -- */

static void test_discarding_gives_space_back(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("qemu-img create -q -f qcow2 i 8M");
    struct disk *disk = opened("i", &writable);
    if (!disk_can_discard(disk)) {
        disk_close(disk);
        printf("this file system has no holes\n");
        skip();
    }
    static uint8_t buf[4 << 20];
    struct stat full, less;
    memset(buf, 1, sizeof(buf));
    assert_int_equal(image_request(disk, DISK_WRITE, 0, buf, sizeof(buf)), 0);
    assert_int_equal(image_request(disk, DISK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(stat("i", &full), 0);
    assert_int_equal(image_request(disk, DISK_DISCARD, 0, NULL, 3 << 20), 0);
    assert_int_equal(image_request(disk, DISK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(stat("i", &less), 0);
    assert_true(less.st_blocks + (2 << 20) / 512 < full.st_blocks);
    /* The clusters are used again: the file does not grow. */
    assert_int_equal(image_request(disk, DISK_WRITE, 4 << 20, buf, 3 << 20), 0);
    assert_int_equal(image_request(disk, DISK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(stat("i", &less), 0);
    assert_int_equal(less.st_size, full.st_size);
    disk_close(disk);
    assert_int_equal(image_check("i"), 0);
}

static void test_a_full_host_disk(void **state)
{
    NEEDS_QEMU_IMG(state);
    MAKE("mkdir t");
    if (mount("none", "t", "tmpfs", 0, "size=2M") < 0) {
        printf("mounting a tmpfs needs root\n");
        skip();
    }
    MAKE("qemu-img create -q -f qcow2 -o cluster_size=4k t/i 16M");
    struct disk *disk = opened("t/i", &writable);
    uint64_t at = 0;
    int rc = 0;
    static uint8_t buf[64 << 10];
    memset(buf, 3, sizeof(buf));
    for (; at < 16 << 20 && rc == 0; at += rc == 0 ? sizeof(buf) : 0)
        rc = image_request(disk, DISK_WRITE, at, buf, sizeof(buf));
    assert_int_equal(rc, -ENOSPC);
    assert_in_range(at, 1 << 20, 2 << 20);
    assert_int_equal(read_byte(disk, at - 512), 3);
    assert_int_equal(write_byte(disk, 0, 4), 0); /* in place it still goes */

    /* A flush may lack space for tables. It says so, and succeeds once there is some. */
    rc = image_request(disk, DISK_FLUSH, 0, NULL, 0);
    assert_true(rc == 0 || rc == -ENOSPC);
    assert_int_equal(mount("none", "t", "tmpfs", MS_REMOUNT, "size=20M"), 0);
    assert_int_equal(image_request(disk, DISK_WRITE, at, buf, sizeof(buf)), 0);
    assert_int_equal(image_request(disk, DISK_FLUSH, 0, NULL, 0), 0);
    disk_close(disk);
    assert_int_equal(image_check("t/i"), 0);
    disk = opened("t/i", &read_only);
    for (uint64_t i = sizeof(buf); i <= at; i += sizeof(buf))
        assert_int_equal(read_byte(disk, i), 3);
    assert_int_equal(read_byte(disk, 0), 4);
    disk_close(disk);
    /* The kernel takes rings apart in its own time. */
    assert_int_equal(umount2("t", MNT_DETACH), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_format_is_found_only_when_nobody_says_it),
        TEST(test_features_that_are_not_known_are_refused_by_name),
        TEST(test_headers_that_make_no_sense_are_refused),
        TEST(test_what_is_below_is_found_or_named),
        TEST(test_a_format_below_that_nobody_wrote_down),
        TEST(test_loops_and_long_chains_are_refused),
        TEST(test_a_damaged_image_is_not_written),
        TEST(test_damage_that_shows_late_stops_writing),
        TEST(test_a_dirty_image_is_repaired),
        TEST(test_an_image_says_that_it_is_being_written),
        TEST(test_leaks_are_freed),
        TEST(test_leaks_of_version_2_are_left_alone),
        TEST(test_a_huge_image_is_not_marked),
        TEST(test_a_repair_voids_bitmaps),
        TEST(test_images_grow),
        TEST(test_the_refcount_table_grows),
        TEST(test_discarding_gives_space_back),
        TEST(test_a_full_host_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
