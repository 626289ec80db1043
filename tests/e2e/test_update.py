# SPDX-License-Identifier: Apache-2.0
"""update: other limits for machines, while they run and for their next start."""
import unittest

from harness import MachineTest

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
            self.assertEqual(result.rc, 1)
            self.assertIn('cannot limit', result.errors)
            result = self.run_in('/bin/true', flags=['--cpus', '0.5'])
            self.assertEqual(result.rc, 125)
            self.assertIn('CPU limit', result.errors)
            raise unittest.SkipTest(f'no CPU limit on this host: {wall["detail"]}')
        self.assertEqual((result.rc, result.text), (0, 'box\n'))
        self.assertIn('500', self.cpu_wall()['detail'])
        self.pv('update', '--cpus=2', 'box', rc=0)
        self.assertIn('2000', self.cpu_wall()['detail'])
        self.assertEqual(self.config()['cpu_milli'], 2000)
        result = self.pv('update', '--cpus', '2.5', 'box')
        self.assertEqual(result.rc, 1)
        self.assertIn('2 virtual CPUs', result.errors)
        self.assertEqual(self.config()['cpu_milli'], 2000)

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
