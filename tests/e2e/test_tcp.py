# SPDX-License-Identifier: Apache-2.0
"""TCP of a machine with --net user, which the monitor ends itself: much data, many connections, slow
readers, and how connections end."""
import hashlib
import json
import socket
import struct
import threading
import unittest

from harness import OTHER4, OUTSIDE4, OUTSIDE6, MachineTest, needs_network
from servers import TcpServer, echo, receive_all

# Both ends say the same content: blocks that count.
STREAM = '''
import errno, hashlib, socket, struct, sys, threading
BLOCK = bytes(range(256)) * 256
def blocks(mib):
    for i in range(mib * 16):
        yield struct.pack('!Q', i) + BLOCK[8:]
def send_stream(s, mib):
    for block in blocks(mib):
        s.sendall(block)
    s.shutdown(socket.SHUT_WR)
def receive_stream(s):
    digest, size = hashlib.sha256(), 0
    while data := s.recv(1 << 20):
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size
def connect(address, port, timeout=100):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    s.settimeout(timeout)
    s.connect((address, int(port)))
    return s
'''
names = {}
exec(STREAM, names)
send_stream, receive_stream = names['send_stream'], names['receive_stream']


def digest_of(mib):
    digest = hashlib.sha256()
    for block in names['blocks'](mib):
        digest.update(block)
    return digest.hexdigest(), mib << 20


RESET = struct.pack('ii', 1, 0)


class TcpTest(MachineTest):
    def python(self, script, *args, flags=(), **kwargs):
        result = self.run_in('/usr/bin/python3', '-c', STREAM + script, *map(str, args),
                             flags=flags, rc=0, **kwargs)
        return result.text.strip()

    def backend(self, name='box'):
        """The counters of a machine's user-mode network."""
        stats = self.pv('stats', '--no-stream', '--format', 'json', name, rc=0).text
        return json.loads(stats)['devices']['net0']['user']


@needs_network
class Content(TcpTest):
    """Every byte arrives, once, in order."""

    def test_hundreds_of_megabytes_both_ways(self):
        for address, mib in ((OUTSIDE4, 200), (OUTSIDE6, 60)):
            got = []

            def serve(connection):
                got.append(receive_stream(connection))
                send_stream(connection, mib)

            with self.subTest(address), TcpServer(address, serve) as server:
                text = self.python('''
s = connect(*sys.argv[1:3])
send_stream(s, int(sys.argv[3]))
print(*receive_stream(s))
''', address, server.port, mib)
                self.assertEqual(text, '%s %d' % digest_of(mib))
                self.assertEqual(got, [digest_of(mib)])

    def test_both_directions_at_once(self):
        got = []

        def serve(connection):
            sender = threading.Thread(target=send_stream, args=(connection, 64))
            sender.start()
            got.append(receive_stream(connection))
            sender.join()

        with TcpServer(OUTSIDE4, serve) as server:
            text = self.python('''
s = connect(*sys.argv[1:3])
sender = threading.Thread(target=send_stream, args=(s, 64))
sender.start()
print(*receive_stream(s))
sender.join()
''', OUTSIDE4, server.port)
            self.assertEqual(text, '%s %d' % digest_of(64))
            self.assertEqual(got, [digest_of(64)])

    def test_a_thousand_connections_at_once(self):
        with TcpServer(OUTSIDE4, echo) as server:
            text = self.python('''
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
all = [connect(*sys.argv[1:3]) for _ in range(1000)]
for i, s in enumerate(all):
    s.sendall(b'%d' % i * 1000)
def answer(s, size):
    data = b''
    while len(data) < size:
        data += s.recv(size)
    return data
print(sum(answer(s, len(b'%d' % i) * 1000) == b'%d' % i * 1000 for i, s in enumerate(all)))
''', OUTSIDE4, server.port)
        self.assertEqual(text, '1000')

    def test_slow_readers_on_both_sides(self):
        """Whoever does not read stops the other end, for a while, and nothing else."""
        go, got = threading.Event(), []

        def serve(connection):
            sender = threading.Thread(target=send_stream, args=(connection, 24))
            sender.start()
            go.wait(60)
            got.append(receive_stream(connection))
            sender.join()

        with TcpServer(OUTSIDE4, serve) as server, TcpServer(OTHER4, echo) as other:
            self.start('/usr/bin/python3', '-c', STREAM + '''
s = connect(*sys.argv[1:3])
s.setblocking(False)
sent, full = 0, 0
stream = b''.join(blocks(24))
while full < 20: # until nothing goes any more, for a second
    try:
        sent += s.send(stream[sent:sent + 65536])
        full = 0
    except BlockingIOError:
        full += 1
        threading.Event().wait(0.05)
other = connect(*sys.argv[3:5]) # the others go on
other.sendall(b'x')
print('stuck', sent < len(stream), other.recv(1), flush=True)
s.settimeout(60)
def rest():
    s.sendall(stream[sent:])
    s.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=rest)
sender.start()
print('got', *receive_stream(s), flush=True)
sender.join()
threading.Event().wait(1000)
''', OUTSIDE4, str(server.port), OTHER4, str(other.port))
            self.wait_output('box', "stuck True b'x'")
            go.set()
            self.wait_output('box', 'got %s %d' % digest_of(24))
            self.assertEqual(got, [digest_of(24)])
            self.assertEqual(self.backend()['tcp_reset'], 0)

    def test_a_private_networks_way_out(self):
        self.pv('network', 'create', 'net', rc=0)
        self.addCleanup(self.pv, 'network', 'rm', 'net')
        with TcpServer(OUTSIDE4, lambda c: send_stream(c, 20)) as server:
            text = self.python('print(*receive_stream(connect(*sys.argv[1:3])))', OUTSIDE4,
                               server.port, flags=['--net', 'net'])
        self.assertEqual(text, '%s %d' % digest_of(20))


@needs_network
class Ends(TcpTest):
    """How connections begin and end."""

    def test_a_reset_of_the_guest_is_seen_outside(self):
        seen = []

        def serve(connection):
            try:
                seen.append(connection.recv(10))
                seen.append(connection.recv(10))
            except ConnectionResetError:
                seen.append('reset')

        with TcpServer(OUTSIDE4, serve) as server:
            self.python('''
s = connect(*sys.argv[1:3])
s.sendall(b'hi')
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
threading.Event().wait(0.5)
s.close()
threading.Event().wait(0.5)
''', OUTSIDE4, server.port)
            self.wait_for('the reset', lambda: len(seen) == 2)
        self.assertEqual(seen, [b'hi', 'reset'])

    def test_a_revoked_grant_resets_both_ends(self):
        seen = []

        def serve(connection):
            try:
                while seen.append(connection.recv(10)) is None and seen[-1]:
                    pass
            except ConnectionResetError:
                seen.append('reset')

        with TcpServer(OUTSIDE4, serve) as server:
            grant = f'tcp:{OUTSIDE4}:{server.port}'
            self.start('/usr/bin/python3', '-c', STREAM + '''
s = connect(*sys.argv[1:3])
s.sendall(b'hi')
try:
    s.recv(10)
except ConnectionResetError:
    print('reset', flush=True)
threading.Event().wait(1000)
''', OUTSIDE4, str(server.port), flags=['--grant', grant])
            self.wait_for('the connection', lambda: seen)
            self.pv('update', '--revoke', grant, 'box', rc=0)
            self.wait_for('its end', lambda: len(seen) == 2)
            self.wait_output('box', 'reset')
        self.assertEqual(seen, [b'hi', 'reset'])

    def test_a_reset_from_outside_is_seen_by_the_guest(self):
        def serve(connection):
            connection.sendall(b'last words')
            connection.recv(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        with TcpServer(OUTSIDE4, serve) as server:
            text = self.python('''
s = connect(*sys.argv[1:3])
print(s.recv(100))
s.sendall(b'end')
try:
    print(s.recv(100))
except OSError as e:
    print(errno.errorcode[e.errno])
''', OUTSIDE4, server.port)
        self.assertEqual(text, "b'last words'\nECONNRESET")

    def test_the_first_half_to_end_may_be_the_hosts(self):
        got = []

        def serve(connection):
            connection.sendall(b'question')
            connection.shutdown(socket.SHUT_WR)
            got.append(receive_all(connection))

        with TcpServer(OUTSIDE4, serve) as server:
            text = self.python('''
s = connect(*sys.argv[1:3])
print(s.recv(100), s.recv(100))
s.sendall(b'answer' * 100000)
s.close()
''', OUTSIDE4, server.port)
            self.wait_for('the answer', lambda: got)
        self.assertEqual(text, "b'question' b''")
        self.assertEqual(got, [b'answer' * 100000])

    def test_silence_stays_silence(self):
        """A host that does not answer: the guest waits as long as it likes."""
        with socket.socket() as silent:
            silent.bind((OUTSIDE4, 0))
            silent.listen(0)
            port = silent.getsockname()[1]
            full = []
            for _ in range(4):  # until its queue is full
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((OUTSIDE4, port))
                full.append(s)
            text = self.python('''
try:
    connect(sys.argv[1], sys.argv[2], 3)
    print('connected')
except TimeoutError:
    print('timeout')
''', OUTSIDE4, port)
            for s in full:
                s.close()
        self.assertEqual(text, 'timeout')

    def test_the_end_of_a_machine_ends_its_connections(self):
        seen = []

        def serve(connection):
            seen.append(connection.recv(10))
            try:
                seen.append(connection.recv(10))
            except ConnectionResetError:
                seen.append(b'')

        with TcpServer(OUTSIDE4, serve) as server:
            self.start('/usr/bin/python3', '-c', STREAM + '''
s = connect(*sys.argv[1:3])
s.sendall(b'hi')
threading.Event().wait(1000)
''', OUTSIDE4, str(server.port))
            self.wait_for('the connection', lambda: seen)
            self.pv('kill', 'box', rc=0)
            self.wait_for('its end', lambda: len(seen) == 2)
        self.assertEqual(seen, [b'hi', b''])

    def test_a_guest_that_listens_to_nobody_is_a_reset_outside(self):
        self.start('/bin/sleep', '1000', flags=['-p', '127.0.0.1:8071:7000'])
        self.exec('box', '/bin/true', rc=0)
        with self.assertRaises(ConnectionResetError):
            with socket.create_connection(('127.0.0.1', 8071), timeout=60) as s:
                s.recv(1)
        self.assertEqual(self.backend()['tcp_failed'], 1)

    def test_statistics_count_connections(self):
        with TcpServer(OUTSIDE4, lambda c: c.sendall(receive_all(c))) as server:
            self.start('/bin/sleep', '1000')
            self.exec('box', '/usr/bin/python3', '-c', STREAM + '''
s = connect(*sys.argv[1:3])
s.sendall(bytes(100000))
s.shutdown(socket.SHUT_WR)
receive_stream(s)
try:
    connect(sys.argv[1], 9)
except ConnectionRefusedError:
    pass
''', OUTSIDE4, str(server.port), rc=0)
        counters = self.backend()
        for name, value in (('tcp_opened', 1), ('tcp_failed', 1), ('tcp_reset', 0),
                            ('tcp_out_bytes', 100000), ('tcp_in_bytes', 100000)):
            self.assertEqual(counters[name], value, name)


if __name__ == '__main__':
    unittest.main()
