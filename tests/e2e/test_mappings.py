# SPDX-License-Identifier: Apache-2.0
"""Guest processes whose memory is more mappings than the host lets a process have: the
address space of a stub holds only some of what the guest's page tables say."""
import os
import shutil
import unittest

from harness import SCATTERED, MachineTest


def limit():
    with open('/proc/sys/vm/max_map_count', encoding='ascii') as file:
        return int(file.read())


@unittest.skipUnless(SCATTERED, 'the program tests/support/scattered is not built')
class Mappings(MachineTest):
    """tests/support/scattered.c verifies all that it reads."""

    def run_scattered(self, cpus, threads, forks):
        # With the default of 65530 more than that; hosts that allow a million are not asked for it.
        pages = min(limit(), 65530) * 9 // 8
        folder = os.path.join(self.work_dir, 'bin')
        os.makedirs(folder, mode=0o755, exist_ok=True)
        shutil.copy(SCATTERED, os.path.join(folder, 'scattered'))
        result = self.run_in('/test/scattered', pages, threads, forks, timeout=180, rc=0,
                             flags=['-m', '768M', '--cpus', cpus, '-v', f'{folder}:/test:ro'])
        self.assertEqual(result.text.strip(), f'{pages} pages good', result)

    def test_scattered_memory(self):
        self.run_scattered(1, 1, 0)

    def test_threads(self):
        self.run_scattered(2, 4, 0)

    def test_a_fork(self):
        self.run_scattered(2, 2, 1)
