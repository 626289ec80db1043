/* SPDX-License-Identifier: Apache-2.0
 *
 * test_store.c: places, names, ids and files of instances.
 */
#include "support/unit.h"

#include "instance/file.h"
#include "instance/lock.h"
#include "instance/store.h"
#include "support/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_AB "aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

struct fixture {
    char top[64];
    struct instance_store store;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct pv_error err = PV_ERROR_INIT;
    support_tree_make(f->top, sizeof(f->top));
    setenv("PARAVANE_ROOT", f->top, 1);
    assert_int_equal(instance_store_open(&f->store, &err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    instance_store_close(&f->store);
    support_tree_remove(f->top);
    unsetenv("PARAVANE_ROOT");
    free(f);
    return 0;
}

static void make(struct fixture *f, const char *id)
{
    assert_int_equal(mkdirat(f->store.instances_fd, id, 0700), 0);
}

static void test_list(void **state)
{
    struct fixture *f = *state;
    pv_auto(pv_strv) struct pv_strv ids = {0};
    make(f, ID_C);
    make(f, ID_A);
    make(f, ".gone-" ID_AB);
    make(f, "something else");
    assert_int_equal(instance_store_list(&f->store, &ids, NULL), 0);
    assert_int_equal(ids.count, 2);
    assert_string_equal(ids.items[0], ID_A);
    assert_string_equal(ids.items[1], ID_C);
}

static void test_find(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    char id[INSTANCE_ID_LEN + 1];
    make(f, ID_A);
    make(f, ID_AB);
    make(f, ID_C);
    assert_int_equal(instance_store_add_name(&f->store, "web", ID_A, &err), 0);
    assert_int_equal(instance_store_add_name(&f->store, "ccc", ID_A, &err), 0);

    assert_int_equal(instance_store_find(&f->store, "web", id, &err), 0);
    assert_string_equal(id, ID_A);
    assert_int_equal(instance_store_find(&f->store, ID_AB, id, &err), 0);
    assert_string_equal(id, ID_AB);
    assert_int_equal(instance_store_find(&f->store, "cc", id, &err), 0);
    assert_string_equal(id, ID_C);
    assert_int_equal(instance_store_find(&f->store, "ccc", id, &err), 0); /* names go first */
    assert_string_equal(id, ID_A);
    assert_int_equal(instance_store_find(&f->store, "aaaa", id, &err), -ENOTUNIQ);
    assert_int_equal(instance_store_find(&f->store, "nobody", id, &err), -ENOENT);
    assert_non_null(strstr(err.text, "'nobody'"));
    assert_int_equal(instance_store_find(&f->store, "../x", id, &err), -EINVAL);
    assert_int_equal(instance_store_find(&f->store, "", id, &err), -EINVAL);
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    char id[INSTANCE_ID_LEN + 1];
    make(f, ID_A);
    make(f, ID_C);
    assert_int_equal(instance_store_add_name(&f->store, "web", ID_A, &err), 0);
    assert_int_equal(instance_store_add_name(&f->store, "web", ID_C, &err), -EEXIST);
    assert_non_null(strstr(err.text, "aaaaaaaaaaaa"));
    assert_non_null(strstr(err.text, "paravane rm web"));

    instance_store_remove_name(&f->store, "web", ID_C); /* not its own */
    assert_int_equal(instance_store_find(&f->store, "web", id, NULL), 0);
    /* A name whose instance is gone is free. */
    assert_int_equal(unlinkat(f->store.instances_fd, ID_A, AT_REMOVEDIR), 0);
    assert_int_equal(instance_store_add_name(&f->store, "web", ID_C, &err), 0);
    instance_store_add_name(&f->store, "other", ID_C, NULL);
    instance_store_remove_names_of(&f->store, ID_C);
    assert_int_equal(instance_store_find(&f->store, "web", id, NULL), -ENOENT);
    assert_int_equal(instance_store_find(&f->store, "other", id, NULL), -ENOENT);
}

/* Many processes want one name: one gets it. */
static void test_one_name_many_takers(void **state)
{
    struct fixture *f = *state;
    int winners = 0;
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        char id[INSTANCE_ID_LEN + 1];
        memset(id, 'a' + i % 6, sizeof(id));
        id[0] = (char)('0' + i);
        id[INSTANCE_ID_LEN] = '\0';
        make(f, id);
        pids[i] = fork();
        if (pids[i] == 0) {
            int lock = instance_lock_folder(f->store.instances_fd, true, NULL);
            _exit(lock >= 0 && instance_store_add_name(&f->store, "web", id, NULL) == 0 ? 7 : 0);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        winners += WEXITSTATUS(status) == 7;
    }
    assert_int_equal(winners, 1);
}

static void expect_place(const char *state, const char *run)
{
    struct instance_place place;
    struct pv_error err = PV_ERROR_INIT;
    if (instance_place_find(&place, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(place.state, state);
    assert_string_equal(place.run, run);
    instance_place_done(&place);
}

/* Where a plain user's instances are. Runs in a child, since it gives up root. */
static int check_places_of_user(const char *top)
{
    char state[128], run[160], fallback[64];
    unsetenv("PARAVANE_ROOT");
    snprintf(state, sizeof(state), "%s/xdg", top);
    snprintf(run, sizeof(run), "%s/runtime", top);
    setenv("XDG_STATE_HOME", state, 1);
    setenv("XDG_RUNTIME_DIR", run, 1);
    mkdir(run, 0700);
    snprintf(state, sizeof(state), "%s/xdg/paravane", top);
    snprintf(run, sizeof(run), "%s/runtime/paravane", top);
    expect_place(state, run);

    unsetenv("XDG_STATE_HOME");
    setenv("XDG_RUNTIME_DIR", "/", 1); /* another's */
    setenv("HOME", top, 1);
    snprintf(state, sizeof(state), "%s/.local/state/paravane", top);
    snprintf(run, sizeof(run), "%s/.local/state/paravane/run", top);
    expect_place(state, run);

    setenv("HOME", "/proc/nowhere", 1);
    unsetenv("XDG_RUNTIME_DIR");
    snprintf(fallback, sizeof(fallback), "/var/tmp/paravane-%u", (unsigned)geteuid());
    snprintf(run, sizeof(run), "%s/run", fallback);
    expect_place(fallback, run);
    rmdir(run);
    rmdir(fallback);

    /* Somebody else's link in the place of the folder is not followed. */
    if (symlink(top, fallback) == 0) {
        struct instance_place place;
        struct pv_error err = PV_ERROR_INIT;
        assert_int_equal(instance_place_find(&place, &err), -ENOTDIR);
        assert_non_null(strstr(err.text, "PARAVANE_ROOT"));
        unlink(fallback);
    }
    return 0;
}

static void test_places(void **state)
{
    struct fixture *f = *state;
    char run[128];
    snprintf(run, sizeof(run), "%s/run", f->top);
    expect_place(f->top, run);
    struct instance_place place;
    setenv("PARAVANE_ROOT", "relative", 1);
    assert_int_equal(instance_place_find(&place, NULL), -EINVAL);
    setenv("PARAVANE_ROOT", f->top, 1);

    if (geteuid() == 0)
        assert_int_equal(chown(f->top, 61235, 61235), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 &&
            (setresgid(61235, 61235, 61235) < 0 || setresuid(61235, 61235, 61235) < 0))
            _exit(1);
        _exit(check_places_of_user(f->top));
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static void test_foreign_folder_is_refused(void **state)
{
    struct fixture *f = *state;
    struct instance_place place;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(chmod(f->top, 0777), 0);
    assert_int_equal(instance_place_find(&place, &err), -EPERM);
    assert_int_equal(chmod(f->top, 0755), 0);
}

static void test_files_are_read_carefully(void **state)
{
    struct fixture *f = *state;
    pv_auto_free char *text = NULL;
    size_t len;
    int dirfd = f->store.instances_fd;
    support_tree_shell(f->top, "cd instances && echo -n hello > file && ln -s file link && "
                               "mkfifo fifo && mkdir folder && ln -s /etc/passwd away");
    assert_int_equal(instance_file_read(dirfd, "file", 5, &text, &len, NULL), 0);
    assert_string_equal(text, "hello");
    assert_int_equal(instance_file_read(dirfd, "file", 4, &text, &len, NULL), -EFBIG);
    assert_int_equal(instance_file_read(dirfd, "link", 99, &text, &len, NULL), -ELOOP);
    assert_int_equal(instance_file_read(dirfd, "fifo", 99, &text, &len, NULL), -EINVAL);
    assert_int_equal(instance_file_read(dirfd, "folder", 99, &text, &len, NULL), -EINVAL);
    assert_int_equal(instance_file_read(dirfd, "none", 99, &text, &len, NULL), -ENOENT);
}

static void test_trees_are_removed(void **state)
{
    struct fixture *f = *state;
    support_tree_shell(f->top, "mkdir -p a/b/c keep && echo x > a/b/file && ln -s ../keep a/link "
                               "&& echo y > keep/file");
    int fd = open(f->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(instance_file_remove_tree(fd, "a", NULL), 0);
    assert_int_equal(faccessat(fd, "a", F_OK, 0), -1);
    assert_int_equal(faccessat(fd, "keep/file", F_OK, 0), 0); /* links are not followed */
    assert_int_equal(instance_file_remove_tree(fd, "a", NULL), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_find, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_name_many_takers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_folder_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_are_read_carefully, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_trees_are_removed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
