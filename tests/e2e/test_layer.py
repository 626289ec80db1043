# SPDX-License-Identifier: Apache-2.0
"""The writable layer: its size, its life, and disks that are full."""
import os
import unittest

from harness import SMALL_DIR, MachineTest


class Layer(MachineTest):
    def test_size(self):
        for size, mib in (('64M', 64), ('1G', 1024)):
            out = self.sh("df -k --output=size / | tail -1", flags=['--disk-size', size]).text
            self.assertTrue(mib * 1024 * 0.75 <= int(out) <= mib * 1024, out)

    def test_writes_go_away_with_rm(self):
        self.sh('echo x >/kept')
        self.sh('test ! -e /kept')

    def test_writes_stay_in_a_stopped_instance(self):
        script = 'if [ -e /kept ]; then cat /kept; else echo second >/kept; echo first; fi'
        self.assertEqual(self.pv('run', '--name', 'box', self.image, '--', '/bin/sh', '-c', script,
                                 rc=0).text, 'first\n')
        for _ in range(2):
            self.assertEqual(self.pv('start', '-a', 'box', rc=0).text, 'second\n')
        self.pv('rm', 'box', rc=0)

    def test_writes_of_a_running_machine_that_is_stopped_stay(self):
        """The power-off is orderly: nothing needs to be synced by the user."""
        script = 'if [ -e /big ]; then sha256sum </big; else head -c 3000000 /dev/urandom >/big; ' \
                 'sha256sum </big; echo written; exec sleep 1000; fi'
        self.start('/bin/sh', '-c', script)
        self.wait_output('box', 'written')
        first = self.pv('logs', 'box', rc=0).text.splitlines()[0]
        self.pv('stop', '-t', '1', 'box', rc=0)
        self.assertEqual(self.pv('start', '-a', 'box', rc=0).text.splitlines()[0], first)

    def test_the_file_is_sparse(self):
        """10 GiB by default, and next to nothing of it taken."""
        self.start('/bin/sleep', '1000')
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(self.root_dir)
                 for name in names]
        layer = max(paths, key=lambda path: os.lstat(path).st_size)
        self.assertEqual(os.stat(layer).st_size, 10 << 30)
        self.assertLess(os.stat(layer).st_blocks * 512, 64 << 20)

    def test_a_full_disk_of_the_guest(self):
        """No space left, for the command; the machine goes on."""
        script = ('echo early >/first; sync; dd if=/dev/zero of=/fill bs=1M; echo code=$?; '
                  'rm /fill; sync; echo late >/second && cat /first /second')
        result = self.sh(script, flags=['--disk-size', '64M'])
        self.assertEqual(result.text, 'code=1\nearly\nlate\n')
        self.assertIn('No space left on device', result.errors)

    def test_read_only_root_has_a_writable_tmp_only_if_mounted(self):
        self.assertEqual(self.sh('touch /x 2>/dev/null || echo refused',
                                 flags=['--read-only']).text, 'refused\n')

    def test_sizes_that_cannot_be(self):
        for size in ('1', '0', '-1', '1k', 'much', '', '99999999T', '1.5.2G'):
            result = self.run_in('/bin/true', flags=[f'--disk-size={size}'], rc=125)
            self.assertIn('--disk-size', result.errors)


@unittest.skipUnless(SMALL_DIR, 'needs a small file system, which root makes: tests/e2e/run')
class FullHostDisk(MachineTest):
    """The host's disk, not the guest's: instances live on a file system of 64 MiB."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root_dir = os.path.join(SMALL_DIR, cls.__name__)
        os.mkdir(cls.root_dir)
        os.chmod(cls.root_dir, 0o711)
        cls.env['PARAVANE_ROOT'] = cls.root_dir

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        for folder, folders, files in os.walk(cls.root_dir, topdown=False):
            for name in files:
                os.unlink(os.path.join(folder, name))
            for name in folders:
                os.rmdir(os.path.join(folder, name))
        os.rmdir(cls.root_dir)

    def ballast(self, leave):
        """Takes all of the file system but `leave` bytes; returns the file."""
        path = os.path.join(SMALL_DIR, 'ballast')
        st = os.statvfs(SMALL_DIR)
        with open(path, 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, max(1, st.f_bavail * st.f_frsize - leave))
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return path

    SCRIPT = '''
        if [ -e /kept ]; then sha256sum </kept; sha256sum </known; exit 0; fi
        head -c 2000000 /dev/urandom >/kept
        dd if=/kept of=/kept conv=notrunc,fsync status=none || exit 9
        sha256sum </kept; echo ready
        while [ ! -e /go ]; do sleep 0.1; done
        i=0
        while [ $i -lt 200 ]; do
            dd if=/dev/urandom of=/fill.$i bs=1M count=1 conv=fsync status=none || break
            i=$((i+1))
        done
        echo stopped at $i
        exec sleep 1000'''

    def test_writes_fail_in_the_guest_and_nothing_acknowledged_is_lost(self):
        ballast = self.ballast(24 << 20)
        self.start('/bin/sh', '-c', self.SCRIPT, flags=['--disk-size', '1G'])
        self.wait_output('box', 'ready')
        kept = self.pv('logs', 'box', rc=0).text.splitlines()[0]
        self.exec('box', '/bin/touch', '/go', rc=0)
        self.wait_output('box', 'stopped at')
        reached = int(self.pv('logs', 'box', rc=0).text.split('stopped at ')[1].split()[0])
        self.assertTrue(0 < reached < 30, f'{reached} files of 1 MiB on 24 MiB')

        # The monitor lives and serves.
        self.assertEqual(self.status('box'), 'running')
        self.exec('box', '/bin/true', rc=0)
        self.pv('kill', 'box', rc=0)
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '137\n')

        # With space again, what was flushed is there.
        os.unlink(ballast)
        again = self.pv('start', '-a', 'box', rc=0).text.splitlines()
        self.assertEqual(again[0], kept)

    def test_no_space_for_a_new_instance(self):
        self.ballast(0)
        result = self.run_in('/bin/true', rc=125)
        self.assertIn('No space left on device', result.errors)

    def test_an_instance_can_be_removed_when_the_disk_is_full(self):
        self.start('/bin/sleep', '1000')
        self.ballast(0)
        self.pv('rm', '-f', 'box', rc=0)
        self.assertEqual(self.names(), [])
