# SPDX-License-Identifier: Apache-2.0
"""Instances in the background: ps, logs, exec, stop, kill, wait, rm, inspect, stats, attach."""
import json
import os
import time

from harness import TIMEOUT, MachineTest, sha256

RFC3339 = r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z'


class Background(MachineTest):
    def test_run_d_prints_the_id_and_ps_shows_the_instance(self):
        result = self.pv('run', '-d', '--name', 'web', self.image, '--', '/bin/sleep', '1000',
                         rc=0)
        self.addCleanup(self.remove, 'web')
        listed = self.pv('ps', rc=0).text
        self.assertIn('web', listed)
        self.assertIn(result.text[:12], listed)
        self.assertIn('sleep', listed)

    def test_ps_without_a_shows_what_runs(self):
        self.start('/bin/sleep', '1000', name='lives')
        self.start('/bin/true', name='ended')
        self.pv('wait', 'ended', rc=0)
        self.assertNotIn('ended', self.pv('ps', rc=0).text)
        self.assertIn('lives', self.pv('ps', rc=0).text)
        everything = self.pv('ps', '-a', rc=0).text
        self.assertIn('ended', everything)
        self.assertIn('lives', everything)
        self.assertEqual(len(self.pv('ps', '-a', '-q', rc=0).text.split()), 2)

    def test_ps_of_nothing(self):
        self.assertEqual(len(self.pv('ps', '-a', rc=0).text.splitlines()), 1, 'the heading')
        self.assertEqual(self.pv('ps', '-aq', rc=0).text, '')

    def test_names_ids_and_their_beginnings(self):
        self.start('/bin/sleep', '1000')
        whole = self.pv('ps', '-q', '--no-trunc', rc=0).text.strip()
        self.assertRegex(whole, r'\A[0-9a-f]{64}\Z')
        for name in ('box', whole, whole[:12], whole[:4]):
            self.assertEqual(self.inspect(name)['name'], 'box')

    def test_unknown_instances(self):
        for verb in ('logs', 'stop', 'kill', 'wait', 'rm', 'inspect', 'stats', 'attach', 'start'):
            result = self.pv(verb, 'nobody')
            self.assertNotEqual(result.rc, 0, verb)
            self.assertIn('nobody', result.errors, verb)
        result = self.exec('nobody', '/bin/true')
        self.assertNotEqual(result.rc, 0)
        self.assertIn('nobody', result.errors)

    def test_the_terminal_may_go_away(self):
        """A machine in the background is in a session of its own."""
        self.start('/bin/sleep', '1000')
        monitor, _, _ = self.machine('box')
        stat = open(f'/proc/{monitor.pid}/stat').read().rsplit(')', 1)[1].split()
        self.assertNotEqual(int(stat[3]), os.getsid(0))
        self.assertEqual(int(stat[4]), 0, 'it has a controlling terminal')

    def test_d_of_a_command_that_does_not_start(self):
        """As in Docker: the error, and the instance remains as one that never ran."""
        result = self.pv('run', '-d', '--name', 'box', self.image, '--', '/no/such/program')
        self.addCleanup(self.remove, 'box')
        if result.rc == 0:  # told by wait and inspect then
            self.assertEqual(self.pv('wait', 'box', rc=0).text, '127\n')
            self.assertIn('/no/such/program', json.dumps(self.inspect('box')))
        else:
            self.assertEqual(result.rc, 127, result)
            self.assertIn('/no/such/program', result.errors)

    def test_rm_with_d(self):
        self.pv('run', '-d', '--rm', '--name', 'box', self.image, '--', '/bin/sleep', '0.2', rc=0)
        self.wait_for('the instance removes itself', lambda: 'box' not in self.names())
        self.assert_all_end()
        self.assertEqual(self.leftovers(), set())

    def test_start_again(self):
        self.start('/bin/sh', '-c', 'echo turn; exit 4')
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '4\n')
        self.assertEqual(self.pv('start', 'box', rc=0).text, 'box\n')
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '4\n')
        self.assertEqual(self.pv('logs', 'box', rc=0).text, 'turn\nturn\n')

    def test_start_of_what_runs(self):
        """No error, as in Docker, and no second machine."""
        self.start('/bin/sleep', '1000')
        before = self.machine('box')[0].pid
        self.pv('start', 'box', rc=0)
        self.assertEqual(self.machine('box')[0].pid, before)


class Logs(MachineTest):
    def test_both_streams(self):
        self.start('/bin/sh', '-c', 'echo out; echo err >&2; printf end')
        self.pv('wait', 'box', rc=0)
        result = self.pv('logs', 'box', rc=0)
        self.assertEqual((result.out, result.err), (b'out\nend', b'err\n'))

    def test_binary(self):
        self.start('/bin/sh', '-c', 'printf "\\0\\377\\033[1m\\n\\001"')
        self.pv('wait', 'box', rc=0)
        self.assertEqual(self.pv('logs', 'box', rc=0).out, b'\0\xff\x1b[1m\n\x01')

    def test_timestamps(self):
        self.start('/bin/sh', '-c', 'echo one; sleep 0.1; echo two')
        self.pv('wait', 'box', rc=0)
        lines = self.pv('logs', '-t', 'box', rc=0).text.splitlines()
        self.assertEqual(len(lines), 2)
        for line, word in zip(lines, ('one', 'two')):
            self.assertRegex(line, rf'\A{RFC3339} {word}\Z')
        self.assertLess(lines[0].split()[0], lines[1].split()[0])

    def test_tail(self):
        self.start('/bin/sh', '-c', 'seq 1 100')
        self.pv('wait', 'box', rc=0)
        self.assertEqual(self.pv('logs', '-n', '2', 'box', rc=0).text, '99\n100\n')
        self.assertEqual(self.pv('logs', '--tail', '0', 'box', rc=0).text, '')

    def test_follow(self):
        self.start('/bin/sh', '-c', 'echo first; while [ ! -e /go ]; do sleep 0.05; done; '
                   'echo second; echo error >&2')
        process = self.popen('logs', '-f', 'box')
        self.assertEqual(process.stdout.readline(), b'first\n')
        self.exec('box', '/bin/touch', '/go', rc=0)
        self.assertEqual(process.stdout.readline(), b'second\n')
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((out, err, process.returncode), (b'', b'error\n', 0))

    def test_follow_ends_when_the_machine_is_killed(self):
        self.start('/bin/sh', '-c', 'echo here; exec sleep 1000')
        process = self.popen('logs', '-f', 'box')
        self.assertEqual(process.stdout.readline(), b'here\n')
        self.pv('kill', 'box', rc=0)
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_size_limit(self):
        """The newest lines stay, the oldest go."""
        self.start('/bin/sh', '-c', 'seq 1 200000', flags=['--log-max-size', '256K'])
        self.pv('wait', 'box', rc=0)
        lines = self.pv('logs', 'box', rc=0).text.splitlines()
        self.assertEqual(lines[-1], '200000')
        self.assertEqual([int(n) for n in lines], list(range(200001 - len(lines), 200001)))
        self.assertTrue(500 < len(lines) < 100000, len(lines))
        size = sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
                   for folder, _, names in os.walk(self.root_dir)
                   for name in names if 'log' in name)
        self.assertLess(size, 300 << 10)

    def test_of_a_foreground_run(self):
        self.pv('run', '--name', 'box', self.image, '--', '/bin/echo', 'seen', rc=0)
        self.assertEqual(self.pv('logs', 'box', rc=0).text, 'seen\n')
        self.pv('rm', 'box', rc=0)


class Exec(MachineTest):
    """One machine for the class's tests, started by each anew: it is cheap."""

    def setUp(self):
        super().setUp()
        self.start('/bin/sleep', '1000', flags=['-e', 'FROM=run', '-w', '/tmp'])

    def test_exit_codes(self):
        for command, code in ((['/bin/true'], 0), (['/bin/sh', '-c', 'exit 42'], 42),
                              (['/bin/sh', '-c', 'kill -9 $$'], 137), (['/none'], 127),
                              (['/etc/passwd'], 126)):
            self.exec('box', *command, rc=code)

    def test_streams(self):
        result = self.exec('box', '/bin/sh', '-c', 'echo out; echo err >&2', rc=0)
        self.assertEqual((result.out, result.err), (b'out\n', b'err\n'))

    def test_stdin(self):
        content = bytes(range(256)) * 8192
        result = self.exec('box', '/bin/cat', flags=['-i'], stdin=content, rc=0)
        self.assertEqual(sha256(result.out), sha256(content))

    def test_surroundings(self):
        """The instance's environment and directory, and what the flags add."""
        result = self.exec('box', '/bin/sh', '-c', 'echo $FROM $MORE; pwd; id -u',
                           flags=['-e', 'MORE=exec', '-u', 'nobody'], rc=0)
        self.assertEqual(result.text, 'run exec\n/tmp\n65534\n')
        self.assertEqual(self.exec('box', '/bin/pwd', flags=['-w', '/etc'], rc=0).text, '/etc\n')

    def test_in_the_same_machine(self):
        self.exec('box', '/bin/sh', '-c', 'echo x >/shared', rc=0)
        self.assertEqual(self.exec('box', '/bin/cat', '/shared', rc=0).text, 'x\n')
        self.assertIn('sleep 1000', self.exec('box', '/bin/ps', 'ax', rc=0).text)

    def test_several_at_a_time(self):
        processes = [self.popen('exec', '-i', 'box', '/bin/sh', '-c', f'cat; echo end {i}; exit {i}',
                                stdin=-1) for i in range(8)]
        for i, process in enumerate(processes):
            process.stdin.write(b'to %d\n' % i)
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b'to %d\n' % i)
        for i, process in enumerate(processes):
            out, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual((process.returncode, out, err), (i, b'end %d\n' % i, b''))

    def test_detached(self):
        self.exec('box', '/bin/sh', '-c', 'echo done >/mark', flags=['-d'], rc=0)
        self.wait_for('the mark', lambda: self.exec('box', '/bin/cat', '/mark').rc == 0)

    def test_a_killed_client_closes_what_its_command_reads_and_writes(self):
        """The command gets the end of its input; the instance goes on."""
        process = self.popen('exec', '-i', 'box', '/bin/sh', '-c',
                             'echo here; cat; echo ended >/mark; exec sleep 555', stdin=-1)
        self.assertEqual(process.stdout.readline(), b'here\n')
        process.kill()
        self.wait_for('the end of its input', lambda: self.exec('box', '/bin/cat', '/mark').rc == 0,
                      10)
        self.assertEqual(self.status('box'), 'running')

    def test_in_a_machine_that_has_ended(self):
        self.pv('kill', 'box', rc=0)
        self.pv('wait', 'box', rc=0)
        result = self.exec('box', '/bin/true')
        self.assertNotEqual(result.rc, 0)
        self.assertIn('box', result.errors)

    def test_the_end_of_the_machine_ends_it(self):
        process = self.popen('exec', 'box', '/bin/sh', '-c', 'echo here; exec sleep 1000')
        self.assertEqual(process.stdout.readline(), b'here\n')
        self.pv('kill', 'box', rc=0)
        self.assertNotEqual(process.wait(TIMEOUT), 0)

    def test_processes_are_reaped(self):
        self.exec('box', '/bin/sh', '-c', '(sleep 0.1 &) ; true', rc=0)
        time.sleep(0.3)
        self.assertNotIn('Z', self.exec('box', '/bin/ps', 'axo', 'stat=', rc=0).text)





class Ends(MachineTest):
    """stop, kill, wait, rm."""

    HANDLER = ('trap "echo term; exit 5" TERM; trap "echo usr" USR1; echo ready; '
               'while :; do sleep 0.05; done')

    def test_stop_lets_the_command_end(self):
        self.start('/bin/sh', '-c', self.HANDLER)
        self.wait_output('box', 'ready')
        self.assertEqual(self.pv('stop', 'box', rc=0).text, 'box\n')
        found = self.inspect('box')
        self.assertEqual((found['status'], found['exit_code']), ('exited', 5))
        self.assertEqual(self.pv('logs', 'box', rc=0).text, 'ready\nterm\n')

    def test_stop_kills_after_its_time(self):
        self.start('/bin/sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 0.05; done')
        self.wait_output('box', 'ready')
        begin = time.monotonic()
        self.pv('stop', '-t', '1', 'box', rc=0)
        self.assertGreaterEqual(time.monotonic() - begin, 1)
        self.assertEqual(self.inspect('box')['exit_code'], 137)

    def test_stop_without_a_handler(self):
        """Not PID 1: the default action of SIGTERM is taken, nobody waits ten seconds."""
        self.start('/bin/sleep', '1000')
        begin = time.monotonic()
        self.pv('stop', 'box', rc=0)
        self.assertLess(time.monotonic() - begin, 8)
        self.assertEqual(self.inspect('box')['exit_code'], 143)

    def test_stop_of_what_has_ended(self):
        self.start('/bin/true')
        self.pv('wait', 'box', rc=0)
        self.pv('stop', 'box', rc=0)

    def test_kill(self):
        self.start('/bin/sleep', '1000')
        self.assertEqual(self.pv('kill', 'box', rc=0).text, 'box\n')
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '137\n')
        self.assert_all_end()

    def test_kill_with_a_signal(self):
        self.start('/bin/sh', '-c', self.HANDLER)
        self.wait_output('box', 'ready')
        self.pv('kill', '-s', 'USR1', 'box', rc=0)
        self.wait_output('box', 'usr')
        self.assertEqual(self.status('box'), 'running')
        self.pv('kill', '--signal', '15', 'box', rc=0)
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '5\n')

    def test_kill_with_no_signal_of_that_name(self):
        self.start('/bin/sleep', '1000')
        self.assertIn('NOSUCH', self.pv('kill', '-s', 'NOSUCH', 'box').errors)
        self.assertEqual(self.status('box'), 'running')

    def test_kill_of_what_has_ended(self):
        self.start('/bin/true')
        self.pv('wait', 'box', rc=0)
        self.assertNotEqual(self.pv('kill', 'box').rc, 0)

    def test_wait_waits(self):
        self.start('/bin/sh', '-c', 'sleep 0.5; exit 11')
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '11\n')
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '11\n', 'once more, at once')

    def test_wait_for_several(self):
        self.start('/bin/sh', '-c', 'exit 1', name='one')
        self.start('/bin/sh', '-c', 'sleep 0.3; exit 2', name='two')
        self.assertEqual(self.pv('wait', 'one', 'two', rc=0).text, '1\n2\n')

    def test_rm_refuses_what_runs(self):
        self.start('/bin/sleep', '1000')
        result = self.pv('rm', 'box')
        self.assertNotEqual(result.rc, 0)
        self.assertIn('box', result.errors)
        self.assertIn('-f', result.errors)
        self.assertEqual(self.status('box'), 'running')

    def test_rm_f_ends_what_runs(self):
        self.start('/bin/sleep', '1000')
        self.assertEqual(self.pv('rm', '-f', 'box', rc=0).text, 'box\n')
        self.assertEqual(self.living(), [])
        self.assertEqual(self.leftovers(), set())

    def test_one_wrong_name_of_several(self):
        self.start('/bin/true', name='one')
        self.pv('wait', 'one', rc=0)
        result = self.pv('rm', 'nobody', 'one')
        self.assertNotEqual(result.rc, 0)
        self.assertEqual(result.text, 'one\n')
        self.assertEqual(self.names(), [])


class Looks(MachineTest):
    """inspect, stats, attach."""

    def test_inspect(self):
        self.start('/bin/sleep', '1000', flags=['-m', '96M', '--cpus', '2'])
        found = self.inspect('box')
        self.assertRegex(found['id'], r'\A[0-9a-f]{64}\Z')
        self.assertEqual((found['name'], found['status']), ('box', 'running'))
        self.assertRegex(found['started_at'], RFC3339)
        self.assertIn('/bin/sleep', json.dumps(found))
        self.assertIn(str(96 << 20), json.dumps(found))
        self.machine('box')  # its processes are those

    def test_inspect_says_which_walls_stand(self):
        self.start('/bin/sleep', '1000')
        walls = self.inspect('box')['walls']
        for part in ('guest', 'monitor', 'limits'):
            self.assertTrue(walls[part], part)
            for wall in walls[part]:
                self.assertIn(wall['stands'], (True, False))
                if not wall['stands']:
                    self.assertTrue(wall.get('detail'), f'{part}: {wall}: no reason')

    def test_inspect_of_several(self):
        self.start('/bin/true', name='one')
        self.start('/bin/true', name='two')
        found = json.loads(self.pv('inspect', 'one', 'two', rc=0).text)
        self.assertEqual([o['name'] for o in found], ['one', 'two'])

    def test_stats(self):
        self.start('/bin/sh', '-c', 'while :; do :; done', flags=['-m', '96M'])
        text = self.pv('stats', '--no-stream', rc=0).text
        self.assertIn('box', text)
        found = json.loads(self.pv('stats', '--no-stream', '--format', 'json', 'box', rc=0).text)
        self.assertEqual(found['memory_bytes'], 96 << 20)
        self.assertTrue(0 < found['memory_used_bytes'] <= 96 << 20, found)
        self.assertTrue(found['guest'], 'the guest did not answer')

    def test_stats_have_rates(self):
        self.start('/bin/sh', '-c', 'dd if=/dev/zero of=/file bs=1M count=8; '
                   'while :; do dd if=/file of=/dev/null bs=64k iflag=direct; '
                   'dd if=/dev/zero of=/new bs=64k count=64 oflag=direct; '
                   'getent ahostsv4 box.invalid; done 2>/dev/null')

        def rates():
            found = json.loads(self.pv('stats', '--no-stream', '--format', 'json', 'box', rc=0).text)
            return {name: found.get(f'{name}_per_second', 0) for name in
                    ('cpu_ns', 'disk_read_bytes', 'disk_written_bytes', 'net_out_bytes')}
        seen = {}

        def all_moved():
            for name, rate in rates().items():
                seen[name] = max(rate, seen.get(name, 0))
            return all(seen.values())
        self.wait_for('all rates', all_moved)
        table = self.pv('stats', '--no-stream', rc=0).text
        self.assertIn('DISK WRITE', table)
        self.assertRegex(table.splitlines()[1], r'B/s')

    def test_attach(self):
        self.start('/bin/sh', '-c', 'while read line; do echo got $line; done; exit 6',
                   flags=['-i'])
        process = self.popen('attach', 'box', stdin=-1)
        process.stdin.write(b'one\n')
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b'got one\n')
        process.stdin.close()
        self.assertEqual(process.wait(TIMEOUT), 6)

    def test_attach_without_stdin(self):
        self.start('/bin/sh', '-c', 'while [ ! -e /go ]; do sleep 0.05; done; echo out; '
                   'echo err >&2; exit 3')
        process = self.popen('attach', 'box')
        time.sleep(0.3)
        self.exec('box', '/bin/touch', '/go')  # the machine may end before touch does
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((out, err, process.returncode), (b'out\n', b'err\n', 3))

    def test_attach_that_is_killed_leaves_the_machine_alone(self):
        self.start('/bin/sleep', '1000')
        process = self.popen('attach', 'box')
        time.sleep(0.3)
        process.kill()
        time.sleep(0.3)
        self.assertEqual(self.status('box'), 'running')

    def test_two_are_attached(self):
        self.start('/bin/sh', '-c', 'while [ ! -e /go ]; do sleep 0.05; done; seq 1 5000')
        processes = [self.popen('attach', 'box') for _ in range(2)]
        time.sleep(0.5)
        self.exec('box', '/bin/touch', '/go', rc=0)
        expected = ''.join(f'{i}\n' for i in range(1, 5001)).encode()
        for process in processes:
            self.assertEqual(process.communicate(timeout=TIMEOUT)[0], expected)


class AtOnce(MachineTest):
    """Two commands at once on one instance are safe."""

    def together(self, *commands):
        processes = [self.popen(*command) for command in commands]
        results = []
        for process in processes:
            out, err = process.communicate(timeout=TIMEOUT)
            results.append((process.returncode, out.decode(), err.decode()))
        return results

    def test_the_same_name_at_once(self):
        results = self.together(*[('run', '-d', '--name', 'box', self.image, '--', '/bin/sleep',
                                   '1000')] * 4)
        self.addCleanup(self.remove, 'box')
        self.assertEqual(sorted(rc for rc, _, _ in results), [0, 125, 125, 125], results)
        self.assertEqual(self.names(), ['box'])

    def test_rm_f_at_once(self):
        self.start('/bin/sleep', '1000')
        results = self.together(*[('rm', '-f', 'box')] * 4)
        self.assertIn(0, [rc for rc, _, _ in results], results)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.leftovers(), set())

    def test_start_at_once(self):
        self.start('/bin/sleep', '1000')
        self.pv('kill', 'box', rc=0)
        self.pv('wait', 'box', rc=0)
        results = self.together(*[('start', 'box')] * 4)
        self.assertIn(0, [rc for rc, _, _ in results], results)
        monitor, guest, _ = self.machine('box')
        monitors = [p for p in self.living() if p.comm == monitor.comm]
        self.assertEqual(len(monitors), 1, monitors)

    def test_stop_kill_rm_and_exec_at_once(self):
        for _ in range(3):
            self.start('/bin/sleep', '1000')
            self.together(('stop', '-t', '1', 'box'), ('kill', 'box'), ('exec', 'box', '/bin/true'),
                          ('inspect', 'box'), ('stats', '--no-stream', 'box'), ('ps', '-a'),
                          ('rm', '-f', 'box'))
            self.remove('box')
            self.assertEqual(self.names(), [])

    def test_several_machines(self):
        names = [f'm{i}' for i in range(4)]
        for name in names:
            self.start('/bin/sh', '-c', 'cat /etc/hostname; exec sleep 1000', name=name,
                       flags=['-m', '64M', '--hostname', name])
        for name in names:
            self.wait_output(name, name)
        self.pv('kill', *names, rc=0)
        self.assertEqual(self.pv('wait', *names, rc=0).text, '137\n' * 4)
        self.pv('rm', *names, rc=0)
