# SPDX-License-Identifier: Apache-2.0
"""Threads of one guest process: they run at the same time, and their memory is one memory."""
import os
import signal
import unittest

from harness import MachineTest, descendants

# Each of two threads waits, without giving up its CPU, for the other to answer. When they take turns
# on one CPU, each answer needs a switch from one to the other.
PING_PONG = '''
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static atomic_long turn;
static long turns;

static void *player(void *me)
{
    for (long i = (long)me; i < turns; i += 2) {
        while (atomic_load(&turn) != i)
            ;
        atomic_store(&turn, i + 1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct rusage usage;
    pthread_t other;
    turns = atol(argv[1]);
    pthread_create(&other, NULL, player, (void *)1);
    player((void *)0);
    pthread_join(other, NULL);
    getrusage(RUSAGE_SELF, &usage);
    printf("%ld\\n", usage.ru_nvcsw + usage.ru_nivcsw);
    return 0;
}
'''

# Threads map, touch, protect, fork, remap and unmap, and look whether all is as they left it. There is
# no end with 0 rounds.
MEMORY = '''
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
static atomic_long wrong;
static long rounds;

static void expect(int good)
{
    if (!good)
        atomic_fetch_add(&wrong, 1);
}

/* first and last word of each of n pages */
static void expect_tags(const volatile unsigned long *p, unsigned n, unsigned long tag)
{
    for (unsigned i = 0; i < n; i++)
        expect(p[i * 512] == tag + i && p[i * 512 + 511] == ~(tag + i));
}

static void *churn(void *me)
{
    unsigned seed = (unsigned)(long)me * 77 + 1;
    for (long round = 0; !rounds || round < rounds; round++) {
        unsigned n = 1 + (unsigned)rand_r(&seed) % 64;
        unsigned long tag = ((unsigned long)me << 48) ^ (unsigned long)rand_r(&seed);
        unsigned long *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        expect(p != MAP_FAILED);
        for (unsigned i = 0; i < n; i++) {
            expect(p[i * 512] == 0 && p[i * 512 + 511] == 0);
            p[i * 512] = tag + i;
            p[i * 512 + 511] = ~(tag + i);
        }
        mprotect(p, n * PAGE, PROT_READ);
        if (rand_r(&seed) % 32 == 0) {
            int status = -1;
            pid_t child = fork();
            if (child == 0) {
                expect_tags(p, n, tag);
                _exit(wrong != 0);
            }
            waitpid(child, &status, 0);
            expect(status == 0);
        }
        expect_tags(p, n, tag);
        mprotect(p, n * PAGE, PROT_READ | PROT_WRITE);
        p[0] = 5;
        expect(mmap(p, n * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
        for (unsigned i = 0; i < n; i++)
            expect(p[i * 512] == 0);
        munmap(p, n * PAGE);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[8];
    long number = atol(argv[1]);
    rounds = atol(argv[2]);
    puts("begun");
    fflush(stdout);
    for (long i = 0; i < number; i++)
        pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    for (long i = 0; i < number; i++)
        pthread_join(threads[i], NULL);
    printf("%ld wrong\\n", (long)wrong);
    return 0;
}
'''

# Processes one after the other, each of which has six threads at once.
STARTS = '''
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *work(void *arg)
{
    for (int i = 0; i < 20; i++) {
        for (volatile int spun = 0; spun < 3000; spun++)
            ;
        getppid();
    }
    return arg;
}

int main(int argc, char **argv)
{
    int status, failed = 0;
    for (int number = atoi(argv[1]); number > 0; number--) {
        if (fork() == 0) {
            pthread_t threads[6];
            for (int i = 0; i < 6; i++)
                pthread_create(&threads[i], NULL, work, NULL);
            for (int i = 0; i < 6; i++)
                pthread_join(threads[i], NULL);
            _exit(0);
        }
        failed += wait(&status) < 0 || status != 0;
    }
    printf("%d failed\\n", failed);
    return 0;
}
'''


class Threads(MachineTest):
    def setUp(self):
        super().setUp()
        # Each vCPU is a thread of the host, also where one CPU has to run both.
        self.start('/bin/sleep', '10000', flags=['-m', '256M', '--cpus', '2'])

    def compile(self, source, program):
        self.exec('box', '/bin/sh', '-c', f'cat >/tmp/t.c && gcc -O1 -pthread -o {program} /tmp/t.c',
                  flags=['-i'], stdin=source.encode(), rc=0)

    def stubs(self):
        """The address spaces of guest programs: host processes below the guest's kernel."""
        return [p for p in descendants(os.getpid()) if p.comm == 'uml-userspace']

    @staticmethod
    def threads_of(process):
        try:
            return [int(tid) for tid in os.listdir(f'/proc/{process.pid}/task')]
        except OSError:
            return []

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, 'needs two CPUs')
    def test_two_threads_run_at_the_same_time(self):
        turns = 300000
        self.compile(PING_PONG, '/tmp/pingpong')
        switches = int(self.exec('box', '/tmp/pingpong', str(turns), rc=0).text)
        self.assertLess(switches, turns // 20)

    def test_memory_of_threads(self):
        self.compile(MEMORY, '/tmp/memory')
        for number in (1, 2, 3, 8):
            out = self.exec('box', '/tmp/memory', str(number), '150', rc=0).text
            self.assertEqual(out, 'begun\n0 wrong\n')

    def test_many_vcpus_wait_for_a_thread_that_starts(self):
        """More than one vCPU waits for the first thread on the host, and one of them gets it."""
        self.start('/bin/sleep', '10000', flags=['-m', '256M', '--cpus', '4'], name='wide')
        self.exec('wide', '/bin/sh', '-c', 'cat >/tmp/t.c && gcc -O1 -pthread -o /tmp/t /tmp/t.c',
                  flags=['-i'], stdin=STARTS.encode(), rc=0)
        self.assertEqual(self.exec('wide', '/tmp/t', '400', rc=0).text, '0 failed\n')

    def test_only_processes_with_threads_have_more_on_the_host(self):
        self.assertEqual([len(self.threads_of(p)) for p in self.stubs()],
                         [1] * len(self.stubs()))

    def test_a_killed_thread_of_the_host_ends_its_process_alone(self):
        self.compile(MEMORY, '/tmp/memory')
        for round_ in range(8):
            # Stubs are used again, so a number says nothing; nobody else has threads.
            process = self.popen('exec', 'box', '/tmp/memory', '3', '0')
            self.assertEqual(process.stdout.readline(), b'begun\n')
            threaded = self.wait_for('a process with threads', lambda: [
                tids for p in self.stubs() for tids in [self.threads_of(p)] if len(tids) > 1])
            os.kill(threaded[0][round_ % 2 - 1], signal.SIGKILL)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 128 + signal.SIGSEGV, f'round {round_}')
            self.assertEqual(self.exec('box', '/bin/echo', 'well', rc=0).text, 'well\n')
