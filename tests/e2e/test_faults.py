# SPDX-License-Identifier: Apache-2.0
"""Page faults of a guest's programs: who writes in sequence has few, nobody gets more than that."""
from harness import MachineTest

HEAD = r'''
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#define CHECK(x) do { if (!(x)) { printf("line %d: %s (errno %d)\n", __LINE__, #x, errno); \
                                  fflush(stdout); _exit(1); } } while (0)
#define PAGE 4096UL
static unsigned char *map(unsigned long pages)
{
    unsigned char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}
static unsigned long resident(unsigned char *p, unsigned long pages)
{
    unsigned char *there = malloc(pages);
    unsigned long n = 0;
    CHECK(mincore(p, pages * PAGE, there) == 0);
    for (unsigned long i = 0; i < pages; i++)
        n += there[i] & 1;
    free(there);
    return n;
}
static long faults(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_minflt;
}
/* Writes to a page that must have been zero. */
static void touch(unsigned char *p, unsigned long page)
{
    for (unsigned long i = 0; i < PAGE; i += 512)
        CHECK(p[page * PAGE + i] == 0);
    p[page * PAGE + page % PAGE] = 1;
}
'''


class Faults(MachineTest):

    def setUp(self):
        super().setUp()
        self.start('/bin/sleep', '10000', flags=['-m', '384M', '--cpus', '2'])

    def run_c(self, source, rc=0):
        self.exec('box', '/bin/sh', '-c', 'cat >/tmp/t.c && gcc -O1 -pthread -o /tmp/t /tmp/t.c',
                  flags=['-i'], stdin=(HEAD + source).encode(), rc=0)
        return self.exec('box', '/tmp/t', rc=rc).text

    def test_in_sequence_there_are_few(self):
        """Also when some areas are filled at once, and no byte is wrong."""
        self.assertEqual(self.run_c(r'''
            int main(void)
            {
                const unsigned long n = 4096;
                unsigned char *p = map(n), *q = map(n), *r = map(n);
                long before = faults();
                for (unsigned long i = 0; i < n; i++)
                    p[i * PAGE + i % PAGE] = 1;
                CHECK(faults() - before < (long)n / 8);
                before = faults();
                for (unsigned long i = 0; i < n; i++)
                    q[i * PAGE] = r[i * PAGE] = 2;
                CHECK(faults() - before < (long)n / 4);
                for (unsigned long i = 0; i < n; i++)
                    for (unsigned long j = 0; j < PAGE; j++) {
                        CHECK(p[i * PAGE + j] == (j == i % PAGE));
                        CHECK(q[i * PAGE + j] == (j == 0 ? 2 : 0));
                    }
                CHECK(madvise(p, n * PAGE, MADV_DONTNEED) == 0 && resident(p, n) == 0);
                for (unsigned long i = 0; i < n; i++)
                    touch(p, i);
                puts("fine");
            }'''), 'fine\n')

    def test_at_random_nothing_is_wasted(self):
        self.assertEqual(self.run_c(r'''
            int main(void)
            {
                const unsigned long n = 16384;
                unsigned char *p = map(n);
                /* every second page, upwards and downwards */
                for (unsigned long i = 0; i < n / 2; i += 2)
                    p[i * PAGE] = 1;
                for (unsigned long i = n - 1; i > n / 2; i -= 2)
                    p[i * PAGE] = 1;
                CHECK(resident(p, n) == n / 2);
                /* any order: a step to the next page is rare, and costs one page */
                unsigned char *q = map(n);
                unsigned long seed = 1, done = 0;
                while (done < n / 4) {
                    seed = seed * 6364136223846793005UL + 1442695040888963407UL;
                    unsigned long page = (seed >> 33) % n;
                    if (q[page * PAGE] == 0) {
                        q[page * PAGE] = 1;
                        done++;
                    }
                }
                printf("%lu %lu\n", resident(q, n), done);
                CHECK(resident(q, n) <= done + done / 50);
                puts("fine");
            }''').splitlines()[-1], 'fine')

    def test_waste_is_less_than_what_was_used(self):
        """Whoever stops anywhere in a sequence."""
        self.assertEqual(self.run_c(r'''
            int main(void)
            {
                for (unsigned long used = 1; used < 70; used++) {
                    unsigned char *p = map(512) + 4 * PAGE * (used % 7);
                    for (unsigned long i = 0; i < used; i++)
                        touch(p, i);
                    unsigned long n = resident(p, 256);
                    CHECK(n >= used && n < 2 * used + 1 && n < used + 16);
                }
                puts("fine");
            }'''), 'fine\n')

    def test_a_sequence_goes_on_where_there_are_no_page_tables(self):
        """Over 2 MiB, a GiB, and 512 GiB: each is a page table of another level."""
        self.assertEqual(self.run_c(r"""
            int main(void)
            {
                for (int bits = 21; bits <= 39; bits += 9) {
                    unsigned long size = 1UL << bits;
                    unsigned char *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
                    CHECK(p != MAP_FAILED);
                    p = (unsigned char *)(((unsigned long)p + size) & ~(size - 1));
                    for (long i = -8; i < 8; i++)
                        p[i * (long)PAGE] = i + 9;
                    for (long i = -8; i < 8; i++)
                        CHECK(p[i * (long)PAGE] == i + 9);
                }
                puts("fine");
            }"""), 'fine\n')

    def test_who_says_random_is_believed(self):
        """MADV_RANDOM, and memory that is locked when it is touched."""
        self.assertEqual(self.run_c(r'''
            int main(void)
            {
                const unsigned long n = 256;
                unsigned char *p = map(n), *q = map(n);
                CHECK(madvise(p, n * PAGE, MADV_RANDOM) == 0);
                CHECK(mlock2(q, n * PAGE, MLOCK_ONFAULT) == 0);
                for (unsigned long i = 0; i < n / 2; i++) {
                    touch(p, i);
                    CHECK(resident(p, n) == i + 1);
                    q[i * PAGE] = 1;
                    CHECK(resident(q, n) == i + 1);
                }
                puts("fine");
            }'''), 'fine\n')

    def test_guard_pages_hold(self):
        self.assertEqual(self.run_c(r'''
            static sigjmp_buf back;
            static void caught(int sig) { siglongjmp(back, 1); }
            int main(void)
            {
                unsigned char *p = map(256);
                if (madvise(p + 40 * PAGE, PAGE, 102 /* MADV_GUARD_INSTALL */) != 0)
                    CHECK(mprotect(p + 40 * PAGE, PAGE, PROT_NONE) == 0);
                CHECK(signal(SIGSEGV, caught) != SIG_ERR);
                volatile unsigned long i = 0;
                if (sigsetjmp(back, 1) == 0)
                    for (; i < 256; i++)
                        p[i * PAGE] = 1;
                CHECK(i == 40);
                for (i = 41; i < 256; i++)
                    p[i * PAGE] = 1;
                if (sigsetjmp(back, 1) == 0) {
                    p[40 * PAGE] = 1;
                    CHECK(0);
                }
                puts("fine");
            }'''), 'fine\n')

    def test_userfaultfd_hears_of_each_page(self):
        self.assertEqual(self.run_c(r'''
            static int fd;
            static volatile int heard;
            static void *listen_to_faults(void *unused)
            {
                struct uffd_msg msg;
                while (read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
                    struct uffdio_zeropage zero = {
                        .range = { msg.arg.pagefault.address & ~(PAGE - 1), PAGE } };
                    heard++;
                    CHECK(ioctl(fd, UFFDIO_ZEROPAGE, &zero) == 0);
                }
                return NULL;
            }
            int main(void)
            {
                const unsigned long n = 64;
                unsigned char *p = map(n);
                for (unsigned long i = 0; i < 8; i++)
                    p[i * PAGE] = 1;
                CHECK(madvise(p, n * PAGE, MADV_DONTNEED) == 0);
                fd = syscall(SYS_userfaultfd, O_CLOEXEC);
                CHECK(fd >= 0);
                struct uffdio_api api = { .api = UFFD_API };
                CHECK(ioctl(fd, UFFDIO_API, &api) == 0);
                struct uffdio_register reg = { .range = { (unsigned long)p, n * PAGE },
                                               .mode = UFFDIO_REGISTER_MODE_MISSING };
                CHECK(ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
                pthread_t thread;
                CHECK(pthread_create(&thread, NULL, listen_to_faults, NULL) == 0);
                for (unsigned long i = 0; i < n; i++)
                    touch(p, i);
                CHECK(heard == (int)n);
                puts("fine");
                fflush(stdout);
                _exit(0);
            }'''), 'fine\n')

    def test_poison_ends_the_program_and_not_the_machine(self):
        """UFFDIO_POISON needs no broken memory and no privilege; the headers may be too old for it."""
        self.assertEqual(self.run_c(r'''
            struct poison { struct uffdio_range range; unsigned long long mode; long long updated; };
            static sigjmp_buf back;
            static siginfo_t told;
            static void on_bus(int signal, siginfo_t *info, void *context)
            {
                (void)signal; (void)context;
                told = *info;
                siglongjmp(back, 1);
            }
            int main(void)
            {
                unsigned char *p = map(4);
                int fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
                CHECK(fd >= 0);
                struct uffdio_api api = { .api = UFFD_API, .features = 1 << 14 };
                CHECK(ioctl(fd, UFFDIO_API, &api) == 0);
                struct uffdio_register reg = { .range = { (unsigned long)p, 4 * PAGE },
                                               .mode = UFFDIO_REGISTER_MODE_MISSING };
                CHECK(ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
                struct poison poison = { .range = { (unsigned long)p + PAGE, PAGE } };
                CHECK(ioctl(fd, _IOWR(UFFDIO, 8, struct poison), &poison) == 0);
                CHECK(poison.updated == (long long)PAGE);
                struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
                CHECK(sigaction(SIGBUS, &action, NULL) == 0);
                if (sigsetjmp(back, 1) == 0) {
                    p[PAGE + 5] = 1;
                    CHECK(0);
                }
                CHECK(told.si_signo == SIGBUS && told.si_code == 4 /* BUS_MCEERR_AR */);
                CHECK(((unsigned long)told.si_addr & ~(PAGE - 1)) == (unsigned long)p + PAGE);
                int pipes[2];
                CHECK(pipe(pipes) == 0);
                CHECK(write(pipes[1], p + PAGE, 1) == -1 && errno == EFAULT);
                puts("fine");
            }'''), 'fine\n')
        self.exec('box', '/bin/true', rc=0)

    def test_children_have_their_own(self):
        self.assertEqual(self.run_c(r'''
            int main(void)
            {
                const unsigned long n = 1024;
                unsigned char *p = map(n);
                for (unsigned long i = 0; i < n / 2; i++)
                    p[i * PAGE] = 1;
                pid_t child = fork();
                unsigned char own = child ? 2 : 3;
                for (unsigned long i = 0; i < n; i++) {
                    CHECK(p[i * PAGE] == (i < n / 2));
                    p[i * PAGE] = own;
                }
                for (unsigned long i = 0; i < n; i++)
                    CHECK(p[i * PAGE] == own);
                if (child == 0)
                    _exit(0);
                int status;
                CHECK(waitpid(child, &status, 0) == child && status == 0);
                puts("fine");
            }'''), 'fine\n')

    def test_threads_on_one_area(self):
        """Neighbours that are filled by several threads at once."""
        self.assertEqual(self.run_c(r'''
            enum { N = 1024, THREADS = 4 };
            static unsigned char *p;
            static void *fill(void *arg)
            {
                unsigned long self = (unsigned long)arg;
                for (unsigned long i = self * 8; i < N; i += 8 * THREADS)
                    for (unsigned long j = i; j < i + 8; j++) {
                        CHECK(p[j * PAGE] == 0);
                        p[j * PAGE] = self + 1;
                    }
                return NULL;
            }
            int main(void)
            {
                for (int round = 0; round < 3; round++) {
                    pthread_t threads[THREADS];
                    p = map(N);
                    for (unsigned long i = 0; i < THREADS; i++)
                        CHECK(pthread_create(&threads[i], NULL, fill, (void *)i) == 0);
                    for (int i = 0; i < THREADS; i++)
                        CHECK(pthread_join(threads[i], NULL) == 0);
                    for (unsigned long i = 0; i < N; i++)
                        CHECK(p[i * PAGE] == i / 8 % THREADS + 1);
                    CHECK(resident(p, N) == N);
                    CHECK(munmap(p, N * PAGE) == 0);
                }
                puts("fine");
            }'''), 'fine\n')

    def test_what_threads_race_for_is_given_back(self):
        """Several threads fill the same pages: who is late frees what he got, and its charge."""
        self.assertEqual(self.run_c(r"""
            enum { N = 2048, THREADS = 4 };
            static unsigned char *p;
            static void *fill(void *arg)
            {
                for (unsigned long i = 0; i < N; i++)
                    __atomic_fetch_add(&p[i * PAGE], 1, __ATOMIC_RELAXED);
                return arg;
            }
            static void join_group(void)
            {
                int fd = open("/sys/fs/cgroup/cgroup.subtree_control", O_WRONLY);
                CHECK(fd >= 0 && (write(fd, "+memory", 7) == 7 || errno == EBUSY) && close(fd) == 0);
                CHECK(mkdir("/sys/fs/cgroup/race", 0755) == 0);
                fd = open("/sys/fs/cgroup/race/cgroup.procs", O_WRONLY);
                CHECK(fd >= 0 && write(fd, "0", 1) == 1 && close(fd) == 0);
            }
            int main(void)
            {
                join_group();
                for (int round = 0; round < 40; round++) {
                    pthread_t threads[THREADS];
                    p = map(N);
                    for (int i = 0; i < THREADS; i++)
                        CHECK(pthread_create(&threads[i], NULL, fill, NULL) == 0);
                    for (int i = 0; i < THREADS; i++)
                        CHECK(pthread_join(threads[i], NULL) == 0);
                    for (unsigned long i = 0; i < N; i++)
                        CHECK(p[i * PAGE] == THREADS);
                    CHECK(munmap(p, N * PAGE) == 0);
                }
                puts("fine");
            }"""), 'fine\n')
        left = self.exec('box', '/bin/cat', '/sys/fs/cgroup/race/memory.current', rc=0).text
        self.assertLess(int(left), 1 << 20)

    def test_a_limit_is_not_exceeded(self):
        """A control group's limit, which a program reaches without being killed by pages that it did
        not ask for."""
        out = self.run_c(r'''
            static void put(const char *path, const char *text)
            {
                int fd = open(path, O_WRONLY);
                CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
                close(fd);
            }
            static long get(const char *path)
            {
                char text[64] = "";
                int fd = open(path, O_RDONLY);
                CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
                close(fd);
                return atol(text);
            }
            #define G "/sys/fs/cgroup/limit"
            int main(void)
            {
                int fd = open("/sys/fs/cgroup/cgroup.subtree_control", O_WRONLY);
                CHECK(fd >= 0);
                (void)!write(fd, "+memory", 7);
                CHECK(mkdir(G, 0755) == 0);
                put(G "/memory.max", "16777216");
                pid_t child = fork();
                if (child == 0) {
                    put(G "/cgroup.procs", "0");
                    unsigned char *p = map(8192);
                    unsigned long i = 0;
                    /* up to the last page that fits */
                    while (get(G "/memory.current") + 24 * (long)PAGE < 16777216)
                        p[i++ * PAGE] = 1;
                    while (get(G "/memory.current") + 12 * (long)PAGE < 16777216)
                        p[i++ * PAGE] = 1;
                    printf("%lu\n", i);
                    fflush(stdout);
                    _exit(i > 3000 ? 0 : 2);
                }
                int status;
                CHECK(waitpid(child, &status, 0) == child);
                CHECK(status == 0);
                CHECK(rmdir(G) == 0);
                puts("fine");
            }''')
        self.assertEqual(out.splitlines()[-1], 'fine')
