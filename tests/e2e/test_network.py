# SPDX-License-Identifier: Apache-2.0
"""The network of a machine: --net user and none, -p, what the guest finds set up."""
import hashlib
import json
import os
import random
import signal
import socket
import threading
import unittest

from harness import OTHER4, OUTSIDE4, OUTSIDE6, ROOT, MachineTest, needs_network, needs_root, run_tool
from servers import TcpServer, UdpServer, echo, receive_all

# A guest's own helper: connects and tells what happened, without the half second that the idna
# codec of create_connection costs.
CONNECT = '''
import errno, socket, sys, time
def connect(address, port, timeout=20):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    s.settimeout(timeout)
    s.connect((address, port))
    return s
def attempt(address, port):
    try:
        connect(address, port).close()
        return 'connected'
    except TimeoutError:
        return 'timeout'
    except OSError as e:
        return errno.errorcode[e.errno]
'''


class NetworkTest(MachineTest):
    def python(self, script, *args, flags=(), **kwargs):
        """Runs a Python program in a machine of its own; its output."""
        result = self.run_in('/usr/bin/python3', '-c', CONNECT + script, *map(str, args),
                             flags=flags, rc=0, **kwargs)
        return result.text.strip()


class SetUp(NetworkTest):
    """What a command finds."""

    def test_one_card_that_is_up_with_both_families(self):
        text = self.sh('ip -o addr show eth0; ip route; ip -6 route').text
        for part in ('inet 10.0.2.15/24', 'inet6 fd00::15/64', 'default via 10.0.2.2 dev eth0',
                     'default via fd00::2 dev eth0'):
            self.assertIn(part, text)
        self.assertNotIn('tentative', text)

    def test_the_largest_mtu(self):
        self.assertEqual(self.sh('cat /sys/class/net/eth0/mtu').text, '65520\n')

    def test_loopback_is_up(self):
        for net in ('user', 'none'):
            text = self.sh('ip -o addr show lo', flags=['--net', net]).text
            self.assertIn('127.0.0.1/8', text)
            self.assertIn('::1/128', text)

    def test_none_has_only_a_loopback(self):
        text = self.sh('ls -d /sys/class/net/eth*; ip route', flags=['--net', 'none']).text
        self.assertEqual(text, '')

    def test_hosts_has_what_was_asked_for(self):
        text = self.sh('cat /etc/hosts; getent hosts db', flags=['--add-host', 'db:192.0.2.7']).text
        self.assertIn('192.0.2.7 db', text)
        self.assertRegex(text, r'192.0.2.7\s+db\n\Z')
        self.assertIn('127.0.0.1\tlocalhost', text)

    def test_search_domains_are_the_users(self):
        text = self.sh('cat /etc/resolv.conf', flags=['--dns-search', 'example.org',
                                                      '--dns-search', 'example.net']).text
        self.assertIn('search example.org example.net\n', text)

    def test_the_ethernet_address_stays(self):
        self.start('/bin/sleep', '1000')
        script = 'cat /sys/class/net/eth0/address'
        first = self.exec('box', 'sh', '-c', script, rc=0).text
        self.assertRegex(first, r'\A02(:[0-9a-f]{2}){5}\n\Z')
        self.pv('stop', '-t', '0', 'box', rc=0)
        self.pv('start', 'box', rc=0)
        self.assertEqual(self.exec('box', 'sh', '-c', script, rc=0).text, first)

    def test_statistics_count_frames(self):
        self.start('/bin/sleep', '1000')
        self.exec('box', '/usr/bin/python3', '-c', CONNECT + 'attempt("10.0.2.2", 9)', rc=0)
        device = json.loads(self.pv('stats', '--no-stream', '--format', 'json', 'box',
                                    rc=0).text)['devices']['net0']
        self.assertGreater(device['tx_frames'], 0)
        self.assertGreater(device['rx_frames'], 0)
        self.assertEqual(device['bad_requests'], 0)
        self.assertIn('user', device)
        self.assertEqual(device['fence']['malformed'], 0)

    def test_statistics_have_the_links_of_a_private_network(self):
        self.pv('network', 'create', '--internal', 'back', rc=0)
        self.addCleanup(self.pv, 'network', 'rm', 'back', rc=0)
        name = self.start('/bin/sleep', '1000', flags=['--net', 'back'])
        self.addCleanup(self.remove, name)  # before its network
        device = json.loads(self.pv('stats', '--no-stream', '--format', 'json', 'box',
                                    rc=0).text)['devices']['net0']
        self.assertIn('flows', device['fence'])
        self.assertEqual(device['switch']['forged'], 0)
        self.assertNotIn('user', device)


@needs_network
class Outside(NetworkTest):
    """From the machine to the outside."""

    def test_tcp_both_families(self):
        for address in (OUTSIDE4, OUTSIDE6):
            with self.subTest(address), TcpServer(address, echo) as server:
                text = self.python('s = connect(sys.argv[1], int(sys.argv[2])); s.sendall(b"hi");'
                                   'print(s.recv(10).decode())', address, server.port)
                self.assertEqual(text, 'hi')
                self.assertEqual(server.peers, [address])

    def test_megabytes_both_ways_arrive_whole(self):
        content = random.Random(3).randbytes(24 << 20)
        got = []

        def exchange(connection):
            connection.sendall(content)
            got.append(receive_all(connection))

        # The guest's side waits for the server's end, which comes when all has arrived: what is still on
        # its way when the command ends goes down with the machine.
        with TcpServer(OUTSIDE4, exchange) as server:
            text = self.python('''
import hashlib
s = connect(sys.argv[1], int(sys.argv[2]), 60)
parts = []
missing = int(sys.argv[3])
while missing and (part := s.recv(1 << 20)):
    parts.append(part)
    missing -= len(part)
data = b''.join(parts)
s.sendall(data[::-1])
s.shutdown(socket.SHUT_WR)
s.recv(1)
print(hashlib.sha256(data).hexdigest())
''', OUTSIDE4, server.port, len(content))
            self.assertEqual(text, hashlib.sha256(content).hexdigest())
            self.wait_for('the way back', lambda: got)
        self.assertEqual(hashlib.sha256(got[0]).hexdigest(),
                         hashlib.sha256(content[::-1]).hexdigest())

    def test_one_half_may_end_before_the_other(self):
        with TcpServer(OUTSIDE4, lambda c: c.sendall(b'got %d' % len(receive_all(c)))) as server:
            text = self.python('''
s = connect(sys.argv[1], int(sys.argv[2]))
s.sendall(bytes(100000))
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode(), s.recv(100))
''', OUTSIDE4, server.port)
        self.assertEqual(text, "got 100000 b''")

    def test_udp_both_families_up_to_large_datagrams(self):
        for address in (OUTSIDE4, OUTSIDE6):
            with self.subTest(address), UdpServer(address, lambda data: data[::-1]) as server:
                text = self.python('''
address, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect((address, port))
for size in (0, 1, 1400, 9000, 60000):
    s.send(b'a' + bytes(size))
    got = s.recv(65536)
    print(len(got) - 1, got[-1:] == b'a')
''', address, server.port)
                self.assertEqual(text.split('\n'), [f'{n} True' for n in (0, 1, 1400, 9000, 60000)])

    def test_hundreds_of_connections_at_once(self):
        with TcpServer(OUTSIDE4, echo) as server:
            text = self.python('''
all = [connect(sys.argv[1], int(sys.argv[2]), 60) for _ in range(500)]
for i, s in enumerate(all):
    s.sendall(b'%d' % i)
print(sum(s.recv(10) == b'%d' % i for i, s in enumerate(all)))
''', OUTSIDE4, server.port)
        self.assertEqual(text, '500')

    def test_refused_and_unreachable_are_told_at_once(self):
        text = self.python('''
for address, port in (('192.0.2.1', 9), ('2001:db8::1', 9), ('203.0.113.1', 80)):
    print(attempt(address, port))
''')
        lines = text.split('\n')
        self.assertEqual(lines[:2], ['ECONNREFUSED', 'ECONNREFUSED'])
        self.assertIn(lines[2], ('ENETUNREACH', 'EHOSTUNREACH'))

    def test_the_hosts_loopback_is_out_of_reach(self):
        with TcpServer('127.0.0.1', echo) as v4, TcpServer('::1', echo) as v6:
            text = self.python('''
import struct
v4, v6 = int(sys.argv[1]), int(sys.argv[2])
print(attempt('10.0.2.2', v4), attempt('fd00::2', v6), attempt('127.0.0.1', v4))
# The guest's own kernel keeps 127/8 to itself unless it is told not to.
open('/proc/sys/net/ipv4/conf/all/route_localnet', 'w').write('1')
import subprocess
subprocess.run('ip addr del 127.0.0.1/8 dev lo; ip route del local 127.0.0.0/8 table local;'
               'ip route add 127.0.0.0/8 via 10.0.2.2 src 10.0.2.15', shell=True,
               stderr=subprocess.DEVNULL)
s = socket.socket()
s.settimeout(3)
try:
    s.connect(('127.0.0.1', v4))
    print('connected')
except OSError as e:
    print('not connected')
''', v4.port, v6.port)
            self.assertEqual((v4.peers, v6.peers), ([], []), text)
            self.assertNotIn('connected', text.replace('not connected', ''))

    def test_ping(self):
        with open('/proc/sys/net/ipv4/ping_group_range') as f:
            first, last = map(int, f.read().split())
        if first > last:
            raise unittest.SkipTest('this host lets nobody ping: net.ipv4.ping_group_range')
        for address in (OUTSIDE4, OUTSIDE6):
            for size in (56, 20000):
                text = self.sh(f'ping -c 2 -i 0.2 -W 5 -s {size} {address}').text
                self.assertIn(' 0% packet loss', text)

    def test_a_ping_that_goes_nowhere_is_told_at_once(self):
        text = self.run_in('/bin/ping', '-c', '1', '-W', '50', '2001:db8:ffff::1', rc=1).text
        self.assertIn('Destination unreachable', text)

    def test_the_gateway_answers_a_ping(self):
        for address in ('10.0.2.2', 'fd00::2'):
            self.assertIn(' 0% packet loss', self.sh(f'ping -c 1 -W 5 {address}').text)


ECHO_SERVER = '''
import socket, threading
def serve(family, address):
    s = socket.create_server((address, 7000), family=family, backlog=500)
    while True:
        c, peer = s.accept()
        threading.Thread(target=one, args=(c, peer[0])).start()
def one(c, peer):
    with c:
        while data := c.recv(65536):
            c.sendall(data)
def datagrams():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('0.0.0.0', 7000))
    while True:
        data, peer = s.recvfrom(65536)
        s.sendto(data[::-1], peer)
threading.Thread(target=serve, args=(socket.AF_INET, '0.0.0.0')).start()
threading.Thread(target=serve, args=(socket.AF_INET6, '::')).start()
threading.Thread(target=datagrams).start()
print('ready', flush=True)
'''


@needs_network
class Published(NetworkTest):
    """From the host into the machine: -p."""

    def serve(self, *ports, name='box'):
        flags = [word for port in ports for word in ('-p', port)]
        self.start('/usr/bin/python3', '-c', ECHO_SERVER, name=name, flags=flags)
        self.wait_output(name, 'ready')
        return name

    def ask(self, address, port, data=b'hello'):
        """What an echo server says, on a connection of its own."""
        with socket.create_connection((address, port), timeout=20) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            return receive_all(s)

    def ask_datagram(self, address, port, data=b'hello'):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(20)
            s.connect((address, port))
            s.send(data)
            return s.recv(65536)

    def test_tcp_and_udp_on_all_addresses(self):
        self.serve('8080:7000', '8080:7000/udp')
        for address in ('127.0.0.1', OUTSIDE4, OTHER4):
            self.assertEqual(self.ask(address, 8080), b'hello')
            self.assertEqual(self.ask_datagram(address, 8080), b'olleh')

    def test_one_address_only(self):
        self.serve('127.0.0.1:8081:7000', '[::1]:8081:7000')
        self.assertEqual(self.ask('127.0.0.1', 8081), b'hello')
        self.assertEqual(self.ask('::1', 8081), b'hello')
        with self.assertRaises(ConnectionRefusedError):
            self.ask(OUTSIDE4, 8081)

    def test_a_range_of_ports(self):
        self.serve('8090-8092:6999-7001')
        self.assertEqual(self.ask('127.0.0.1', 8091), b'hello')

    def test_megabytes_through_a_published_port(self):
        self.serve('8082:7000')
        content = random.Random(4).randbytes(16 << 20)
        with socket.create_connection(('127.0.0.1', 8082), timeout=60) as s:
            sender = threading.Thread(target=lambda: (s.sendall(content),
                                                      s.shutdown(socket.SHUT_WR)))
            sender.start()
            back = receive_all(s)
            sender.join()
        self.assertEqual(hashlib.sha256(back).hexdigest(), hashlib.sha256(content).hexdigest())

    def test_a_port_that_is_taken_is_refused_before_anything_starts(self):
        with socket.create_server(('127.0.0.1', 8083)):
            for port in ('8083:80', '127.0.0.1:8083:80'):
                result = self.run_in('/bin/echo', 'started', flags=['-p', port], rc=125)
                self.assertIn('8083', result.errors)
                self.assertIn('in use', result.errors)
                self.assertEqual(result.out, b'')

    def test_two_machines_cannot_have_the_same_port_but_two(self):
        self.serve('8084:7000', name='one')
        result = self.run_in('/bin/true', flags=['-p', '8084:7000'], rc=125)
        self.assertIn('in use', result.errors)
        if ROOT:  # others cannot look into a jailed monitor
            self.assertIn('by paravane-monitor one (process', result.errors)
        self.serve('8085:7000', name='two')
        self.assertEqual(self.ask('127.0.0.1', 8084), b'hello')
        self.assertEqual(self.ask('127.0.0.1', 8085), b'hello')

    @unittest.skipIf(ROOT, 'for a plain user: root may use every port')
    def test_low_ports_are_roots(self):
        result = self.run_in('/bin/true', flags=['-p', '20:80'], rc=125)
        self.assertIn('root', result.errors)

    def test_a_killed_monitor_frees_its_ports(self):
        self.serve('8086:7000')
        monitor, _, _ = self.machine('box')
        os.kill(monitor.pid, signal.SIGKILL)
        self.wait_for('the end', lambda: self.status('box') == 'exited')
        with socket.create_server(('127.0.0.1', 8086)):
            pass
        self.pv('start', 'box', rc=0)
        self.wait_for('the server', lambda: self.try_ask(8086))

    def try_ask(self, port):
        try:
            return self.ask('127.0.0.1', port) == b'hello'
        except OSError:
            return False


@needs_root
@needs_network
class Taps(NetworkTest):
    """--net tap: an interface of the host, in a bridge."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.no_interface_left)
        run_tool('ip', 'link', 'add', 'br7', 'type', 'bridge')
        self.addCleanup(run_tool, 'ip', 'link', 'del', 'br7')
        run_tool('ip', 'address', 'add', '10.77.0.1/24', 'dev', 'br7')
        run_tool('ip', 'link', 'set', 'br7', 'mtu', '4000', 'up')

    def interfaces(self):
        return [name for _, name in socket.if_nameindex() if name.startswith('pv')]

    def no_interface_left(self):
        self.wait_for('the taps are gone', lambda: not self.interfaces())

    def test_machines_in_a_bridge_reach_host_and_each_other(self):
        flags = ['--net', 'tap:br7', '--gateway', '10.77.0.1']
        self.start('/usr/bin/python3', '-c', ECHO_SERVER, name='one',
                   flags=[*flags, '--ip', '10.77.0.2/24'])
        self.wait_output('one', 'ready')
        self.assertEqual(len(self.interfaces()), 1)
        with socket.create_connection(('10.77.0.2', 7000), timeout=20) as s:
            content = random.Random(7).randbytes(4 << 20)
            sender = threading.Thread(target=lambda: (s.sendall(content),
                                                      s.shutdown(socket.SHUT_WR)))
            sender.start()
            back = receive_all(s)
            sender.join()
        self.assertEqual(hashlib.sha256(back).hexdigest(), hashlib.sha256(content).hexdigest())
        text = self.python('''
s = connect('10.77.0.2', 7000)
s.sendall(b'hi')
print(s.recv(10).decode(), open('/sys/class/net/eth0/mtu').read().strip())
''', flags=[*flags, '--ip', '10.77.0.3/24'])
        self.assertEqual(text, 'hi 4000')
        with TcpServer('10.77.0.1', receive_all) as server:
            result = self.exec('one', '/usr/bin/python3', '-c', CONNECT +
                               f'print(attempt("10.77.0.1", {server.port}))', rc=0)
        self.assertEqual(result.text, 'connected\n')

    def test_without_an_address_the_card_is_only_up(self):
        text = self.sh('ip -o -4 addr show eth0; ip -o link show eth0',
                       flags=['--net', 'tap:br7']).text
        self.assertNotIn('inet ', text)
        self.assertIn('LOWER_UP', text)

    def test_a_killed_monitor_leaves_no_interface(self):
        self.start('/bin/sleep', '1000', flags=['--net', 'tap'])
        self.assertEqual(len(self.interfaces()), 1)
        monitor, _, _ = self.machine('box')
        os.kill(monitor.pid, signal.SIGKILL)
        self.no_interface_left()

    def test_a_bridge_that_is_none_is_refused(self):
        for bridge, word in (('nosuch', 'nosuch'), ('lo', 'bridge')):
            result = self.run_in('/bin/echo', 'started', flags=['--net', f'tap:{bridge}'], rc=125)
            self.assertIn(word, result.errors)
            self.assertEqual(result.out, b'')


class Wrong(NetworkTest):
    """Refused with the reason, before anything starts."""

    def refused(self, *flags):
        result = self.run_in('/bin/echo', 'started', flags=flags, rc=125)
        self.assertEqual(result.out, b'')
        return result.errors

    def test_ports_that_are_none(self):
        for text in ('80', '0:80', '80:0', '65536:80', 'a:b', '80:80/sctp', '1.2.3:80:80',
                     '::1:80:80', '[::1:80:80', '8000-8001:80', '8001-8000:80-81', ''):
            with self.subTest(text):
                self.assertIn('--publish', self.refused('-p', text))

    def test_networks_that_are_none(self):
        self.assertIn('nosuch', self.refused('--net', 'nosuch'))
        self.assertIn('--net', self.refused('--net', ''))
        self.assertIn('--net', self.refused('--net', 'user:br0'))
        self.assertIn('bridge', self.refused('--net', 'tap:'))
        self.assertIn('none', self.refused('--net', 'none', '-p', '80:80'))

    def test_addresses_that_are_none(self):
        self.assertIn('--dns', self.refused('--dns', '1.2.3'))
        self.assertIn('--dns-search', self.refused('--dns-search', 'a b'))
        self.assertIn('--add-host', self.refused('--add-host', 'db'))
        self.assertIn('--ip', self.refused('--net', 'tap', '--ip', '192.0.2.1'))
        self.assertIn('--net user', self.refused('--ip', '192.0.2.1/24'))

    @unittest.skipIf(ROOT, 'for a plain user: root may make interfaces')
    def test_a_tap_is_roots(self):
        self.assertIn('root', self.refused('--net', 'tap'))
