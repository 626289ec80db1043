/* SPDX-License-Identifier: Apache-2.0
 *
 * test_pack.c: real packing with mksquashfs, as root and as a plain user, and writable layers.
 */
#include "support/unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/cache.h"
#include "image/layer.h"
#include "image/program.h"
#include "image/store.h"
#include "support/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLAIN_USER 61234 /* of nobody's, so that nothing else is theirs */

struct fixture {
    char top[64]; /* tree/ and cache/ are in it */
    char tree[80], cache[80];
    struct pv_error err;
    struct image_ref ref;
};

static int set_up(void **state)
{
    pv_auto_free char *program = NULL;
    struct fixture *f = calloc(1, sizeof(*f));
    if (image_program_find("mksquashfs", "squashfs-tools", &program, NULL) < 0) {
        free(f);
        return -1;
    }
    support_tree_make(f->top, sizeof(f->top));
    snprintf(f->tree, sizeof(f->tree), "%s/tree", f->top);
    snprintf(f->cache, sizeof(f->cache), "%s/cache", f->top);
    mkdir(f->tree, 0755);
    mkdir(f->cache, 0755);
    support_tree_write(f->tree, "bin/tool", "content", 04755);
    support_tree_write(f->tree, "etc/shadow", "secret", 0600);
    support_tree_shell(f->tree, "ln -s tool bin/link && mkdir -m 1777 tmp && mkfifo fifo");
    setenv("PARAVANE_CACHE", f->cache, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    image_store_ref_done(&f->ref);
    support_tree_remove(f->top);
    unsetenv("PARAVANE_CACHE");
    free(f);
    return 0;
}

static void resolve(struct fixture *f)
{
    image_store_ref_done(&f->ref);
    f->err = (struct pv_error)PV_ERROR_INIT;
    if (image_store_resolve(f->tree, NULL, &f->ref, &f->err) < 0)
        fail_msg("%s", f->err.text);
    assert_string_equal(f->ref.type, "squashfs");
}

/* Lines "mode owner name" of the packed image. */
static char *list(const struct fixture *f)
{
    pv_auto_free char *command =
        pv_strf("unsquashfs -lln '%s' | sed 's/squashfs-root//' | awk '/^[-dlpcbs]/ "
                "{print $1, $2, $6}'",
                f->ref.path);
    return support_tree_read_shell(f->top, command);
}

static bool has_line(const char *text, const char *line)
{
    if (strstr(text, line))
        return true;
    fprintf(stderr, "'%s' is not in:\n%s", line, text);
    return false;
}

static void expect_line(const char *text, const char *line)
{
    assert_true(has_line(text, line));
}

static char *list_cache(const struct fixture *f)
{
    return support_tree_read_shell(f->cache, "find . -type f | sort");
}

static void test_as_root(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip();
    support_tree_shell(f->tree, "chown 1234:5678 etc/shadow && mknod null c 1 3");
    resolve(f);
    pv_auto_free char *text = list(f);
    expect_line(text, "-rwsr-xr-x 0/0 /bin/tool");
    expect_line(text, "-rw------- 1234/5678 /etc/shadow");
    expect_line(text, "drwxrwxrwt 0/0 /tmp");
    expect_line(text, "lrwxrwxrwx 0/0 /bin/link");
    expect_line(text, "prw-r--r-- 0/0 /fifo");
    expect_line(text, "crw-r--r-- 0/0");
}

static void test_sockets_are_left_out(void **state)
{
    struct fixture *f = *state;
    support_tree_shell(f->tree,
                       "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('sock')\"");
    resolve(f);
    pv_auto_free char *text = list(f);
    assert_null(strstr(text, "sock"));
    expect_line(text, "/bin/tool");
}

static void test_cached_by_content(void **state)
{
    struct fixture *f = *state;
    struct stat before, after;
    resolve(f);
    assert_int_equal(stat(f->ref.path, &before), 0);
    assert_int_equal(before.st_mode & 0777, 0400);
    pv_auto_free char *first = strdup(f->ref.path);
    resolve(f);
    assert_string_equal(f->ref.path, first);
    assert_int_equal(stat(f->ref.path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);

    support_tree_write(f->tree, "bin/tool", "CONTENT", 0755);
    resolve(f);
    assert_string_not_equal(f->ref.path, first);
    pv_auto_free char *files = list_cache(f);
    assert_null(strstr(files, ".tmp"));
}

/* Runs work in a child that is a plain user. Returns its exit code. */
static int as_user(uid_t uid, int (*work)(struct fixture *f), struct fixture *f)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv("HOME", "/nonexistent", 1);
        unsetenv("XDG_CACHE_HOME");
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
            _exit(99);
        /* As for a program that the user has started: /proc/PID is the user's own. */
        prctl(PR_SET_DUMPABLE, 1);
        _exit(work(f));
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int say_error(const struct fixture *f)
{
    fprintf(stderr, "%s\n", f->err.text);
    return 1;
}

/* A tree of one's own is root's in the image, also what one cannot read as oneself (mode 0). */
static int pack_own(struct fixture *f)
{
    support_tree_shell(f->tree, "chmod 0 etc/shadow && chmod 4755 bin/tool");
    if (image_store_resolve(f->tree, NULL, &f->ref, &f->err) < 0)
        return say_error(f);
    pv_auto_free char *text = list(f);
    return !has_line(text, "-rwsr-xr-x 0/0 /bin/tool") ||
           !has_line(text, "---------- 0/0 /etc/shadow");
}

static void test_own_tree_of_a_user(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip();
    pv_auto_free char *command = pv_strf("chown -R %d:%d tree cache", PLAIN_USER, PLAIN_USER);
    support_tree_shell(f->top, command);
    assert_int_equal(as_user(PLAIN_USER, pack_own, f), 0);
}

static int pack_mixed(struct fixture *f)
{
    int rc = image_store_resolve(f->tree, NULL, &f->ref, &f->err);
    return rc == -EPERM && strstr(f->err.text, "etc/shadow") ? 0 : say_error(f);
}

static void test_stranger_in_own_tree_is_refused(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip();
    pv_auto_free char *command = pv_strf(
        "chown -R %d:%d tree cache && chown -h 4321 tree/etc/shadow", PLAIN_USER, PLAIN_USER);
    support_tree_shell(f->top, command);
    assert_int_equal(as_user(PLAIN_USER, pack_mixed, f), 0);
}

static int pack_roots(struct fixture *f)
{
    if (image_store_resolve(f->tree, NULL, &f->ref, &f->err) < 0)
        return say_error(f);
    pv_auto_free char *text = list(f);
    return !has_line(text, "-rw-r--r-- 1234/5678 /etc/shadow") ||
           !has_line(text, "-rwsr-xr-x 0/0 /bin/tool");
}

static int pack_unreadable(struct fixture *f)
{
    int rc = image_store_resolve(f->tree, NULL, &f->ref, &f->err);
    pv_auto_free char *files = list_cache(f);
    return rc < 0 && strstr(f->err.text, "etc/shadow") && !*files ? 0 : say_error(f);
}

/* root's tree, packed by a user: owners as they are; what cannot be read is an error. */
static void test_roots_tree_for_a_user(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip();
    pv_auto_free char *command =
        pv_strf("chown 1234:5678 tree/etc/shadow && chown %d cache", PLAIN_USER);
    support_tree_shell(f->top, command);
    assert_int_equal(as_user(PLAIN_USER, pack_unreadable, f), 0);
    support_tree_shell(f->top, "chmod 0644 tree/etc/shadow");
    assert_int_equal(as_user(PLAIN_USER, pack_roots, f), 0);
}

static void test_two_at_once_pack_once(void **state)
{
    struct fixture *f = *state;
    pid_t pids[4];
    for (size_t i = 0; i < PV_ARRAY_SIZE(pids); i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(image_store_resolve(f->tree, NULL, &f->ref, NULL) < 0);
    }
    for (size_t i = 0; i < PV_ARRAY_SIZE(pids); i++) {
        int status;
        waitpid(pids[i], &status, 0);
        assert_int_equal(status, 0);
    }
    pv_auto_free char *files = list_cache(f);
    assert_ptr_equal(strchr(files, '\n'), strrchr(files, '\n')); /* one line */
}

static void test_killed_packing_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    support_tree_shell(f->tree, "head -c 60000000 /dev/urandom > big");
    pid_t pid = fork();
    if (pid == 0)
        _exit(image_store_resolve(f->tree, NULL, &f->ref, NULL) < 0);
    usleep(150000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    resolve(f); /* waits for the lock, so the killed one's packer is gone */
    pv_auto_free char *files = list_cache(f);
    assert_ptr_equal(strchr(files, '\n'), strrchr(files, '\n'));
    assert_null(strstr(files, ".tmp"));
}

static void expect_refusal(const char *text, int rc, const char *says)
{
    struct image_ref ref = {0};
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(image_store_resolve(text, NULL, &ref, &err), rc);
    if (!strstr(err.text, says))
        fail_msg("'%s' does not say '%s'", err.text, says);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/empty", f->top);
    mkdir(path, 0755);
    expect_refusal(path, -ENOENT, "empty");
    expect_refusal("/", -EINVAL, "root of the running host");
    expect_refusal("/no/such/image", -ENOENT, "'/no/such/image'");
    expect_refusal("/dev/null", -EINVAL, "neither a file nor a folder");
    snprintf(path, sizeof(path), "%s/etc/shadow", f->tree);
    expect_refusal(path, -EINVAL, "not an image");
    setenv("PARAVANE_CACHE", f->tree, 1);
    expect_refusal(f->tree, -ELOOP, "PARAVANE_CACHE");
    setenv("PARAVANE_CACHE", "relative", 1);
    expect_refusal(f->tree, -EINVAL, "absolute");
}

static void test_changing_tree_is_refused(void **state)
{
    struct fixture *f = *state;
    struct image_ref ref = {0};
    struct pv_error err = PV_ERROR_INIT;
    pid_t pid = fork();
    if (pid == 0)
        for (;;) {
            support_tree_write(f->tree, "busy", "x", 0644);
            usleep(1000);
        }
    int rc = image_store_resolve(f->tree, NULL, &ref, &err);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(rc, -EBUSY);
    /* Before it was packed, or only meanwhile: who writes may have to wait for a turn. */
    assert_non_null(strstr(err.text, "stop what writes there"));
}

static void check_ext4(const struct fixture *f, const char *name)
{
    pv_auto_free char *command = pv_strf("PATH=$PATH:/sbin:/usr/sbin e2fsck -fn %s 2>&1", name);
    support_tree_shell(f->top, command);
}

static void test_layer(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    pv_auto_fd int dirfd = open(f->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const uint64_t sizes[] = {16ull << 20, 64ull << 20, 100ull << 20, 10ull << 30};
    for (size_t i = 0; i < PV_ARRAY_SIZE(sizes); i++) {
        for (int journal = 0; journal < 2; journal++) {
            if (image_layer_create(sizes[i], journal, dirfd, "layer", &f->err) < 0)
                fail_msg("%s", f->err.text);
            assert_int_equal(fstatat(dirfd, "layer", &st, 0), 0);
            assert_int_equal(st.st_size, sizes[i]);
            assert_int_equal(st.st_mode & 0777, 0600);
            assert_true(st.st_blocks < 8192); /* 4 MiB of 10 GiB */
            check_ext4(f, "layer");
            unlinkat(dirfd, "layer", 0);
        }
    }
    assert_int_equal(image_layer_create(sizes[0], true, dirfd, "layer", NULL), 0);
    assert_int_equal(image_layer_create(sizes[0], true, dirfd, "layer", &f->err), -EEXIST);
}

static void test_missing_program(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    pv_auto_free char *path = NULL;
    assert_int_equal(image_program_find("no-such-program", "no-package", &path, &err), -ENOENT);
    assert_non_null(strstr(err.text, "install the package no-package"));
}

static void test_failing_program(void **state)
{
    struct pv_error err = PV_ERROR_INIT;
    static const char *const fails[] = {"/bin/sh", "-c", "echo one >&2; echo two >&2; exit 3",
                                        NULL};
    static const char *const full[] = {"/bin/sh", "-c", "echo No space left on device >&2; exit 1",
                                       NULL};
    static const char *const dies[] = {"/bin/sh", "-c", "kill -9 $$", NULL};
    assert_int_equal(image_program_run(fails, -1, &err), -EIO);
    assert_string_equal(err.text, "sh failed: two");
    assert_int_equal(image_program_run(full, -1, &err), -ENOSPC);
    assert_int_equal(image_program_run(dies, -1, &err), -EIO);
    assert_non_null(strstr(err.text, "signal 9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_as_root, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sockets_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cached_by_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_own_tree_of_a_user, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stranger_in_own_tree_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_roots_tree_for_a_user, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_at_once_pack_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_packing_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changing_tree_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_layer, set_up, tear_down),
        cmocka_unit_test(test_missing_program),
        cmocka_unit_test(test_failing_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
