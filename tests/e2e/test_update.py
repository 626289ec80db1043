# SPDX-License-Identifier: Apache-2.0
"""update: other limits for machines, while they run and for their next start."""
import os
import signal
import unittest

from harness import ROOT, MachineTest

SPIN = 'while :; do :; done'
MIB = 1 << 20


class Update(MachineTest):
    def config(self, name='box'):
        return self.inspect(name)['config']['machine']

    def cpu_wall(self, name='box'):
        return next(w for w in self.inspect(name)['walls']['limits']
                    if w['wall'] == 'cgroup cpu limit')

    def test_cpus_of_a_running_machine(self):
        self.start('/bin/sh', '-c', SPIN, flags=['--cpus', '2'])
        wall = self.cpu_wall()
        result = self.pv('update', '--cpus', '0.5', 'box')
        if not wall['stands']:
            raise unittest.SkipTest(f'no CPU limit on this host: {wall["detail"]}')
        self.assertEqual((result.rc, result.text, result.errors), (0, 'box\n', ''))
        self.assertEqual(self.cpu_limit(), {'cpu_milli': 500, 'kept_by': 'host cgroup'})
        self.assertEqual(self.guest_cpu_max(), 'max 100000')
        self.assertIn('500', self.cpu_wall()['detail'])
        self.pv('update', '--cpus=2', 'box', rc=0)
        self.assertIn('2000', self.cpu_wall()['detail'])
        self.assertEqual(self.config()['cpu_milli'], 2000)
        result = self.pv('update', '--cpus', '2.5', 'box')
        self.assertEqual(result.rc, 1)
        self.assertIn('2 virtual CPUs', result.errors)
        self.assertEqual(self.config()['cpu_milli'], 2000)

    def start_without_cgroup(self, flags):
        """A busy machine whose host has no control group for CPU time, for us at least."""
        hide = 'umount -R -l /sys/fs/cgroup; exec "$@"'
        argv0 = ['unshare', '-m', 'sh', '-c', hide, 'sh'] if ROOT else []
        result = self.pv('run', '-d', '--name', 'box', *flags, self.image, '--', '/bin/sh', '-c',
                         SPIN, argv0=argv0, rc=0)
        self.addCleanup(self.remove, 'box')
        wall = self.cpu_wall()
        if wall['stands']:
            raise unittest.SkipTest(f'this user has control groups: {wall["detail"]}')
        return result

    def guest_file(self, name):
        return self.exec('box', '/bin/cat', '/sys/fs/cgroup/workload/' + name, rc=0).text

    def guest_cpu_max(self):
        return self.guest_file('cpu.max').strip()

    def throttled(self):
        stat = dict(line.split() for line in self.guest_file('cpu.stat').splitlines())
        return int(stat['nr_throttled'])

    def cpu_limit(self):
        return {key: value for key, value in self.inspect('box')['cpu_limit'].items()
                if key != 'no_host_cgroup'}

    def test_cpus_without_a_control_group(self):
        """The guest's kernel keeps the share of time, and everybody is told that it does."""
        result = self.start_without_cgroup(['--cpus', '0.5', '--cpus-max', '2'])
        self.assertEqual(result.errors.count("kept by the guest's kernel"), 1, result)
        self.assertIn('--cpus 0.5:', result.errors)
        self.assertEqual(self.cpu_limit(), {'cpu_milli': 500, 'kept_by': 'guest kernel'})
        self.assertEqual(self.guest_cpu_max(), '50000 100000')
        self.wait_for('the busy loop is held back', lambda: self.throttled() > 0)

        result = self.pv('update', '--cpus', '0.2', 'box', rc=0)
        self.assertEqual(result.text, 'box\n')
        self.assertIn("kept by the guest's kernel", result.errors)
        self.assertEqual(self.cpu_limit(), {'cpu_milli': 200, 'kept_by': 'guest kernel'})
        self.assertEqual(self.config()['cpu_milli'], 200)
        self.assertEqual(self.guest_cpu_max(), '20000 100000')
        before = self.throttled()
        self.wait_for('it still is', lambda: self.throttled() > before)

        self.pv('update', '--cpus', '1.5', 'box', rc=0)
        self.assertEqual(self.guest_cpu_max(), '150000 100000')
        result = self.pv('update', '--cpus', '2', 'box', rc=0)
        self.assertEqual(result.errors, '')
        self.assertEqual(self.cpu_limit(), {'cpu_milli': 2000, 'kept_by': 'virtual CPUs'})
        self.assertEqual(self.guest_cpu_max(), 'max 100000')
        self.assertEqual(self.pv('update', '--cpus', '2.5', 'box').rc, 1)

    def test_a_guest_that_cannot_keep_its_cpus(self):
        """Root in it has removed the control group: the change fails, and nothing is changed."""
        self.start_without_cgroup(['--cpus', '0.5'])
        self.exec('box', '/bin/sh', '-c', 'cd /sys/fs/cgroup; for p in $(cat workload/cgroup.procs);'
                  'do echo $p > cgroup.procs; done; rmdir workload')
        result = self.pv('update', '--cpus', '0.2', 'box', rc=1)
        self.assertIn("the machine's kernel refuses", result.errors)
        self.assertEqual(self.cpu_limit(), {'cpu_milli': 500, 'kept_by': 'guest kernel'})
        self.assertEqual(self.config()['cpu_milli'], 500)

    def test_a_guest_that_does_not_answer_about_its_cpus(self):
        """What it was asked for meanwhile does not hold later, either."""
        self.start_without_cgroup(['--cpus', '0.5'])
        guest = self.inspect('box')['guest']['pid']
        os.kill(guest, signal.SIGSTOP)
        result = self.pv('update', '--cpus', '0.2', 'box')
        os.kill(guest, signal.SIGCONT)
        self.assertEqual(result.rc, 1, result)
        self.assertIn('agent cannot be asked', result.errors)
        self.wait_for('what was is again', lambda: self.guest_cpu_max() == '50000 100000')
        self.assertEqual(self.cpu_limit(), {'cpu_milli': 500, 'kept_by': 'guest kernel'})

    def test_the_next_start_says_who_keeps_its_cpus(self):
        if ROOT:
            self.skipTest('root has control groups at the next start')
        self.start_without_cgroup(['--cpus', '0.5'])
        self.pv('stop', '-t', '0', 'box', rc=0)
        self.assertIn("kept by the guest's kernel", self.pv('start', 'box', rc=0).errors)
        self.assertEqual(self.guest_cpu_max(), '50000 100000')

    def test_of_an_ended_instance_is_for_its_next_start(self):
        self.start('/bin/sh', '-c', 'nproc; grep MemTotal /proc/meminfo')
        self.pv('wait', 'box', rc=0)
        self.pv('update', '--cpus', '2', '-m', '200M', 'box', rc=0)
        self.pv('start', 'box', rc=0)
        self.pv('wait', 'box', rc=0)
        lines = self.pv('logs', 'box', rc=0).text.splitlines()
        self.assertEqual((lines[0], lines[2]), ('1', '2'))
        self.assertLess(int(lines[3].split()[1]) * 1024, 200 * MIB)

    def test_wrong(self):
        self.start('/bin/sleep', '1000')
        before = self.config()
        for flags in ([], ['--memory', '1M'], ['--memory', 'much'], ['--cpus', '0'],
                      ['--cpus', '1.2345'], ['--no-such-flag', '1']):
            self.assertEqual(self.pv('update', *flags, 'box').rc, 125, flags)
        self.assertEqual(self.pv('update', '--cpus', '1', 'nobody').rc, 1)
        # All or nothing: the CPUs are more than there are, so the memory stays too.
        self.assertEqual(self.pv('update', '-m', '300M', '--cpus', '8', 'box').rc, 1)
        self.assertEqual(self.config(), before)
