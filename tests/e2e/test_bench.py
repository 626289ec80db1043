# SPDX-License-Identifier: Apache-2.0
"""The benchmark of programs does its work. How fast anything is, no test asks."""
import json
import os
import subprocess
import unittest

from harness import BENCH, PARAVANE, TIMEOUT, MachineTest, make_small_root, reaper, run_tool


@unittest.skipUnless(BENCH, 'the programs of the benchmarks are not built (a build with sanitizers)')
class Programs(MachineTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.small = os.path.join(cls.work_dir, 'small.squashfs')
        run_tool('mksquashfs', make_small_root(os.path.join(cls.top, 'small')), cls.small, '-quiet',
                 '-no-progress', '-noappend', '-comp', 'gzip')

    def bench(self, *flags):
        """What it reports: what it wrote, and what it printed."""
        process = reaper.popen(
            [os.path.join(BENCH, 'programs'), '--quick', '--rounds', '1', '--image', self.small,
             '--folder', self.work_dir, *flags],
            env={**self.env, 'BUILD': os.path.dirname(PARAVANE)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.work_dir)
        out, err = process.communicate(timeout=3 * TIMEOUT)
        self.assertEqual(process.returncode, 0, f'{out.decode()}\n{err.decode()}')
        with open(os.path.join(self.work_dir, 'bench-programs.json')) as f:
            return json.load(f), out.decode()

    def check(self, report, row, *peers):
        self.assertEqual(report['failures'], {})
        self.assertEqual(set(report['rows'][row]['peers']), set(peers))
        for peer in peers:
            cell = report['rows'][row]['peers'][peer]
            self.assertGreater(cell['median'], 0, peer)
            self.assertEqual(len(cell['samples']), 2, peer)

    def test_pinned_and_unpinned(self):
        report, text = self.bench('--rows', 'syscall', '--only',
                                  'native,namespace,paravane,paravane_unpinned')
        peers = {'native', 'namespace', 'paravane', 'paravane_unpinned'} - set(report['missing'])
        self.check(report, 'syscall', *peers)
        self.assertEqual([target['peer'] for target in report['targets']], ['paravane'])
        self.assertIn('system call (getppid), Paravane: at most 7.5 us', text)

    def test_two_kernels(self):
        """Each has its own name; the one of a folder is taken from there, the rest as built."""
        folder = os.path.join(self.work_dir, 'kernel')
        os.mkdir(folder)
        kernel = os.path.join(os.path.dirname(PARAVANE), 'guest', 'linux')
        os.symlink(kernel, os.path.join(folder, 'linux'))
        report, _ = self.bench('--rows', 'condvar', '--libexec', f'one={folder}', '--libexec',
                               f'two={kernel}')
        self.check(report, 'condvar', 'native', 'one', 'two')
