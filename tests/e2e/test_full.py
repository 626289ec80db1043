# SPDX-License-Identifier: Apache-2.0
"""A file system of the host that fills up below a machine's disks and volumes: an ordinary error in
the guest, a line in the monitor's log, nothing lost, and it goes on when there is space again."""
import os
import shutil
import tempfile
import unittest

from harness import SMALL_DIR, MachineTest, read_text, run_tool

MIB = 1 << 20
QEMU_IMG = shutil.which('qemu-img')

# Numbered blocks. What the host refuses is written again when somebody says so.
WRITER = r'''
import errno, mmap, os, time
size, count = 65536, 640
fd = os.open('/dev/vdc', os.O_RDWR | os.O_DIRECT)
buf = mmap.mmap(-1, size)
def fill(i):
    buf[:] = i.to_bytes(8, 'little') * (size // 8)
def write(i):
    fill(i)
    os.pwrite(fd, buf, i * size)
    if i % 16 == 0 or i + 1 == count:
        os.fdatasync(fd)
i = refused = 0
while i < count:
    try:
        write(i)
        i += 1
    except OSError as e:
        refused += 1
        if refused == 1:
            print('refused', errno.errorcode[e.errno], i, flush=True)
        while not os.path.exists('/go'):
            time.sleep(0.1)
        assert refused < 100
for i in range(count):
    fill(i)
    expected = buf[:]
    os.preadv(fd, [buf], i * size)
    assert buf[:] == expected, i
print('all there', flush=True)
'''


@unittest.skipUnless(SMALL_DIR, 'needs a small file system, which root makes: tests/e2e/run')
class FullHost(MachineTest):
    def setUp(self):
        super().setUp()
        self.small = tempfile.mkdtemp(dir=SMALL_DIR)
        os.chmod(self.small, 0o711)
        self.addCleanup(shutil.rmtree, self.small)

    def ballast(self, leave):
        """Takes all of the file system but `leave` bytes; returns the file."""
        path = os.path.join(self.small, 'ballast')
        st = os.statvfs(SMALL_DIR)
        with open(path, 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, max(1, st.f_bavail * st.f_frsize - leave))
        return path

    def monitor_log(self, name='box'):
        return read_text(os.path.join(self.root_dir, 'instances', self.inspect(name)['id'],
                                      'machine', 'monitor.log'))

    def fill_disk(self, path):
        ballast = self.ballast(16 * MIB)
        self.start('python3', '-uc', WRITER, flags=['--disk', path])
        self.wait_output('box', 'refused EIO ')
        reached = int(self.pv('logs', 'box', rc=0).text.split()[2])
        self.assertTrue(32 < reached <= 256, f'{reached} blocks of 64 KiB on 16 MiB')
        self.assertIn('No space left on device', self.monitor_log())
        os.unlink(ballast)
        self.exec('box', 'touch', '/go', rc=0)
        self.wait_output('box', 'all there')
        self.assertEqual(self.pv('wait', 'box', rc=0).text, '0\n')

    def test_below_a_raw_disk(self):
        path = os.path.join(self.small, 'disk.img')
        with open(path, 'wb') as f:
            f.truncate(40 * MIB)
        self.fill_disk(path)
        with open(path, 'rb') as f:
            for i in range(640):
                self.assertEqual(f.read(65536), i.to_bytes(8, 'little') * 8192)

    @unittest.skipUnless(QEMU_IMG, 'qemu-img is not installed')
    def test_below_a_qcow2_disk(self):
        path = os.path.join(self.small, 'disk.qcow2')
        for options in ('compat=v3', 'compat=v3,cluster_size=512', 'compat=v2'):
            run_tool(QEMU_IMG, 'create', '-q', '-f', 'qcow2', '-o', options, path, '40M')
            self.fill_disk(path)
            self.pv('rm', 'box', rc=0)
            run_tool(QEMU_IMG, 'check', path)
            os.unlink(path)

    def test_below_a_volume(self):
        folder = os.path.join(self.small, 'share')
        os.mkdir(folder)
        ballast = self.ballast(8 * MIB)
        self.start('sleep', '1000', flags=['-v', folder + ':/mnt'])
        self.exec('box', 'sh', '-c', 'seq 1000 >/mnt/before', rc=0)
        for command in ('dd if=/dev/zero of=/mnt/big bs=64k', 'dd if=/dev/zero of=/mnt/more bs=64k count=1'):
            result = self.exec('box', 'sh', '-c', command)
            self.assertNotEqual(result.rc, 0)
            self.assertIn('No space left on device', result.errors)
        self.assertIn('No space left on device', self.monitor_log())
        # What needs no space goes on.
        out = self.exec('box', 'sh', '-c', 'tail -n 1 /mnt/before; stat -c %s /mnt/big', rc=0).text
        self.assertEqual(out, '1000\n%d\n' % os.path.getsize(folder + '/big'))
        os.unlink(ballast)
        self.exec('box', 'sh', '-c', 'seq 100000 >/mnt/after && sync && rm /mnt/big /mnt/more', rc=0)
        self.assertEqual(sorted(os.listdir(folder)), ['after', 'before'])
        with open(folder + '/after') as f:
            self.assertEqual(f.read(), ''.join(f'{i}\n' for i in range(1, 100001)))

    def test_space_that_the_guest_frees_itself(self):
        folder = os.path.join(self.small, 'share')
        os.mkdir(folder)
        self.ballast(4 * MIB)
        out = self.sh('cd /mnt; dd if=/dev/zero of=a bs=64k 2>/dev/null; rm a; '
                      'dd if=/dev/zero of=b bs=64k count=32 2>/dev/null && echo went on',
                      flags=['-v', folder + ':/mnt'])
        self.assertEqual(out.text, 'went on\n')
