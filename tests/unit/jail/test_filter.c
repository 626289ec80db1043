/* SPDX-License-Identifier: Apache-2.0
 *
 * test_filter.c: what a list of system calls allows, asked of the kernel in children that have it
 * installed.
 */
#include "jail/filter.h"

#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs ask in a child under the filter, with exit_group allowed. Returns the wait status, whose
 * exit code is what ask returned. */
static int under(struct jail_filter *filter, int (*ask)(void *data), void *data)
{
    struct jail_filter_program *program = NULL;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(jail_filter_allow(filter, SYS_exit_group, "end", NULL), 0);
    if (jail_filter_build(filter, &program, &err) < 0)
        fail_msg("%s", err.text);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int rc = jail_filter_program_install(program, false);
        syscall(SYS_exit_group, rc < 0 ? 200 : ask(data));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    jail_filter_program_free(program);
    return status;
}

static int exit_of(struct jail_filter *filter, int (*ask)(void *data), void *data)
{
    int status = under(filter, ask, data);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static struct jail_filter *new_filter(enum jail_filter_default otherwise)
{
    struct jail_filter *filter = jail_filter_new(otherwise);
    assert_non_null(filter);
    return filter;
}

/* The errno of a call without arguments. */
static int ask_call(void *data)
{
    return syscall(*(int *)data, NULL, NULL, NULL) < 0 ? errno : 0;
}

static void test_unlisted_call_is_refused_with_eperm(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    assert_int_equal(jail_filter_allow(filter, SYS_getppid, "test", NULL), 0);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_getppid}), 0);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_getuid}), EPERM);
    assert_int_equal(exit_of(filter, ask_call, &(int){460}), EPERM); /* newer than libraries */
    jail_filter_free(filter);
}

static void test_refused_call_has_its_own_errno(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    assert_int_equal(jail_filter_refuse(filter, SYS_clone3, ENOSYS, "fall back", NULL), 0);
    assert_int_equal(jail_filter_refuse(filter, SYS_getuid, EPERM, "the default", NULL), 0);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_clone3}), ENOSYS);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_getuid}), EPERM);
    assert_int_equal(jail_filter_count(filter), 1); /* exit_group, each time anew */
    jail_filter_free(filter);
}

static void test_names_are_resolved(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(jail_filter_allow_name(filter, "getppid", "test", &err), 0);
    assert_int_equal(jail_filter_count(filter), 1);
    assert_int_equal(jail_filter_allow_name(filter, "socketcall", "elsewhere", &err), 0);
    assert_int_equal(jail_filter_count(filter), 1); /* no 64-bit architecture has it */
    /* A newer call than the library: nothing to allow, and nothing else gets allowed. */
    assert_int_equal(jail_filter_allow_name(filter, "frobnicate", "test", &err), 0);
    assert_int_equal(jail_filter_count(filter), 1);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_getppid}), 0);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_getuid}), EPERM);
    jail_filter_free(filter);
}

static int ask_clone(void *data)
{
    long pid = syscall(SYS_clone, *(unsigned long *)data | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        syscall(SYS_exit_group, 0);
    return pid < 0 ? errno : 0;
}

static void test_clone_makes_children_and_no_namespaces(void **state)
{
    static const unsigned long refused[] = {CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
                                            CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
                                            CLONE_NEWNET, CLONE_PARENT,    CLONE_PTRACE};
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    assert_int_equal(jail_filter_allow_clone(filter, "test", NULL), 0);
    assert_int_equal(exit_of(filter, ask_clone, &(unsigned long){0}), 0);
    assert_int_equal(exit_of(filter, ask_clone, &(unsigned long){CLONE_VFORK}), 0);
    for (size_t i = 0; i < PV_ARRAY_SIZE(refused); i++) {
        unsigned long flags = refused[i] | (i % 2 ? CLONE_VFORK : 0);
        assert_int_equal(exit_of(filter, ask_clone, &flags), EPERM);
    }
    jail_filter_free(filter);
}

struct write_to {
    long fd;
};

static int ask_write(void *data)
{
    return syscall(SYS_write, ((struct write_to *)data)->fd, "x", 1) == 1 ? 0 : errno;
}

static void test_descriptor_is_pinned(void **state)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int other = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    assert_int_equal(jail_filter_allow_fd(filter, SYS_write, fd, "test", NULL), 0);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){fd}), 0);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){other}), EPERM);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){-1}), EPERM);
    /* The kernel looks at the lower half only, and so does the rule. */
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){fd | (1L << 32)}), 0);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){other | (1L << 32)}), EPERM);
    /* A second device allows its own. */
    assert_int_equal(jail_filter_allow_fd(filter, SYS_write, other, "test", NULL), 0);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){fd}), 0);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){other}), 0);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){2}), EPERM);
    /* And a third everything. */
    assert_int_equal(jail_filter_allow(filter, SYS_write, "test", NULL), 0);
    assert_int_equal(exit_of(filter, ask_write, &(struct write_to){2}), 0);
    jail_filter_free(filter);
    close(fd);
    close(other);
}

static int ask_umask(void *data)
{
    return syscall(SYS_umask, *(uint64_t *)data) < 0 ? errno : 0;
}

static void test_comparisons_hold_at_their_boundaries(void **state)
{
    static const uint64_t big = 1ULL << 40; /* both halves matter */
    static const struct {
        enum jail_filter_op op;
        uint64_t value, mask, argument;
        bool allowed;
    } cases[] = {
        {JAIL_ARG_EQ, big, 0, big, true},
        {JAIL_ARG_EQ, big, 0, big + 1, false},
        {JAIL_ARG_EQ, big, 0, 0, false},
        {JAIL_ARG_EQ, 0, 0, 0, true},
        {JAIL_ARG_EQ, UINT64_MAX, 0, UINT64_MAX, true},
        {JAIL_ARG_NE, big, 0, big, false},
        {JAIL_ARG_NE, big, 0, big - 1, true},
        {JAIL_ARG_LT, big, 0, big - 1, true},
        {JAIL_ARG_LT, big, 0, big, false},
        {JAIL_ARG_LT, big, 0, UINT64_MAX, false},
        {JAIL_ARG_LE, big, 0, big, true},
        {JAIL_ARG_LE, big, 0, big + 1, false},
        {JAIL_ARG_LE, big, 0, 0, true},
        {JAIL_ARG_GE, big, 0, big, true},
        {JAIL_ARG_GE, big, 0, big - 1, false},
        {JAIL_ARG_GT, big, 0, big + 1, true},
        {JAIL_ARG_GT, big, 0, big, false},
        {JAIL_ARG_GT, big, 0, 0, false},
        {JAIL_ARG_MASKED_EQ, 0x10, 0x30, 0x10, true},
        {JAIL_ARG_MASKED_EQ, 0x10, 0x30, 0xfffffffffffffdf, true},
        {JAIL_ARG_MASKED_EQ, 0x10, 0x30, 0x30, false},
        {JAIL_ARG_MASKED_EQ, 0, 0x7e020000, 0x11, true},
        {JAIL_ARG_MASKED_EQ, 0, 0x7e020000, 0x10000011, false},
        {JAIL_ARG_MASKED_EQ, big, big | 1, big | 2, true},
        {JAIL_ARG_MASKED_EQ, big, big | 1, 2, false},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
        struct jail_filter_arg arg = {0, cases[i].op, cases[i].value, cases[i].mask};
        uint64_t argument = cases[i].argument;
        assert_int_equal(jail_filter_allow_args(filter, SYS_umask, &arg, 1, "test", NULL), 0);
        if (exit_of(filter, ask_umask, &argument) != (cases[i].allowed ? 0 : EPERM))
            fail_msg("case %zu: 0x%llx was %s", i, (unsigned long long)argument,
                     cases[i].allowed ? "refused" : "allowed");
        jail_filter_free(filter);
    }
}

static int ask_fcntl(void *data)
{
    const long *args = data;
    return syscall(SYS_fcntl, args[0], args[1], args[2]) < 0 ? errno : 0;
}

static void test_all_constraints_of_one_rule_must_hold(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    const struct jail_filter_arg get[] = {{0, JAIL_ARG_MASKED_EQ, 0, 0xffffffff},
                                          {1, JAIL_ARG_EQ, F_GETFD, 0}};
    const struct jail_filter_arg set[] = {{1, JAIL_ARG_EQ, F_SETFD, 0}, {2, JAIL_ARG_LE, 1, 0}};
    assert_int_equal(jail_filter_allow_args(filter, SYS_fcntl, get, 2, "test", NULL), 0);
    assert_int_equal(jail_filter_allow_args(filter, SYS_fcntl, set, 2, "test", NULL), 0);
    assert_int_equal(exit_of(filter, ask_fcntl, (long[]){0, F_GETFD, 0}), 0);
    assert_int_equal(exit_of(filter, ask_fcntl, (long[]){1, F_GETFD, 0}), EPERM);
    assert_int_equal(exit_of(filter, ask_fcntl, (long[]){0, F_GETFL, 0}), EPERM);
    assert_int_equal(exit_of(filter, ask_fcntl, (long[]){1, F_SETFD, 1}), 0);
    assert_int_equal(exit_of(filter, ask_fcntl, (long[]){1, F_SETFD, 2}), EPERM);
    jail_filter_free(filter);
}

static void test_bad_rules_are_refused(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    struct pv_error err = PV_ERROR_INIT;
    const struct jail_filter_arg good = {0, JAIL_ARG_EQ, 0, 0};
    const struct jail_filter_arg twice[] = {good, good};
    const struct jail_filter_arg far = {6, JAIL_ARG_EQ, 0, 0};
    const struct jail_filter_arg outside = {0, JAIL_ARG_MASKED_EQ, 4, 3};
    assert_int_equal(jail_filter_allow(filter, -1, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_allow(filter, SYS_read, "", &err), -EINVAL);
    assert_int_equal(jail_filter_allow(filter, SYS_read, NULL, &err), -EINVAL);
    assert_int_equal(jail_filter_allow_fd(filter, SYS_read, -1, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_allow_args(filter, SYS_read, &good, 0, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_allow_args(filter, SYS_read, &good, 7, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_allow_args(filter, SYS_read, twice, 2, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_allow_args(filter, SYS_read, &far, 1, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_allow_args(filter, SYS_read, &outside, 1, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_refuse(filter, SYS_read, 0, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_refuse(filter, SYS_read, 4096, "test", &err), -EINVAL);
    assert_int_equal(jail_filter_count(filter), 0);

    struct jail_filter_program *program = NULL;
    assert_int_equal(jail_filter_allow(filter, SYS_read, "test", &err), 0);
    assert_int_equal(jail_filter_refuse(filter, SYS_read, ENOSYS, "test", &err), 0);
    assert_int_equal(jail_filter_build(filter, &program, &err), -EINVAL);
    assert_null(program);
    jail_filter_free(filter);
    jail_filter_free(NULL);
    jail_filter_program_free(NULL);
}

static void test_list_tells_calls_constraints_and_reasons(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    const struct jail_filter_arg args[] = {{0, JAIL_ARG_MASKED_EQ, 0, 0x7e020000},
                                           {1, JAIL_ARG_GE, 16, 0}};
    struct pv_str text = {0};
    jail_filter_allow(filter, SYS_ppoll, "the loop", NULL);
    jail_filter_allow_fd(filter, SYS_readv, 5, "blk: read", NULL);
    jail_filter_allow_fd(filter, SYS_readv, 6, "net: read", NULL);
    jail_filter_allow_args(filter, SYS_clone, args, 2, "threads", NULL);
    jail_filter_refuse(filter, SYS_clone3, ENOSYS, "fall back", NULL);
    assert_int_equal(jail_filter_list(filter, &text), 0);
    assert_string_equal(text.text, "ppoll\tany\tthe loop\n"
                                   "readv\targ0 == 5\tblk: read\n"
                                   "readv\targ0 == 6\tnet: read\n"
                                   "clone\t(arg0 & 0x7e020000) == 0x0, arg1 >= 0x10\tthreads\n"
                                   "clone3\trefused: ENOSYS\tfall back\n");
    assert_int_equal(jail_filter_count(filter), 3);
    pv_str_done(&text);
    jail_filter_free(filter);
}

static void test_log_allows_what_is_not_listed(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_LOG);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_getuid}), 0);
    jail_filter_free(filter);
}

static void test_kill_ends_the_process(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_KILL);
    assert_int_equal(jail_filter_allow(filter, SYS_getppid, "test", NULL), 0);
    assert_int_equal(exit_of(filter, ask_call, &(int){SYS_getppid}), 0);
    int status = under(filter, ask_call, &(int){SYS_getuid});
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    jail_filter_free(filter);
}

static void test_many_rules_are_all_found(void **state)
{
    /* The binary search must find every one, and nothing between them. */
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    for (int nr = 0; nr < 330; nr += 2)
        if (nr != SYS_getpid && nr != SYS_getppid)
            assert_int_equal(jail_filter_allow(filter, nr, "test", NULL), 0);
    static const int harmless[] = {SYS_getuid, SYS_getgid,      SYS_geteuid,    SYS_getegid,
                                   SYS_gettid, SYS_sched_yield, SYS_munlockall, SYS_sync,
                                   SYS_getpid, SYS_getppid};
    for (size_t i = 0; i < PV_ARRAY_SIZE(harmless); i++) {
        int nr = harmless[i];
        bool listed = nr % 2 == 0 && nr < 330 && nr != SYS_getpid && nr != SYS_getppid;
        if (exit_of(filter, ask_call, &nr) != (listed ? 0 : EPERM))
            fail_msg("call %d", nr);
    }
    jail_filter_free(filter);
}

static void *wait_and_ask(void *data)
{
    int *word = data;
    __atomic_store_n(&word[0], 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&word[0], __ATOMIC_ACQUIRE) == 1)
        continue;
    word[1] = syscall(SYS_getuid) < 0 ? errno : 0;
    __atomic_store_n(&word[0], 3, __ATOMIC_RELEASE);
    for (;;)
        continue;
    return NULL;
}

static void test_all_threads_follow(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    struct jail_filter_program *program = NULL;
    jail_filter_allow(filter, SYS_exit_group, "end", NULL);
    assert_int_equal(jail_filter_build(filter, &program, NULL), 0);
    pid_t pid = fork();
    if (pid == 0) {
        static int word[2];
        pthread_t thread;
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (pthread_create(&thread, NULL, wait_and_ask, word) != 0)
            _exit(200);
        while (__atomic_load_n(&word[0], __ATOMIC_ACQUIRE) != 1)
            continue; /* its start makes calls of its own */
        if (jail_filter_program_install(program, true) < 0)
            _exit(201);
        __atomic_store_n(&word[0], 2, __ATOMIC_RELEASE);
        while (__atomic_load_n(&word[0], __ATOMIC_ACQUIRE) != 3)
            continue;
        syscall(SYS_exit_group, word[1]);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EPERM);
    jail_filter_program_free(program);
    jail_filter_free(filter);
}

#ifdef __x86_64__
static long foreign_getpid(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    return result;
}

static long foreign_x32(void)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(0x40000000 | SYS_getppid)
                     : "rcx", "r11", "memory");
    return result;
}

static int ask_foreign(void *data)
{
    return foreign_getpid() == -ENOSYS && foreign_x32() == -ENOSYS ? 0 : 1;
}

static int ask_i386(void *data)
{
    (void)foreign_getpid();
    return 0;
}

static int ask_x32(void *data)
{
    (void)foreign_x32();
    return 0;
}

static void test_foreign_calls_are_refused_without_a_kill(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    /* The same numbers are allowed in our own table. */
    jail_filter_allow(filter, SYS_getppid, "test", NULL);
    jail_filter_allow(filter, 20, "test", NULL);
    assert_int_equal(exit_of(filter, ask_foreign, NULL), 0);
    jail_filter_free(filter);
}

static void test_foreign_calls_kill_a_monitor(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_KILL);
    jail_filter_allow(filter, SYS_getppid, "test", NULL);
    jail_filter_allow(filter, 20, "test", NULL);
    int status = under(filter, ask_i386, NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    status = under(filter, ask_x32, NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    jail_filter_free(filter);
}

static volatile int traps;

static void on_trap(int signo)
{
    traps++;
}

/* A stub below our filter: its own traps every call but those it needs here. */
static int ask_stub(void *data)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {PV_ARRAY_SIZE(code), code};
    struct sigaction action = {.sa_handler = on_trap};
    if (sigaction(SIGSYS, &action, NULL) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return 201;
    syscall(SYS_getuid);  /* not in our list */
    syscall(SYS_getppid); /* in our list */
    (void)foreign_getpid();
    (void)foreign_x32();
    return traps;
}

static void test_stub_traps_what_we_refuse(void **state)
{
    struct jail_filter *filter = new_filter(JAIL_FILTER_REFUSE);
    jail_filter_allow(filter, SYS_getppid, "test", NULL);
    jail_filter_allow(filter, SYS_rt_sigaction, "test", NULL);
    jail_filter_allow(filter, SYS_rt_sigreturn, "test", NULL);
    jail_filter_allow(filter, SYS_seccomp, "test", NULL);
    assert_int_equal(exit_of(filter, ask_stub, NULL), 4);
    jail_filter_free(filter);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unlisted_call_is_refused_with_eperm),
        cmocka_unit_test(test_refused_call_has_its_own_errno),
        cmocka_unit_test(test_names_are_resolved),
        cmocka_unit_test(test_clone_makes_children_and_no_namespaces),
        cmocka_unit_test(test_descriptor_is_pinned),
        cmocka_unit_test(test_comparisons_hold_at_their_boundaries),
        cmocka_unit_test(test_all_constraints_of_one_rule_must_hold),
        cmocka_unit_test(test_bad_rules_are_refused),
        cmocka_unit_test(test_list_tells_calls_constraints_and_reasons),
        cmocka_unit_test(test_log_allows_what_is_not_listed),
        cmocka_unit_test(test_kill_ends_the_process),
        cmocka_unit_test(test_many_rules_are_all_found),
        cmocka_unit_test(test_all_threads_follow),
#ifdef __x86_64__
        cmocka_unit_test(test_foreign_calls_are_refused_without_a_kill),
        cmocka_unit_test(test_foreign_calls_kill_a_monitor),
        cmocka_unit_test(test_stub_traps_what_we_refuse),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
