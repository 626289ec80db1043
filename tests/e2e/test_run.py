# SPDX-License-Identifier: Apache-2.0
"""run: the command's exit code, its streams, its surroundings."""
import os
import random
import signal
import threading
import time
import unittest

from harness import ROOT, TIMEOUT, MachineTest, sha256, signal_code


class ExitCodes(MachineTest):
    """As Docker counts."""

    def test_true_is_0(self):
        result = self.run_in('/bin/true', rc=0)
        self.assertEqual((result.out, result.err), (b'', b''))

    def test_false_is_1(self):
        self.run_in('/bin/false', rc=1)

    def test_the_commands_own_code(self):
        for code in (42, 255):
            self.run_in('/bin/sh', '-c', f'exit {code}', rc=code)

    def test_not_found_is_127(self):
        result = self.run_in('/no/such/program', rc=127)
        self.assertIn('/no/such/program', result.errors)

    def test_not_found_in_path_is_127(self):
        result = self.run_in('nosuchprogram', rc=127)
        self.assertIn('nosuchprogram', result.errors)

    def test_not_executable_is_126(self):
        result = self.run_in('/etc/passwd', rc=126)
        self.assertIn('/etc/passwd', result.errors)

    def test_directory_is_126(self):
        self.run_in('/etc', rc=126)

    def test_killed_by_a_signal_is_128_and_the_signal(self):
        for name, number in (('TERM', 15), ('KILL', 9), ('SEGV', 11)):
            self.run_in('/bin/sh', '-c', f'kill -{name} $$', rc=128 + number)

    def test_unknown_flag_is_125(self):
        result = self.pv('run', '--no-such-flag', self.image, rc=125)
        self.assertIn('--no-such-flag', result.errors)

    def test_no_image_is_125(self):
        self.assertIn('IMAGE', self.pv('run', '--rm', rc=125).errors.upper())

    def test_missing_value_of_a_flag_is_125(self):
        self.assertIn('--memory', self.pv('run', '--memory', rc=125).errors)

    def test_relative_working_directory_is_125(self):
        result = self.run_in('/bin/true', flags=['-w', 'tmp'], rc=125)
        self.assertIn('tmp', result.errors)

    def test_unknown_user_is_an_error_that_names_it(self):
        result = self.run_in('/bin/true', flags=['-u', 'nosuchuser'])
        self.assertIn(result.rc, (125, 126))
        self.assertIn('nosuchuser', result.errors)

    def test_unknown_isolation_is_125(self):
        result = self.run_in('/bin/true', flags=['--isolation', 'wish'], rc=125)
        self.assertIn('wish', result.errors)

    def test_a_level_of_isolation_that_is_not_there_is_refused(self):
        result = self.run_in('/bin/true', flags=['--isolation', 'full'], rc=125)
        self.assertIn('full', result.errors)

    def test_paravirt_may_be_asked_for(self):
        self.run_in('/bin/true', flags=['--isolation', 'paravirt'], rc=0)
        self.run_in('/bin/true', flags=['--isolation', 'auto'], rc=0)


class Streams(MachineTest):
    """stdin, stdout and stderr are the command's, byte for byte."""

    def test_stdout_and_stderr_stay_two(self):
        result = self.sh('echo out; echo err >&2')
        self.assertEqual((result.out, result.err), (b'out\n', b'err\n'))

    def test_no_newline_is_added(self):
        self.assertEqual(self.sh('printf x').out, b'x')

    def test_all_byte_values(self):
        everything = bytes(range(256)) * 17
        self.assertEqual(self.run_in('/bin/cat', flags=['-i'], stdin=everything, rc=0).out,
                         everything)

    def test_five_mebibytes_through_cat(self):
        content = random.Random(5).randbytes(5 << 20)
        result = self.run_in('/bin/cat', flags=['-i'], stdin=content, rc=0)
        self.assertEqual(len(result.out), len(content))
        self.assertEqual(sha256(result.out), sha256(content))
        self.assertEqual(result.err, b'')

    def test_five_mebibytes_on_both_outputs(self):
        result = self.sh('head -c 5242880 /dev/zero & head -c 5242880 /dev/zero >&2; wait')
        self.assertEqual((len(result.out), len(result.err)), (5 << 20, 5 << 20))

    def test_everything_written_before_the_end_arrives(self):
        result = self.sh('head -c 300000 /dev/zero; kill -KILL $$', rc=137)
        self.assertEqual(len(result.out), 300000)

    def test_end_of_stdin_reaches_the_command(self):
        result = self.run_in('/bin/sh', '-c', 'cat >/dev/null; echo end', flags=['-i'], stdin=b'',
                             rc=0)
        self.assertEqual(result.out, b'end\n')

    def test_without_i_stdin_is_at_its_end(self):
        self.assertEqual(self.run_in('/bin/cat', stdin=b'unseen', rc=0).out, b'')

    def test_a_command_that_does_not_read_stdin_ends(self):
        self.run_in('/bin/true', flags=['-i'], stdin=bytes(4 << 20), rc=0)

    def test_input_typed_later_arrives_at_once(self):
        process = self.popen('run', '--rm', '-i', self.image, '--', '/bin/cat', stdin=-1)
        for word in (b'one\n', b'two\n'):
            process.stdin.write(word)
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), word)
        process.stdin.close()
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_a_slow_reader_slows_the_writer_and_loses_nothing(self):
        """The command cannot run ahead further than the buffers on the way."""
        process = self.popen('run', '--rm', '--name', 'slow', self.image, '--', '/bin/sh', '-c',
                             'head -c 20000000 /dev/zero; echo written >&2')
        early = []
        watcher = threading.Thread(target=lambda: early.append(process.stderr.read()))
        watcher.start()
        self.assertEqual(len(process.stdout.read(1)), 1)
        time.sleep(1.5)
        self.assertEqual(early, [], 'the writer ended although nobody reads')
        monitor, _, _ = self.machine('slow')
        self.assertLess(int(monitor.status()['VmHWM'].split()[0]), 64 << 10, 'KiB of the monitor')
        total = 1
        while chunk := process.stdout.read(1 << 20):
            total += len(chunk)
        watcher.join(TIMEOUT)
        self.assertEqual((total, early), (20000000, [b'written\n']))
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_a_reader_that_goes_away_ends_the_command(self):
        process = self.popen('run', '--rm', self.image, '--', '/bin/sh', '-c',
                             'while echo line; do :; done')
        self.assertEqual(process.stdout.readline(), b'line\n')
        process.stdout.close()
        self.assertNotEqual(process.wait(TIMEOUT), 0)
        self.assert_all_end()

    def test_closed_descriptors(self):
        """A caller may have closed stdin, stdout and stderr."""
        process = self.popen('run', '--rm', self.image, '--', '/bin/true',
                             argv0=['/bin/sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh'])
        self.assertEqual(process.wait(TIMEOUT), 0)


class Surroundings(MachineTest):
    """What the command finds: environment, directory, user, machine."""

    def test_environment(self):
        result = self.run_in('/usr/bin/env', rc=0,
                             flags=['-e', 'A=b', '-e', 'EMPTY=', '--env', 'LINES2=x\ny=z'])
        lines = result.text.splitlines()
        for line in ('A=b', 'EMPTY=', 'LINES2=x', 'y=z'):
            self.assertIn(line, lines)
        self.assertIn('PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', lines)

    def test_environment_of_the_host_stays_outside(self):
        result = self.run_in('/usr/bin/env', env={'SECRET_OF_HOST': '1'}, rc=0)
        self.assertNotIn('SECRET', result.text)

    def test_environment_passed_by_name(self):
        flags = ['-e', 'GIVEN', '-e', 'NOT_THERE']
        result = self.run_in('/usr/bin/env', env={'GIVEN': 'from host'}, flags=flags, rc=0)
        self.assertIn('GIVEN=from host', result.text.splitlines())
        self.assertNotIn('NOT_THERE', result.text)

    def test_environment_file(self):
        path = os.path.join(self.work_dir, 'env')
        with open(path, 'w') as f:
            f.write('# comment\n\nFROM_FILE=1 2\n')
        result = self.run_in('/usr/bin/env', flags=['--env-file', path], rc=0)
        self.assertIn('FROM_FILE=1 2', result.text.splitlines())

    def test_home_is_the_users(self):
        self.assertEqual(self.sh('echo $HOME').text, '/root\n')

    def test_large_arguments_and_environment(self):
        """Far above 64 KiB in all, and one argument near Linux's limit of 128 KiB."""
        flags = []
        for i in range(12):
            flags += ['-e', f'BIG{i}=' + 'e' * 20000]
        result = self.run_in('/bin/sh', '-c', 'echo ${#1} ${#BIG0} ${#BIG11} $#', 'sh',
                             'a' * 120000, *['b' * 1000] * 100, flags=flags, rc=0)
        self.assertEqual(result.text, '120000 20000 20000 101\n')

    def test_a_mebibyte_of_arguments_and_environment(self):
        """The most that is possible arrives, more is refused."""
        words = [chr(ord('a') + i) * 120000 for i in range(4)]
        flags = [flag for i in range(5) for flag in ('-e', f'BIG{i}=' + chr(ord('f') + i) * 110000)]
        show = 'printf %s "$@" $BIG0 $BIG1 $BIG2 $BIG3 $BIG4 | sha256sum'
        expected = ''.join(words) + ''.join(flag[5:] for flag in flags[1::2])
        result = self.run_in('/bin/sh', '-c', show, 'sh', *words, flags=flags, rc=0)
        self.assertEqual(result.text.split()[0], sha256(expected.encode()))
        result = self.run_in('/bin/true', *words, 'x' * 120000, flags=flags, rc=125)
        self.assertIn('bytes', result.errors)

    def test_arguments_are_not_touched(self):
        odd = ['', ' ', '$HOME', '*', 'a\nb', '"', "'", '\\', 'ü€', '-v', '--']
        result = self.run_in('/usr/bin/printf', '<%s>', *odd, rc=0)
        self.assertEqual(result.text, ''.join(f'<{a}>' for a in odd))

    def test_arguments_that_are_no_utf8(self):
        """JSON cannot carry them: refused, and by name."""
        odd = os.fsdecode(b'\xff\xfe')
        for flags, word in (([], 'word 3'), (['-e', 'ODD=' + odd], 'ODD'), (['-w', '/' + odd],
                                                                             '--workdir')):
            result = self.pv('run', '--rm', *flags, self.image, '--', '/usr/bin/printf', '%s',
                             'x' if flags else odd, rc=125)
            self.assertIn('UTF-8', result.errors)
            self.assertIn(word, result.errors)

    def test_flags_behind_the_image_are_the_commands(self):
        """As in Docker, with and without the two dashes."""
        self.assertEqual(self.pv('run', '--rm', self.image, 'echo', '-n', '--rm', rc=0).text,
                         '--rm')

    def test_working_directory(self):
        self.assertEqual(self.run_in('/bin/pwd', flags=['-w', '/tmp'], rc=0).text, '/tmp\n')
        self.assertEqual(self.run_in('/bin/pwd', rc=0).text, '/\n')

    def test_working_directory_is_made(self):
        self.assertEqual(self.run_in('/bin/pwd', flags=['-w', '/new/place'], rc=0).text,
                         '/new/place\n')

    def test_user_by_name(self):
        result = self.sh('id -un; id -u; id -g; echo $HOME', flags=['-u', 'nobody'])
        self.assertEqual(result.text, 'nobody\n65534\n65534\n/nonexistent\n')

    def test_user_by_number(self):
        result = self.sh('id -u; id -g; id -G', flags=['-u', '1234:4321'])
        self.assertEqual(result.text, '1234\n4321\n4321\n')

    def test_user_with_a_group_by_name(self):
        self.assertEqual(self.sh('id -u; id -gn', flags=['-u', 'daemon:games']).text,
                         '1\ngames\n')

    def test_default_user_is_root(self):
        self.assertEqual(self.sh('id -u; id -g').text, '0\n0\n')

    def test_hostname(self):
        result = self.sh('uname -n; cat /etc/hostname; grep -c "web1" /etc/hosts',
                         flags=['--hostname', 'web1'])
        self.assertEqual(result.text.splitlines()[:2], ['web1', 'web1'])

    def test_default_hostname_is_the_short_id(self):
        self.assertRegex(self.sh('uname -n; echo $HOSTNAME').text, r'\A([0-9a-f]{12})\n\1\n\Z')

    def test_memory(self):
        for size, mib in (('96M', 96), ('1g', 1024)):
            kib = int(self.sh("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo",
                              flags=['-m', size]).text)
            self.assertLessEqual(kib, mib * 1024)
            self.assertGreater(kib, mib * 1024 * 0.75 - 16384)

    def test_default_memory(self):
        kib = int(self.sh("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").text)
        self.assertTrue(400 << 10 < kib <= 512 << 10, kib)

    def test_least_memory(self):
        self.run_in('/bin/true', flags=['-m', '64M'], rc=0)

    def test_cpus(self):
        for cpus in (1, 2):
            self.assertEqual(self.run_in('/usr/bin/nproc', flags=['--cpus', cpus], rc=0).text,
                             f'{cpus}\n')

    def test_two_cpus_work_at_the_same_time(self):
        script = ('(while [ ! -e /tmp/b ]; do :; done; touch /tmp/a) & touch /tmp/b; wait; '
                  'grep -c ^cpu[0-9] /proc/stat')
        self.assertEqual(self.sh(script, flags=['--cpus', 2]).text, '2\n')

    def test_read_only(self):
        result = self.sh('touch /x', flags=['--read-only'], rc=1)
        self.assertIn('Read-only file system', result.errors)

    def test_the_example_of_the_manual(self):
        result = self.run_in('/bin/sh', '-c', 'echo $A; pwd; id -un',
                             flags='-m 512M --cpus 2 -e A=b -w /tmp -u nobody'.split(), rc=0)
        self.assertEqual(result.text, 'b\n/tmp\nnobody\n')

    def test_own_linux(self):
        """Its own kernel, not the host's."""
        release, version = self.sh('uname -r; . /etc/os-release; echo $PRETTY_NAME').text.split(
            '\n')[:2]
        self.assertNotEqual(release, os.uname().release)
        self.assertIn('paravane', release)
        self.assertIn('Debian', version)


class Signals(MachineTest):
    """Signals to the command line reach the command."""

    def check(self, number, script, code):
        process = self.popen('run', '--rm', self.image, '--', '/bin/sh', '-c', script)
        self.assertEqual(process.stdout.readline(), b'ready\n')
        process.send_signal(number)
        self.assertEqual(signal_code(process.wait(TIMEOUT)), code)
        return process.stdout.read()

    def test_term_is_passed_on(self):
        out = self.check(signal.SIGTERM, 'trap "echo caught; exit 7" TERM; echo ready; '
                         'while :; do sleep 0.1; done', 7)
        self.assertEqual(out, b'caught\n')

    def test_int_is_passed_on(self):
        self.check(signal.SIGINT, 'trap "exit 8" INT; echo ready; while :; do sleep 0.1; done', 8)

    def test_usr1_is_passed_on(self):
        self.check(signal.SIGUSR1, 'trap "exit 9" USR1; echo ready; while :; do sleep 0.1; done',
                   9)

    def test_term_ends_a_command_without_a_handler(self):
        self.check(signal.SIGTERM, 'echo ready; exec sleep 1000', 128 + 15)

    def test_term_while_the_machine_boots(self):
        process = self.popen('run', '--rm', self.image, '--', '/bin/sleep', '1000')
        time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        self.assertIn(signal_code(process.wait(TIMEOUT)), (125, 128 + 15))
        self.assert_all_end()


class Names(MachineTest):
    """--name, --rm."""

    def test_rm_leaves_nothing(self):
        self.run_in('/bin/true', flags=['--name', 'gone'], rc=0)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.leftovers(), set())

    def test_without_rm_the_instance_stays(self):
        self.pv('run', '--name', 'kept', self.image, '--', '/bin/sh', '-c', 'exit 3', rc=3)
        found = self.inspect('kept')
        self.assertEqual((found['status'], found['exit_code']), ('exited', 3))
        self.pv('rm', 'kept', rc=0)

    def test_name_in_use(self):
        self.pv('run', '--name', 'one', self.image, '--', '/bin/true', rc=0)
        result = self.pv('run', '--name', 'one', self.image, '--', '/bin/true', rc=125)
        self.assertIn("'one'", result.errors)
        self.assertIn('rm', result.errors)
        self.pv('rm', 'one', rc=0)
        self.pv('run', '--rm', '--name', 'one', self.image, '--', '/bin/true', rc=0)

    def test_bad_names(self):
        for name in ('', '-x', 'a/b', '..', 'a b', 'x' * 300):
            self.run_in('/bin/true', flags=[f'--name={name}'], rc=125)

    def test_made_up_names_differ(self):
        for _ in range(2):
            self.pv('run', self.image, '--', '/bin/true', rc=0)
        names = self.names()
        self.assertEqual(len(set(names)), 2, names)
        self.pv('rm', *names, rc=0)

    def test_rm_of_a_machine_that_does_not_start(self):
        self.run_in('/no/such/program', rc=127)
        self.assertEqual(self.names(), [])

    def test_the_end_of_the_machine_is_in_order(self):
        """Other processes of the machine get SIGTERM when the command has ended."""
        result = self.sh('(trap "echo bye; exit" TERM; while :; do sleep 0.1; done) & sleep 0.3')
        self.assertIn(result.out, (b'bye\n', b''))


class Places(MachineTest):
    """Where instances live when nothing is set by PARAVANE_ROOT."""

    def setUp(self):
        super().setUp()
        self.plain = {'PARAVANE_ROOT': '', 'XDG_STATE_HOME': '', 'XDG_RUNTIME_DIR': ''}

    @unittest.skipIf(ROOT, "root's places are the host's: the tests leave them alone")
    def test_home_of_a_plain_user(self):
        self.pv('run', '--name', 'here', self.image, '--', '/bin/true', env=self.plain, rc=0)
        self.assertTrue(os.path.islink(f'{self.home_dir}/.local/state/paravane/names/here'))
        self.pv('rm', 'here', env=self.plain, rc=0)
        self.assertEqual(os.listdir(f'{self.home_dir}/.local/state/paravane/instances'), [])

    @unittest.skipIf(ROOT, "root's places are the host's: the tests leave them alone")
    def test_xdg_folders_of_a_plain_user(self):
        state, run = (os.path.join(self.work_dir, name) for name in ('xdg-state', 'xdg-run'))
        os.mkdir(run, 0o700)
        env = {**self.plain, 'XDG_STATE_HOME': state, 'XDG_RUNTIME_DIR': run}
        self.pv('run', '-d', '--name', 'here', self.image, '--', '/bin/sleep', '100', env=env, rc=0)
        self.assertEqual(len(os.listdir(f'{state}/paravane/instances')), 1)
        self.assertEqual(len(os.listdir(f'{run}/paravane')), 1)
        self.pv('rm', '-f', 'here', env=env, rc=0)
        self.assertEqual(os.listdir(f'{state}/paravane/instances'), [])
        self.assertEqual(os.listdir(f'{run}/paravane'), [])

    @unittest.skipIf(ROOT, 'for a plain user who is root in a namespace of their own')
    def test_root_of_a_user_namespace(self):
        argv0 = ['unshare', '--user', '--map-root-user']
        self.run_in('/bin/true', argv0=argv0, rc=0)
        self.pv('run', '-d', '--name', 'box', self.image, '--', '/bin/sleep', '1000', argv0=argv0,
                rc=0)
        self.pv('exec', 'box', '/bin/true', argv0=argv0, rc=0)
        self.pv('rm', '-f', 'box', argv0=argv0, rc=0)

    def test_a_long_path(self):
        """A socket's address has 108 bytes; the folder's name may have more."""
        root = os.path.join(self.work_dir, 'd' * 200)
        os.mkdir(root, 0o711)
        env = {'PARAVANE_ROOT': root}
        self.pv('run', '-d', '--name', 'deep', self.image, '--', '/bin/sleep', '100', env=env, rc=0)
        self.pv('exec', 'deep', '/bin/true', env=env, rc=0)
        self.pv('rm', '-f', 'deep', env=env, rc=0)

    def test_a_place_that_cannot_be_written(self):
        blocked = os.path.join(self.work_dir, 'file')
        open(blocked, 'w').close()
        result = self.pv('run', '--rm', self.image, '--', '/bin/true',
                         env={'PARAVANE_ROOT': blocked + '/below'}, rc=125)
        self.assertIn(blocked, result.errors)

    @unittest.skipIf(ROOT, 'root may write everywhere')
    def test_a_place_without_permission(self):
        closed = os.path.join(self.work_dir, 'closed')
        os.mkdir(closed, 0o500)
        result = self.pv('run', '--rm', self.image, '--', '/bin/true',
                         env={'PARAVANE_ROOT': closed + '/below'}, rc=125)
        self.assertIn(closed, result.errors)
        self.assertIn('Permission denied', result.errors)


class Help(MachineTest):
    """Every verb explains itself."""

    verbs = 'run ps logs exec stop kill wait rm inspect stats attach start'.split()

    def test_help(self):
        general = self.pv('--help', rc=0).text
        for verb in self.verbs:
            self.assertIn(verb, general)
            self.assertIn(verb, self.pv(verb, '--help', rc=0).text)

    def test_version(self):
        self.assertRegex(self.pv('--version', rc=0).text, r'\d+\.\d+')

    def test_unknown_verb(self):
        result = self.pv('fly')
        self.assertNotEqual(result.rc, 0)
        self.assertIn('fly', result.errors)

    def test_no_verb(self):
        """As `docker` alone: the help."""
        self.assertEqual(self.pv(rc=0).out, self.pv('--help', rc=0).out)
