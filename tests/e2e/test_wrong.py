# SPDX-License-Identifier: Apache-2.0
"""When things are wrong: kernels that are none, guests that misbehave, resources that are not there."""
import json
import os
import resource
import shutil
import signal
import time
import unittest

from harness import ENOSYS, PARAVANE, ROOT, TIMEOUT, MachineTest, run_tool, signal_code

STOCK_UML = next((path for path in ('/usr/bin/linux.uml', '/usr/bin/linux')
                  if os.path.exists(path)), None)

# A static program without a C library that looks like a guest kernel, says some words on descriptor
# 2 and then does what MISCHIEF says.
END, SPIN, GARBAGE, CLOSE, REQUESTS = range(5)
FAKE_KERNEL = r'''
const char markers[] = "Linux version 7.0-fake physmem_fd uml_dir";
static long call(long n, long a, long b, long c)
{
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return r;
}
__attribute__((force_align_arg_pointer)) void _start(void)
{
    static const char text[] = "fake kernel: first words\n"
                               "Kernel panic - not syncing: the fake kernel gives up\n";
    call(1, 2, (long)text, sizeof(text) - 1);
#if MISCHIEF == GARBAGE
    /* to everything that it holds, its devices among them */
    static unsigned char garbage[65536];
    unsigned seed = 1;
    for (int round = 0; round < 20; round++) {
        for (unsigned i = 0; i < sizeof(garbage); i++)
            garbage[i] = (seed = seed * 1103515245 + 12345) >> 16;
        for (int fd = 3; fd < 16; fd++)
            call(1, fd, (long)garbage, round ? sizeof(garbage) >> round % 16 : sizeof(garbage));
    }
#elif MISCHIEF == CLOSE
    for (int fd = 3; fd < 64; fd++)
        call(3, fd, 0, 0);
#elif MISCHIEF == REQUESTS
    /* every vhost-user request, with a body of each small size, and no thought of order */
    static struct {
        unsigned request, flags, size;
        unsigned long long body[40];
    } message;
    for (unsigned i = 0; i < 40; i++)
        message.body[i] = 0xfffffffffffff000ull + i;
    for (unsigned request = 0; request < 48; request++)
        for (unsigned words = 0; words < 34; words += 11)
            for (int fd = 5; fd < 10; fd++) {
                message.request = request;
                message.flags = 9;
                message.size = words * 8;
                call(1, fd, (long)&message, 12 + words * 8);
            }
#endif
#if MISCHIEF != END
    for (;;)
        __asm__ volatile("pause");
#endif
    call(231, 1, (long)markers, 0);
    __builtin_unreachable();
}
'''


class Kernels(MachineTest):
    def refused(self, path, *words):
        result = self.run_in('/bin/true', flags=['--kernel', path], rc=125)
        for word in (path, *words):
            self.assertIn(word, result.errors)
        self.assertEqual(self.names(), [])

    def file(self, name, content, mode=0o755):
        path = os.path.join(self.work_dir, name)
        with open(path, 'wb') as f:
            f.write(content)
        os.chmod(path, mode)
        return path

    def fake(self, mischief):
        path = os.path.join(self.work_dir, f'fake-{mischief}')
        names = [f'-D{name}={globals()[name]}' for name in
                 ('END', 'SPIN', 'GARBAGE', 'CLOSE', 'REQUESTS')]
        run_tool('gcc', '-static', '-nostdlib', '-O1', '-fno-stack-protector', '-fno-pie',
                 '-no-pie', '-mno-sse', f'-DMISCHIEF={mischief}', *names, '-o', path,
                 self.file('fake.c', FAKE_KERNEL.encode()))
        return path

    def test_missing(self):
        self.refused('/no/such/kernel', 'No such file')

    def test_text_file(self):
        self.refused(self.file('text', b'#!/bin/sh\nexit 0\n'))

    def test_empty_file(self):
        self.refused(self.file('empty', b''), 'empty')

    def test_directory(self):
        self.refused(self.work_dir)

    def test_fifo(self):
        path = os.path.join(self.work_dir, 'kernel.fifo')
        os.mkfifo(path, 0o755)
        self.refused(path)

    def test_program_of_the_host(self):
        self.refused('/bin/true', 'Linux')

    def test_kernel_for_hardware(self):
        """The boot sector of a bzImage."""
        content = bytearray(4096)
        content[0x202:0x206] = b'HdrS'
        self.refused(self.file('bzImage', bytes(content)), 'guest kernel')

    def test_not_executable(self):
        self.refused(self.file('noexec', b'\x7fELF' + bytes(1000), 0o644))

    @unittest.skipUnless(STOCK_UML, "Debian's package user-mode-linux is not installed")
    def test_stock_user_mode_linux(self):
        self.refused(STOCK_UML, 'physmem_fd')

    def test_our_kernel_by_name(self):
        kernel = os.path.join(os.path.dirname(PARAVANE), 'guest', 'linux')
        self.run_in('/bin/true', flags=['--kernel', kernel], rc=0)
        copy = os.path.join(self.work_dir, 'copied-kernel')
        shutil.copy(kernel, copy)
        self.run_in('/bin/true', flags=['--kernel', copy], rc=0)

    def test_truncated_kernel(self):
        kernel = open(os.path.join(os.path.dirname(PARAVANE), 'guest', 'linux'), 'rb').read()
        path = self.file('cut', kernel[:len(kernel) // 2])
        result = self.run_in('/bin/true', flags=['--kernel', path], rc=125)
        self.assertTrue(result.errors.strip())

    def test_last_words(self):
        """A kernel that panics at boot: its last console lines are shown."""
        result = self.run_in('/bin/true', flags=['--kernel', self.fake(END)], rc=125)
        self.assertIn('did not boot', result.errors)
        self.assertIn('fake kernel: first words', result.errors)
        self.assertIn('the fake kernel gives up', result.errors)
        self.assertEqual(self.names(), [])

    def test_last_words_of_one_in_the_background(self):
        result = self.pv('run', '-d', '--name', 'box', '--kernel', self.fake(END), self.image, '--',
                         '/bin/true')
        self.addCleanup(self.remove, 'box')
        if result.rc == 0:
            self.assertEqual(self.pv('wait', 'box', rc=0).text, '125\n')
            self.assertIn('gives up', json.dumps(self.inspect('box')))
        else:
            self.assertEqual(result.rc, 125, result)
            self.assertIn('gives up', result.errors)

    def test_a_kernel_that_never_comes_up_can_be_ended(self):
        process = self.popen('run', '--rm', '--kernel', self.fake(SPIN), self.image, '--',
                             '/bin/true')
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        self.assertIn(signal_code(process.wait(TIMEOUT)), (125, 143))
        self.assert_all_end()

    def check_hostile(self, mischief):
        """The monitor goes on serving: it tells of the machine and ends it when asked to."""
        process = self.popen('run', '--rm', '--name', 'box', '--kernel', self.fake(mischief),
                             self.image, '--', '/bin/true')
        self.wait_for('the machine', lambda: 'box' in self.names() and
                      self.inspect('box').get('guest'))
        time.sleep(1)
        monitor, guest, _ = self.machine('box')
        self.assertFalse(monitor.ended or guest.ended)
        self.assertLess(int(monitor.status()['VmHWM'].split()[0]), 64 << 10, 'KiB of the monitor')
        self.pv('kill', 'box', rc=0)
        self.assertEqual(process.wait(TIMEOUT), 137)
        self.assert_all_end()

    def test_a_kernel_that_sends_garbage(self):
        self.check_hostile(GARBAGE)

    def test_a_kernel_that_closes_its_sockets(self):
        self.check_hostile(CLOSE)

    def test_a_kernel_that_sends_every_request(self):
        self.check_hostile(REQUESTS)

    def test_our_kernel_without_its_first_program(self):
        result = self.run_in('/bin/true', flags=['--kernel-args', 'rdinit=/nosuchinit'], rc=125)
        self.assertIn('did not boot', result.errors)
        self.assertIn('Kernel panic', result.errors)


class Guests(MachineTest):
    """What a guest does to itself costs that guest only."""

    def test_panic(self):
        result = self.run_in('/bin/sh', '-c', 'echo c >/proc/sysrq-trigger; sleep 10', rc=125)
        self.assertIn('ended unexpectedly', result.errors)
        self.assertIn('sysrq triggered crash', result.errors)

    def test_panic_in_the_background(self):
        self.start('/bin/sh', '-c', 'echo c >/proc/sysrq-trigger; sleep 10')
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '125\n')
        found = self.inspect('box')
        self.assertEqual(found['status'], 'failed')
        self.assertIn('sysrq triggered crash', found['error'])

    def test_spinning_on_all_cpus(self):
        script = 'for i in 1 2 3; do (while :; do :; done) & done; echo spins; while :; do :; done'
        self.start('/bin/sh', '-c', script, flags=['--cpus', '2'])
        self.wait_output('box', 'spins')
        self.assertIn('box', self.pv('ps', rc=0).text)
        self.exec('box', '/bin/true', rc=0)
        self.pv('kill', 'box', rc=0)
        self.assert_all_end()

    def test_powering_itself_off(self):
        """reboot(2) by root of the guest: a normal end."""
        power_off = 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc)'
        self.run_in('/usr/bin/perl', '-e', power_off, rc=0)

    def test_rebooting_itself(self):
        """There is no other side to come back on: the machine ends."""
        reboot = 'syscall(169, 0xfee1dead, 672274793, 0x01234567); sleep 20'
        result = self.run_in('/usr/bin/perl', '-e', reboot)
        self.assertIn(result.rc, (0, 125, 129), result)

    def test_killing_its_first_process(self):
        """The agent takes no signal of its guest that it has no handler for."""
        self.sh('kill -9 1; kill -SEGV 1; sleep 0.2; echo lives')

    def test_out_of_memory_is_reported(self):
        result = self.pv('run', '--name', 'box', '-m', '96M', self.image, '--', '/usr/bin/perl',
                         '-e', 'my @a; push @a, "x" x (1 << 20) while 1', rc=137)
        found = self.inspect('box')
        self.pv('rm', 'box', rc=0)
        self.assertIs(found['oom_killed'], True)
        self.assertIn('memory', result.errors.lower())

    def test_out_of_memory_of_an_exec(self):
        """The machine goes on."""
        self.start('/bin/sleep', '1000', flags=['-m', '96M'])
        self.exec('box', '/usr/bin/perl', '-e', 'my @a; push @a, "x" x (1 << 20) while 1', rc=137)
        self.exec('box', '/bin/true', rc=0)
        self.assertIs(self.inspect('box')['oom_killed'], True)

    def test_fork_bomb(self):
        self.start('/bin/sh', '-c', 'echo ready; f() { f | f & }; f; sleep 1000',
                   flags=['-m', '64M'])
        self.wait_output('box', 'ready')
        time.sleep(2)
        self.pv('ps', '-a', rc=0)
        if self.status('box') == 'running':
            self.pv('kill', 'box')
        self.pv('wait', 'box', rc=0)
        self.assert_all_end(20)

    def test_much_console_text(self):
        """The kernel's log is bounded on the host's disk."""
        self.start('/bin/sh', '-c', 'i=0; while [ $i -lt 1300 ]; do echo "<0>' + 'x' * 900 +
                   '" >/dev/kmsg; i=$((i+1)); done; echo through; sleep 1000')
        self.wait_output('box', 'through')
        sizes = {path: os.path.getsize(path) for path in
                 (os.path.join(folder, name) for folder, _, names in os.walk(self.root_dir)
                  for name in names) if 'console' in os.path.basename(path)}
        self.assertTrue(sizes)
        self.assertLess(max(sizes.values()), 2 << 20)

    def test_control_characters_stay_out_of_our_messages(self):
        """A terminal obeys escape sequences; a guest must not be able to send them by a panic."""
        script = ('printf "<0>\\033]0;owned\\007\\033[31m" >/dev/kmsg; '
                  'echo c >/proc/sysrq-trigger; sleep 10')
        result = self.run_in('/bin/sh', '-c', script, rc=125)
        self.assertNotIn(b'\x1b', result.err)
        self.assertNotIn(b'\x07', result.err)

    def test_devices_that_the_guest_breaks(self):
        """Unbinding drivers in the guest: its loss, and the machine can still be ended."""
        script = ('for d in /sys/bus/virtio/drivers/*/virtio*; do '
                  'echo ${d##*/} >${d%/*}/unbind; done 2>/dev/null; sleep 1000')
        self.start('/bin/sh', '-c', script)
        time.sleep(1)
        self.pv('ps', '-a', rc=0)
        self.pv('rm', '-f', 'box', rc=0)

    def test_writing_over_the_disks(self):
        """The guest's root writes garbage over the file system that it stands on: its loss alone,
        the image cannot be written at all, and the machine can be ended."""
        self.start('/bin/sh', '-c', 'cat /dev/urandom >/dev/vda; echo code=$?; '
                   'head -c 20000000 /dev/urandom >/dev/vdb; sync; exec sleep 1000')
        self.wait_output('box', 'code=1')
        time.sleep(0.5)
        self.pv('rm', '-f', 'box', rc=0)
        self.run_in('/bin/true', rc=0)


class Resources(MachineTest):
    def test_memory_that_cannot_be(self):
        for size in ('1k', '0', '-1', '100T', '', 'much', '1.5.2', '63M', '99999999999G'):
            with self.subTest(size=size):
                result = self.run_in('/bin/true', flags=[f'--memory={size}'], rc=125)
                self.assertIn('--memory', result.errors)

    def test_more_memory_than_the_host_has(self):
        self.assertIn('host', self.run_in('/bin/true', flags=['-m', '900G'], rc=125).errors)

    def test_cpus_that_cannot_be(self):
        for cpus in ('0', '-1', '1000', 'all', ''):
            with self.subTest(cpus=cpus):
                result = self.run_in('/bin/true', flags=[f'--cpus={cpus}'], rc=125)
                self.assertIn('--cpus', result.errors)

    def test_environment_above_every_limit(self):
        """Several MiB: refused with a word, not cut."""
        path = os.path.join(self.work_dir, 'env')
        with open(path, 'w') as f:
            f.writelines(f'V{i}={"x" * 1000}\n' for i in range(5000))
        result = self.run_in('/bin/true', flags=['--env-file', path])
        self.assertIn(result.rc, (125, 126), result)
        self.assertTrue(result.errors.strip())

    def test_few_descriptors(self):
        """ulimit -n 16: an error, no crash."""
        result = self.pv('run', '--rm', self.image, '--', '/bin/true',
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))
        self.assertIn(result.rc, (0, 125), result)
        if result.rc:
            self.assertTrue(result.errors.strip())

    def test_small_files(self):
        """ulimit -f: writes of the guest fail, the machine does not."""
        result = self.run_in(
            '/bin/sh', '-c', 'head -c 100000000 /dev/zero >/fill; sync; echo end',
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 34, 1 << 34)))
        self.assertEqual(result.text, 'end\n')

    @unittest.skipIf(ROOT, 'RLIMIT_NPROC does not bind root')
    def test_no_more_processes(self):
        """A fork that fails is an error of ours, with words."""
        result = self.pv('run', '--rm', self.image, '--', '/bin/true',
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)))
        self.assertEqual(result.rc, 125, result)
        self.assertTrue(result.errors.strip())


@unittest.skipUnless(ENOSYS, 'the program that hides system calls is not built')
class FewerWalls(MachineTest):
    """Hosts that refuse something: the machine runs with fewer walls, and inspect names them."""

    # Refuses clone(2) and unshare(2) with any CLONE_NEW* flag, as where user namespaces are
    # forbidden; clone3(2)'s flags cannot be seen, so it is missing altogether.
    NAMESPACES = ('clone=EPERM:0x7e020000', 'unshare=EPERM:0x7e020000', 'clone3')

    def hide(self, *calls):
        return [ENOSYS, *calls, '--']

    def walls(self, *hidden):
        """{(part, wall): (stands, detail)} of a machine on such a host."""
        self.pv('run', '-d', '--name', 'box', self.image, '--', '/bin/sh', '-c',
                'echo works; exec sleep 1000', argv0=self.hide(*hidden), rc=0)
        self.addCleanup(self.remove, 'box')
        self.wait_output('box', 'works')
        walls = self.inspect('box')['walls']
        return {(part, wall['wall']): (wall['stands'], wall.get('detail', ''))
                for part in walls for wall in walls[part]}

    def test_no_namespaces(self):
        walls = self.walls(*self.NAMESPACES)
        for wall in ('pid namespace', 'network namespace', 'ipc namespace', 'empty root'):
            stands, detail = walls['guest', wall]
            self.assertFalse(stands, wall)
            self.assertTrue(detail, f'{wall}: no reason')
        # What needs no namespace still stands.
        for wall in ('seccomp', 'no capabilities', 'no new privileges', 'dies with the monitor',
                     'descriptors'):
            self.assertTrue(walls['guest', wall][0], (wall, walls['guest', wall]))
        self.exec('box', '/bin/true', rc=0)

    def test_no_namespaces_in_the_foreground(self):
        self.run_in('/bin/true', argv0=self.hide(*self.NAMESPACES), rc=0)

    def test_no_landlock(self):
        walls = self.walls('landlock_create_ruleset')
        self.assertFalse(walls['guest', 'landlock'][0])
        self.assertTrue(walls['guest', 'landlock'][1])
        self.assertTrue(walls['guest', 'seccomp'][0])

    def test_no_seccomp(self):
        """The one wall that a machine cannot be without: refused, with the reason."""
        result = self.run_in('/bin/true', argv0=self.hide('seccomp'))
        self.assertEqual(result.rc, 125, result)
        self.assertIn('seccomp', result.errors)

    def test_no_memfd(self):
        result = self.run_in('/bin/true', argv0=self.hide('memfd_create'), rc=125)
        self.assertIn('mem', result.errors)
