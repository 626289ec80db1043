/* SPDX-License-Identifier: Apache-2.0
 *
 * test_life.c: birth, life and death of instances with the fake monitor, and what other commands
 * find when any of the processes is killed.
 */
#include "support/unit.h"

#include "base/fd.h"
#include "instance/control.h"
#include "instance/create.h"
#include "instance/lock.h"
#include "instance/settle.h"
#include "instance/stop.h"
#include "support/place.h"
#include "support/tree.h"
#include "wire/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull

struct fixture {
    struct support_place place;
    struct instance_store store;
    struct instance instance;
    bool is_open;
    pid_t monitor;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    support_place_make(&f->place);
    assert_int_equal(instance_store_open(&f->store, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->is_open)
        instance_close(&f->instance);
    if (f->monitor > 0) {
        kill(f->monitor, SIGKILL);
        waitpid(f->monitor, NULL, 0);
    }
    instance_store_close(&f->store);
    support_place_remove(&f->place);
    free(f);
    return 0;
}

static int create(struct fixture *f, const char *command, const char *name, bool remove,
                  struct instance *ret_instance, int *ret_lock_fd, struct pv_error *err)
{
    struct workload_spec spec;
    pv_auto(pv_strv) struct pv_strv warnings = {0};
    workload_spec_init(&spec);
    pv_strv_add(&spec.args, "/bin/sh");
    pv_strv_add(&spec.args, "-c");
    pv_strv_add(&spec.args, command);
    spec.name = name ? strdup(name) : NULL;
    spec.remove = remove;
    spec.resources.disk_bytes = 16 << 20;
    struct instance_request request = {.spec = &spec,
                                       .image_name = "image",
                                       .image_path = f->place.image,
                                       .image_type = "squashfs"};
    int rc = instance_create_new(&f->store, &request, ret_instance, ret_lock_fd, &warnings, err);
    workload_spec_done(&spec);
    return rc;
}

static void start(struct fixture *f, const char *command, const char *name, bool remove)
{
    struct pv_error err = PV_ERROR_INIT;
    int lock_fd;
    if (create(f, command, name, remove, &f->instance, &lock_fd, &err) < 0 ||
        instance_create_start(&f->instance, lock_fd, -1, &f->monitor, &err) < 0)
        fail_msg("%s", err.text);
    f->is_open = true;
}

static void reload(struct fixture *f)
{
    struct pv_error err = PV_ERROR_INIT;
    if (instance_reload(&f->instance, &err) < 0)
        fail_msg("%s", err.text);
}

/* Until nothing of it lives: a child of a killed monitor takes a moment to die with it. */
static void reap(struct fixture *f)
{
    waitpid(f->monitor, NULL, 0);
    f->monitor = 0;
    assert_int_equal(instance_lock_wait(f->instance.dirfd, 2 * SECOND_NS), 0);
}

static size_t count_instances(struct fixture *f)
{
    pv_auto(pv_strv) struct pv_strv ids = {0};
    assert_int_equal(instance_store_list(&f->store, &ids, NULL), 0);
    return ids.count;
}

/* Everything in the place's root, without the folders that always stay. */
static char *leftovers(struct fixture *f)
{
    return support_tree_read_shell(f->place.top, "cd root && find . -mindepth 2 && find run names "
                                                 "-mindepth 1");
}

static void expect_nothing_left(struct fixture *f)
{
    pv_auto_free char *left = leftovers(f);
    assert_string_equal(left, "");
}

static void test_run_to_the_end(void **state)
{
    struct fixture *f = *state;
    start(f, "exit 3", "box", false);
    assert_int_equal(instance_stop_wait(&f->instance, 5 * SECOND_NS), 0);
    reap(f);
    assert_int_equal(instance_status(&f->instance), INSTANCE_EXITED);
    assert_int_equal(f->instance.state.exit_code, 3);
    assert_int_equal(instance_settle(&f->store, &f->instance, NULL), 0);
    assert_int_equal(count_instances(f), 1);
    assert_int_equal(access(f->instance.config.machine.run_dir, F_OK), -1);
    assert_int_equal(instance_settle_remove(&f->store, &f->instance, NULL), 0);
    expect_nothing_left(f);
}

static void test_description(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    start(f, "sleep 60", "box", false);
    const struct wire_machine *m = &f->instance.config.machine;
    assert_string_equal(m->name, "box");
    assert_string_equal(m->id, f->instance.id);
    assert_int_equal(m->num_disks, 2);
    assert_string_equal(m->disks[0].path, f->place.image);
    assert_true(m->disks[0].read_only);
    assert_false(m->disks[1].read_only);
    assert_int_equal(stat(m->disks[1].path, &st), 0);
    assert_int_equal(st.st_size, 16 << 20);
    assert_int_equal(m->host_cpus.count, 1);
    assert_int_equal(strlen(m->setup.hostname), INSTANCE_SHORT_ID_LEN);
    /* The monitor owns what it writes to, and nothing else. */
    assert_int_equal(fstatat(f->instance.dirfd, "machine", &st, 0), 0);
    assert_int_equal(st.st_uid, geteuid() == 0 ? m->uid : geteuid());
    assert_int_equal(fstatat(f->instance.dirfd, "config.json", &st, 0), 0);
    assert_int_equal(st.st_uid, geteuid());
    instance_stop_kill(&f->instance, NULL);
    reap(f);
}

static void test_two_of_one_name(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    struct instance other;
    int lock_fd;
    start(f, "sleep 60", "box", false);
    assert_int_equal(create(f, "true", "box", false, &other, &lock_fd, &err), -EEXIST);
    assert_non_null(strstr(err.text, "'box' is in use"));
    assert_int_equal(count_instances(f), 1); /* the second left nothing */
    instance_stop_kill(&f->instance, NULL);
    reap(f);
}

static void test_alive_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    start(f, "sleep 60", NULL, true);
    assert_true(instance_lock_is_held(f->instance.dirfd));
    instance_settle_all(&f->store);
    assert_int_equal(count_instances(f), 1);
    assert_int_equal(instance_settle_remove(&f->store, &f->instance, &err), -EBUSY);
    assert_int_equal(instance_stop_wait(&f->instance, 50000000), -ETIMEDOUT);
    assert_int_equal(instance_lock_hold(f->instance.dirfd, &err), -EBUSY);
    instance_stop_kill(&f->instance, NULL);
    reap(f);
    assert_int_equal(instance_status(&f->instance), INSTANCE_EXITED);
    assert_int_equal(f->instance.state.exit_code, 137);
    instance_settle_all(&f->store); /* --rm */
    expect_nothing_left(f);
}

static void test_killed_monitor(void **state)
{
    struct fixture *f = *state;
    start(f, "sleep 60", "box", false);
    kill(f->monitor, SIGKILL);
    reap(f);
    reload(f);
    assert_false(f->instance.alive);
    assert_int_equal(instance_status(&f->instance), INSTANCE_DEAD);
    instance_settle_all(&f->store);
    reload(f);
    assert_int_equal(instance_status(&f->instance), INSTANCE_EXITED);
    assert_int_equal(f->instance.state.exit_code, 137);
    assert_string_equal(f->instance.state.error, "monitor ended unexpectedly");
    assert_non_null(f->instance.state.started_at);
    assert_non_null(f->instance.state.finished_at);
    assert_int_equal(access(f->instance.config.machine.run_dir, F_OK), -1);
}

static void write_state(struct fixture *f, const char *text)
{
    assert_int_equal(
        pv_fd_replace_file(f->instance.machine_dirfd, "state.json", text, strlen(text), 0600, NULL),
        0);
}

/* A guest that outlives its monitor is killed by the next command, if it is the one: a process
 * that has the pid now but started at another time is not. */
static void test_orphaned_guest(void **state)
{
    struct fixture *f = *state;
    char text[512];
    start(f, "sleep 60", "box", false);
    kill(f->monitor, SIGKILL);
    reap(f);
    for (int reused = 1; reused >= 0; reused--) {
        pid_t guest = fork();
        if (guest == 0) {
            pause();
            _exit(0);
        }
        unsigned long long start_time = instance_process_start_time(guest) + (unsigned)reused;
        snprintf(text, sizeof(text),
                 "{\"status\":\"running\",\"guest\":{\"pid\":%d,\"start_time\":%llu}}", (int)guest,
                 start_time);
        write_state(f, text);
        unlinkat(f->instance.dirfd, INSTANCE_ENDED_FILE, 0);
        pid_t reaper = fork();
        if (reaper == 0) { /* so that the guest's death is not seen late because of us */
            instance_settle_all(&f->store);
            _exit(0);
        }
        waitpid(reaper, NULL, 0);
        int status = 0;
        if (reused) /* time to see it die, if it were to */
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        pid_t ended = waitpid(guest, &status, reused ? WNOHANG : 0);
        assert_int_equal(ended, reused ? 0 : guest);
        if (reused) {
            kill(guest, SIGKILL);
            waitpid(guest, NULL, 0);
        }
    }
}

static void test_process_names(void **state)
{
    struct instance_process self = {getpid(), instance_process_start_time(getpid())};
    assert_true(self.start_time > 0);
    int fd = instance_process_open(&self);
    assert_true(fd >= 0);
    close(fd);
    self.start_time++;
    assert_int_equal(instance_process_open(&self), -ESRCH);
    assert_int_equal(instance_process_open(&(struct instance_process){0}), -ESRCH);
    assert_int_equal(instance_process_open(&(struct instance_process){INT32_MAX, 1}), -ESRCH);
    /* A stranger's process is not killed, whatever a state file says. */
    struct instance_process init = {1, instance_process_start_time(1)};
    if (init.start_time)
        assert_int_equal(instance_process_kill(&init, 61236, 61237), -EPERM);
    assert_int_equal(instance_process_start_time(INT32_MAX), 0);
}

/* The creator is killed after each step; the next command removes what there is. */
static void test_half_made(void **state)
{
    struct fixture *f = *state;
    pid_t creator = fork();
    if (creator == 0) {
        struct instance instance;
        int lock_fd;
        create(f, "true", "box", false, &instance, &lock_fd, NULL);
        raise(SIGKILL); /* everything is there but the monitor */
    }
    waitpid(creator, NULL, 0);
    assert_int_equal(count_instances(f), 1);
    instance_settle_all(&f->store);
    expect_nothing_left(f);

    /* Only the folder; then the folder with a name. */
    static const char id[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_int_equal(mkdirat(f->store.instances_fd, id, 0700), 0);
    instance_settle_all(&f->store);
    expect_nothing_left(f);
    assert_int_equal(mkdirat(f->store.instances_fd, id, 0700), 0);
    assert_int_equal(instance_store_add_name(&f->store, "box", id, NULL), 0);
    instance_settle_all(&f->store);
    expect_nothing_left(f);

    /* A removal that was interrupted. */
    support_tree_shell(f->place.top, "mkdir -p root/instances/.gone-x/machine && "
                                     "touch root/instances/.gone-x/machine/log.jsonl");
    instance_settle_all(&f->store);
    expect_nothing_left(f);
}

static void test_being_made_is_left_alone(void **state)
{
    struct fixture *f = *state;
    int lock_fd;
    assert_int_equal(create(f, "true", "box", false, &f->instance, &lock_fd, NULL), 0);
    f->is_open = true;
    instance_settle_all(&f->store);
    assert_int_equal(count_instances(f), 1);
    reload(f);
    assert_int_equal(instance_status(&f->instance), INSTANCE_CREATED);
    close(lock_fd);
    instance_settle_all(&f->store);
    expect_nothing_left(f);
}

static void test_creators_and_sweepers(void **state)
{
    struct fixture *f = *state;
    pid_t pids[6];
    for (size_t i = 0; i < PV_ARRAY_SIZE(pids); i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        int failures = 0;
        for (int round = 0; round < 30; round++) {
            struct instance instance;
            int lock_fd;
            if (i % 2) {
                instance_settle_all(&f->store);
                continue;
            }
            if (create(f, "true", NULL, false, &instance, &lock_fd, NULL) < 0) {
                failures++;
                continue;
            }
            failures += faccessat(instance.dirfd, "config.json", F_OK, 0) != 0;
            close(lock_fd);
            instance_close(&instance);
        }
        _exit(failures);
    }
    for (size_t i = 0; i < PV_ARRAY_SIZE(pids); i++) {
        int status;
        waitpid(pids[i], &status, 0);
        assert_int_equal(status, 0);
    }
    instance_settle_all(&f->store);
    expect_nothing_left(f);
}

static void test_start_again(void **state)
{
    struct fixture *f = *state;
    int lock_fd;
    struct pv_error err = PV_ERROR_INIT;
    pv_auto_free char *command =
        pv_strf("until [ -e '%s/go' ]; do sleep 0.02; done; exit 4", f->place.top);
    start(f, command, "box", false);
    assert_int_equal(instance_create_revive(&f->instance, false, 0, 0, &lock_fd, &err), -EBUSY);
    support_tree_shell(f->place.top, "touch go");
    instance_stop_wait(&f->instance, 5 * SECOND_NS);
    reap(f);
    assert_int_equal(instance_settle(&f->store, &f->instance, NULL), 0);
    assert_int_equal(instance_create_revive(&f->instance, false, 0, 0, &lock_fd, &err), 0);
    /* A creator that dies here must not cost the instance. */
    close(lock_fd);
    instance_settle_all(&f->store);
    assert_int_equal(count_instances(f), 1);
    assert_int_equal(instance_create_revive(&f->instance, false, 0, 0, &lock_fd, &err), 0);
    assert_int_equal(instance_create_start(&f->instance, lock_fd, -1, &f->monitor, &err), 0);
    instance_stop_wait(&f->instance, 5 * SECOND_NS);
    reap(f);
    assert_int_equal(f->instance.state.exit_code, 4);
}

static void test_monitor_that_does_not_start(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *mode, *says;
        int rc;
    } rows[] = {{"refuse", "it is on fire", -EIO},
                {"die", "ended before the machine ran", -EPIPE},
                {"mute", "interrupted", -ECANCELED}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct pv_error err = PV_ERROR_INIT;
        struct instance instance;
        int lock_fd, cancel[2];
        setenv("FAKE_MONITOR", rows[i].mode, 1);
        assert_int_equal(pipe(cancel), 0);
        if (strcmp(rows[i].mode, "mute") == 0)
            assert_int_equal(write(cancel[1], "x", 1), 1);
        assert_int_equal(create(f, "true", "box", false, &instance, &lock_fd, &err), 0);
        assert_int_equal(instance_create_start(&instance, lock_fd, cancel[0], NULL, &err),
                         rows[i].rc);
        assert_non_null(strstr(err.text, rows[i].says));
        /* A child of a killed monitor may take a moment to die with it. */
        assert_int_equal(instance_lock_wait(instance.dirfd, SECOND_NS), 0);
        assert_int_equal(instance_settle_remove(&f->store, &instance, &err), 0);
        instance_close(&instance);
        expect_nothing_left(f);
        close(cancel[0]);
        close(cancel[1]);
    }
}

static void test_control(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    pv_auto(pv_json) struct pv_json *stats = NULL;
    uint64_t bytes = 0;
    start(f, "sleep 60", "box", false);
    assert_int_equal(
        instance_control_request(&f->instance, WIRE_CONTROL_STATS, NULL, SECOND_NS, &stats, &err),
        0);
    pv_json_get_u64(stats, "memory_bytes", 0, UINT64_MAX, &bytes, NULL);
    assert_int_equal(bytes, 512 << 20);
    assert_int_equal(instance_stop_signal(&f->instance, SIGTERM, &err), 0);
    assert_int_equal(instance_stop_wait(&f->instance, 5 * SECOND_NS), 0);
    reap(f);
    assert_int_equal(f->instance.state.exit_code, 143);
    assert_int_equal(
        instance_control_request(&f->instance, WIRE_CONTROL_STATS, NULL, SECOND_NS, NULL, &err),
        -ENOENT);
    assert_non_null(strstr(err.text, "box"));
}

static void wait_for_log(struct fixture *f, const char *text)
{
    for (int i = 0; i < 3000; i++) {
        pv_auto_free char *log = NULL;
        if (pv_fd_read_file(f->instance.machine_dirfd, "log.jsonl", 1 << 20, &log, NULL, NULL) ==
                0 &&
            strstr(log, text))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    fail_msg("'%s' is not in the log", text);
}

static void test_stubborn_command(void **state)
{
    struct fixture *f = *state;
    start(f, "trap '' TERM; echo ready; while :; do sleep 1; done", "box", false);
    wait_for_log(f, "ready");
    assert_int_equal(instance_stop_gently(&f->instance, 1, NULL), 0);
    reap(f);
    assert_int_equal(f->instance.state.exit_code, 137);
}

/* A monitor that does not answer is killed itself. */
static void test_stopped_monitor(void **state)
{
    struct fixture *f = *state;
    start(f, "sleep 60", "box", false);
    kill(f->monitor, SIGSTOP);
    assert_int_equal(instance_control_request(&f->instance, WIRE_CONTROL_STATS, NULL,
                                              SECOND_NS / 10, NULL, NULL),
                     -ETIMEDOUT);
    assert_int_equal(instance_stop_kill(&f->instance, NULL), 0);
    reap(f);
    instance_settle(&f->store, &f->instance, NULL);
    reload(f);
    assert_int_equal(f->instance.state.exit_code, 137);
}

static void test_damaged_files(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    static const char *const broken[] = {"",
                                         "{",
                                         "[]",
                                         "{\"status\":5}",
                                         "{\"status\":\"odd\"}",
                                         "{\"status\":\"exited\",\"exit_code\":\"x\"}"};
    start(f, "true", "box", false);
    instance_stop_wait(&f->instance, 5 * SECOND_NS);
    reap(f);
    for (size_t i = 0; i < PV_ARRAY_SIZE(broken); i++) {
        write_state(f, broken[i]);
        assert_true(instance_reload(&f->instance, &err) < 0);
        assert_int_equal(instance_status(&f->instance), INSTANCE_DAMAGED);
        assert_non_null(strstr(err.text, "state.json"));
        assert_non_null(strstr(err.text, "paravane rm -f"));
    }
    instance_settle_all(&f->store);
    assert_int_equal(count_instances(f), 1); /* for the user to decide */
    assert_int_equal(instance_settle_remove(&f->store, &f->instance, &err), 0);
    expect_nothing_left(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_run_to_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_description, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_of_one_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_alive_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_monitor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_orphaned_guest, set_up, tear_down),
        cmocka_unit_test(test_process_names),
        cmocka_unit_test_setup_teardown(test_half_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_being_made_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_creators_and_sweepers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_start_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_monitor_that_does_not_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_control, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stubborn_command, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopped_monitor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_files, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
