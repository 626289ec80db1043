# SPDX-License-Identifier: Apache-2.0
"""A guest's clocks: read without a system call, and the same that a system call tells."""
import unittest

from harness import MachineTest, read_text

# The host's clocksources that its vDSO can read; with others a guest takes system calls.
IN_USER_MODE = ('tsc', 'kvm-clock', 'hyperv_clocksource_tsc_page')
CLOCKSOURCE = '/sys/devices/system/clocksource/clocksource0/current_clocksource'

HEAD = r'''
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define CHECK(x) do { if (!(x)) { printf("line %d: %s (errno %d)\n", __LINE__, #x, errno); \
                                  fflush(stdout); _exit(1); } } while (0)
static long long ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }
static long long quick(clockid_t c)
{
    struct timespec t;
    CHECK(clock_gettime(c, &t) == 0);
    return ns(t);
}
static long long slow(clockid_t c)
{
    struct timespec t;
    CHECK(syscall(SYS_clock_gettime, c, &t) == 0);
    return ns(t);
}
'''

# Reads all clocks in turn, without and with a system call: none ever goes back.
ORDER = r'''
static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
                                    CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                                    CLOCK_MONOTONIC_COARSE };
static void *order(void *unused)
{
    for (size_t c = 0; c < sizeof(clocks) / sizeof(clocks[0]); c++) {
        long long last = slow(clocks[c]);
        for (int i = 0; i < 3000; i++) {
            for (int j = 0; j < 20; j++) {
                long long now = quick(clocks[c]);
                CHECK(now >= last);
                last = now;
            }
            long long now = slow(clocks[c]);
            CHECK(now >= last);
            last = now;
        }
    }
    for (int i = 0; i < 2000; i++) {
        struct timeval tv, slow_tv;
        CHECK(gettimeofday(&tv, NULL) == 0);
        CHECK(syscall(SYS_gettimeofday, &slow_tv, NULL) == 0);
        CHECK(slow_tv.tv_sec * 1000000 + slow_tv.tv_usec >= tv.tv_sec * 1000000 + tv.tv_usec);
        long t = time(NULL);
        CHECK(syscall(SYS_time, NULL) >= t);
    }
    return NULL;
}
'''

SECCOMP = r'''
#include <linux/filter.h>
#include <linux/seccomp.h>
/* From here on a clock's system call is the end. */
static void forbid(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_time, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}
static void read_all(void)
{
    static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
                                        CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                                        CLOCK_MONOTONIC_COARSE };
    struct timeval tv;
    for (int i = 0; i < 1000; i++)
        for (size_t c = 0; c < sizeof(clocks) / sizeof(clocks[0]); c++)
            CHECK(quick(clocks[c]) > 0);
    CHECK(gettimeofday(&tv, NULL) == 0 && time(NULL) > 0);
}
'''


def needs_user_mode_clock(test):
    source = read_text(CLOCKSOURCE).strip()
    return unittest.skipUnless(source in IN_USER_MODE,
                               f'the host\'s clocksource {source or "?"} needs a system call')(test)


class Time(MachineTest):

    def setUp(self):
        super().setUp()
        self.start('/bin/sleep', '10000', flags=['-m', '384M', '--cpus', '2'])

    def run_c(self, source, *args, rc=0):
        self.exec('box', '/bin/sh', '-c', 'cat >/tmp/t.c && gcc -O1 -pthread -o /tmp/t /tmp/t.c',
                  flags=['-i'], stdin=(HEAD + source).encode(), rc=0)
        return self.exec('box', '/tmp/t', *args, rc=rc).text

    def test_no_clock_goes_back(self):
        """In one thread and in four at once, after fork and exec."""
        self.assertEqual(self.run_c(ORDER + r'''
            int main(int argc, char **argv)
            {
                order(NULL);
                if (argc > 1)
                    return 0;
                pthread_t threads[4];
                for (int i = 0; i < 4; i++)
                    CHECK(pthread_create(&threads[i], NULL, order, NULL) == 0);
                for (int i = 0; i < 4; i++)
                    CHECK(pthread_join(threads[i], NULL) == 0);
                pid_t child = fork();
                if (child == 0) {
                    order(NULL);
                    execl(argv[0], argv[0], "again", NULL);
                    _exit(3);
                }
                order(NULL);
                int status;
                CHECK(waitpid(child, &status, 0) == child && status == 0);
                puts("fine");
            }'''), 'fine\n')

    def test_threads_see_one_clock(self):
        """What one thread has read, another one never finds in the future."""
        self.assertEqual(self.run_c(r'''
            static _Atomic long long latest;
            static void *race(void *unused)
            {
                for (int i = 0; i < 300000; i++) {
                    long long seen = latest;
                    long long now = quick(CLOCK_MONOTONIC);
                    CHECK(now >= seen);
                    while (seen < now && !__atomic_compare_exchange_n((long long *)&latest, &seen,
                               now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                        ;
                }
                return NULL;
            }
            int main(void)
            {
                pid_t children[2];
                pthread_t threads[3];
                for (int i = 0; i < 3; i++)
                    CHECK(pthread_create(&threads[i], NULL, race, NULL) == 0);
                for (int i = 0; i < 3; i++)
                    CHECK(pthread_join(threads[i], NULL) == 0);
                puts("fine");
            }'''), 'fine\n')

    def test_processes_see_one_clock(self):
        """The same between processes, which have CPUs of their own."""
        self.assertEqual(self.run_c(r'''
            int main(void)
            {
                _Atomic long long *latest = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                CHECK(latest != MAP_FAILED);
                for (int p = 0; p < 3; p++) {
                    if (fork() == 0) {
                        for (int i = 0; i < 300000; i++) {
                            long long seen = *latest;
                            long long now = i % 10 ? quick(CLOCK_MONOTONIC) : slow(CLOCK_MONOTONIC);
                            CHECK(now >= seen);
                            while (seen < now &&
                                   !__atomic_compare_exchange_n((long long *)latest, &seen, now, 0,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                                ;
                            if (i % 100 == 0)
                                sched_yield();
                        }
                        _exit(0);
                    }
                }
                for (int p = 0; p < 3; p++) {
                    int status;
                    CHECK(wait(&status) > 0 && status == 0);
                }
                puts("fine");
            }'''), 'fine\n')

    def test_setting_the_clock(self):
        """Both ways of reading follow at once."""
        self.assertEqual(self.run_c(ORDER + r'''
            int main(void)
            {
                for (int i = 0; i < 50; i++) {
                    long long before = quick(CLOCK_REALTIME);
                    struct timespec t = { before / 1000000000 + (i % 2 ? -5000 : 10000), 0 };
                    CHECK(clock_settime(CLOCK_REALTIME, &t) == 0);
                    long long start = ns(t), mono = quick(CLOCK_MONOTONIC);
                    long long a = quick(CLOCK_REALTIME), b = slow(CLOCK_REALTIME);
                    CHECK(a >= start && b >= a);
                    /* far less than what it was set by, whatever the host does */
                    CHECK(b - start < 1000000000000LL);
                    CHECK(quick(CLOCK_MONOTONIC) >= mono);
                    CHECK(time(NULL) >= t.tv_sec && time(NULL) <= t.tv_sec + 1000);
                }
                order(NULL);
                puts("fine");
            }'''), 'fine\n')

    def test_time_namespace(self):
        """Its offsets hold both ways, and the namespace outside is not touched."""
        self.assertEqual(self.run_c(ORDER + r'''
            int main(void)
            {
                long long outside = quick(CLOCK_MONOTONIC);
                CHECK(unshare(0x80 /* CLONE_NEWTIME */) == 0);
                int fd = open("/proc/self/timens_offsets", O_WRONLY);
                CHECK(fd >= 0 && write(fd, "monotonic 100000 0\nboottime 300000 0\n", 37) == 37);
                close(fd);
                pid_t child = fork();
                if (child == 0) {
                    long long a = quick(CLOCK_MONOTONIC), b = slow(CLOCK_MONOTONIC);
                    CHECK(a >= outside + 100000000000000LL && b >= a);
                    CHECK(b - outside < 200000000000000LL);
                    a = quick(CLOCK_BOOTTIME), b = slow(CLOCK_BOOTTIME);
                    CHECK(a >= outside + 300000000000000LL && b >= a);
                    order(NULL);
                    _exit(0);
                }
                int status;
                CHECK(waitpid(child, &status, 0) == child && status == 0);
                CHECK(quick(CLOCK_MONOTONIC) < outside + 90000000000000LL);
                puts("fine");
            }'''), 'fine\n')

    @needs_user_mode_clock
    def test_no_system_call(self):
        """A program whose system calls for clocks are deadly reads them all."""
        self.assertEqual(self.run_c(SECCOMP + r'''
            static void *thread(void *unused)
            {
                read_all();
                return NULL;
            }
            int main(int argc, char **argv)
            {
                if (argc > 1) {
                    read_all();
                    return 0;
                }
                forbid();
                read_all();
                pthread_t other;
                CHECK(pthread_create(&other, NULL, thread, NULL) == 0);
                CHECK(pthread_join(other, NULL) == 0);
                pid_t child = fork();
                if (child == 0) {
                    read_all();
                    execl(argv[0], argv[0], "again", NULL);
                    _exit(3);
                }
                int status;
                CHECK(waitpid(child, &status, 0) == child && status == 0);
                puts("fine");
            }'''), 'fine\n')

    @needs_user_mode_clock
    def test_no_system_call_without_a_stack_limit(self):
        """The host places things differently then, unless somebody sets a limit."""
        source = HEAD + SECCOMP + 'int main(void) { forbid(); read_all(); puts("fine"); }'
        out = self.run_in('/bin/sh', '-c', 'cat >/tmp/t.c && gcc -O1 -o /tmp/t /tmp/t.c && /tmp/t',
                          flags=['-i'], argv0=['/bin/sh', '-c', 'ulimit -s unlimited; exec "$@"', 'sh'],
                          stdin=source.encode(), rc=0)
        self.assertEqual(out.text, 'fine\n')

    def test_the_number_of_the_cpu(self):
        """It follows when a thread moves."""
        self.assertEqual(self.run_c(r'''
            int main(void)
            {
                for (int i = 0; i < 500; i++) {
                    cpu_set_t set;
                    CPU_ZERO(&set);
                    CPU_SET(i % 2, &set);
                    CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
                    unsigned cpu = 9, node = 9;
                    CHECK(sched_getcpu() == i % 2);
                    CHECK(syscall(SYS_getcpu, &cpu, &node, NULL) == 0 && cpu == i % 2U);
                    if (i % 100 == 0) {
                        pid_t child = fork();
                        if (child == 0)
                            _exit(sched_getcpu() != i % 2);
                        int status;
                        CHECK(waitpid(child, &status, 0) == child && status == 0);
                    }
                }
                puts("fine");
            }'''), 'fine\n')

    def test_a_system_call_is_deadly_there(self):
        """The test above can fail."""
        self.assertIn('killed 31', self.run_c(SECCOMP + r'''
            int main(void)
            {
                pid_t child = fork();
                if (child == 0) {
                    forbid();
                    slow(CLOCK_MONOTONIC);
                    _exit(0);
                }
                int status;
                CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
                printf("killed %d\n", WTERMSIG(status));
            }'''))

    def test_when_the_hosts_vdso_calls_its_kernel(self):
        """The host's vDSO asks for a clock that it does not know, and a tracer turns the question
        into what it asks when the host's clocksource cannot be read in user mode: the answer is the
        host's clock, the same that the vDSO tells itself."""
        self.assertEqual(self.run_c(r'''
            typedef int (*gettime)(clockid_t, struct timespec *);
            int main(void)
            {
                unsigned long vvar = 0;
                char line[256];
                FILE *maps = fopen("/proc/self/maps", "r");
                while (fgets(line, sizeof(line), maps))
                    if (strstr(line, "[vvar]"))
                        vvar = strtoul(line, NULL, 16);
                CHECK(vvar);
                /* struct arch_vdso_time_data of the guest's kernel */
                gettime host = **(gettime **)vvar;
                if (!host) {
                    puts("fine");
                    return 0;
                }
                pid_t child = fork();
                if (child == 0) {
                    struct timespec a, b = {0}, c;
                    CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
                    CHECK(host(CLOCK_MONOTONIC, &a) == 0);
                    raise(SIGSTOP);
                    CHECK(host(CLOCK_PROCESS_CPUTIME_ID, &b) == 0);
                    CHECK(host(CLOCK_MONOTONIC, &c) == 0);
                    CHECK(ns(a) <= ns(b) && ns(b) <= ns(c));
                    _exit(0);
                }
                int status, turned = 0;
                CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
                CHECK(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD) == 0);
                for (;;) {
                    CHECK(ptrace(PTRACE_SYSCALL, child, 0, 0) == 0);
                    CHECK(waitpid(child, &status, 0) == child);
                    if (WIFEXITED(status))
                        break;
                    struct user_regs_struct regs;
                    CHECK(ptrace(PTRACE_GETREGS, child, 0, &regs) == 0);
                    if (!turned && regs.orig_rax == SYS_clock_gettime &&
                        regs.rdi == CLOCK_PROCESS_CPUTIME_ID) {
                        turned = 1;
                        regs.rdi = CLOCK_MONOTONIC;
                        CHECK(ptrace(PTRACE_SETREGS, child, 0, &regs) == 0);
                    }
                }
                CHECK(turned && WEXITSTATUS(status) == 0);
                puts("fine");
            }'''), 'fine\n')
