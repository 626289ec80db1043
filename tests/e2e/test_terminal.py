# SPDX-License-Identifier: Apache-2.0
"""-t: a terminal of the host and one of the guest behave like one."""
import fcntl
import os
import re
import select
import signal
import struct
import termios
import time

from harness import PARAVANE, TIMEOUT, MachineTest, reaper, signal_code


class Terminal:
    """A terminal of the host with a program that runs in it."""

    def __init__(self, argv, rows=30, columns=100, **kwargs):
        self.master, self.slave = os.openpty()
        self.resize(rows, columns)
        self.before = self.modes()
        slave = self.slave

        def take_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = reaper.popen(argv, stdin=slave, stdout=slave, stderr=slave,
                                    preexec_fn=take_terminal, **kwargs)
        self.seen = b''

    def modes(self):
        return termios.tcgetattr(self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds):
        """Reads what comes within the time; False when nothing came and nothing can."""
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536)
            return True
        return self.process.poll() is None

    def expect(self, pattern, timeout=TIMEOUT):
        """Waits until the pattern appears; what stands behind it remains to be expected."""
        end = time.monotonic() + timeout
        while True:
            match = re.search(pattern.encode(), self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            ended = self.process.poll() is not None
            if not self.read(0 if ended else 0.1) or time.monotonic() > end:
                raise AssertionError(f'no {pattern!r} in {self.seen[-3000:]!r}, '
                                     f'exit code {self.process.returncode}')

    def wait(self):
        """Reads until the program has ended; its exit code."""
        end = time.monotonic() + TIMEOUT
        while self.process.poll() is None:
            self.read(0.05)
            if time.monotonic() > end:
                raise AssertionError(f'still runs: {self.seen[-3000:]!r}')
        while self.read(0):
            pass
        return signal_code(self.process.returncode)

    def hang_up(self):
        """Closes the terminal's other end: SIGHUP for whoever it controls."""
        os.close(self.master)
        self.master = -1

    def close(self):
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)


class TerminalTest(MachineTest):
    PROMPT = 'guest% '

    def terminal(self, *args, **kwargs):
        t = Terminal([PARAVANE, *args], env=self.env, cwd=self.work_dir, **kwargs)
        self.children.append(t.process)
        self.addCleanup(t.close)
        return t

    def shell(self, **kwargs):
        t = self.terminal('run', '--rm', '-it', '-e', 'PS1=' + self.PROMPT, self.image, '--',
                          '/bin/bash', '--norc', '--noprofile', **kwargs)
        t.expect(self.PROMPT)
        return t

    def test_a_shell_without_a_command(self):
        """`paravane run IMAGE` in a terminal is a shell in a terminal."""
        t = self.terminal('run', '--rm', self.image)
        t.expect('[#$] ')
        t.send('tty; exit 5\n')
        t.expect('/dev/pts/0')
        self.assertEqual(t.wait(), 5)

    def test_it_is_a_terminal(self):
        t = self.shell()
        t.send('test -t 0 && test -t 1 && test -t 2 && echo all""three $TERM\n')
        t.expect('allthree xterm')
        t.send('exit\n')
        self.assertEqual(t.wait(), 0)

    def test_raw_mode_and_back(self):
        t = self.shell()
        self.assertFalse(t.modes()[3] & (termios.ECHO | termios.ICANON | termios.ISIG),
                         'the terminal of the host is not raw')
        t.send('exit 3\n')
        self.assertEqual(t.wait(), 3)
        self.assertEqual(t.modes(), t.before)

    def test_modes_come_back_when_the_machine_is_killed(self):
        t = self.terminal('run', '--rm', '-it', '--name', 'box', self.image, '--', '/bin/cat')
        self.wait_for('running', lambda: 'box' in self.names() and
                      self.status('box') == 'running')
        self.pv('kill', 'box', rc=0)
        self.assertEqual(t.wait(), 137)
        self.assertEqual(t.modes(), t.before)

    def test_modes_come_back_on_sigterm(self):
        t = self.shell()
        t.process.send_signal(signal.SIGTERM)
        # An interactive bash ignores SIGTERM; the end of its terminal ends it.
        t.send('exit 4\n')
        self.assertEqual(t.wait(), 4)
        self.assertEqual(t.modes(), t.before)

    def test_size_at_the_start(self):
        t = self.terminal('run', '--rm', '-it', self.image, '--', '/bin/stty', 'size',
                          rows=41, columns=123)
        t.expect('41 123')
        self.assertEqual(t.wait(), 0)

    def test_size_follows(self):
        t = self.shell()
        t.send('trap "echo WIN""CH; stty size" WINCH\n')
        t.expect(self.PROMPT)
        t.resize(50, 132)
        # bash runs a trap when a command has ended.
        t.send('sleep 0.2\n')
        t.expect('WINCH')
        t.expect('50 132')
        t.resize(20, 60)
        t.send('sleep 0.2; stty size\n')
        t.expect('20 60')
        t.send('exit\n')
        t.wait()

    def test_ctrl_c_interrupts_the_command_in_front(self):
        t = self.shell()
        t.send('echo be""gin; sleep 1000; echo code=$?\n')
        t.expect('begin')
        time.sleep(0.3)
        t.send('\x03')
        t.expect(self.PROMPT)
        t.send('echo still=$((40+2))\n')
        t.expect('still=42')
        t.send('exit\n')
        self.assertEqual(t.wait(), 0)

    def test_ctrl_z_and_fg(self):
        t = self.shell()
        t.send('echo be""gin; sleep 1000\n')
        t.expect('begin')
        time.sleep(0.3)
        t.send('\x1a')
        t.expect('Stopped')
        t.send('jobs -l | grep -c Stop""ped\n')
        t.expect('1\r\n')
        t.send('fg\n')
        t.expect('sleep 1000')
        time.sleep(0.3)
        t.send('\x03')
        t.expect(self.PROMPT)
        t.send('exit\n')
        t.wait()

    def test_ctrl_d_ends_the_shell(self):
        t = self.shell()
        t.send('\x04')
        self.assertEqual(t.wait(), 0)

    def test_ctrl_c_ends_a_command_that_is_alone(self):
        """PID 1's special place is the agent's: the default action is taken."""
        t = self.terminal('run', '--rm', '-it', self.image, '--', '/bin/sh', '-c',
                          'echo ready; exec sleep 1000')
        t.expect('ready')
        t.send('\x03')
        self.assertEqual(t.wait(), 130)

    def test_ctrl_backslash(self):
        t = self.terminal('run', '--rm', '-it', self.image, '--', '/bin/sh', '-c',
                          'echo ready; exec sleep 1000')
        t.expect('ready')
        t.send('\x1c')
        self.assertEqual(t.wait(), 131)

    def test_a_hang_up_ends_the_machine(self):
        """The terminal goes away, as when its window is closed."""
        t = self.shell()
        t.hang_up()
        self.wait_for('the end of the command line', lambda: t.process.poll() is not None)
        self.assert_all_end()
        self.assertEqual(self.names(), [])

    def test_much_output_arrives_whole(self):
        t = self.terminal('run', '--rm', '-it', self.image, '--', '/bin/sh', '-c',
                          'seq 1 20000; echo end""mark')
        t.expect('endmark')
        self.assertEqual(t.wait(), 0)

    def test_exec_in_a_terminal(self):
        self.start('/bin/sleep', '1000')
        t = self.terminal('exec', '-it', 'box', '/bin/stty', 'size', rows=33, columns=77)
        t.expect('33 77')
        self.assertEqual(t.wait(), 0)
        self.assertEqual(t.modes(), t.before)
        t = self.terminal('exec', '-it', '-e', 'PS1=' + self.PROMPT, 'box', '/bin/bash', '--norc')
        t.expect(self.PROMPT)
        t.resize(44, 55)
        t.send('sleep 0.2; stty size\n')
        t.expect('44 55')
        t.send('exit 6\n')
        self.assertEqual(t.wait(), 6)

    def test_detach_keys(self):
        """ctrl-P ctrl-Q leaves, attach comes back, as in Docker."""
        t = self.terminal('run', '-it', '--name', 'box', '-e', 'PS1=' + self.PROMPT, self.image,
                          '--', '/bin/bash', '--norc', '--noprofile')
        self.addCleanup(self.remove, 'box')
        t.expect(self.PROMPT)
        t.send('kept=here\n')
        t.expect(self.PROMPT)
        t.send('\x10\x11')
        self.assertEqual(t.wait(), 0)
        self.assertEqual(t.modes(), t.before)
        self.assertEqual(self.status('box'), 'running')
        t = self.terminal('attach', 'box')
        t.send('\necho $kept$((1+1))\n')
        t.expect('here2')
        t.send('exit 9\n')
        self.assertEqual(t.wait(), 9)

    def test_t_without_a_terminal_is_refused(self):
        """As Docker says: the input device is not a TTY."""
        result = self.run_in('/bin/true', flags=['-it'], stdin=b'')
        self.assertEqual(result.rc, 125, result)
        self.assertIn('terminal', result.errors.lower())

    def test_in_a_background_of_the_hosts_shell(self):
        """A stopped command line comes back raw, the guest goes on in between."""
        t = Terminal(['/bin/bash', '--norc', '--noprofile', '-i'], cwd=self.work_dir,
                     env={**self.env, 'PS1': 'host% ', 'PV': PARAVANE, 'IMG': self.image})
        self.children.append(t.process)
        self.addCleanup(t.close)
        t.expect('host% ')
        t.send('"$PV" run --rm -i "$IMG" -- /bin/sh -c "echo re""ady; sleep 3; echo do""ne"\n')
        t.expect('ready')
        t.send('\x1a')
        t.expect('Stopped')
        t.expect('host% ')
        t.send('fg\n')
        t.expect('done')
        t.expect('host% ')
        t.send('exit\n')
        t.wait()
