# SPDX-License-Identifier: Apache-2.0
"""What a machine may reach: default denials, grants, names, changes while it runs, the audit log."""
import json
import os
import socket
import unittest

from harness import OTHER4, OUTSIDE4, OUTSIDE6, MachineTest, needs_network, needs_root, run_tool
from servers import DnsServer, TcpServer, UdpServer, echo

# A guest's own helper. Each command is a word and its arguments; each answer is one line.
PROBE = '''
import errno, os, socket, sys
def family(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET
def tcp(address, port):
    s = socket.socket(family(address))
    s.settimeout(20)
    try:
        s.connect((address, int(port)))
        s.close()
        return 'connected'
    except TimeoutError:
        return 'timeout'
    except OSError as e:
        return errno.errorcode[e.errno]
def udp(address, port):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.settimeout(20)
    try:
        s.connect((address, int(port)))
        s.send(b'hi')
        return s.recv(100).decode()
    except TimeoutError:
        return 'timeout'
    except OSError as e:
        return errno.errorcode[e.errno]
def name(host, kind='A'):
    try:
        found = socket.getaddrinfo(host, 80, socket.AF_INET6 if kind == 'AAAA' else socket.AF_INET,
                                   socket.SOCK_STREAM)
        return ','.join(sorted(f[4][0] for f in found))
    except socket.gaierror as e:
        return {socket.EAI_NONAME: 'NONAME', socket.EAI_AGAIN: 'AGAIN',
                socket.EAI_NODATA: 'NODATA', socket.EAI_FAIL: 'FAIL'}.get(e.errno, str(e))
def hold(address, port):
    """A conversation that stays: says ok, and then how it ends."""
    s = socket.socket(family(address))
    s.connect((address, int(port)))
    s.sendall(b'x')
    print('ok' if s.recv(1) == b'x' else 'bad', flush=True)
    try:
        s.recv(1)
        return 'closed'
    except OSError as e:
        return errno.errorcode[e.errno]
words = sys.argv[1:]
print(globals()[words[0]](*words[1:]), flush=True)
'''


class FenceTest(MachineTest):
    def begin(self, *grants, flags=(), name='box'):
        """A machine that waits, with these grants."""
        words = [word for grant in grants for word in ('--grant', grant)]
        return self.start('/bin/sleep', '1000', name=name, flags=[*words, *flags])

    def probe(self, *words, name='box'):
        result = self.exec(name, '/usr/bin/python3', '-c', PROBE, *map(str, words), rc=0)
        return result.text.strip()

    def fence(self, name='box'):
        return json.loads(self.pv('inspect', name, rc=0).text)[0]['state']['fence']

    def audit(self, name='box'):
        return [json.loads(line)
                for line in self.pv('logs', '--audit', name, rc=0).text.splitlines()]

    def assert_denied(self, *words):
        # A reset, or "administratively prohibited": at once, in one of the words for it.
        self.assertIn(self.probe(*words), ('ECONNREFUSED', 'EHOSTUNREACH', 'EACCES'), words)


@needs_network
class Default(FenceTest):
    """Without grants."""

    def test_the_outside_is_reachable(self):
        self.begin()
        with TcpServer(OUTSIDE4, echo) as v4, TcpServer(OUTSIDE6, echo) as v6:
            self.assertEqual(self.probe('tcp', OUTSIDE4, v4.port), 'connected')
            self.assertEqual(self.probe('tcp', OUTSIDE6, v6.port), 'connected')
        self.assertEqual(self.fence()['grants'], [])

    def test_the_hosts_loopback_is_not(self):
        self.begin()
        with TcpServer('127.0.0.1', echo) as server, TcpServer('::1', echo) as server6:
            self.assert_denied('tcp', '10.0.2.2', server.port)
            self.assert_denied('tcp', 'fd00::2', server6.port)
            self.assert_denied('tcp', '10.0.2.3', server.port)
            self.assertEqual(server.peers + server6.peers, [])
        denied = self.fence()['denied']
        self.assertEqual(denied['host-loopback']['tcp'], 3)

    def test_metadata_and_link_local_are_not(self):
        self.begin()
        self.assert_denied('tcp', '169.254.169.254', 80)
        self.assert_denied('tcp', '169.254.1.1', 80)
        self.assert_denied('tcp', 'fd00:ec2::254', 80)
        self.assert_denied('tcp', '64:ff9b::a9fe:a9fe', 80)
        self.assert_denied('udp', '169.254.169.254', 53)
        denied = self.fence()['denied']
        self.assertEqual(denied['metadata'], {'tcp': 2, 'udp': 1})
        self.assertEqual(denied['link-local'], {'tcp': 1})
        self.assertEqual(denied['embedded-v4'], {'tcp': 1})

    def test_names_are_resolved_by_the_hosts_servers(self):
        records = {('a.example', 'A'): [(60, OTHER4)], ('a.example', 'AAAA'): [(60, OUTSIDE6)]}
        with DnsServer(OUTSIDE4, records) as dns:
            self.begin(flags=['--dns', OUTSIDE4])
            self.assertEqual(self.exec('box', 'cat', '/etc/resolv.conf', rc=0).text,
                             'nameserver 10.0.2.3\nnameserver fd00::3\n')
            self.assertEqual(self.probe('name', 'a.example'), OTHER4)
            self.assertEqual(self.probe('name', 'a.example', 'AAAA'), OUTSIDE6)
            self.assertEqual(self.probe('name', 'b.example'), 'NONAME')
            self.assertTrue(dns.questions)

    def test_a_name_of_a_denied_address_has_none(self):
        records = {('r.example', 'A'): [(60, '169.254.169.254')],
                   ('h.example', 'A'): [(60, '127.0.0.1'), (60, OTHER4)]}
        with DnsServer(OUTSIDE4, records):
            self.begin(flags=['--dns', OUTSIDE4])
            self.assertIn(self.probe('name', 'r.example'), ('NODATA', 'NONAME'))
            self.assertEqual(self.probe('name', 'h.example'), OTHER4)
        line = self.audit()[0]
        self.assertEqual((line['protocol'], line['rule'], line['name'], line['address']),
                         ('dns', 'rebinding', 'r.example', '169.254.169.254'))

    def test_a_silent_server_is_an_answer_too(self):
        with DnsServer(OUTSIDE4, {}) as dns:
            dns.silent = True
            self.begin(flags=['--dns', OUTSIDE4])
            self.assertEqual(self.probe('name', 'a.example'), 'AGAIN')
            with TcpServer(OUTSIDE4, echo) as server:  # and everything else goes on
                self.assertEqual(self.probe('tcp', OUTSIDE4, server.port), 'connected')
        self.assertGreater(self.fence()['net0']['dns_failed'], 0)

    def test_names_over_tcp(self):
        """A resolver that insists on TCP, and an answer that is too long for UDP."""
        many = [f'198.51.100.{i}' for i in range(1, 201)]
        records = {('a.example', 'A'): [(60, OTHER4)],
                   ('many.example', 'A'): [(60, address) for address in many]}
        with DnsServer(OUTSIDE4, records) as dns, dns.over_tcp():
            self.begin(flags=['--dns', OUTSIDE4])
            result = self.exec('box', '/usr/bin/python3', '-c', PROBE, 'name', 'a.example',
                               flags=['-e', 'RES_OPTIONS=use-vc'], rc=0)
            self.assertEqual(result.text, OTHER4 + '\n')
            self.assertEqual(dns.tcp_questions, 0)  # whom we ask is our own matter
            self.assertEqual(self.probe('name', 'many.example').split(','), sorted(many))
            self.assertGreater(dns.tcp_questions, 0)


@needs_network
class Grants(FenceTest):
    """What is granted, and nothing else."""

    def test_one_port_of_one_address(self):
        with TcpServer(OUTSIDE4, echo) as server, TcpServer(OUTSIDE4, echo) as other, \
                TcpServer(OUTSIDE6, echo) as twin:
            self.begin(f'tcp:{OUTSIDE4}:{server.port}')
            self.assertEqual(self.probe('tcp', OUTSIDE4, server.port), 'connected')
            self.assert_denied('tcp', OUTSIDE4, other.port)
            self.assert_denied('tcp', OTHER4, server.port)
            self.assert_denied('tcp', OUTSIDE6, twin.port)
            self.assert_denied('udp', OUTSIDE4, server.port)
            self.assertEqual(other.peers + twin.peers, [])
        self.assertEqual(self.fence()['denied'], {'not-granted': {'tcp': 3, 'udp': 1}})

    def test_the_audit_log_tells_everything(self):
        self.begin('dns:nothing.example')
        self.assert_denied('tcp', OTHER4, 4321)
        self.assertEqual(self.probe('name', 'secret.example'), 'NONAME')
        line, question = self.audit()[:2]
        self.assertRegex(line.pop('time'), r'\A\d{4}-\d\d-\d\dT[\d:.]+Z\Z')
        self.assertEqual(line, {'direction': 'out', 'protocol': 'tcp', 'address': OTHER4,
                                'port': 4321, 'rule': 'not-granted'})
        self.assertEqual((question['protocol'], question['name']), ('dns', 'secret.example'))

    def test_ranges_of_ports_and_addresses(self):
        with TcpServer(OUTSIDE4, echo) as server, UdpServer(OUTSIDE6, lambda data: data) as udp:
            self.begin(f'tcp:192.0.2.0/24:{server.port - 1}-{server.port + 1}',
                       f'udp:[2001:db8::]/32:{udp.port}')
            self.assertEqual(self.probe('tcp', OUTSIDE4, server.port), 'connected')
            self.assertEqual(self.probe('udp', OUTSIDE6, udp.port), 'hi')
            self.assert_denied('tcp', OUTSIDE4, server.port + 2)
            self.assert_denied('tcp', OTHER4, server.port)

    def test_a_file_of_grants(self):
        with TcpServer(OUTSIDE4, echo) as server:
            path = os.path.join(self.work_dir, 'grants')
            with open(path, 'w') as f:
                f.write(f'# what the job needs\n\ntcp:{OUTSIDE4}:{server.port}  # its server\n')
            self.start('/bin/sleep', '1000', flags=['--grant-file', path])
            self.assertEqual(self.probe('tcp', OUTSIDE4, server.port), 'connected')
            self.assert_denied('tcp', OTHER4, server.port)
        self.assertEqual(self.fence()['grants'], [f'tcp:{OUTSIDE4}:{server.port}'])

    def test_wildcard_names(self):
        records = {('www.example.org', 'A'): [(60, OTHER4)],
                   ('example.org', 'A'): [(60, OUTSIDE4)]}
        with DnsServer(OUTSIDE4, records) as dns, TcpServer(OTHER4, echo) as server:
            self.begin(f'tcp:*.example.org:{server.port}', flags=['--dns', OUTSIDE4])
            self.assert_denied('tcp', OTHER4, server.port)  # raw, before the name is known
            self.assertEqual(self.probe('name', 'www.example.org'), OTHER4)
            self.assertEqual(self.probe('tcp', OTHER4, server.port), 'connected')
            self.assertEqual(self.probe('name', 'example.org'), 'NONAME')
            self.assertEqual(self.probe('name', 'evil.example'), 'NONAME')
            self.assertNotIn('evil.example', str(dns.questions))
            self.assert_denied('tcp', OUTSIDE4, server.port)

    def test_an_address_counts_while_its_answer_lives(self):
        records = {('a.example', 'A'): [(1, OTHER4)]}
        with DnsServer(OUTSIDE4, records), TcpServer(OTHER4, echo) as server:
            self.begin(f'tcp:a.example:{server.port}', flags=['--dns', OUTSIDE4])
            self.assertEqual(self.probe('name', 'a.example'), OTHER4)
            self.assertEqual(self.probe('tcp', OTHER4, server.port), 'connected')
            self.wait_for('the end of the answer',
                          lambda: self.probe('tcp', OTHER4, server.port) != 'connected')
            self.assertEqual(self.probe('name', 'a.example'), OTHER4)
            self.assertEqual(self.probe('tcp', OTHER4, server.port), 'connected')

    def test_aliases_count_under_the_name_asked_for(self):
        records = {('a.example', 'CNAME'): [(60, 'b.example.net')],
                   ('b.example.net', 'A'): [(60, OTHER4)]}
        with DnsServer(OUTSIDE4, records), TcpServer(OTHER4, echo) as server:
            self.begin(f'tcp:a.example:{server.port}', flags=['--dns', OUTSIDE4])
            self.assertEqual(self.probe('name', 'b.example.net'), 'NONAME')
            self.assertEqual(self.probe('name', 'a.example'), OTHER4)
            self.assertEqual(self.probe('tcp', OTHER4, server.port), 'connected')

    def test_rebinding_opens_nothing(self):
        records = {('a.example', 'A'): [(60, '127.0.0.1')]}
        with DnsServer(OUTSIDE4, records), TcpServer('127.0.0.1', echo) as server:
            self.begin(f'tcp:a.example:{server.port}', flags=['--dns', OUTSIDE4])
            self.assertIn(self.probe('name', 'a.example'), ('NODATA', 'NONAME'))
            self.assert_denied('tcp', '10.0.2.2', server.port)
            self.assertEqual(server.peers, [])

    def test_another_resolver_is_just_traffic(self):
        with DnsServer(OTHER4, {('a.example', 'A'): [(60, OUTSIDE4)]}) as other:
            self.begin('dns:a.example')
            self.assert_denied('udp', OTHER4, 53)
            self.assert_denied('tcp', OTHER4, 53)
            self.assert_denied('tcp', OTHER4, 853)
            self.assertEqual(other.questions, [])

    def test_the_hosts_loopback_by_its_word(self):
        with TcpServer('127.0.0.1', echo) as server, TcpServer('127.0.0.1', echo) as other:
            self.begin(f'tcp:host-loopback:{server.port}')
            self.assertEqual(self.probe('tcp', '10.0.2.2', server.port), 'connected')
            self.assert_denied('tcp', '10.0.2.2', other.port)
            self.assertEqual(other.peers, [])

    def test_published_ports_stay_open(self):
        port = 18080
        self.start('/usr/bin/python3', '-m', 'http.server', '80',
                   flags=['--grant', 'dns:nothing.example', '-p', f'127.0.0.1:{port}:80'])

        def fetch():
            try:
                with socket.create_connection(('127.0.0.1', port), 5) as s:
                    s.sendall(b'GET /etc/hostname HTTP/1.0\r\n\r\n')
                    return s.recv(4)
            except OSError:
                return b''
        self.wait_for('the published port', lambda: fetch() == b'HTTP')


@needs_root
@needs_network
class Tap(FenceTest):
    """On an interface of the host."""

    def setUp(self):
        super().setUp()
        run_tool('ip', 'link', 'add', 'br8', 'type', 'bridge')
        self.addCleanup(run_tool, 'ip', 'link', 'del', 'br8')
        run_tool('ip', 'address', 'add', '10.78.0.1/24', 'dev', 'br8')
        run_tool('ip', 'link', 'set', 'br8', 'up')

    def begin(self, *grants, flags=()):
        return super().begin(*grants, flags=['--net', 'tap:br8', '--ip', '10.78.0.2/24',
                                             '--gateway', '10.78.0.1', *flags])

    def test_grants_and_denials(self):
        with TcpServer('10.78.0.1', echo) as good, TcpServer('10.78.0.1', echo) as bad, \
                TcpServer(OUTSIDE4, echo) as other, UdpServer('10.78.0.1', lambda d: d) as datagrams:
            self.begin(f'tcp:10.78.0.1:{good.port}')
            self.assertEqual(self.probe('tcp', '10.78.0.1', good.port), 'connected')
            self.assert_denied('tcp', '10.78.0.1', bad.port)
            self.assert_denied('tcp', OUTSIDE4, other.port)
            self.assert_denied('udp', '10.78.0.1', datagrams.port)
            self.assertEqual((bad.peers, other.peers, datagrams.peers), ([], [], []))
            self.assertEqual(self.fence()['denied'], {'not-granted': {'tcp': 2, 'udp': 1}})
            self.assertEqual(self.audit()[0]['port'], bad.port)
            self.pv('update', '--grant', f'tcp:{OUTSIDE4}', 'box', rc=0)
            self.assertEqual(self.probe('tcp', OUTSIDE4, other.port), 'connected')
            self.pv('update', '--revoke', f'tcp:10.78.0.1:{good.port}', 'box', rc=0)
            self.assert_denied('tcp', '10.78.0.1', good.port)

    def test_names_count_at_the_servers_addresses(self):
        records = {('good.example', 'A'): [(60, OTHER4)]}
        with DnsServer(OUTSIDE4, records) as dns, TcpServer(OTHER4, echo) as server:
            self.begin(f'tcp:good.example:{server.port}', flags=['--dns', OUTSIDE4])
            self.assert_denied('tcp', OTHER4, server.port)
            self.assertEqual(self.probe('name', 'good.example'), OTHER4)
            self.assertEqual(self.probe('tcp', OTHER4, server.port), 'connected')
            self.assertEqual(self.probe('name', 'bad.example'), 'NONAME')
            self.assertEqual({name for name, _ in dns.questions}, {'good.example'})

    def test_a_neighbour_may_begin(self):
        self.begin('none')
        self.exec('box', '/usr/bin/python3', '-c', """if True:
            import os, socket
            s = socket.create_server(('0.0.0.0', 7))
            if os.fork() == 0:
                os.setsid()
                while True:
                    c = s.accept()[0]
                    c.sendall(c.recv(10))
                    c.close()
            """, rc=0)
        with socket.create_connection(('10.78.0.2', 7), timeout=20) as s:
            s.sendall(b'hi')
            self.assertEqual(s.recv(10), b'hi')
        self.assert_denied('tcp', '10.78.0.1', 7)


@needs_network
class Changes(FenceTest):
    """While the machine runs."""

    def holding(self, server):
        process = self.popen('exec', 'box', '/usr/bin/python3', '-c', PROBE, 'hold',
                             server.address, str(server.port))
        self.assertEqual(process.stdout.readline(), b'ok\n')
        return process

    def test_a_revoked_grant_cuts_what_is_open(self):
        with TcpServer(OUTSIDE4, echo) as server, TcpServer(OTHER4, echo) as other:
            grant = f'tcp:{OUTSIDE4}:{server.port}'
            self.begin(grant, f'tcp:{OTHER4}:{other.port}')
            cut, kept = self.holding(server), self.holding(other)
            self.pv('update', '--revoke', grant, 'box', rc=0)
            self.assertEqual(cut.communicate(timeout=60)[0], b'ECONNRESET\n')
            self.assertIsNone(kept.poll())
            self.assert_denied('tcp', OUTSIDE4, server.port)
            self.assertEqual(self.probe('tcp', OTHER4, other.port), 'connected')
            self.assertEqual(self.fence()['net0']['cut'], 1)
            kept.kill()
            kept.communicate()

    def test_grants_come_and_go(self):
        with TcpServer(OUTSIDE4, echo) as server:
            self.begin()
            self.assertEqual(self.probe('tcp', OUTSIDE4, server.port), 'connected')
            self.pv('update', '--grant', f'tcp:{OTHER4}', 'box', rc=0)
            self.assert_denied('tcp', OUTSIDE4, server.port)
            self.pv('update', '--grant', f'tcp:{OUTSIDE4}:{server.port}', '--revoke',
                    f'tcp:{OTHER4}', 'box', rc=0)
            self.assertEqual(self.probe('tcp', OUTSIDE4, server.port), 'connected')
            # Without the last one nothing is reachable, rather than everything.
            self.pv('update', '--revoke', f'tcp:{OUTSIDE4}:{server.port}', 'box', rc=0)
            self.assertEqual(self.fence()['grants'], ['none'])
            self.assert_denied('tcp', OUTSIDE4, server.port)
            self.pv('update', '--revoke', 'none', 'box', rc=0)
            self.assertEqual(self.probe('tcp', OUTSIDE4, server.port), 'connected')

    def test_they_hold_for_the_next_start(self):
        with TcpServer(OUTSIDE4, echo) as server:
            self.begin()
            self.pv('update', '--grant', 'dns:a.example', 'box', rc=0)
            self.pv('stop', '-t', '0', 'box', rc=0)
            self.pv('update', '--grant', 'dns:b.example', 'box', rc=0)
            self.pv('start', 'box', rc=0)
            self.assertEqual(self.fence()['grants'], ['dns:a.example', 'dns:b.example'])
            self.assert_denied('tcp', OUTSIDE4, server.port)

    def test_what_cannot_be_changed_is_told(self):
        self.begin('dns:a.example')
        for flags, says in ((['--revoke', 'dns:b.example'], 'not granted'),
                            (['--grant', 'tcp:a.example:x'], 'column 15'),
                            (['--grant', 'tcp:host-loopback:1'], 'start it again'),
                            (['--net-rate', 'fast'], 'no limit')):
            result = self.pv('update', *flags, 'box')
            self.assertNotEqual(result.rc, 0)
            self.assertIn(says, result.errors)
        self.assertEqual(self.fence()['grants'], ['dns:a.example'])


class Rate(FenceTest):
    @needs_network
    def test_a_limit_makes_frames_wait(self):
        payload = bytes(200000)
        with TcpServer(OUTSIDE4, lambda c: c.sendall(payload)) as server:
            self.begin(flags=['--net-rate', 'bps=100K,pps=1000'])
            script = ('import socket; s = socket.create_connection(("%s", %d)); n = 0\n'
                      'while d := s.recv(65536): n += len(d)\nprint(n)' % (OUTSIDE4, server.port))
            text = self.exec('box', '/usr/bin/python3', '-c', script, rc=0).text
            self.assertEqual(text, '200000\n')
            throttled = self.fence()['net0']['throttled']
            self.assertGreater(throttled, 0)
            self.pv('update', '--net-rate', 'bps=0', 'box', rc=0)
            text = self.exec('box', '/usr/bin/python3', '-c', script, rc=0).text
            self.assertEqual(text, '200000\n')
            self.assertEqual(self.fence()['net0']['throttled'], throttled)


class Vsock(FenceTest):
    def test_ports_of_the_host_are_grants(self):
        self.begin('vsock:5000')
        script = ('import socket\nfor p in (5000, 5001):\n'
                  '    s = socket.socket(socket.AF_VSOCK)\n'
                  '    try:\n        s.connect((2, p))\n'
                  '    except OSError as e:\n        print(p, e.strerror)\n')
        self.exec('box', '/usr/bin/python3', '-c', script, rc=0)
        # 5000 may be asked for (nobody is there), 5001 may not.
        lines = [line for line in self.audit() if line['protocol'] == 'vsock']
        self.assertEqual([(line['port'], line['rule']) for line in lines],
                         [(5001, 'not-granted')])
        self.assertEqual(self.fence()['denied']['not-granted']['vsock'], 1)


class Wrong(FenceTest):
    """Told before anything starts."""

    def test_grants_that_cannot_be_read(self):
        path = os.path.join(self.work_dir, 'grants')
        with open(path, 'w') as f:
            f.write('tcp:a.example:80\nudp:a.example:0\n')
        for flags, says in ((['--grant', 'http:a.example'], 'unknown protocol'),
                            (['--grant', 'tcp:127.0.0.1:80'], 'host-loopback'),
                            (['--grant', 'tcp:a.example:99999'], 'column 15'),
                            (['--grant-file', path], 'line 2'),
                            (['--grant-file', path + '.none'], 'No such file'),
                            (['--net-rate', 'bps=fast'], 'number and a unit')):
            result = self.run_in('/bin/true', flags=flags)
            self.assertNotEqual(result.rc, 0)
            self.assertIn(says, result.errors)
        self.assertEqual(self.pv('ps', '-a', '-q', rc=0).text, '')


if __name__ == '__main__':
    unittest.main()
