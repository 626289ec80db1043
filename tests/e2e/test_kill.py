# SPDX-License-Identifier: Apache-2.0
"""kill -9 of any process of a machine, at any moment: the others end, ps tells the truth, rm cleans.

PARAVANE_TEST_ROUNDS: how often (default 4); PARAVANE_TEST_SEED: which moments.
"""
import os
import random
import signal
import time

from harness import END_SECONDS, TIMEOUT, MachineTest, descendants, tree

ROUNDS = int(os.environ.get('PARAVANE_TEST_ROUNDS', '4'))
SEED = int(os.environ.get('PARAVANE_TEST_SEED', '1'))
# Boot, set-up, command and power-off lie within the first second.
MOMENTS = (0.0, 0.9)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Kill(MachineTest):
    # Something to do in the guest at every moment: processes, output, writes to the disk.
    BUSY = ('/bin/sh', '-c', 'i=0; while [ $i -lt 40 ]; do head -c 20000 /dev/urandom >/f$i; '
            'ls / ; i=$((i+1)); done')

    def moments(self, salt):
        random_moments = random.Random(f'{SEED} {salt}')
        for i in range(ROUNDS):
            moment = random_moments.uniform(*MOMENTS)
            self.note = f'round {i} of seed {SEED}: after {moment:.3f} s'
            yield moment

    def is_true(self, name):
        """After the end: ps shows no running instance, and rm leaves nothing."""
        self.assert_all_end()
        self.assertNotIn(name, self.pv('ps', rc=0).text)
        if name in self.names():
            found = self.inspect(name)
            self.assertIn(found['status'], ('exited', 'failed', 'dead', 'created'))
            self.pv('rm', name, rc=0)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.leftovers(), set())

    def parts(self, client):
        """The processes of the one machine that runs: (monitor, guest kernel, stubs)."""
        below = [p for p in self.living() if p.pid != client]
        monitors = [p for p in below if 'paravane-monit' in p.comm]
        guests = [p for m in monitors for p in descendants(m.pid) if p.ppid == m.pid]
        stubs = [p for g in guests for p in descendants(g.pid)]
        return monitors, guests, stubs

    def run_and_kill(self, which, moment, flags):
        """Starts a machine, kills what `which` chooses of its processes after a moment."""
        process = self.popen('run', '--name', 'box', *flags, self.image, '--', *self.BUSY)
        time.sleep(moment)
        victim = which(process)
        # It may have come to its end, or not so far as to have one.
        if victim:
            kill(victim)
        else:
            process.kill()
        out, err = process.communicate(timeout=END_SECONDS + 5)
        self.is_true('box')
        return process.returncode, err.decode(errors='replace')

    def test_the_command_line(self):
        for moment in self.moments('cli'):
            self.run_and_kill(lambda process: process.pid, moment, ())

    def test_the_command_line_with_rm(self):
        for moment in self.moments('cli --rm'):
            self.run_and_kill(lambda process: process.pid, moment, ('--rm',))

    def first(self, part):
        def which(process):
            found = self.parts(process.pid)[part]
            return found[0].pid if found else None
        return which

    def check_end(self, rc, err):
        """Whoever watched is told, with words; unless the machine had come to its end, or had not
        begun and the command line was killed in its stead."""
        self.assertIn(rc, (0, 125, 137, -signal.SIGKILL), err)
        if rc > 0:
            self.assertTrue(err.strip(), 'no word about it')

    def test_the_monitor(self):
        for moment in self.moments('monitor'):
            self.check_end(*self.run_and_kill(self.first(0), moment, ()))

    def test_the_guest_kernel(self):
        for moment in self.moments('guest'):
            self.check_end(*self.run_and_kill(self.first(1), moment, ()))

    def test_the_guest_kernel_with_rm(self):
        for moment in self.moments('guest --rm'):
            self.check_end(*self.run_and_kill(self.first(1), moment, ('--rm',)))

    def test_a_stub(self):
        """A stub is the address space of one guest process: that one dies, or the machine does."""
        for moment in self.moments('stub'):
            def which(process):
                stubs = self.parts(process.pid)[2]
                return random.Random(moment).choice(stubs).pid if stubs else None
            process = self.popen('run', '--name', 'box', self.image, '--', '/bin/sh', '-c',
                                 'sleep 0.2; ls / >/dev/null; exit 21')
            time.sleep(moment)
            victim = which(process)
            if victim:
                kill(victim)
            process.communicate(timeout=TIMEOUT)
            self.assertNotEqual(process.returncode, -signal.SIGKILL)
            self.is_true('box')

    def test_the_command_line_and_the_monitor_at_once(self):
        for moment in self.moments('both'):
            process = self.popen('run', '--name', 'box', self.image, '--', *self.BUSY)
            time.sleep(moment)
            monitors, _, _ = self.parts(process.pid)
            process.kill()
            for monitor in monitors:
                kill(monitor.pid)
            process.communicate(timeout=END_SECONDS + 5)
            self.is_true('box')

    def test_everything_at_once(self):
        for moment in self.moments('everything'):
            process = self.popen('run', '--name', 'box', self.image, '--', *self.BUSY)
            time.sleep(moment)
            for victim in self.living():
                kill(victim.pid)
            process.communicate(timeout=END_SECONDS + 5)
            self.is_true('box')

    def test_other_verbs(self):
        """A verb that dies half way leaves an instance that the next one finds and removes."""
        verbs = (('start', 'box'), ('stop', '-t', '1', 'box'), ('kill', 'box'), ('rm', '-f', 'box'),
                 ('exec', 'box', '/bin/sleep', '0.5'), ('run', '-d', '--name', 'other', self.image,
                                                       '--', '/bin/sleep', '1000'))
        moments = random.Random(f'{SEED} verbs')
        for verb in verbs:
            moment = moments.uniform(0, 0.15)
            self.note = f'{verb[0]} of seed {SEED}: after {moment:.3f} s'
            self.start('/bin/sleep', '1000')
            if verb[0] == 'start':
                self.pv('kill', 'box', rc=0)
                self.pv('wait', 'box', rc=0)
            process = self.popen(*verb)
            time.sleep(moment)
            process.kill()
            process.communicate(timeout=END_SECONDS)
            for name in self.names():
                self.assertIn(self.status(name), ('running', 'exited', 'failed', 'dead',
                                                  'created', 'starting'))
                self.pv('rm', '-f', name, rc=0)
            self.assertEqual(self.names(), [])
            self.assert_all_end()
            self.assertEqual(self.leftovers(), set())


class Background(MachineTest):
    """Machines in the background, whose parts are known by inspect."""

    def test_the_monitor(self):
        self.start('/bin/sleep', '1000')
        monitor, _, _ = self.machine('box')
        waiting = self.popen('wait', 'box')
        following = self.popen('logs', '-f', 'box')
        time.sleep(0.3)
        kill(monitor.pid)
        waiting.communicate(timeout=END_SECONDS)
        following.communicate(timeout=END_SECONDS)
        self.assert_all_end()
        found = self.inspect('box')
        self.assertNotEqual(found['status'], 'running')
        self.assertNotIn('box', self.pv('ps', rc=0).text)
        self.assertIn('box', self.pv('ps', '-a', rc=0).text)
        self.assertRegex(self.pv('wait', 'box').text, r'\A(125|137|255)\n\Z')

    def test_the_monitor_and_start_again(self):
        self.start('/bin/sh', '-c', 'echo here; exec sleep 1000')
        self.wait_output('box', 'here')
        kill(self.machine('box')[0].pid)
        self.assert_all_end()
        self.pv('start', 'box', rc=0)
        self.assertEqual(self.status('box'), 'running')

    def test_the_guest_kernel(self):
        self.start('/bin/sleep', '1000')
        kill(self.machine('box')[1].pid)
        self.assertNotEqual(self.pv('wait', 'box', rc=0).text, '0\n')
        self.assert_all_end()
        self.assertNotEqual(self.status('box'), 'running')

    def test_all_stubs(self):
        self.start('/bin/sleep', '1000')
        _, guest, stubs = self.machine('box')
        self.assertTrue(stubs, 'no address space of a guest process')
        for stub in stubs:
            kill(stub.pid)
        # PID 1 of the guest died: its kernel panics, or powers off.
        self.wait_for('the machine ends', lambda: self.status('box') != 'running', END_SECONDS)
        self.assert_all_end()

    def test_a_pid_that_belongs_to_another_now(self):
        """Liveness is no matter of numbers: a dead monitor stays dead."""
        self.start('/bin/sleep', '1000')
        monitor, _, _ = self.machine('box')
        kill(monitor.pid)
        self.assert_all_end()
        state = [path for path in tree(self.root_dir)
                 if path.endswith('/state.json')]
        self.assertEqual(len(state), 1)
        content = open(state[0]).read()
        stranger = self.popen('--help', argv0=['/bin/sh', '-c', 'sleep 1000 & wait', 'sh'])
        self.assertIn(str(monitor.pid), content)
        with open(state[0], 'w') as f:
            f.write(content.replace(str(monitor.pid), str(stranger.pid)))
        self.assertNotEqual(self.status('box'), 'running')
        self.pv('rm', '-f', 'box', rc=0)
        self.assertIsNone(stranger.poll(), 'a stranger was killed')
        for process in self.living():
            kill(process.pid)

    def test_a_torn_state_file(self):
        """Half written, empty, garbage: not running, and rm removes it."""
        for content in (b'', b'{"status": "runn', b'\xff' * 100, b'[]', b'{}'):
            with self.subTest(content=content):
                self.pv('run', '--name', 'box', self.image, '--', '/bin/true', rc=0)
                state = [path for path in tree(self.root_dir)
                         if path.endswith('/state.json')]
                with open(state[0], 'wb') as f:
                    f.write(content)
                self.assertIn('box', self.pv('ps', '-a', rc=0).text)
                self.pv('rm', 'box', rc=0)
                self.assertEqual(self.leftovers(), set())
