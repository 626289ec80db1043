/* SPDX-License-Identifier: Apache-2.0
 *
 * test_mounts.c: the list of mounts is read, and what is below a folder found in it.
 */
#include "fs/fs_internal.h"
#include "support/unit.h"

#include <linux/magic.h>

#define EXT4 "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
#define NFS(place) "40 22 0:40 / " place " rw - nfs4 server:/export rw,vers=4.2\n"
#define TMPFS(place) "41 22 0:41 / " place " rw,nosuid shared:7 master:3 - tmpfs tmpfs rw\n"

static void test_types(void **state)
{
    assert_true(fs_mounts_is_local_type(EXT4_SUPER_MAGIC));
    assert_true(fs_mounts_is_local_type(TMPFS_MAGIC));
    assert_false(fs_mounts_is_local_type(NFS_SUPER_MAGIC));
    assert_false(fs_mounts_is_local_type(0));
}

static void test_what_is_below(void **state)
{
    assert_true(fs_mounts_are_local("", "/srv"));
    assert_true(fs_mounts_are_local(EXT4, "/srv"));
    assert_true(fs_mounts_are_local(EXT4 TMPFS("/srv/tmp"), "/srv"));
    assert_false(fs_mounts_are_local(EXT4 NFS("/srv/data") TMPFS("/tmp"), "/srv"));
    assert_false(fs_mounts_are_local(EXT4 NFS("/srv/data/deeper"), "/srv/data"));
    assert_true(fs_mounts_are_local(EXT4 NFS("/srv"), "/srv")); /* itself, which statfs tells */
    assert_true(fs_mounts_are_local(EXT4 NFS("/srv2/data"), "/srv"));
    assert_true(fs_mounts_are_local(EXT4 NFS("/data"), "/srv"));
    assert_true(fs_mounts_are_local(EXT4 NFS("/sr"), "/srv"));
    assert_false(fs_mounts_are_local(EXT4 NFS("/data"), "/"));
    /* Without a newline at the end. */
    assert_false(fs_mounts_are_local("40 22 0:40 / /srv/data rw - nfs", "/srv"));
    assert_true(fs_mounts_are_local("40 22 0:40 / /srv/data rw - ext4", "/srv"));
}

static void test_names_with_signs(void **state)
{
    assert_false(fs_mounts_are_local(NFS("/my\\040files/a"), "/my files"));
    assert_true(fs_mounts_are_local(NFS("/my\\040files"), "/my files"));
    assert_true(fs_mounts_are_local(NFS("/my\\011files/a"), "/my files"));
    assert_false(fs_mounts_are_local(NFS("/a\\134b\\012c/d"), "/a\\b\nc"));
    assert_true(fs_mounts_are_local(NFS("/my\\04"), "/my files"));
    assert_true(fs_mounts_are_local(NFS("/my\\"), "/my files"));
    /* A place may look like what separates the fields of the type. */
    assert_false(fs_mounts_are_local(NFS("/srv/a\\040-\\040ext4"), "/srv"));
    /* Only whole names of types count. */
    assert_false(fs_mounts_are_local("40 22 0:40 / /srv/a rw - ext4x none rw\n", "/srv"));
    assert_false(fs_mounts_are_local("40 22 0:40 / /srv/a rw - fuse.ext4 none rw\n", "/srv"));
}

static void test_what_is_not_understood_is_not_local(void **state)
{
    static const char *const texts[] = {
        "x\n",
        "22 1 8:1 /\n",
        "22 1 8:1 / / rw\n",
        "22 1 8:1 / /srv/a rw -\n",
        "22 1 8:1 / /srv/a rw - \n",
        EXT4 " \n",
        " - \n",
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(texts); i++)
        assert_false(fs_mounts_are_local(texts[i], "/srv"));
    assert_true(fs_mounts_are_local(EXT4 "\n" EXT4, "/srv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_what_is_below),
        cmocka_unit_test(test_names_with_signs),
        cmocka_unit_test(test_what_is_not_understood_is_not_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
