"""Writes of a byte or a few: what arrives is the same, and so is what is decided on it."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import threading

from tests.live.backends import over_tls, page, read_to_end
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.tls_end import TlsEnd
from tests.live.waiting import until

_BYTES = 40_000


def _cut(sock, data, seed):
    """Send ``data`` in writes of 1 to 7 bytes, each a segment where the kernel is quick enough, and end."""
    chance = random.Random(seed)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at = 0
    while at < len(data):
        size = chance.randint(1, 7)
        sock.sendall(data[at : at + size])
        at += size
    sock.shutdown(socket.SHUT_WR)


def _sum(data):
    return hashlib.sha256(data).hexdigest()


class CutRelayTests(LiveCase):
    def test_both_ways_at_once(self):
        """The same bytes end to end, and their number, whichever relay."""
        up, down = (random.Random(seed).randbytes(_BYTES) for seed in (1, 2))

        def serve(backend, sock):
            sending = threading.Thread(target=_cut, args=(sock, down, 3))
            sending.start()
            backend.seen.append(read_to_end(sock))
            sending.join()

        backend = self.backend(serve)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                backend.seen.clear()
                client = self.connect(front)
                sending = threading.Thread(target=_cut, args=(client, up, 4))
                sending.start()
                got = read_to_end(client)
                sending.join()
                client.close()
                (read,) = until(lambda: backend.seen, "the backend's bytes")
                self.assertEqual((_sum(got), _sum(read)), (_sum(down), _sum(up)))
                proxy.emptied()
                self.assertEqual(proxy.moved, (_BYTES, _BYTES))


class CutHelloTests(LiveCase):
    """A ClientHello in pieces is routed as if it were whole."""

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory)
        self.front = self.port()
        backend = self.backend(over_tls(self.authority.server("one.test"), page("this is one")))
        self.running = self.proxy(route("one", self.front, backend, domains=["one.test"]))

    def handshake(self, name, send):
        """TLS over a connection on which everything that we say goes through ``send``."""
        client = TlsEnd(self.connect(self.front), self.authority.client(), name, send=send)
        client.handshake()
        client.write(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n")
        return client.read()

    def test_in_single_bytes_and_over_many_records(self):
        """Each byte in a segment, or in a TLS record, of its own: the name is cut, too, and found all the same."""
        for send in (_in_single_bytes, _FirstInRecords()):
            self.assertTrue(self.handshake("one.test", send).endswith(b"this is one"))
        with self.assertRaises(ssl.SSLError) as refused:
            self.handshake("two.test", _in_single_bytes)
        self.assertIn("UNRECOGNIZED_NAME", str(refused.exception))

    def test_a_hello_over_64_kib_is_refused_in_bounded_memory(self):
        """What claims to be larger than any hello is not waited for."""
        before = self.running.rss
        for _ in range(20):
            client = self.connect(self.front)
            client.sendall(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(0x4000 - 4))
            self.assertEqual(client.recv(100)[:1], b"\x15")  # an alert
        self.assertEqual(self.running.rejected("tls_error"), 20)
        self.assertLess(self.running.rss - before, 4 << 20)


def _in_single_bytes(sock, data):
    for byte in data:
        sock.sendall(bytes([byte]))


class _FirstInRecords:
    """Sends the first message, a ClientHello, in records of one byte, and the rest as it is."""

    def __init__(self):
        self._first = True

    def __call__(self, sock, data):
        if data and self._first:
            self._first = False
            head, message = data[:3], data[5:]
            data = b"".join(head + b"\x00\x01" + bytes([byte]) for byte in message)
        sock.sendall(data)
