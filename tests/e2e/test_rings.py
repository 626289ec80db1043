# SPDX-License-Identifier: Apache-2.0
"""Much data between machines on a private network, whose monitors share memory for it: both ways at
once, while one of them is killed, and while one of them stands still."""
import os
import re
import signal

from harness import ROOT
from test_private import CLIENT, SERVER, PrivateTest

# In a machine: sends and reads as fast as it can for as long as it can; says when it has begun.
FLOOD = '''
import socket, sys
c = socket.create_connection((sys.argv[1], 7000))
block, first = bytes(1 << 18), True
while True:
    c.sendall(block)
    if first: print('begun', flush=True)
    first = False
'''


# Takes whatever comes, from as many as come.
SINK = '''
import socket, threading
s = socket.create_server(('', 7000))
print('ready', flush=True)
def take(c):
    while c.recv(1 << 18): pass
while True:
    threading.Thread(target=take, args=s.accept()[:1], daemon=True).start()
'''


class Rings(PrivateTest):
    def server(self, name, program=SERVER):
        self.join(name, 'net', '/usr/bin/python3', '-c', program)
        self.wait_output(name, 'ready')
        return self.members('net')[name]['address']

    def transfer(self, name, address, mebibytes):
        self.exec(name, '/usr/bin/python3', '-c', CLIENT, address, str(mebibytes), rc=0)

    def flood(self, name, address):
        """Endless data, under way. The process ends with the machine."""
        flood = self.popen('exec', name, '/usr/bin/python3', '-c', FLOOD, address)
        self.addCleanup(flood.wait)
        self.addCleanup(flood.kill)
        self.assertEqual(flood.stdout.readline(), b'begun\n')
        return flood

    def descriptors(self, name):
        return len(os.listdir(f'/proc/{self.machine(name)[0].pid}/fd'))

    def test_much_data_both_ways_at_once(self):
        self.network('net', '--internal')
        addresses = {name: self.server(name) for name in ('one', 'two')}
        there = self.popen('exec', 'one', '/usr/bin/python3', '-c', CLIENT, addresses['two'], '300')
        self.transfer('two', addresses['one'], 300)
        self.assertEqual(there.wait(timeout=120), 0)

    def test_the_receiver_is_killed(self):
        self.network('net', '--internal')
        two, three = self.server('two'), self.server('three')
        self.join('one', 'net')
        self.transfer('one', three, 1)
        before = self.descriptors('one') if ROOT else None
        self.flood('one', two)
        os.kill(self.machine('two')[0].pid, signal.SIGKILL)
        self.transfer('one', three, 20)
        self.wait_for('its end', lambda: self.status('two') == 'exited')
        if ROOT:  # nothing is left of the line; the flood's session may be
            self.assertLessEqual(self.descriptors('one'), before + 4)
        self.pv('start', 'two', rc=0)
        self.wait_for('its server', lambda: self.exec(
            'one', '/usr/bin/python3', '-c', CLIENT, two, '20').rc == 0)

    def test_the_sender_is_killed(self):
        self.network('net', '--internal')
        two = self.server('two', SINK)
        before = self.descriptors('two') if ROOT else None
        for _ in range(3):
            self.join('one', 'net')
            self.flood('one', two)
            os.kill(self.machine('one')[0].pid, signal.SIGKILL)
            self.wait_for('its end', lambda: self.status('one') == 'exited')
            self.pv('rm', 'one', rc=0)
        if ROOT:
            self.wait_for('its descriptors', lambda: self.descriptors('two') == before)
        self.join('one', 'net')
        self.flood('one', two)
        self.ping('one', two)

    def test_one_that_stands_still_stops_nobody_else(self):
        self.network('net', '--internal')
        two, three = self.server('two'), self.server('three')
        self.join('one', 'net')
        slow = self.popen('exec', 'one', '/usr/bin/python3', '-c', CLIENT, two, '200')
        self.addCleanup(slow.wait)
        self.addCleanup(slow.kill)
        # A connection that is not there yet would fail: nobody says who has the address.
        self.wait_for('its connection', lambda: re.search(
            ':[0-9A-F]{4} 01 ', self.exec('one', '/bin/cat', '/proc/net/tcp').text))
        pid = self.machine('two')[0].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            self.transfer('one', three, 50)
            self.assertIsNone(slow.poll())
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(slow.wait(timeout=120), 0)
