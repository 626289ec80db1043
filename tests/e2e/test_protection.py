# SPDX-License-Identifier: Apache-2.0
"""What a guest program that attacks its own kernel gets, in both modes of --guest-protection."""
from harness import MachineTest

# Fills pages with words that are in no program's file, and waits.
VICTIM = '''
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    unsigned long *words = aligned_alloc(4096, 64 * 4096);
    for (int i = 0; i < 64 * 512; i++)
        words[i] = ~0x1f3a5c7e92b4d608UL;
    puts("ready");
    fflush(stdout);
    pause();
    return 0;
}
'''

# Jumps to every system call in the code of its stub, above all that is the guest's, to have it map the
# machine's memory file, which the stub has open as 3, a new process for each. What comes afterwards
# crashes for the registers that it finds, and is caught, if the kernel does not end the process.
ATTACKER = '''
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHERE 0x100000000000UL
static sigjmp_buf out;

static void caught(int sig)
{
    siglongjmp(out, 1);
}

static int readable(const volatile unsigned char *p)
{
    if (sigsetjmp(out, 1))
        return 0;
    return (void)*p, 1;
}

static void jump(unsigned long code, unsigned long len)
{
    struct itimerval soon = {.it_value = {.tv_usec = 300000}}, never = {0};
    setitimer(ITIMER_REAL, &soon, NULL);
    if (!sigsetjmp(out, 1)) {
        register long r10 __asm__("r10") = MAP_SHARED | MAP_FIXED;
        register long r8 __asm__("r8") = 3;
        register long r9 __asm__("r9") = 0;
        __asm__ volatile("mov $16, %%ebx; mov $16, %%r12d; mov $16, %%r13d; mov $16, %%r14d;"
                         "mov $16, %%r15d; mov $16, %%ebp; mov $64, %%esp; jmp *%%rcx"
                         :
                         : "a"(9L), "c"(code), "D"(WHERE), "S"(len), "d"(3L), "r"(r10), "r"(r8),
                           "r"(r9)
                         : "memory");
    }
    setitimer(ITIMER_REAL, &never, NULL);
}

static int search(const unsigned long *memory, unsigned long len)
{
    for (unsigned long at = 0; at < len / 8; at += 512) {
        int n = 0;
        if (sigsetjmp(out, 1))
            break;
        while (n < 512 && memory[at + n] == ~0x1f3a5c7e92b4d608UL)
            n++;
        if (n == 512)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long len = strtoul(argv[1], NULL, 0);
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_handler = caught, .sa_flags = SA_ONSTACK | SA_NODEFER};
    int signals[] = {SIGSEGV, SIGBUS, SIGTRAP, SIGILL, SIGALRM, SIGSYS}, calls = 0;
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaction(signals[i], &action, NULL);
    for (unsigned long page = 0x800000000000UL - 0x200000; page < 0x800000000000UL - 4096;
         page += 4096) {
        if (!readable((void *)page))
            continue;
        for (const unsigned char *p = (void *)page; p < (unsigned char *)page + 4095; p++) {
            if (p[0] != 0x0f || p[1] != 0x05)
                continue;
            calls++;
            pid_t child = fork();
            if (child == 0) {
                jump((unsigned long)p, len);
                _exit(!readable((void *)WHERE) ? 0 : search((void *)WHERE, len) ? 42 : 43);
            }
            int status = 0;
            waitpid(child, &status, 0);
            if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
                puts(WEXITSTATUS(status) == 42 ? "found" : "mapped");
                return 0;
            }
        }
    }
    printf("nothing by %s\\n", calls ? "any" : "none");
    return 0;
}
'''


class Protection(MachineTest):
    def start_with(self, *flags):
        self.start('/bin/sleep', '10000', flags=['-m', '128M', *flags])

    def compile(self, source, program):
        self.exec('box', '/bin/sh', '-c', f'cat >/tmp/t.c && gcc -O1 -o {program} /tmp/t.c',
                  flags=['-i'], stdin=source.encode(), rc=0)

    def attack(self):
        """What a program of nobody finds of the memory of root's program."""
        self.compile(VICTIM, '/usr/bin/victim')
        self.compile(ATTACKER, '/usr/bin/attacker')
        victim = self.popen('exec', 'box', '/usr/bin/victim')
        self.assertEqual(victim.stdout.readline(), b'ready\n')
        out = self.exec('box', '/usr/bin/attacker', str(128 << 20), flags=['-u', 'nobody'], rc=0)
        return out.text.strip()

    def test_a_program_that_attacks_reaches_all_of_a_fast_guest(self):
        self.start_with()
        self.assertEqual(self.attack(), 'found')

    def test_a_program_that_attacks_gets_nothing_in_a_strict_guest(self):
        self.start_with('--guest-protection', 'strict')
        self.assertEqual(self.attack(), 'nothing by any')
        self.assertEqual(self.exec('box', '/bin/echo', 'well', rc=0).text, 'well\n')

    def test_programs_of_a_strict_guest_are_traced(self):
        self.start_with('--guest-protection', 'strict')
        _, guest, stubs = self.machine('box')
        self.assertTrue(stubs)
        for stub in stubs:
            self.assertEqual(int(stub.status()['TracerPid']), guest.pid, stub)

    def test_a_strict_guest_runs_what_others_run(self):
        self.start_with('--guest-protection', 'strict')
        script = ('for i in 1 2 3 4 5; do (sleep 0.0$i; exit $i) & done; wait; '
                  'python3 -c "import threading; t = [threading.Thread(target=print, args=(i,)) '
                  'for i in range(3)]; [x.start() for x in t]; [x.join() for x in t]"; '
                  'kill -SEGV $$')
        done = self.exec('box', '/bin/sh', '-c', script, rc=128 + 11)
        self.assertEqual(sorted(done.text.split()), ['0', '1', '2'])

    def test_several_cpus_are_refused(self):
        for flags in (['--cpus', '2'], ['--cpus', '1.5'], ['--cpus-max', '2']):
            done = self.run_in('/bin/true', flags=['--guest-protection', 'strict', *flags],
                                    rc=125)
            self.assertIn('one virtual CPU', done.errors)

    def test_unknown_level(self):
        done = self.run_in('/bin/true', flags=['--guest-protection', 'loose'], rc=125)
        self.assertIn('fast or strict', done.errors)
