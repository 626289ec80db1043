# SPDX-License-Identifier: Apache-2.0
"""Memory that follows the need: update --memory on a running machine, and memory that goes back to
the host by itself."""
import json
import os
import re
import signal

from harness import MachineTest

MIB = 1 << 20

# Does what the lines say: uses so many MiB, each page with a content of its own; uses more as long
# as the machine says that there is some, until the next line comes; checks what it has; frees it.
WORKER = r'''
import os, select, sys
MIB = 1 << 20
memory = []
def add():
    block = bytearray(MIB)
    for at in range(0, MIB, 4096):
        block[at:at + 4] = (len(memory) * 256 + at // 4096).to_bytes(4, 'little')
    memory.append(block)
def good(number):
    return all(memory[number][at:at + 4] == (number * 256 + at // 4096).to_bytes(4, 'little')
               for at in range(0, MIB, 4096))
def available():
    with open('/proc/meminfo') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('MemAvailable')) >> 10
while words := os.read(0, 100).split():
    if words[0] == b'use':
        for _ in range(int(words[1])):
            add()
    elif words[0] == b'grow':
        print('growing', flush=True)
        while not select.select([0], [], [], 0)[0]:
            if available() > 40:
                add()
        os.read(0, 100)
    elif words[0] == b'free':
        memory.clear()
    print('good' if all(good(n) for n in range(len(memory))) else 'BAD', flush=True)
'''

# Holds file pages where they count as if they could be given up: in pipes.
PIPES = r'''
import fcntl, os, sys
file = os.open('/big', os.O_RDONLY)
pipes = []
for at in range(0, int(sys.argv[1]) << 20, 1 << 20):
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 1 << 20)
    done = 0
    while done < 1 << 20:
        done += os.splice(file, into, (1 << 20) - done, offset_src=at + done)
    pipes.append((out, into))
print('ready', flush=True)
sys.stdin.readline()
print(len(os.read(pipes[0][0], 4096)), flush=True)
'''


def kill_quietly(pid, signo):
    try:
        os.kill(pid, signo)
    except ProcessLookupError:
        pass


class Memory(MachineTest):
    def stats(self, name='box'):
        return json.loads(self.pv('stats', '--no-stream', '--format', 'json', name, rc=0).text)

    def given(self):
        return self.stats()['memory_bytes']

    def used(self):
        """What the memory file takes on the host."""
        return self.stats()['memory_used_bytes']

    def total(self):
        """What the guest's kernel has, without its own image."""
        text = self.exec('box', '/bin/grep', 'MemTotal', '/proc/meminfo', rc=0).text
        return int(text.split()[1]) * 1024

    def update(self, size, rc=0):
        return self.pv('update', '--memory', size, 'box', rc=rc)

    def use(self, mib):
        """A process of the guest that has so many MiB, all touched, runs and ends."""
        script = f'b = bytearray({mib} << 20)\nfor i in range(0, len(b), 4096): b[i] = 1'
        self.exec('box', '/usr/bin/python3', '-c', script, rc=0)

    def test_more_memory_can_be_used(self):
        self.start('/bin/sleep', '1000', flags=['-m', '256M'])
        before = self.total()
        self.update('1G')
        self.assertEqual(self.given(), 1024 * MIB)
        self.wait_for('the kernel has it', lambda: self.total() > before + 700 * MIB)
        self.use(600)

    def test_growing_under_load(self):
        spin = 'while :; do dd if=/dev/zero of=/x bs=1M count=64 2>/dev/null; sha1sum /x; done'
        self.start('/bin/sh', '-c', spin + ' >/dev/null', flags=['-m', '256M', '--cpus', '2'])
        for size in (2048, 512, 1024, 256):
            self.update(f'{size}M')
            # A page of the balloon that is moved counts twice for a moment.
            self.assertAlmostEqual(self.given(), size * MIB, delta=MIB)
        self.assertEqual(self.status('box'), 'running')

    def test_up_and_down_ten_times(self):
        self.start('/bin/sleep', '1000', flags=['-m', '192M'])
        first = self.total()
        for _ in range(10):
            self.update('512M')
            self.use(150)
            self.update('128M')
            self.assertEqual(self.given(), 128 * MIB)
        self.update('192M')
        self.wait_for('the kernel has what it had',
                      lambda: abs(self.total() - first) < 16 * MIB)
        self.use(80)

    def test_what_is_taken_away_goes_back_to_the_host(self):
        self.start('/bin/sleep', '1000', flags=['-m', '512M'])
        self.exec('box', '/bin/dd', 'if=/dev/zero', 'of=/big', 'bs=1M', 'count=350', rc=0)
        self.exec('box', '/bin/sync', rc=0)
        self.assertGreater(self.used(), 350 * MIB)
        self.update('128M')
        self.assertLess(self.used(), 140 * MIB)

    def test_freed_memory_goes_back_by_itself(self):
        """Of a process that ended, and of a file cache of 300 MiB that was dropped."""
        self.start('/bin/sleep', '1000', flags=['-m', '512M'])
        idle = self.used()
        self.use(300)
        self.wait_for('the memory of the process goes back', lambda: self.used() < idle + 60 * MIB)
        self.exec('box', '/bin/dd', 'if=/dev/zero', 'of=/big', 'bs=1M', 'count=300', rc=0)
        self.exec('box', '/bin/sync', rc=0)
        self.assertGreater(self.used(), 300 * MIB)
        self.exec('box', '/bin/sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches', rc=0)
        self.wait_for('the file cache goes back', lambda: self.used() < idle + 60 * MIB)
        self.assertGreater(self.stats()['memory_returned_bytes'], 500 * MIB)

    def start_worker(self, script, *args, memory='512M'):
        worker = self.popen('run', '-i', '--name', 'box', '-m', memory, self.image, '--',
                            '/usr/bin/python3', '-c', script, *args, stdin=-1)
        self.addCleanup(self.remove, 'box')
        return worker

    def tell(self, worker, line, answer=b'good\n'):
        worker.stdin.write(line)
        worker.stdin.flush()
        if answer:
            self.assertEqual(worker.stdout.readline(), answer)

    def end(self, worker):
        worker.stdin.close()
        self.assertEqual(worker.wait(), 0)

    def kills(self):
        text = self.exec('box', '/bin/grep', 'oom_kill ', '/proc/vmstat', rc=0).text
        return int(text.split()[1])

    def test_less_than_is_used(self):
        """70 % are held by a process that looks at every page of it afterwards."""
        worker = self.start_worker(WORKER)
        self.tell(worker, b'use 360')
        before = self.given()
        result = self.update('128M', rc=1)
        self.assertRegex(result.errors, r'uses \S+ MiB of its 512 MiB: \S+ MiB is possible')
        self.assertEqual(self.given(), before)
        self.tell(worker, b'check')
        possible = re.search(r'(\S+) MiB is possible', result.errors).group(1)
        self.update(possible + 'M')
        self.assertEqual(self.given(), int(possible) * MIB)
        self.tell(worker, b'check')
        self.tell(worker, b'free')
        self.update('128M')
        self.assertEqual(self.kills(), 0)
        self.end(worker)

    def test_less_while_a_process_takes_more(self):
        """Whoever is first: nothing is killed, nothing lost, and the answer is true."""
        worker = self.start_worker(WORKER)
        self.tell(worker, b'use 50')
        for size in (256, 160, 384, 128):
            before = self.given()
            self.tell(worker, b'grow', b'growing\n')
            result = self.update(f'{size}M', rc=None)
            self.tell(worker, b'stop')
            if result.rc == 0:
                self.assertEqual(self.given(), size * MIB)
            else:
                self.assertRegex(result.errors, 'is possible now')
                self.assertEqual(self.given(), before)
            self.tell(worker, b'free')
            self.update('512M')
        self.assertEqual(self.kills(), 0)
        self.end(worker)

    def test_file_pages_that_are_held(self):
        """The kernel counts them as available, but cannot give them up."""
        worker = self.start_worker(
            'import os, sys\nopen("/big", "wb").write(bytes(250 << 20))\nos.sync()\n' + PIPES, '250')
        self.assertEqual(worker.stdout.readline(), b'ready\n')
        result = self.update('128M', rc=1)
        self.assertIn('512 MiB', result.errors)
        self.wait_for('it has all again', lambda: self.given() == 512 * MIB)
        self.assertEqual(self.kills(), 0)
        self.tell(worker, b'\n', b'4096\n')
        self.end(worker)

    def test_a_guest_that_takes_back_what_it_gave(self):
        """Its root removes the balloon driver, lifts the workload's limit and uses the memory: the
        machine is ended, and says why."""
        self.start('/bin/sleep', '1000', flags=['-m', '512M'])
        self.update('128M')
        self.exec('box', '/bin/sh', '-c', """
            echo max > /sys/fs/cgroup/workload/memory.max
            cd /sys/bus/virtio/drivers/virtio_balloon
            for d in virtio*; do echo $d > unbind; done""", rc=0)
        self.exec('box', '/usr/bin/python3', '-c', """
import time
b = bytearray(300 << 20)
for i in range(0, len(b), 4096): b[i] = 1
time.sleep(1000)""")
        self.wait_for('its end', lambda: self.status('box') != 'running')
        self.assertIn('took back memory that it had given', self.pv('logs', 'box').errors +
                      json.dumps(self.inspect('box')))

    def test_a_guest_that_does_not_answer(self):
        """Its kernel's process is stopped meanwhile: the update says what the machine has and
        fails, and what the kernel does later is not counted as a change."""
        self.start('/bin/sleep', '1000', flags=['-m', '256M'])
        guest = self.inspect('box')['guest']['pid']
        os.kill(guest, signal.SIGSTOP)
        self.addCleanup(kill_quietly, guest, signal.SIGCONT)
        result = self.update('128M', rc=1)
        self.assertIn('does not answer; it keeps 256 MiB', result.errors)
        os.kill(guest, signal.SIGCONT)
        self.assertEqual(self.inspect('box')['config']['machine']['memory_bytes'], 256 * MIB)
        self.update('128M')
        self.assertEqual(self.given(), 128 * MIB)
        self.update('256M')
        self.assertEqual(self.given(), 256 * MIB)

    def test_bounds(self):
        self.start('/bin/sleep', '1000', flags=['-m', '128M', '--memory-max', '300M'])
        self.assertIn('--memory-max', self.update('301M', rc=1).errors)
        self.update('300M')
        self.assertEqual(self.given(), 300 * MIB)
        self.update('63M', rc=125)
        self.update('64M')
        self.update('65M')
        self.assertEqual(self.given(), 65 * MIB)

    def test_maximum_that_cannot_be(self):
        for flags in (['-m', '256M', '--memory-max', '128M'], ['--memory-max', '1000000M'],
                      ['--memory-max', 'all']):
            self.assertEqual(self.run_in('/bin/true', flags=flags).rc, 125, flags)

    def test_the_next_start_has_what_it_had(self):
        self.start('/bin/sleep', '1000', flags=['-m', '128M'])
        self.update('256M')
        self.pv('stop', '-t', '0', 'box', rc=0)
        self.pv('start', 'box', rc=0)
        self.assertEqual(self.given(), 256 * MIB)
        self.assertGreater(self.total(), 200 * MIB)

    def test_what_was_promised_to_others_counts(self):
        """A start and an update are told of it, and a machine's own memory is none of it."""
        with open('/proc/meminfo') as f:
            free = next(int(line.split()[1]) for line in f if line.startswith('MemAvailable'))
        size = f'{free * 6 // 10 >> 10}M'
        self.start('/bin/sleep', '1000', flags=['-m', size])
        more = self.pv('update', '--memory', f'{(free * 6 // 10 >> 10) + 128}M', 'box', rc=0)
        self.assertNotIn('may still take', more.errors)
        for args in (['run', '--rm', '-m', size, self.image, '/bin/true'],
                     ['update', '--memory', size, 'small']):
            if args[0] == 'update':
                self.start('/bin/sleep', '1000', name='small', flags=['-m', '128M'])
            self.assertIn('may still take', self.pv(*args, rc=0).errors)

    def test_the_maximum_costs_nothing(self):
        """The default maximum, which is the host's memory, against none at all."""
        used = {}
        for name, flags in (('none', ['--memory-max', '256M']), ('all', [])):
            self.start('/bin/sleep', '1000', name=name, flags=['-m', '256M', *flags])
            self.exec(name, '/bin/true', rc=0)
            used[name] = self.stats(name)['memory_used_bytes']
            self.remove(name)
        self.assertLess(used['all'], used['none'] + 2 * MIB, used)

    def test_the_workload_may_use_what_was_added(self):
        """The agent's own limit follows."""
        self.start('/bin/sleep', '1000', flags=['-m', '128M'])
        path = '/sys/fs/cgroup/workload/memory.max'
        first = int(self.exec('box', '/bin/cat', path, rc=0).text)
        self.update('512M')
        self.wait_for('the limit rises', lambda: int(
            self.exec('box', '/bin/cat', path, rc=0).text) > first + 300 * MIB)
        self.update('128M')
        self.wait_for('the limit falls', lambda: int(
            self.exec('box', '/bin/cat', path, rc=0).text) < first + 32 * MIB)
