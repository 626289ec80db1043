# SPDX-License-Identifier: Apache-2.0
"""Our devices behind another front end: QEMU boots a stock Debian kernel whose disk, random numbers,
network card or shared folder are ours. The other direction, our guest on a foreign back end, is
test_disks.StorageDaemon."""
import os
import shutil
import subprocess
import threading
import unittest

from harness import OUTSIDE4, PC_INIT, PC_KERNEL, SERVER, MachineTest, needs_network, reaper
from servers import TcpServer, echo

QEMU = shutil.which('qemu-system-x86_64')
MIB = 1 << 20
MODULES = ('virtio_ring', 'virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci',
           'virtio_blk', 'virtio-rng')
NET_MODULES = (*MODULES[:5], 'failover', 'net_failover', 'virtio_net')
FS_MODULES = (*MODULES[:5], 'fuse', 'virtiofs')


def pad(data):
    return data + b'\0' * (-len(data) % 4)


def cpio(members):
    """(name, mode, data, device) of each as an initramfs."""
    out = b''
    for i, (name, mode, data, device) in enumerate([*members, ('TRAILER!!!', 0, b'', (0, 0))], 1):
        encoded = name.encode() + b'\0'
        fields = (i, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        out += pad(b'070701' + b''.join(b'%08x' % f for f in fields) + encoded) + pad(data)
    return out


def read(path):
    with open(path, 'rb') as f:
        return f.read()


@unittest.skipUnless(QEMU, 'qemu-system-x86_64 is not installed')
@unittest.skipUnless(SERVER and PC_INIT, 'this build has no vhost_user_server')
@unittest.skipUnless(PC_KERNEL, 'no kernel for a PC here: run tools/make-pc-kernel')
class Qemu(MachineTest):
    def initramfs(self, modules):
        path = os.path.join(self.work_dir, 'initramfs')
        none = (0, 0)
        members = [(name, 0o40755, b'', none) for name in ('dev', 'sys', 'modules')]
        members += [('dev/console', 0o20600, b'', (5, 1)), ('init', 0o100755, read(PC_INIT), none),
                    ('modules/order', 0o100644, ''.join(f'{m}.ko\n' for m in modules).encode(), none)]
        members += [(f'modules/{m}.ko', 0o100644, read(f'{PC_KERNEL}/modules/{m}.ko'), none)
                    for m in modules]
        with open(path, 'wb') as f:
            f.write(cpio(members))
        self.addCleanup(os.unlink, path)
        return path

    def serve(self, *devices, flags=()):
        """Starts the server: (process, path of the memory)."""
        server = reaper.popen([SERVER, *flags, '128', *devices], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, cwd=self.work_dir, text=True)
        self.children.append(server)
        memory = server.stdout.readline().split()
        self.assertEqual(memory[:1], ['memory'])
        self.assertEqual(server.stdout.readline().strip(), 'ready')
        return server, memory[1]

    def boot(self, memory, devices, on_line, modules=MODULES):
        """Boots the PC; the lines of its console."""
        command = [QEMU, '-machine', 'q35,accel=tcg,memory-backend=mem', '-m', '128M', '-smp', '2',
                   '-object', f'memory-backend-file,id=mem,size=128M,mem-path={memory},share=on',
                   '-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio',
                   '-kernel', f'{PC_KERNEL}/vmlinuz', '-initrd', self.initramfs(modules),
                   '-append', 'console=ttyS0 quiet panic=-1']
        for i, (device, address) in enumerate(devices):
            command += ['-chardev', f'socket,id=c{i},path={address}']
            if device == 'net':  # QEMU 7.2 dies over the vectors of one without KVM
                command += ['-netdev', f'vhost-user,id=n{i},chardev=c{i}', '-device',
                            f'virtio-net-pci,netdev=n{i},vectors=0']
            else:
                command += ['-device', f'{device},chardev=c{i}']
        qemu = reaper.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, cwd=self.work_dir)
        self.children.append(qemu)
        errors = []
        reader = threading.Thread(target=lambda: errors.append(qemu.stderr.read()))
        reader.start()
        lines = []
        for line in qemu.stdout:
            lines.append(line.decode(errors='replace').strip())
            self.note = '\n'.join(lines)
            on_line(lines[-1])
        qemu.wait()
        reader.join()
        self.assertEqual(qemu.returncode, 0, errors)
        return lines

    def use_disk(self, queues, devices, flags):
        path = os.path.join(self.work_dir, 'disk.img')
        with open(path, 'wb') as f:
            f.truncate(32 * MIB)
        self.addCleanup(os.unlink, path)
        server, memory = self.serve('blk:blk.sock:' + path, *devices, flags=flags)

        def on_line(line):
            if line == 'resize now':
                server.stdin.write(f'resize {48 * MIB}\n')
                server.stdin.flush()
        front = [(f'vhost-user-blk-pci,num-queues={queues}', 'blk.sock')]
        if devices:
            front.append(('vhost-user-rng-pci', 'rng.sock'))
        lines = self.boot(memory, front, on_line)
        said, _ = server.communicate(timeout=10)
        self.assertEqual(said.strip(), 'done')  # nothing was broken
        self.assertIn('serial conformance', lines)
        self.assertIn(f'queues {queues}', lines)
        self.assertEqual([l for l in lines if l.startswith('size')],
                         [f'size {32 * MIB // 512}', f'size {48 * MIB // 512}'])
        for what in ('disk', 'write', 'read', 'fill', 'discard', 'zero', 'beyond', 'write through',
                     'write back', 'again', *(['random'] if devices else [])):
            self.assertIn('ok ' + what, lines)
        self.assertIn('end', lines)
        content = read(path)
        self.assertEqual(content[8 * MIB:10 * MIB].count(0), 2 * MIB)  # discarded, zeroed
        self.assertLess(content[:4 * MIB].count(0), 4 * MIB // 100)
        self.assertLess(os.stat(path).st_blocks * 512, 6 * MIB)

    def test_a_disk_of_two_queues(self):
        self.use_disk(2, [], [])

    def test_a_disk_and_random_numbers_without_status(self):
        self.use_disk(1, ['rng:rng.sock'], ['--no-status'])

    @needs_network
    def test_a_network_card(self):
        server, memory = self.serve('net:net.sock')
        with TcpServer(OUTSIDE4, echo, port=7007):
            lines = self.boot(memory, [('net', 'net.sock')], lambda line: None, NET_MODULES)
        said, _ = server.communicate(timeout=10)
        self.assertEqual(said.strip(), '')  # nothing was broken
        for what in ('card', 'connect', 'echo', 'refused'):
            self.assertIn('ok ' + what, lines)
        self.assertIn('end', lines)

    def test_a_shared_folder(self):
        folder = os.path.join(self.work_dir, 'share')
        os.mkdir(folder)
        self.addCleanup(shutil.rmtree, folder)
        with open(os.path.join(folder, 'host'), 'w') as f:
            f.write('of the host')
        # QEMU 7.2 never says DRIVER_OK to a shared folder.
        server, memory = self.serve('fs:fs.sock:' + folder, flags=['--no-status'])
        lines = self.boot(memory, [('vhost-user-fs-pci,tag=share', 'fs.sock')], lambda line: None,
                          FS_MODULES)
        said, _ = server.communicate(timeout=10)
        self.assertEqual(said.strip(), '')  # nothing was broken
        for what in ('share', 'share write', 'share names', 'share again', 'share read',
                     'share attributes', 'share list', 'share gone', 'share end'):
            self.assertIn('ok ' + what, lines)
        self.assertIn('end', lines)
        self.assertEqual(sorted(os.listdir(folder)), ['dir', 'host', 'way'])
        self.assertEqual(os.path.getsize(folder + '/dir/link'), 4 * MIB)
