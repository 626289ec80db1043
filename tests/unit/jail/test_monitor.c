/* SPDX-License-Identifier: Apache-2.0
 *
 * test_monitor.c: what a monitor may still and may no longer do in its jail. A child of the test
 * enters it and tries; as with the guest, what a missing wall would stop has to get through.
 */
#include "jail/monitor.h"

#include "monitor_attempts.h"
#include "situation.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

static const char *const monitor_walls[] = {
    JAIL_WALL_IPC,
    JAIL_WALL_UTS,
    JAIL_WALL_OWN_ROOT,
    JAIL_WALL_RLIMITS,
    JAIL_WALL_CAPABILITIES,
    JAIL_WALL_IDENTITY,
    JAIL_WALL_NO_NEW_PRIVS,
    JAIL_WALL_NO_DUMP,
    JAIL_WALL_LANDLOCK,
    JAIL_WALL_SECCOMP,
    NULL,
};

/* ---- Setting up ---- */

static int listen_on(int family, const void *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void make_socket(struct sockaddr_un *address, const char *dir, const char *name, int *ret_fd)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s", dir, name);
    *ret_fd = listen_on(AF_UNIX, address, sizeof(*address));
    assert_int_equal(chmod(address->sun_path, 0777), 0);
}

static void copy_program(const char *dir)
{
    char path[128], block[4096];
    ssize_t got;
    snprintf(path, sizeof(path), "%s/program", dir);
    pv_auto_fd int from = situation_open_prisoner();
    pv_auto_fd int to = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    assert_true(to >= 0);
    while ((got = read(from, block, sizeof(block))) > 0)
        assert_int_equal(write(to, block, (size_t)got), got);
    assert_int_equal(got, 0);
}

static void make_file(const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    pv_auto_fd int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "text", 4), 4);
    if (situation_is_root())
        assert_int_equal(chown(path, SITUATION_GUEST, SITUATION_GUEST), 0);
}

/* Folders for the binds, and in one of them a file beside another. */
static void make_shares(void)
{
    snprintf(t.share, sizeof(t.share), "%s/share", t.top);
    snprintf(t.files, sizeof(t.files), "%s/files", t.top);
    snprintf(t.file, sizeof(t.file), "%s/file", t.top);
    snprintf(t.sockets, sizeof(t.sockets), "%s/sockets", t.top);
    const char *const folders[] = {t.share, t.files, t.file, t.sockets};
    for (size_t i = 0; i < PV_ARRAY_SIZE(folders); i++) {
        assert_int_equal(mkdir(folders[i], 0700), 0);
        if (situation_is_root())
            assert_int_equal(chown(folders[i], SITUATION_GUEST, SITUATION_GUEST), 0);
    }
    copy_program(t.share);
    make_file(t.files, "one");
    make_file(t.file, "one");
    make_file(t.file, "two");
}

static int set_up(void **state)
{
    situation_make_dir(t.top);
    snprintf(t.run, sizeof(t.run), "%s/run", t.top);
    snprintf(t.state, sizeof(t.state), "%s/state", t.top);
    assert_int_equal(mkdir(t.run, 0700), 0);
    assert_int_equal(mkdir(t.state, 0700), 0);
    copy_program(t.state);
    make_shares();
    if (situation_is_root()) {
        assert_int_equal(chown(t.run, SITUATION_GUEST, SITUATION_GUEST), 0);
        assert_int_equal(chown(t.state, SITUATION_GUEST, SITUATION_GUEST), 0);
    }
    struct sockaddr_un agent;
    make_socket(&t.outside, t.top, "outside", &t.listeners[0]);
    make_socket(&agent, t.run, "agent", &t.listeners[1]);

    static int turn; /* a dying process of the last turn may still hold its name */
    t.abstract = (struct sockaddr_un){.sun_family = AF_UNIX};
    int len = snprintf(t.abstract.sun_path + 1, 60, "paravane-test-%d-%d", (int)getpid(), turn++);
    t.abstract_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) + (socklen_t)len;
    t.listeners[2] = listen_on(AF_UNIX, &t.abstract, t.abstract_len);

    t.tcp = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t tcp_len = sizeof(t.tcp);
    t.listeners[3] = listen_on(AF_INET, &t.tcp, sizeof(t.tcp));
    getsockname(t.listeners[3], (struct sockaddr *)&t.tcp, &tcp_len);

    t.report =
        mmap(NULL, sizeof(*t.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t.report != MAP_FAILED);
    memset(t.report->results, 0xff, sizeof(t.report->results));
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"run/agent",     "run/file",   "run",       "state/state",
                                        "state/program", "state",      "files/one", "files/file",
                                        "files",         "file/one",   "file/two",  "file",
                                        "share/program", "share/file", "share",     "sockets/mine",
                                        "sockets/file",  "sockets",    "outside",   ""};
    for (size_t i = 0; i < PV_ARRAY_SIZE(t.listeners); i++)
        close(t.listeners[i]);
    for (size_t i = 0; i < PV_ARRAY_SIZE(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", t.top, names[i]);
        remove(path);
    }
    munmap(t.report, sizeof(*t.report));
    return 0;
}

static struct jail_filter_program *make_filter(enum jail_filter_default otherwise)
{
    struct jail_filter *filter = jail_filter_new(otherwise);
    struct jail_filter_program *program = NULL;
    assert_int_equal(jail_filter_allow(filter, SYS_exit_group, "end", NULL), 0);
    assert_int_equal(jail_filter_build(filter, &program, NULL), 0);
    jail_filter_free(filter);
    return program;
}

static struct jail_monitor usual(const struct jail_filter_program *filter)
{
    return (struct jail_monitor){
        .run_dir = t.run,
        .state_dir = t.state,
        .state_dir_fd = t.state_fd,
        .uid = SITUATION_GUEST,
        .gid = SITUATION_GUEST,
        .max_files = 256,
        .filter = filter,
    };
}

static int open_path(const char *path)
{
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Fills binds and returns how many. */
static unsigned open_binds(struct jail_bind *binds)
{
    t.write_fd = open_path(t.share);
    t.read_fd = open_path(t.files);
    t.one_fd = open_path(t.file);
    t.sockets_fd = open_path(t.sockets);
    binds[0] = (struct jail_bind){"write", t.share, t.write_fd, NULL, JAIL_BIND_WRITE};
    binds[1] = (struct jail_bind){"read", t.files, t.read_fd, NULL, JAIL_BIND_READ};
    binds[2] = (struct jail_bind){"one", t.file, t.one_fd, "one", JAIL_BIND_WRITE};
    binds[3] = (struct jail_bind){"sockets", t.sockets, t.sockets_fd, NULL, JAIL_BIND_SOCKETS};
    return 4;
}

static void open_state(void)
{
    t.state_fd = open(t.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A process with the uid of the guest, once this returns. */
static void start_guest(void)
{
    int ready[2];
    char byte = 0;
    if (pipe(ready) < 0 || (t.guest = fork()) < 0)
        _exit(1);
    if (t.guest == 0) {
        if (situation_is_root())
            syscall(SYS_setresuid, SITUATION_GUEST, SITUATION_GUEST, SITUATION_GUEST);
        if (write(ready[1], &byte, 1) == 1)
            for (;;)
                pause();
    }
    if (read(ready[0], &byte, 1) != 1)
        _exit(1);
    close(ready[0]);
    close(ready[1]);
}

static void live(const struct jail_filter_program *filter, bool keep_network)
{
    struct report *r = t.report;
    start_guest();
    open_state();
    struct jail_monitor config = usual(filter);
    config.keep_network = keep_network;
    struct jail_bind binds[4];
    config.num_binds = open_binds(binds);
    config.binds = binds;
    r->rc = jail_monitor_enter(&config, &r->walls, &r->err);
    if (r->rc < 0)
        _exit(1);
    for (size_t i = 0; i < num_attempts; i++) {
        errno = 0;
        r->results[i] = attempts[i].attempt();
    }
    r->uid = geteuid();
    r->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    _exit(0);
}

/* ---- Tests ---- */

static void check(bool keep_network)
{
    int abi = situation_landlock_abi();
    bool net = !keep_network && !situation_lacks(JAIL_WALL_NET);
    unsigned by = ALWAYS | (situation_lacks(JAIL_WALL_OWN_ROOT) ? 0 : BY_ROOT) |
                  (net ? BY_NET : 0) | (abi >= 1 ? BY_LANDLOCK : 0) |
                  (abi >= 4 && !keep_network ? BY_LANDLOCK4 : 0) | (abi >= 6 ? BY_LANDLOCK6 : 0);
    for (size_t i = 0; i < num_attempts; i++) {
        int code = t.report->results[i];
        if (code < 0)
            fail_msg("'%s' was not tried", attempts[i].name);
        if ((attempts[i].by & by) && code == 0)
            fail_msg("'%s' got out", attempts[i].name);
        if (!(attempts[i].by & by) && code != 0)
            fail_msg("'%s' failed (%s) although nothing should stop it", attempts[i].name,
                     strerror(code));
    }
}

static void run(bool keep_network)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_LOG);
    pid_t pid = fork();
    if (pid == 0)
        live(filter, keep_network);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    jail_filter_program_free(filter);
    if (t.report->rc < 0)
        fail_msg("%s", t.report->err.text);
    /* Executing something would have replaced the child. */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check(keep_network);
    situation_check_walls(&t.report->walls, monitor_walls);
    assert_int_equal(t.report->dumpable, 0);
    assert_int_equal(t.report->uid, situation_is_root() ? SITUATION_GUEST : geteuid());
    bool user_ns = !situation_is_root() && !situation_lacks(JAIL_WALL_USER);
    assert_int_equal(jail_walls_stands(&t.report->walls, JAIL_WALL_USER), user_ns);
    assert_int_equal(jail_walls_stands(&t.report->walls, JAIL_WALL_NET),
                     !keep_network && !situation_lacks(JAIL_WALL_NET));
}

static void test_monitor_does_its_work_and_no_more(void **state)
{
    run(false);
}

static void test_network_can_be_kept(void **state)
{
    run(true);
}

static void keep_powers(const struct jail_filter_program *filter)
{
    struct report *r = t.report;
    struct stat st;
    open_state();
    struct jail_monitor config = usual(filter);
    struct jail_bind binds[4];
    config.num_binds = open_binds(binds);
    config.binds = binds;
    config.keep_capabilities = 1ull << CAP_CHOWN;
    r->rc = jail_monitor_enter(&config, &r->walls, &r->err);
    if (r->rc < 0)
        _exit(1);
    int rc = fchownat(t.write_fd, "program", 12, 34, 0);
    r->results[0] = rc < 0 ? errno : 0;
    r->results[1] = fstatat(t.write_fd, "program", &st, 0) == 0 && st.st_uid == 12;
    r->results[2] = try_setuid();
    r->results[3] = try_mount();
    _exit(0);
}

static void test_root_keeps_what_shared_folders_need(void **state)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_LOG);
    pid_t pid = fork();
    if (pid == 0)
        keep_powers(filter);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    jail_filter_program_free(filter);
    if (t.report->rc < 0)
        fail_msg("%s", t.report->err.text);
    bool root = situation_is_root();
    assert_int_equal(t.report->results[0] == 0, root); /* unmapped ids are EINVAL to a namespace */
    assert_int_equal(t.report->results[1], root);
    assert_int_not_equal(t.report->results[2], 0);
    assert_int_not_equal(t.report->results[3], 0);
    assert_int_equal(jail_walls_stands(&t.report->walls, JAIL_WALL_CAPABILITIES), !root);
}

static void test_unlisted_call_ends_the_monitor(void **state)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_KILL);
    pid_t pid = fork();
    if (pid == 0) {
        open_state();
        struct jail_monitor config = usual(filter);
        t.report->rc = jail_monitor_enter(&config, &t.report->walls, &t.report->err);
        syscall(SYS_getuid);
        syscall(SYS_exit_group, 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    jail_filter_program_free(filter);
    assert_int_equal(t.report->rc, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    assert_string_equal(jail_walls_find(&t.report->walls, JAIL_WALL_SECCOMP)->detail, "1 calls");
}

static void *wait_for_ever(void *data)
{
    for (;;)
        pause();
    return NULL;
}

/* Enters with something wrong and reports; 0: nothing wrong. */
enum wrong { A_THREAD, A_DIRECTORY, ANOTHER_STATE, A_RELATIVE_PATH, A_BIND_UPWARDS, ROOT_STAYS };

static void enter_wrongly(enum wrong wrong, const struct jail_filter_program *filter)
{
    open_state();
    struct jail_monitor config = usual(filter);
    const struct jail_bind bind = {"../up", t.share, t.state_fd, NULL, JAIL_BIND_READ};
    pthread_t thread;
    if (wrong == A_THREAD)
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    else if (wrong == A_DIRECTORY)
        (void)!open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    else if (wrong == ANOTHER_STATE)
        config.state_dir = t.run;
    else if (wrong == A_RELATIVE_PATH)
        config.run_dir = "run";
    else if (wrong == A_BIND_UPWARDS) {
        config.binds = &bind;
        config.num_binds = 1;
    } else
        config.uid = 0;
    t.report->rc = jail_monitor_enter(&config, &t.report->walls, &t.report->err);
    _exit(0);
}

static void test_our_bugs_are_refused(void **state)
{
    struct jail_filter_program *filter = make_filter(JAIL_FILTER_LOG);
    for (int wrong = A_THREAD; wrong <= (situation_is_root() ? ROOT_STAYS : A_BIND_UPWARDS);
         wrong++) {
        t.report->rc = 1;
        pid_t pid = fork();
        if (pid == 0)
            enter_wrongly((enum wrong)wrong, filter);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (t.report->rc != -EINVAL || !t.report->err.text[0])
            fail_msg("case %d: %d", wrong, t.report->rc);
    }
    jail_filter_program_free(filter);
}

int main(int argc, char **argv)
{
    situation_enter(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_monitor_does_its_work_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_network_can_be_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_root_keeps_what_shared_folders_need, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_unlisted_call_ends_the_monitor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_our_bugs_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
