/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "support/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned count_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_replace_is_atomic_and_leaves_nothing(void **state)
{
    char dir[] = "/tmp/paravane-fd-XXXXXX";
    assert_non_null(mkdtemp(dir));
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(pv_fd_replace_file(dirfd, "x", "old", 3, 0600, NULL), 0);
    assert_int_equal(pv_fd_replace_file(dirfd, "x", "newer", 5, 0600, NULL), 0);

    char *text = NULL;
    size_t len = 0;
    assert_int_equal(pv_fd_read_file(dirfd, "x", 5, &text, &len, NULL), 0);
    assert_int_equal(len, 5);
    assert_string_equal(text, "newer");
    free(text);
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(pv_fd_read_file(dirfd, "x", 4, &text, &len, &err), -EFBIG);
    assert_int_equal(pv_fd_read_file(dirfd, "y", 4, &text, &len, &err), -ENOENT);

    /* A name that cannot be replaced (it is a directory) leaves no temporary file behind. */
    assert_int_equal(mkdirat(dirfd, "d", 0700), 0);
    assert_true(pv_fd_replace_file(dirfd, "d", "x", 1, 0600, NULL) < 0);
    assert_int_equal(unlinkat(dirfd, "d", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dirfd, "x", 0), 0);
    close(dirfd);
    assert_int_equal(rmdir(dir), 0);
}

static void test_descriptors_pass_and_surplus_is_closed(void **state)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    unsigned before = count_fds();
    int three[3] = {0, 1, 2};
    assert_int_equal(pv_fd_send(pair[0], "x", 1, three, 3), 1);
    char c;
    int got[2];
    unsigned n = 0;
    assert_int_equal(pv_fd_recv(pair[1], &c, 1, 0, got, 2, &n), 1);
    assert_int_equal(n, 2);
    assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(count_fds(), before + 2);
    close(got[0]);
    close(got[1]);

    assert_int_equal(pv_fd_send(pair[0], "x", 1, three, 3), 1);
    assert_int_equal(pv_fd_recv(pair[1], &c, 1, 0, NULL, 0, NULL), 1);
    assert_int_equal(count_fds(), before);
    int many[17] = {0};
    assert_int_equal(pv_fd_send(pair[0], "x", 1, many, 17), -E2BIG);
    close(pair[0]);
    close(pair[1]);
}

static void test_memfd_is_sealed(void **state)
{
    int fd = pv_fd_memfd_with("test", "abc", 3);
    assert_true(fd >= 0);
    char buf[4];
    assert_int_equal(pv_fd_read_full(fd, buf, 4), 3);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replace_is_atomic_and_leaves_nothing),
        cmocka_unit_test(test_descriptors_pass_and_surplus_is_closed),
        cmocka_unit_test(test_memfd_is_sealed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
