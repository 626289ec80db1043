# SPDX-License-Identifier: Apache-2.0
"""servers.py: small servers for tests of the network. Each runs in threads of this process, on an
address of the host, from `with` to its end.

    with TcpServer(OUTSIDE4, echo) as server:
        ... server.port, server.peers ...
"""
import socket
import struct
import threading


def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


class Server:
    """A socket, a thread that serves it, and an orderly end."""

    kind = socket.SOCK_STREAM

    def __init__(self, address, port=0):
        self.socket = socket.socket(family_of(address), self.kind)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        self.socket.settimeout(0.1)
        self.address, self.port = address, self.socket.getsockname()[1]
        self.peers = []  # the addresses that came, in order
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join()
        self.socket.close()

    def run(self):
        while not self.ended:
            try:
                self.serve_one()
            except (TimeoutError, ConnectionError):
                pass


class TcpServer(Server):
    """handler(connection) in a thread per connection; the connection is closed behind it."""

    def __init__(self, address, handler, port=0):
        super().__init__(address, port)
        self.handler = handler
        self.socket.listen(1024)

    def serve_one(self):
        connection, peer = self.socket.accept()
        self.peers.append(peer[0])
        threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection):
        connection.settimeout(60)
        with connection:
            try:
                self.handler(connection)
            except OSError:
                pass


class UdpServer(Server):
    """answer(datagram) gives the datagram to send back, or None."""

    kind = socket.SOCK_DGRAM

    def __init__(self, address, answer, port=0):
        super().__init__(address, port)
        self.answer = answer

    def serve_one(self):
        data, peer = self.socket.recvfrom(65536)
        self.peers.append(peer[0])
        reply = self.answer(data)
        if reply is not None:
            self.socket.sendto(reply, peer)


def echo(connection):
    """All that comes goes back, until the peer has ended its half."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def receive_all(connection):
    """What the peer sends until its end."""
    parts = []
    while data := connection.recv(1 << 16):
        parts.append(data)
    return b''.join(parts)


class DnsServer(UdpServer):
    """Answers from `records`, a dict of (name, type) to a list of (ttl, data): A and AAAA data are
    addresses as text, CNAME data is a name. A name that is not there does not exist (NXDOMAIN); one
    whose list is empty has no such record. The dict may change at any time. `silent`: no answers.
    `questions` lists what was asked. An answer of more than UDP_BYTES is only told to be one; inside
    `with dns.over_tcp()` it can be had over TCP, and `tcp_questions` counts those."""

    UDP_BYTES = 1232

    TYPES = {1: 'A', 5: 'CNAME', 28: 'AAAA', 16: 'TXT', 12: 'PTR', 65: 'HTTPS'}

    def __init__(self, address, records, port=53):
        super().__init__(address, self.reply, port)
        self.records, self.questions, self.silent = records, [], False
        self.tcp_questions = 0

    @staticmethod
    def encode_name(name):
        return b''.join(bytes([len(label)]) + label.encode() for label in name.split('.')) + b'\0'

    @staticmethod
    def decode_name(data, at):
        labels = []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += 1 + data[at]
        return '.'.join(labels), at + 1

    def encode_data(self, kind, data):
        if kind == 'CNAME':
            return self.encode_name(data)
        return socket.inet_pton(socket.AF_INET if kind == 'A' else socket.AF_INET6, data)

    def find(self, name, kind, depth=0):
        """Records for an answer: (name, type, ttl, data), along the aliases."""
        if (name, 'CNAME') in self.records and kind != 'CNAME' and depth < 8:
            ttl, target = self.records[name, 'CNAME'][0]
            return [(name, 'CNAME', ttl, target)] + self.find(target, kind, depth + 1)
        return [(name, kind, ttl, data) for ttl, data in self.records.get((name, kind), [])]

    def over_tcp(self):
        return TcpServer(self.address, self.serve_connection, port=self.port)

    def serve_connection(self, connection):
        """Questions with their length before them, one after the other."""
        stream = connection.makefile('rwb')
        while head := stream.read(2):
            self.tcp_questions += 1
            answer = self.reply(stream.read(struct.unpack('!H', head)[0]), 65535)
            stream.write(struct.pack('!H', len(answer)) + answer)
            stream.flush()

    def reply(self, query, most=UDP_BYTES):
        name, at = self.decode_name(query, 12)
        number = struct.unpack_from('!H', query, at)[0]
        kind = self.TYPES.get(number, str(number))
        self.questions.append((name.lower(), kind))
        if self.silent:
            return None
        found = self.find(name.lower(), kind)
        exists = any(known == name.lower() for known, _ in self.records)
        codes = {text: code for code, text in self.TYPES.items()}
        answer = b''.join(self.encode_name(owner) +
                          struct.pack('!HHIH', codes[what], 1, ttl, len(packed)) + packed
                          for owner, what, ttl, data in found
                          for packed in [self.encode_data(what, data)])
        flags = 0x8180 | (0 if exists else 3)
        if at + 4 + len(answer) > most:
            flags, found, answer = flags | 0x200, [], b''  # truncated
        return query[:2] + struct.pack('!HHHHH', flags, 1, len(found), 0, 0) + \
            query[12:at + 4] + answer
