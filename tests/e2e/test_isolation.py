# SPDX-License-Identifier: Apache-2.0
"""The jail as the host sees it, on a machine that runs."""
import os
import re

from harness import ROOT, MachineTest, Process, needs_root, tree

NAMESPACES = ('user', 'mnt', 'pid', 'net', 'ipc', 'uts')
# What a descriptor of the guest may be: nothing that leads to a file or folder of the host.
HARMLESS = re.compile(r'\A(/dev/null|/memfd:.*|socket:\[\d+\]|pipe:\[\d+\]|anon_inode:.*)\Z')


class Jail(MachineTest):
    def setUp(self):
        super().setUp()
        self.start('/bin/sh', '-c', 'sleep 1000 & exec sleep 1000')
        self.wait_for('the workload', lambda: 'sleep' in self.exec('box', '/bin/ps', 'ax').text)
        self.monitor, self.guest, self.stubs = self.machine('box')
        self.assertTrue(self.stubs, 'no address space of a guest process is a process')

    def inside(self):
        """The guest kernel and its stubs: what belongs to the guest."""
        return [self.guest, *self.stubs]

    def every(self):
        return [self.monitor, *self.inside()]

    def test_seccomp(self):
        for process in self.every():
            self.assertEqual(process.status()['Seccomp'], '2', process)

    def test_threads_are_filtered_too(self):
        for process in self.every():
            for tid in os.listdir(f'/proc/{process.pid}/task'):
                with open(f'/proc/{process.pid}/task/{tid}/status') as f:
                    self.assertIn('\nSeccomp:\t2\n', f.read(), f'{process}, thread {tid}')

    def test_no_new_privileges(self):
        for process in self.every():
            self.assertEqual(process.status()['NoNewPrivs'], '1', process)

    def test_no_capabilities(self):
        for process in self.every():
            status = process.status()
            for kind in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb'):
                self.assertEqual(int(status[kind], 16), 0, f'{process}: {kind}')

    def test_no_capability_to_regain(self):
        for process in self.inside():
            self.assertEqual(int(process.status()['CapBnd'], 16), 0, process)

    def test_user(self):
        """root's machines are nobody's; a user's machines are the user's."""
        for process in self.every():
            for kind in ('Uid', 'Gid'):
                ids = {int(word) for word in process.status()[kind].split()}
                self.assertEqual(len(ids), 1, process)
                if ROOT:
                    self.assertNotIn(0, ids, process)
                else:
                    self.assertEqual(ids, {os.getuid() if kind == 'Uid' else os.getgid()})

    @needs_root
    def test_no_groups(self):
        for process in self.every():
            self.assertEqual(process.status()['Groups'], '', process)

    @needs_root
    def test_machines_have_users_of_their_own(self):
        self.start('/bin/sleep', '1000', name='other')
        _, guest, _ = self.machine('other')
        self.assertNotEqual(guest.status()['Uid'], self.guest.status()['Uid'])

    def test_process_id_namespace(self):
        """The guest counts for itself: process 1 of a namespace of its own."""
        self.assertEqual(self.guest.status()['NSpid'].split()[-1], '1')
        self.assertGreater(len(self.guest.status()['NSpid'].split()), 1)

    @needs_root
    def test_namespaces(self):
        for process in self.inside():
            for name in NAMESPACES:
                self.assertNotEqual(os.readlink(f'/proc/{process.pid}/ns/{name}'),
                                    os.readlink(f'/proc/self/ns/{name}'), f'{process}: {name}')

    @needs_root
    def test_network_is_empty(self):
        with open(f'/proc/{self.guest.pid}/net/dev') as f:
            devices = [line.split(':')[0].strip() for line in f if ':' in line]
        self.assertEqual(devices, ['lo'])

    @needs_root
    def test_root_is_empty(self):
        for process in self.inside():
            self.assertEqual(os.listdir(f'/proc/{process.pid}/root'), [], process)
            mounts = open(f'/proc/{process.pid}/mountinfo').read().splitlines()
            self.assertEqual(len(mounts), 1, mounts)
            self.assertIn('ro', mounts[0].split()[5].split(','))

    @needs_root
    def test_roots_monitor_sees_its_two_folders_only(self):
        found = set(os.listdir(f'/proc/{self.monitor.pid}/root'))
        self.assertFalse(found & {'etc', 'home', 'usr', 'proc', 'sys', 'dev', 'bin'}, found)

    @needs_root
    def test_descriptors(self):
        for process in self.inside():
            for fd in os.listdir(f'/proc/{process.pid}/fd'):
                try:
                    target = os.readlink(f'/proc/{process.pid}/fd/{fd}')
                except FileNotFoundError:
                    continue  # closed since
                self.assertRegex(target, HARMLESS, f'{process}: descriptor {fd}')

    @needs_root
    def test_the_monitor_holds_no_folder_but_its_own(self):
        own = {os.lstat(path).st_ino for path in tree(self.root_dir) if os.path.isdir(path)}
        for fd in os.listdir(f'/proc/{self.monitor.pid}/fd'):
            path = f'/proc/{self.monitor.pid}/fd/{fd}'
            if os.path.isdir(path):
                self.assertIn(os.stat(path).st_ino, own, os.readlink(path))
            self.assertNotRegex(os.readlink(path), '^/(etc|root|home)/')

    @needs_root
    def test_the_monitors_memory_is_not_for_its_user(self):
        """Not dumpable: /proc/PID belongs to root, whoever the process is."""
        self.assertEqual(os.stat(f'/proc/{self.monitor.pid}/fd').st_uid, 0)

    def test_cores_are_off(self):
        for process in self.every():
            if ROOT or process is self.monitor:
                limits = open(f'/proc/{process.pid}/limits').read()
                self.assertRegex(limits, r'Max core file size +0 +0 ', process)

    def test_dies_with_the_monitor(self):
        os.kill(self.monitor.pid, 9)
        self.wait_for('the guest dies', lambda: not Process.find(self.guest.pid) or
                      Process.find(self.guest.pid).ended, 5)

    def test_inspect_counts_the_calls(self):
        """At most 44 system calls after the start."""
        walls = {wall['wall']: wall for wall in self.inspect('box')['walls']['guest']}
        self.assertTrue(walls['seccomp']['stands'])
        count = int(re.search(r'(\d+) calls', walls['seccomp']['detail'])[1])
        self.assertLessEqual(count, 45)
        self.assertGreater(count, 5)

    def test_inspect_tells_the_truth(self):
        """Each wall that inspect shows as standing is the one that the other tests see."""
        walls = {wall['wall']: wall['stands'] for wall in self.inspect('box')['walls']['guest']}
        status = self.guest.status()
        self.assertEqual(walls['seccomp'], status['Seccomp'] == '2')
        self.assertEqual(walls['no new privileges'], status['NoNewPrivs'] == '1')
        self.assertEqual(walls['no capabilities'], int(status['CapEff'], 16) == 0)
        self.assertEqual(walls['pid namespace'], len(status['NSpid'].split()) > 1)

    def test_limits_are_set_or_said_not_to_be(self):
        limits = {wall['wall']: wall for wall in self.inspect('box')['walls']['limits']}
        for name in ('cgroup memory limit', 'cgroup cpu limit', 'cgroup process limit'):
            self.assertIn(name, limits)
            self.assertTrue(limits[name]['detail'], name)

    @needs_root
    def test_the_memory_limit_is_the_cgroups(self):
        cgroups = self.inspect('box')['cgroups']
        self.assertTrue(cgroups)
        for path in cgroups:
            procs = open(os.path.join(path, 'cgroup.procs')).read().split()
            self.assertIn(str(self.guest.pid), procs, path)
        files = [os.path.join(path, name) for path in cgroups
                 for name in ('memory.max', 'memory.limit_in_bytes')]
        limits = [int(open(path).read()) for path in files if os.path.exists(path)]
        self.assertEqual(len(limits), 1, files)
        self.assertTrue(512 << 20 <= limits[0] <= 1 << 30, limits)

    def test_files_of_the_instance_are_private(self):
        """Nobody else may read what a machine writes."""
        for folder, folders, files in os.walk(self.root_dir):
            for name in files:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    self.assertEqual(os.lstat(path).st_mode & 0o077, 0, path)

    def test_the_guest_cannot_see_the_host(self):
        out = self.exec('box', '/bin/sh', '-c', 'cat /proc/cmdline; ls /; cat /proc/cpuinfo; '
                        'cat /proc/mounts', rc=0).text
        self.assertNotIn(self.top, out)
        if os.uname().nodename:
            self.assertNotIn(os.uname().nodename + '\n', out)

    def test_no_temporary_files_of_the_kernel(self):
        self.assertEqual(os.listdir(self.tmp_dir), [])
        self.assertFalse(os.path.exists(os.path.join(self.home_dir, '.uml')))
        self.assertEqual(os.listdir(self.work_dir), [])
