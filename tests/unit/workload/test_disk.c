/* SPDX-License-Identifier: Apache-2.0
 *
 * test_disk.c: --disk and --disk-rate as users write them.
 */
#include "support/unit.h"

#include "base/attr.h"
#include "workload/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static void test_a_disk_with_everything(void **state)
{
    struct workload_disks disks = {0};
    assert_int_equal(workload_disks_add(&disks,
                                        "a b:c.img:ro,format=qcow2,serial=Data_1.x,bps=10M,"
                                        "bps-burst=1g,iops=500,iops-burst=1000",
                                        NULL),
                     0);
    const struct workload_disk *d = &disks.items[0];
    assert_string_equal(d->path, "a b:c.img");
    assert_true(d->read_only);
    assert_string_equal(d->format, "qcow2");
    assert_string_equal(d->serial, "Data_1.x");
    assert_int_equal(d->rate.bytes.per_second, 10 << 20);
    assert_int_equal(d->rate.bytes.burst, 1 << 30);
    assert_int_equal(d->rate.operations.per_second, 500);
    assert_int_equal(d->rate.operations.burst, 1000);
    workload_disks_done(&disks);
    assert_int_equal(disks.count, 0);
}

static void test_paths_with_colons(void **state)
{
    static const struct {
        const char *text, *path;
    } rows[] = {
        {"disk.img", "disk.img"}, {"disk.img:", "disk.img"}, {"a:b:", "a:b"},
        {"a:ro:", "a:ro"},        {"a:b:ro", "a:b"},         {"/x,y=1", "/x,y=1"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_disks disks = {0};
        assert_int_equal(workload_disks_add(&disks, rows[i].text, NULL), 0);
        assert_string_equal(disks.items[0].path, rows[i].path);
        workload_disks_done(&disks);
    }
}

static void test_wrong_disks(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "FILE"},
        {":ro", "FILE"},
        {"a:b", "'b' is no option"},
        {"a:b", "one more colon"},
        {"a:ro,", "'' is no option"},
        {"a:RO", "'RO' is no option"},
        {"a:format=vmdk", "no format 'vmdk'"},
        {"a:format=", "no format ''"},
        {"a:serial=", "serial number is"},
        {"a:serial=x/y", "serial number is"},
        {"a:serial=x y", "serial number is"},
        {"a:serial=123456789012345678901", "1 to 20"},
        {"a:bps=fast", "'fast' is not an amount"},
        {"a:iops=1k", "'1k' is not a number"},
        {"a:iops=-1", "'-1' is not a number"},
        {"a:bps=16777216T", "not an amount"},
        {"a:bps-burst=1M", "without bps"},
        {"a:iops-burst=1", "without iops"},
        {"a:ro,bps=1M,rw", "leave one"},
        {"a:serial=x,serial=y", "'serial=y'"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_disks disks = {0};
        struct pv_error err = PV_ERROR_INIT;
        assert_true(workload_disks_add(&disks, rows[i].text, &err) < 0);
        if (!strstr(err.text, rows[i].says) || !strstr(err.text, "--disk"))
            fail_msg("'%s' does not say '%s'", err.text, rows[i].says);
        assert_int_equal(disks.count, 0);
    }
}

static void test_how_many(void **state)
{
    struct workload_disks disks = {0};
    for (int i = 0; i < WORKLOAD_DISKS_MAX; i++)
        assert_int_equal(workload_disks_add(&disks, "a:ro", NULL), 0);
    assert_int_equal(workload_disks_add(&disks, "a", NULL), -E2BIG);
    workload_disks_done(&disks);
}

static void test_rates(void **state)
{
    struct workload_disks disks = {0};
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(workload_disks_add(&disks, "a:serial=fast,bps=9M", NULL), 0);
    assert_int_equal(workload_disks_add(&disks, "b", NULL), 0);
    assert_int_equal(workload_disks_add(&disks, "c:iops=9", NULL), 0);
    assert_int_equal(workload_disks_add_limit(&disks, "bps=1M", NULL), 0);
    assert_int_equal(workload_disks_add_limit(&disks, "layer:iops=5,iops-burst=6", NULL), 0);
    assert_int_equal(workload_disks_add_limit(&disks, "disk2:bps=0", NULL), 0);
    assert_int_equal(workload_disks_settle(&disks, &err), 0);
    const struct workload_disk *d = disks.items;
    assert_int_equal(workload_disks_rate_of(&disks, "image", NULL).bytes.per_second, 1 << 20);
    assert_int_equal(workload_disks_rate_of(&disks, "layer", NULL).bytes.per_second, 0);
    assert_int_equal(workload_disks_rate_of(&disks, "layer", NULL).operations.burst, 6);
    assert_int_equal(workload_disks_rate_of(&disks, "fast", &d[0].rate).bytes.per_second, 9 << 20);
    assert_int_equal(workload_disks_rate_of(&disks, "disk1", &d[1].rate).bytes.per_second, 1 << 20);
    assert_int_equal(workload_disks_rate_of(&disks, "disk2", &d[2].rate).operations.per_second, 0);

    assert_int_equal(workload_disks_add_limit(&disks, "nobody:bps=1", NULL), 0);
    assert_int_equal(workload_disks_settle(&disks, &err), -ENOENT);
    assert_non_null(strstr(err.text, "'nobody'"));
    workload_disks_done(&disks);
}

static void test_wrong_rates(void **state)
{
    static const char *const texts[] = {"",
                                        ":bps=1",
                                        "a:",
                                        "a",
                                        "bps",
                                        "bps=",
                                        "bps=1,",
                                        "x:bps=x",
                                        "iops=1M",
                                        "a/b:bps=1",
                                        "bps-burst=1",
                                        "ro",
                                        "bps=1,iops=2,bps=3"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(texts); i++) {
        struct workload_disk_limit limit;
        struct pv_error err = PV_ERROR_INIT;
        if (workload_disk_limit_parse(texts[i], &limit, &err) >= 0)
            fail_msg("'%s' is taken", texts[i]);
        assert_non_null(strstr(err.text, "--disk-rate"));
    }
}

static void test_serial_numbers_are_unique(void **state)
{
    struct workload_disks disks = {0};
    assert_int_equal(workload_disks_add(&disks, "a:serial=disk1", NULL), 0);
    assert_int_equal(workload_disks_add(&disks, "b", NULL), 0);
    assert_int_equal(workload_disks_add(&disks, "c", NULL), 0);
    assert_int_equal(workload_disks_settle(&disks, NULL), 0);
    assert_string_equal(disks.items[1].serial, "disk2");
    assert_string_equal(disks.items[2].serial, "disk3");
    assert_int_equal(workload_disks_add(&disks, "d:serial=disk2", NULL), 0);
    assert_int_equal(workload_disks_settle(&disks, NULL), -EEXIST);
    workload_disks_done(&disks);
    assert_int_equal(workload_disks_add(&disks, "d:serial=layer", NULL), 0);
    assert_int_equal(workload_disks_settle(&disks, NULL), -EEXIST);
    workload_disks_done(&disks);
}

/* -- files -- */

static char folder[] = "/tmp/pv-disk-XXXXXX";

static void make_file(const char *name, const void *bytes, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static int set_up_files(void **state)
{
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    make_file("raw", "0123", 4);
    make_file("short", "", 0);
    make_file("x.qcow2", "QFI\xfb", 4);
    make_file("hidden", "QFI\xfb", 4);
    make_file("bad\xff", "", 0);
    assert_int_equal(symlink("raw", "link"), 0);
    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd);
    return 0;
}

static int tear_down_files(void **state)
{
    static const char *const names[] = {"raw",     "short", "x.qcow2", "hidden",
                                        "bad\xff", "link",  "fifo",    "socket"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(names); i++)
        unlink(names[i]);
    rmdir("dir");
    return chdir("/") < 0 || rmdir(folder) < 0;
}

static void test_files_are_found(void **state)
{
    static const struct {
        const char *text, *name, *format;
    } rows[] = {
        {"raw", "raw", "raw"},
        {"./dir/../short", "short", "raw"},
        {"link", "raw", "raw"},
        {"x.qcow2", "x.qcow2", "qcow2"},
        {"x.qcow2:format=raw", "x.qcow2", "raw"},
        {"hidden:format=qcow2", "hidden", "qcow2"},
        {"hidden:format=raw", "hidden", "raw"},
        {"socket:format=vhost-user", "socket", "vhost-user"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_disks disks = {0};
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", folder, rows[i].name);
        assert_int_equal(workload_disks_add(&disks, rows[i].text, NULL), 0);
        assert_int_equal(workload_disks_find(&disks, NULL), 0);
        assert_string_equal(disks.items[0].path, path);
        assert_string_equal(disks.items[0].format, rows[i].format);
        workload_disks_done(&disks);
    }
}

static void test_files_that_are_refused(void **state)
{
    static const struct {
        const char *text;
        int rc;
        const char *says;
    } rows[] = {
        {"nothing", -ENOENT, "make it with"},
        {"raw/x", -ENOTDIR, "raw/x"},
        {"dir", -EISDIR, "directory"},
        {"fifo", -EINVAL, "neither a file"},
        {"socket", -EINVAL, "format=vhost-user"},
        {"raw:format=vhost-user", -ENOTSOCK, "socket"},
        {"socket:ro,format=vhost-user", -EINVAL, "storage daemon"},
        {"socket:format=vhost-user,bps=1M", -EINVAL, "storage daemon"},
        {"hidden", -EINVAL, "format=qcow2"},
        {"bad\xff", -EILSEQ, "rename"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_disks disks = {0};
        struct pv_error err = PV_ERROR_INIT;
        assert_int_equal(workload_disks_add(&disks, rows[i].text, NULL), 0);
        assert_int_equal(workload_disks_find(&disks, &err), rows[i].rc);
        if (!strstr(err.text, rows[i].says))
            fail_msg("'%s' does not say '%s'", err.text, rows[i].says);
        workload_disks_done(&disks);
    }
}

static void test_a_file_twice(void **state)
{
    struct workload_disks disks = {0};
    assert_int_equal(workload_disks_add(&disks, "raw:ro", NULL), 0);
    assert_int_equal(workload_disks_add(&disks, "link:ro", NULL), 0);
    assert_int_equal(workload_disks_find(&disks, NULL), 0);
    assert_int_equal(workload_disks_add(&disks, "raw", NULL), 0);
    assert_int_equal(workload_disks_find(&disks, NULL), -EBUSY);
    workload_disks_done(&disks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_disk_with_everything),
        cmocka_unit_test(test_paths_with_colons),
        cmocka_unit_test(test_wrong_disks),
        cmocka_unit_test(test_how_many),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_wrong_rates),
        cmocka_unit_test(test_serial_numbers_are_unique),
        cmocka_unit_test(test_files_are_found),
        cmocka_unit_test(test_files_that_are_refused),
        cmocka_unit_test(test_a_file_twice),
    };
    return cmocka_run_group_tests(tests, set_up_files, tear_down_files);
}
