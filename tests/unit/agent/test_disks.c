/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/disks.h"
#include "base/attr.h"
#include "base/str.h"
#include "support/tree.h"
#include "support/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/tmp/pv-disks-XXXXXX";

static void add_disk(const char *name, const char *serial)
{
    pv_auto_free char *dir = pv_strf("%s/block/%s", top, name);
    pv_auto_free char *path = pv_strf("%s/serial", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    if (!serial)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, serial, strlen(serial)), strlen(serial));
    close(fd);
}

static void check_link(const char *name, const char *target)
{
    char found[64] = "";
    pv_auto_free char *path = pv_strf("%s/dev/disk/by-id/%s", top, name);
    assert_int_equal(readlink(path, found, sizeof(found) - 1), strlen(target));
    assert_string_equal(found, target);
}

static void test_disks_are_found_by_their_serial_numbers(void **state)
{
    pv_auto_free char *block = pv_strf("%s/block", top);
    pv_auto_free char *dev = pv_strf("%s/dev", top);
    assert_int_equal(mkdir(block, 0700), 0);
    assert_int_equal(mkdir(dev, 0700), 0);
    add_disk("vda", "image");
    add_disk("vdb", "12345678901234567890");
    add_disk("vdc", "a/b c\n");
    add_disk("vdd", "");
    add_disk("vde", NULL);
    add_disk("loop0", "other");
    agent_disks_link(block, dev);
    agent_disks_link(block, dev); /* again: nothing new */
    check_link("virtio-image", "../../vda");
    check_link("virtio-12345678901234567890", "../../vdb");
    check_link("virtio-a_b_c", "../../vdc");
    pv_auto_free char *other = pv_strf("%s/dev/disk/by-id/virtio-other", top);
    assert_int_equal(access(other, F_OK), -1);
    agent_disks_link("/nowhere", dev);
}

static int set_up(void **state)
{
    return mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
    support_tree_remove(top);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disks_are_found_by_their_serial_numbers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
