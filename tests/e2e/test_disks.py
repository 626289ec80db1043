# SPDX-License-Identifier: Apache-2.0
"""Disks beside the root: what the guest sees of them, and what of them comes to the host."""
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import unittest

from harness import ROOT, SMALL_DIR, MachineTest, read_text, reaper, run_tool, sha256

MIB = 1 << 20
QEMU_IMG = shutil.which('qemu-img')
STORAGE_DAEMON = shutil.which('qemu-storage-daemon')


class DiskTest(MachineTest):
    def disk(self, name='disk.img', size=64 * MIB):
        """A sparse file in a folder of this test."""
        path = os.path.join(self.work_dir, name)
        with open(path, 'wb') as f:
            f.truncate(size)
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return path

    def refused(self, *words, flags):
        """The command is refused with these words, and nothing was started."""
        before = self.names()
        result = self.run_in('/bin/true', flags=flags, rc=125)
        for word in words:
            self.assertIn(word, result.errors)
        self.assertEqual(self.names(), before)

    def monitor_log(self, name):
        identity = self.inspect(name)['id']
        return read_text(os.path.join(self.root_dir, 'instances', identity, 'machine',
                                      'monitor.log'))


class Disks(DiskTest):
    def test_two_disks_are_found_by_their_serial_numbers(self):
        one, two = self.disk('one', 8 * MIB), self.disk('two:2', 16 * MIB)
        out = self.sh('set -e; cd /dev/disk/by-id; '
                      'for d in virtio-disk1 virtio-data; do '
                      'b=$(basename $(readlink $d)); cat /sys/block/$b/serial; '
                      'echo " $b $(cat /sys/block/$b/size)"; done; '
                      'echo written to one | dd of=virtio-disk1 bs=4096 conv=fsync,sync; '
                      'echo written to two | dd of=virtio-data seek=1 bs=512 conv=fsync,sync',
                      flags=['--disk', one, '--disk', two + ':serial=data']).text
        self.assertEqual(out, 'disk1 vdc 16384\ndata vdd 32768\n')
        with open(one, 'rb') as f:
            self.assertEqual(f.read(15), b'written to one\n')
        with open(two, 'rb') as f:
            f.seek(512)
            self.assertEqual(f.read(15), b'written to two\n')

    def test_as_many_queues_as_virtual_cpus(self):
        for cpus, queues in ((1, 1), (2, 2), (6, 4)):
            out = self.sh('ls /sys/block/vdc/mq | wc -l; ls /sys/block/vdb/mq | wc -l; '
                          'for i in 1 2 3 4; do dd if=/dev/zero of=/dev/vdc bs=64k count=64 seek=$i '
                          'oflag=direct status=none & done; wait', flags=[
                              '--cpus', str(cpus), '--disk', self.disk()]).text
            self.assertEqual(out, f'{queues}\n1\n')

    def test_without_a_layer_the_names_move_up(self):
        out = self.sh('readlink /dev/disk/by-id/virtio-disk1',
                      flags=['--read-only', '--disk', self.disk()]).text
        self.assertEqual(out, '../../vdb\n')

    def test_a_read_only_disk_is_not_written_and_can_be_shared(self):
        path = self.disk()
        before = sha256(path)
        flags = ['--disk', path + ':ro']
        self.start('sleep', '1000', flags=flags)
        out = self.sh('cat /sys/block/vdc/ro; head -c 4096 /dev/vdc | tr -d "\\0" | wc -c; '
                      'dd if=/dev/zero of=/dev/vdc bs=4096 count=1 conv=fsync 2>&1 && echo written',
                      rc=None, flags=flags)
        self.assertTrue(out.text.startswith('1\n0\n'), out)
        self.assertNotIn('\nwritten', out.text)
        self.refused('another machine uses it', flags=['--disk', path])
        self.remove('box')
        self.assertEqual(sha256(path), before)

    def test_a_file_system_keeps_its_content(self):
        path = self.disk(size=32 * MIB)
        flags = ['--disk', path + ':serial=fs']
        self.sh('set -e; mke2fs -q -t ext4 /dev/disk/by-id/virtio-fs; '
                'mount /dev/disk/by-id/virtio-fs /mnt; seq 100000 >/mnt/numbers; umount /mnt',
                flags=flags)
        out = self.sh('mount /dev/disk/by-id/virtio-fs /mnt; md5sum </mnt/numbers', flags=flags)
        expected = self.sh('seq 100000 | md5sum')
        self.assertEqual(out.text, expected.text)
        run_tool('e2fsck', '-fn', path)

    def test_discard_gives_space_back(self):
        path = self.disk()
        name = self.start('sleep', '1000', flags=['--disk', path])
        used = lambda: os.stat(path).st_blocks * 512
        self.exec(name, 'dd', 'if=/dev/urandom', 'of=/dev/vdc', 'bs=1M', 'count=32', 'conv=fsync',
                  rc=0)
        self.assertGreaterEqual(used(), 32 * MIB)
        self.exec(name, 'blkdiscard', '-o', '0', '-l', str(16 * MIB), '/dev/vdc', rc=0)
        self.assertLess(used(), 20 * MIB)
        self.exec(name, 'blkdiscard', '-z', '-o', str(16 * MIB), '-l', str(8 * MIB), '/dev/vdc', rc=0)
        with open(path, 'rb') as f:
            self.assertEqual(f.read(24 * MIB).count(0), 24 * MIB)
            self.assertLess(f.read(8 * MIB).count(0), MIB)

    def test_deleted_files_of_the_layer_go_back_to_the_host(self):
        self.start('sleep', '1000')
        path = os.path.join(self.root_dir, 'instances', self.inspect('box')['id'], 'layer.img')
        used = lambda: os.stat(path).st_blocks * 512
        self.exec('box', 'dd', 'if=/dev/urandom', 'of=/big', 'bs=1M', 'count=40', 'conv=fsync', rc=0)
        self.assertGreaterEqual(used(), 40 * MIB)
        self.exec('box', 'sh', '-c', 'rm /big; sync', rc=0)
        self.wait_for('the space', lambda: used() < 20 * MIB)

    def test_the_write_cache_can_be_switched_off(self):
        out = self.sh('cat /sys/block/vdc/queue/write_cache; cd /sys/block/vdc; '
                      'echo "write through" >cache_type; cat cache_type; '
                      'dd if=/dev/zero of=/dev/vdc bs=4096 count=8 oflag=direct status=none && echo ok',
                      flags=['--disk', self.disk()]).text
        self.assertEqual(out, 'write back\nwrite through\nok\n')

    def test_rates_hold(self):
        name = self.start('sleep', '1000', flags=[
            '--disk', self.disk() + ':serial=slow', '--disk-rate', 'slow:bps=4M,bps-burst=1M'])
        begin = time.monotonic()
        self.exec(name, 'dd', 'if=/dev/zero', 'of=/dev/vdc', 'bs=1M', 'count=5', 'oflag=direct', rc=0)
        self.assertGreater(time.monotonic() - begin, 0.9)  # never sooner, however fast the host is
        stats = json.loads(self.pv('stats', '--no-stream', '--format', 'json', name, rc=0).text)
        blk = stats['devices']['blk2']
        self.assertGreaterEqual(blk['written_bytes'], 5 * MIB)
        self.assertGreater(blk['throttled'], 0)
        self.assertGreater(blk['throttled_ns'], 500 * 1000 * 1000)


FIO = ('fio --name=verify --filename=/dev/vdc --size={size} --rw={rw} --bsrange=512-64k '
       '--bs_unaligned=0 --iodepth=8 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 '
       '--randseed=7 --fsync=50 --group_reporting --output-format=terse >/tmp/fio 2>&1 || '
       '{{ cat /tmp/fio; exit 1; }}')

# Blocks with a number each, in an order that jumps about; a number is told when its block is on the
# medium. Another process keeps the disk busy.
WRITER = r'''
import os, subprocess, sys
start, blocks = int(sys.argv[1]), 4096
load = subprocess.Popen(['fio', '--name=load', '--filename=/dev/vdc', '--offset=64M', '--size=60M',
                         '--rw=randrw', '--bs=4k', '--iodepth=4', '--ioengine=libaio', '--direct=1',
                         '--time_based', '--runtime=1000'], stdout=subprocess.DEVNULL)
fd = os.open('/dev/vdc', os.O_RDWR)
for i in range(start, blocks):
    os.pwrite(fd, i.to_bytes(8, 'little') * 512, i * 1103 % blocks * 16384)
    os.fdatasync(fd)
    print('written', i, flush=True)
'''
READER = r'''
import os, sys
last, blocks, bad = int(sys.argv[1]), 4096, 0
fd = os.open('/dev/vdc', os.O_RDONLY)
for i in range(last + 1):
    bad += os.pread(fd, 4096, i * 1103 % blocks * 16384) != i.to_bytes(8, 'little') * 512
print('bad', bad)
'''


@unittest.skipUnless(QEMU_IMG, 'qemu-img is not installed')
class Formats(DiskTest):
    def qcow2(self, name='disk.qcow2', size='64M', options=(), backing=None):
        path = os.path.join(self.work_dir, name)
        run_tool(QEMU_IMG, 'create', '-q', '-f', 'qcow2', *options,
                 *(('-b', backing, '-F', 'qcow2') if backing else ()), path,
                 *(() if backing else (size,)))
        self.addCleanup(os.unlink, path)
        return path

    def check(self, path, leaks=False):
        """qemu-img check finds nothing wrong; leaks: but perhaps clusters that nobody uses."""
        done = subprocess.run([QEMU_IMG, 'check', '--output=json', path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        found = json.loads(done.stdout)
        self.assertEqual(found.get('corruptions', 0), 0, found)
        self.assertEqual(found['check-errors'], 0, found)
        if not leaks:
            self.assertEqual((done.returncode, found.get('leaks', 0)), (0, 0), found)
        return found.get('leaks', 0)

    def test_fio_verifies_raw(self):
        self.sh(FIO.format(rw='randwrite', size='24M'), flags=['--disk', self.disk(size=32 * MIB)])

    def test_fio_verifies_qcow2(self):
        path = self.qcow2()
        for rw in ('randwrite', 'write'):
            self.sh(FIO.format(rw=rw, size='24M'), flags=['--disk', path])
            self.check(path)

    def test_discard_gives_space_of_qcow2_back(self):
        path = self.qcow2()
        name = self.start('sleep', '1000', flags=['--disk', path])
        used = lambda: os.stat(path).st_blocks * 512
        self.exec(name, 'dd', 'if=/dev/urandom', 'of=/dev/vdc', 'bs=1M', 'count=32', 'conv=fsync',
                  rc=0)
        self.assertGreater(used(), 32 * MIB)
        self.exec(name, 'sh', '-c', 'blkdiscard -o 0 -l 25165824 /dev/vdc && sync /dev/vdc', rc=0)
        self.assertLess(used(), 12 * MIB)
        out = self.exec(name, 'sh', '-c', 'head -c 25165824 /dev/vdc | tr -d "\\0" | wc -c', rc=0)
        self.assertEqual(out.text, '0\n')
        self.pv('rm', '-f', name, rc=0)
        self.check(path)

    def test_an_image_over_another(self):
        base = self.qcow2('base.qcow2')
        self.sh('seq 100000 | dd of=/dev/vdc bs=64k conv=fsync status=none', flags=['--disk', base])
        before = sha256(base)
        top = self.qcow2('top.qcow2', backing=base)
        out = self.sh('head -c 6 /dev/vdc; echo changed | dd of=/dev/vdc bs=8 count=1 conv=fsync '
                      'status=none; head -c 16 /dev/vdc', flags=['--disk', top])
        self.assertEqual(out.text, '1\n2\n3\nchanged\n5\n6\n7\n8\n')
        self.assertEqual(sha256(base), before)
        self.check(top)
        os.rename(base, base + '.away')
        self.refused('base.qcow2', 'No such file', flags=['--disk', top])
        os.rename(base + '.away', base)
        run_tool(QEMU_IMG, 'rebase', '-u', '-f', 'qcow2', '-b', top, '-F', 'qcow2', base)
        self.refused('stands on itself', flags=['--disk', top])

    def test_what_is_no_image(self):
        path = self.disk('not.qcow2')
        self.refused('qcow2', flags=['--disk', path])
        self.refused('qcow2', flags=['--disk', self.disk() + ':format=qcow2'])

    def test_grows_while_it_is_in_use(self):
        path = self.qcow2()
        self.start('sleep', '1000', flags=['--disk', path + ':serial=data'])
        self.pv('update', '--disk-size', 'data=1G', 'box', rc=0)
        size = lambda: self.exec('box', 'cat', '/sys/block/vdc/size', rc=0).text
        self.wait_for('the new size', lambda: size() == '2097152\n')
        self.exec('box', 'dd', 'if=/dev/urandom', 'of=/dev/vdc', 'bs=1M', 'seek=1000', 'count=8',
                  'conv=fsync', rc=0)
        self.pv('rm', '-f', 'box', rc=0)
        self.check(path)
        self.assertIn('1 GiB', run_tool(QEMU_IMG, 'info', path))

    def kill_machine(self, name, path):
        """Kills the monitor. The kernel lets go of its files, and their locks, somewhat later."""
        monitor, _, _ = self.machine(name)
        os.kill(monitor.pid, signal.SIGKILL)
        self.wait_for('the end', lambda: self.status(name) == 'exited')
        self.wait_for('the image to be let go', lambda: subprocess.run(
            [QEMU_IMG, 'info', path], capture_output=True, check=False).returncode == 0)

    def kill_rounds(self, path, check):
        """Kills the monitor in the middle of a load; what was told as written is there."""
        start = 0
        for number in range(int(os.environ.get('PARAVANE_TEST_ROUNDS', '3'))):
            name = self.start('python3', '-uc', WRITER, str(start), name=f'box{number}',
                              flags=['--disk', path])
            self.wait_output(name, f'written {start + 20 + 7 * number}\n')
            self.kill_machine(name, path)
            told = [line.split()[1] for line in self.pv('logs', name, rc=0).text.splitlines()
                    if line.startswith('written ')]
            self.pv('rm', '-f', name, rc=0)
            check(leaks=True)
            start = int(told[-1]) + 1
            out = self.run_in('python3', '-c', READER, str(start - 1), flags=['--disk', path], rc=0)
            self.assertEqual(out.text, 'bad 0\n')
            check()

    def test_killed_while_writing_raw(self):
        self.kill_rounds(self.disk(size=128 * MIB), lambda leaks=False: None)

    def test_killed_while_writing_qcow2(self):
        path = self.qcow2(size='128M')
        self.kill_rounds(path, lambda **how: self.check(path, **how))

    def test_killed_while_writing_version_2(self):
        path = self.qcow2(size='128M', options=('-o', 'compat=v2'))
        self.kill_rounds(path, lambda **how: self.check(path, **how))

    def test_killed_while_writing_over_another(self):
        path = self.qcow2('top.qcow2', backing=self.qcow2('base.qcow2', size='128M'))
        self.kill_rounds(path, lambda **how: self.check(path, **how))

    def test_a_killed_machines_image_is_repaired_and_the_log_says_so(self):
        path = self.qcow2()
        marked = lambda: json.loads(run_tool(QEMU_IMG, 'info', '--output=json', path))['dirty-flag']
        name = self.start('sleep', '1000', flags=['--disk', path])
        self.exec(name, 'dd', 'if=/dev/zero', 'of=/dev/vdc', 'bs=1M', 'count=8', 'conv=fsync', rc=0)
        self.kill_machine(name, path)
        self.assertTrue(marked())
        before = sha256(path)
        self.sh('true', flags=['--disk', path + ':ro'])
        self.assertEqual(sha256(path), before)
        self.start('sleep', '1000', name='next', flags=['--disk', path])
        self.assertIn('was not closed cleanly', self.monitor_log('next'))
        self.pv('rm', '-f', 'next', rc=0)
        self.assertFalse(marked())
        self.check(path)


class Updates(DiskTest):
    def size(self, name='box'):
        return int(self.exec(name, 'cat', '/sys/block/vdc/size', rc=0).text) * 512

    def disk_config(self, name='box'):
        return self.inspect(name)['config']['machine']['disks'][2]

    def test_a_disk_grows_while_it_is_in_use(self):
        path = self.disk(size=32 * MIB)
        self.start('sleep', '1000', flags=['--disk', path + ':serial=data'])
        self.exec('box', 'sh', '-ec', 'mke2fs -q -t ext4 /dev/vdc; mount /dev/vdc /mnt; '
                  'seq 100000 >/mnt/numbers', rc=0)
        self.pv('update', '--disk-size', 'data=96M', 'box', rc=0)
        self.assertEqual(os.path.getsize(path), 96 * MIB)
        self.wait_for('the new size', lambda: self.size() == 96 * MIB)
        self.exec('box', 'sh', '-ec', 'resize2fs /dev/vdc 2>&1; '
                  'dd if=/dev/zero of=/mnt/zeroes bs=1M count=60; umount /mnt', rc=0)
        with open(path, 'r+b') as f:  # by somebody else
            f.truncate(128 * MIB)
        self.pv('update', '--disk-size', 'data=0', 'box', rc=0)
        self.wait_for('the new size', lambda: self.size() == 128 * MIB)
        self.pv('rm', '-f', 'box', rc=0)
        run_tool('e2fsck', '-fn', path)

    def test_sizes_that_cannot_be(self):
        path = self.disk()
        self.start('sleep', '1000', flags=['--disk', path + ':serial=data', '--disk',
                                           self.disk('b') + ':ro,serial=still'])
        for size, words in (('data=1M', 'shrink'), ('nobody=1G', 'nobody'), ('still=1G', 'read-only'),
                            ('layer=20G', "root's own"), ('data=100000001', 'sectors')):
            result = self.pv('update', '--disk-size', size, 'box', rc=1)
            self.assertIn(words, result.errors)
        for size in ('data', '=1G', 'data=', 'data=big'):
            self.assertIn('SERIAL=SIZE', self.pv('update', '--disk-size', size, 'box', rc=125).errors)
        self.assertEqual(os.path.getsize(path), 64 * MIB)
        self.assertEqual(self.size(), 64 * MIB)

    def test_rates_change_and_stay(self):
        path = self.disk()
        self.start('sleep', '1000', flags=['--disk', path + ':serial=data'])
        write = ('dd', 'if=/dev/zero', 'of=/dev/vdc', 'bs=1M', 'count=3', 'oflag=direct')
        self.pv('update', '--disk-rate', 'data:bps=2M,bps-burst=1M', 'box', rc=0)
        begin = time.monotonic()
        self.exec('box', *write, rc=0)
        self.assertGreater(time.monotonic() - begin, 0.9)
        self.assertEqual((self.disk_config()['bps'], self.disk_config()['bps_burst']),
                         (2 * MIB, MIB))
        self.pv('update', '--disk-rate', 'iops=1000000', 'box', rc=0)
        self.assertNotIn('bps', self.disk_config())
        self.assertEqual(self.disk_config()['iops'], 1000000)
        self.exec('box', *write, rc=0)
        for rate in ('nobody:bps=1M', ):
            self.assertIn('nobody', self.pv('update', '--disk-rate', rate, 'box', rc=1).errors)
        self.pv('update', '--disk-rate', 'data:speed=1', 'box', rc=125)
        self.pv('stop', '-t', '1', 'box', rc=0)
        self.pv('update', '--disk-rate', 'data:bps=5M', 'box', rc=0)
        self.assertEqual(self.disk_config()['bps'], 5 * MIB)
        self.assertIn('nobody', self.pv('update', '--disk-rate', 'nobody:bps=1', 'box', rc=1).errors)
        self.assertIn('while the machine runs',
                      self.pv('update', '--disk-size', 'data=1G', 'box', rc=1).errors)


class Wrong(DiskTest):
    def test_files_that_are_no_disks(self):
        folder = self.work_dir
        self.refused('No such file', 'truncate', flags=['--disk', folder + '/nothing'])
        self.refused('directory', flags=['--disk', folder])
        self.refused('neither a file nor a block device', flags=['--disk', '/dev/null'])
        self.refused('smaller than a sector', flags=['--disk', self.disk('empty', 0)])

    def test_options_that_are_none(self):
        path = self.disk()
        self.refused("'rx' is no option", flags=['--disk', path + ':rx'])
        self.refused("no format 'vmdk'", flags=['--disk', path + ':format=vmdk'])
        self.refused('serial number', flags=['--disk', path + ':serial=a', '--disk',
                                             self.disk('b') + ':serial=a'])
        self.refused('both must be read-only', flags=['--disk', path, '--disk', path])
        self.refused('--disk-rate', flags=['--disk', path, '--disk-rate', 'nobody:bps=1M'])
        self.refused('--disk-rate', flags=['--disk-rate', 'bps=quick'])

    def test_a_disk_in_use(self):
        path = self.disk()
        self.start('sleep', '1000', flags=['--disk', path])
        self.refused('another machine uses it', flags=['--disk', path])
        self.refused('another machine uses it', flags=['--disk', path + ':ro'])

    def test_a_disk_that_looks_like_another_format(self):
        path = self.disk()
        with open(path, 'r+b') as f:
            f.write(b'QFI\xfb')
        self.refused('format=qcow2', 'format=raw', flags=['--disk', path])
        out = self.sh('head -c 3 /dev/vdc', flags=['--disk', path + ':format=raw'])
        self.assertEqual(out.text, 'QFI')

    @unittest.skipIf(ROOT, 'root may open every file')
    def test_a_file_that_may_not_be_written(self):
        path = self.disk()
        os.chmod(path, 0o400)
        self.refused('read-only', flags=['--disk', path])
        self.sh('true', flags=['--disk', path + ':ro'])

    @unittest.skipUnless(SMALL_DIR, 'needs root: a file system that is soon full')
    def test_a_full_host_is_an_io_error_and_an_event(self):
        path = os.path.join(SMALL_DIR, 'disk.img')
        with open(path, 'wb') as f:
            f.truncate(256 * MIB)
        self.addCleanup(os.unlink, path)
        name = self.start('sleep', '1000', flags=['--disk', path])
        result = self.exec(name, 'dd', 'if=/dev/zero', 'of=/dev/vdc', 'bs=1M', 'oflag=direct', rc=1)
        self.assertIn('Input/output error', result.errors)
        self.assertIn('No space left on device', self.monitor_log(name))
        self.exec(name, 'blkdiscard', '/dev/vdc', rc=0)
        self.exec(name, 'dd', 'if=/dev/zero', 'of=/dev/vdc', 'bs=1M', 'count=1', 'oflag=direct', rc=0)


@unittest.skipUnless(STORAGE_DAEMON, 'qemu-storage-daemon is not installed')
class StorageDaemon(DiskTest):
    def serve(self, path):
        """A storage daemon that serves the file; the socket's path."""
        address = os.path.join(self.work_dir, 'disk.sock')
        daemon = reaper.popen(
            [STORAGE_DAEMON, '--blockdev', f'driver=file,filename={path},node-name=f,discard=unmap',
             '--export', 'type=vhost-user-blk,id=e,node-name=f,addr.type=unix,writable=on,'
             f'addr.path={address}'], stdin=subprocess.DEVNULL, cwd=self.work_dir)

        def end():
            daemon.kill()
            daemon.wait()
            if os.path.exists(address):
                os.unlink(address)
        self.addCleanup(end)
        self.wait_for('the socket', lambda: os.path.exists(address) or daemon.poll() is not None)
        self.assertIsNone(daemon.poll())
        return address, daemon

    def test_our_guest_on_its_disk(self):
        path = self.disk()
        address, _ = self.serve(path)
        self.sh('set -e; disk=/dev/vdc; seq 200000 >/tmp/in; '
                'dd if=/tmp/in of=$disk bs=64k conv=fsync,notrunc status=none; '
                'echo 3 >/proc/sys/vm/drop_caches; '
                'head -c $(stat -c %s /tmp/in) $disk | cmp - /tmp/in; '
                'fio --name=verify --filename=$disk --offset=16M --size=8M --rw=randwrite --bs=4k '
                '--iodepth=8 --direct=1 --ioengine=libaio --verify=crc32c --output=/dev/null',
                flags=['--disk', address + ':format=vhost-user'])
        with open(path, 'rb') as f:
            self.assertEqual(f.read(8), b'1\n2\n3\n4\n')

    def test_a_daemon_that_ends_is_an_io_error(self):
        address, daemon = self.serve(self.disk())
        name = self.start('sleep', '1000', flags=['--disk', address + ':format=vhost-user'])
        self.exec(name, 'dd', 'if=/dev/vdc', 'of=/dev/null', 'bs=4k', 'count=1', rc=0)
        daemon.kill()
        daemon.wait()
        self.exec(name, 'dd', 'if=/dev/vdc', 'of=/dev/null', 'bs=4k', 'skip=1000', 'count=1', rc=1)
        self.exec(name, '/bin/true', rc=0)

    def test_sockets_without_a_daemon(self):
        path = os.path.join(self.work_dir, 'nobody.sock')
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
        self.addCleanup(os.unlink, path)
        self.refused('format=vhost-user', flags=['--disk', path])
        self.refused('storage daemon', flags=['--disk', path + ':format=vhost-user'])
        self.refused('needs a socket', flags=['--disk', self.disk() + ':format=vhost-user'])
