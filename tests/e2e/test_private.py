# SPDX-License-Identifier: Apache-2.0
"""Private networks: paravane network, and machines that reach each other and nobody else."""
import json
import os
import re
import signal
import unittest

from harness import OUTSIDE4, ROOT, MachineTest, needs_network, reaper
from servers import TcpServer, echo

# In a machine: takes one connection, tells the sum of what came, and sends it back.
SERVER = '''
import hashlib, socket, sys
s = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
while True:
    c, _ = s.accept()
    digest = hashlib.sha256()
    while data := c.recv(1 << 18):
        digest.update(data)
    c.sendall(digest.hexdigest().encode())
    c.close()
'''
CLIENT = '''
import hashlib, os, socket, sys
c = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
c.connect((sys.argv[1], 7000))
block, digest = os.urandom(1 << 20), hashlib.sha256()
for i in range(int(sys.argv[2])):
    c.sendall(block)
    digest.update(block)
c.shutdown(socket.SHUT_WR)
theirs = b''
while data := c.recv(100):
    theirs += data
sys.exit(theirs.decode() != digest.hexdigest())
'''


class PrivateTest(MachineTest):
    def network(self, name, *flags):
        self.pv('network', 'create', *flags, name, rc=0)
        self.addCleanup(self.remove_network, name)
        return name

    def remove_network(self, name):
        if name in self.pv('network', 'ls', '-q', rc=0).text.split():
            self.pv('network', 'rm', name, rc=0)

    def members(self, network):
        """Name to what inspect tells of each member."""
        found = json.loads(self.pv('network', 'inspect', network, rc=0).text)
        return {member['name']: member for member in found[0]['members']}

    def join(self, name, network, *command, flags=()):
        return self.start(*(command or ('/bin/sleep', '1000')), name=name,
                          flags=['--net', network, '-m', '128M', *flags])

    def address(self, name):
        return re.search(r'inet (10\.\S+)/', self.exec(name, 'ip', '-o', 'addr', 'show', 'eth0',
                                                        rc=0).text)[1]

    def ping(self, name, address, rc=0):
        return self.exec(name, 'ping', '-c', '1', '-W', '5' if rc == 0 else '1', address, rc=rc)


class Store(PrivateTest):
    def test_create_list_inspect_remove(self):
        self.network('net', '--subnet', '10.200.7.0/24', '--subnet6', 'fd00:7::/64')
        self.network('inner', '--internal')
        listed = self.pv('network', 'ls', rc=0).text
        self.assertRegex(listed, r'(?m)^inner +10\.\S+/24 +fd\S+/64 +internal +0 \(0 running\)$')
        self.assertRegex(listed, r'(?m)^net +10.200.7.0/24 +fd00:7::/64 +outside +0 \(0 running\)$')
        found = json.loads(self.pv('network', 'inspect', 'net', rc=0).text)[0]
        self.assertEqual(found['gateway'], '10.200.7.2')
        self.assertEqual(found['members'], [])

    def test_twenty_in_a_row(self):
        for i in range(20):
            self.pv('network', 'create', f'quick{i}', rc=0)
        listed = [json.loads(line) for line in
                  self.pv('network', 'ls', '--format', 'json', rc=0).text.splitlines()]
        self.assertEqual(len({n['subnet'] for n in listed}), 20)
        self.pv('network', 'rm', *(f'quick{i}' for i in range(20)), rc=0)
        self.assertEqual(self.pv('network', 'ls', '-q', rc=0).text, '')

    def test_a_network_in_use_stays(self):
        self.network('net')
        self.join('web', 'net')
        refused = self.pv('network', 'rm', 'net', rc=1)
        self.assertIn("'paravane rm web'", refused.errors)
        self.pv('stop', '-t', '1', 'web', rc=0)
        self.pv('network', 'rm', 'net', rc=1)  # it may be started again
        self.pv('rm', 'web', rc=0)
        self.pv('network', 'rm', 'net', rc=0)

    def test_errors_come_before_anything_starts(self):
        self.network('net', '--subnet', '10.200.7.0/29')
        for flags, says in (
                (['--net', 'no'], 'paravane network create no'),
                (['--net', 'net', '--ip', '10.200.8.4'], 'which has 10.200.7.0/29'),
                (['--net', 'net', '--ip', '10.200.7.2'], '10.200.7.4 to 10.200.7.6'),
                (['--net', 'net', '--ip', '10.200.7.4/29'], 'without a length'),
                (['--net', 'net', '--gateway', '10.200.7.1'], 'only with --net tap'),
                (['--network-alias', 'x'], '--net NAME')):
            result = self.run_in('/bin/true', flags=flags, rc=125)
            self.assertIn(says, result.errors)
        self.assertEqual(self.members('net'), {})


class Reach(PrivateTest):
    """Machines reach each other."""

    def test_ping_of_both_families(self):
        self.network('net')
        self.join('one', 'net')
        self.join('two', 'net')
        for member in self.members('net').values():
            self.ping('one', member['address'])
            self.ping('two', member['address6'])
        mac = self.exec('two', 'cat', '/sys/class/net/eth0/address', rc=0).text.strip()
        self.assertEqual(self.members('net')['two']['mac'], mac)

    def test_much_data_arrives_unchanged(self):
        self.network('net')
        self.join('server', 'net', '/usr/bin/python3', '-c', SERVER)
        self.wait_output('server', 'ready')
        self.join('client', 'net')
        server = self.members('net')['server']
        for address in (server['address'], server['address6']):
            self.exec('client', '/usr/bin/python3', '-c', CLIENT, address, '200', rc=0)

    def test_three_machines(self):
        self.network('net')
        names = [self.join(f'm{i}', 'net') for i in range(3)]
        members = self.members('net')
        self.assertEqual(len({m['address'] for m in members.values()}), 3)
        for name in names:
            for other in names:
                self.ping(name, members[other]['address'])

    def test_two_networks_do_not_meet(self):
        self.network('left')
        self.network('right')
        self.join('one', 'left')
        self.join('two', 'right')
        self.ping('one', self.address('two'), rc=1)
        # Nor with an address of the other network's.
        script = ('ip addr add 10.250.0.1/16 dev eth0; ip route add $1 dev eth0; '
                  'ping -c 1 -W 1 $1')
        self.exec('one', 'sh', '-c', script, '-', self.address('two'), rc=1)

    def test_another_address_is_of_no_use(self):
        self.network('net')
        self.join('one', 'net')
        self.join('two', 'net')
        script = ('ip addr add $1/24 dev eth0; ping -c 1 -W 1 -I $1 $2')
        one, two = self.address('one'), self.address('two')
        forged = one.rsplit('.', 1)[0] + '.99'
        self.exec('one', 'sh', '-c', script, '-', forged, two, rc=1)
        self.ping('one', two)

    def test_without_a_way_out(self):
        self.network('net', '--internal')
        self.join('one', 'net')
        self.join('two', 'net')
        self.ping('one', self.address('two'))
        self.assertNotIn('default', self.exec('one', 'sh', '-c', 'ip route; ip -6 route', rc=0).text)
        script = ('ip route add default via $1 onlink dev eth0; ping -c 1 -W 1 $1 || '
                  'ping -c 1 -W 1 ' + OUTSIDE4)
        gateway = self.address('one').rsplit('.', 1)[0] + '.2'
        self.exec('one', 'sh', '-c', script, '-', gateway, rc=1)

    @needs_network
    def test_the_way_out_and_in(self):
        self.network('net')
        with TcpServer(OUTSIDE4, echo) as server:
            script = ('import socket, sys\n'
                      'c = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n'
                      'c.sendall(b"hello"); c.shutdown(socket.SHUT_WR)\n'
                      'print(c.recv(100).decode())')
            result = self.run_in('/usr/bin/python3', '-c', script, OUTSIDE4, str(server.port),
                                 flags=['--net', 'net'], rc=0)
        self.assertEqual(result.text, 'hello\n')
        self.join('server', 'net', '/usr/bin/python3', '-c', SERVER,
                  flags=['-p', '127.0.0.1:7000:7000'])
        self.wait_output('server', 'ready')
        process = reaper.popen(['python3', '-c', CLIENT, '127.0.0.1', '3'])
        self.assertEqual(process.wait(timeout=60), 0)


class Names(PrivateTest):
    """Machines find each other by name."""

    def resolve(self, name, other, rc=0):
        return self.exec(name, 'getent', 'ahosts', other, rc=rc).text

    def test_name_hostname_and_alias_in_both_families(self):
        self.network('net', '--internal')
        self.join('one', 'net')
        self.join('two', 'net', flags=['--hostname', 'boxy', '--network-alias', 'db'])
        two = self.members('net')['two']
        for name in ('two', 'TWO', 'boxy', 'db'):
            found = self.resolve('one', name)
            self.assertIn(two['address'], found)
            self.assertIn(two['address6'], found)
        self.ping('one', 'db')
        self.resolve('one', 'three', rc=2)

    def test_machines_that_come_and_go(self):
        self.network('net')
        self.join('one', 'net')
        self.resolve('one', 'late', rc=2)
        self.join('late', 'net')
        self.ping('one', 'late')
        self.pv('rm', '-f', 'late', rc=0)
        self.resolve('one', 'late', rc=2)

    def test_names_end_with_their_network(self):
        self.network('left')
        self.network('right')
        self.join('one', 'left')
        self.join('two', 'right')
        self.resolve('one', 'two', rc=2)

    def test_grants_hold_between_machines(self):
        self.network('net', '--internal')
        self.join('server', 'net', '/usr/bin/python3', '-c', SERVER)
        self.wait_output('server', 'ready')
        self.join('client', 'net', flags=['--grant', 'tcp:server:7000'])
        self.join('fenced', 'net', flags=['--grant', 'tcp:server:7001'])
        self.exec('client', '/usr/bin/python3', '-c', CLIENT, 'server', '3', rc=0)
        self.ping('client', 'server', rc=1)
        self.exec('fenced', '/usr/bin/python3', '-c', CLIENT, 'server', '3', rc=1)


class Life(PrivateTest):
    def test_addresses_stay_over_stop_and_start(self):
        self.network('net')
        self.join('one', 'net')
        self.join('two', 'net')
        before = self.members('net')
        self.ping('one', before['two']['address'])
        self.pv('stop', '-t', '1', 'two', rc=0)
        self.ping('one', before['two']['address'], rc=1)
        self.assertFalse(self.members('net')['two']['running'])
        ports = os.path.join(self.root_dir, 'networks', 'net', 'ports')
        self.assertEqual(len(os.listdir(ports)), 1)  # the stopped one's is gone
        self.pv('start', 'two', rc=0)
        self.wait_for('the other machine', lambda: self.exec(
            'one', 'ping', '-c', '1', '-W', '1', before['two']['address']).rc == 0)
        self.assertEqual(self.members('net'), before)
        self.assertEqual(self.address('two'), before['two']['address'])

    def test_a_killed_machine_comes_back(self):
        self.network('net')
        self.join('one', 'net')
        self.join('two', 'net')
        address = self.address('two')
        self.ping('one', address)
        os.kill(self.machine('two')[0].pid, signal.SIGKILL)
        self.wait_for('its end', lambda: self.status('two') == 'exited')
        self.ping('one', address, rc=1)
        self.pv('start', 'two', rc=0)
        self.assertEqual(self.address('two'), address)
        self.wait_for('the other machine', lambda: self.exec(
            'one', 'ping', '-c', '1', '-W', '1', address).rc == 0)

    def test_a_stopped_monitor_stops_nobody_else(self):
        self.network('net')
        for name in ('one', 'two', 'three'):
            self.join(name, 'net')
        two, three = self.address('two'), self.address('three')
        self.ping('one', two)
        pid = self.inspect('two')['monitor']['pid']
        os.kill(pid, signal.SIGSTOP)
        try:
            self.exec('one', '/usr/bin/python3', '-c',
                      'import socket, sys\n'
                      's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n'
                      'for i in range(2000): s.sendto(bytes(60000), (sys.argv[1], 9))', two, rc=0)
            self.ping('one', three)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.wait_for('the stopped one', lambda: self.exec(
            'one', 'ping', '-c', '1', '-W', '1', two).rc == 0)

    def test_an_address_asked_for_and_given_back(self):
        self.network('net', '--subnet', '10.200.7.0/29')
        self.join('one', 'net', flags=['--ip', '10.200.7.6'])
        self.assertEqual(self.address('one'), '10.200.7.6')
        refused = self.run_in('/bin/true', flags=['--net', 'net', '--ip', '10.200.7.6'], rc=125)
        self.assertIn("'paravane rm one'", refused.errors)
        self.pv('rm', '-f', 'one', rc=0)
        self.join('two', 'net', flags=['--ip', '10.200.7.6'])
        self.run_in('/bin/true', flags=['--net', 'net'], rc=0)  # --rm: gives it back
        self.assertEqual(set(self.members('net')), {'two'})

    def test_concurrent_starts_get_distinct_addresses(self):
        self.network('net')
        starts = [self.popen('run', '-d', '--name', f'c{i}', '--net', 'net', '-m', '64M', self.image,
                             '--', '/bin/sleep', '1000') for i in range(4)]
        for i, process in enumerate(starts):
            self.addCleanup(self.remove, f'c{i}')
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, err)
        self.assertEqual(len({m['address'] for m in self.members('net').values()}), 4)

    @unittest.skipUnless(ROOT, 'only root\'s machines have users of their own')
    def test_others_cannot_reach_the_ports(self):
        self.network('net')
        self.join('one', 'net')
        found = os.stat(os.path.join(self.root_dir, 'networks'))
        self.assertEqual((found.st_uid, found.st_mode & 0o777), (0, 0o700))
