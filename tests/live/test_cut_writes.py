"""Bytes sent in tiny segments: they arrive unchanged, and are detected and routed as if sent at once."""

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
    """Send ``data`` in writes of 1 to 7 bytes (a segment each if the kernel is quick enough), then a FIN."""
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
    def test_tiny_writes_in_both_directions_are_relayed(self):
        """Bytes and counters are the same whichever relay is used."""
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
    """A ClientHello in pieces is routed like a complete one."""

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory)
        self.front = self.port()
        backend = self.backend(over_tls(self.authority.server("one.test"), page("this is one")))
        self.running = self.proxy(route("one", self.front, backend, domains=["one.test"]))

    def handshake(self, name, send):
        """Perform a handshake and a request; the client sends everything through ``send``."""
        client = TlsEnd(self.connect(self.front), self.authority.client(), name, send=send)
        client.handshake()
        client.write(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n")
        return client.read()

    def test_hello_in_single_bytes_or_records_is_routed(self):
        """Each byte is in its own segment or TLS record, so that the server name is cut, too."""
        for send in (_in_single_bytes, _FirstInRecords()):
            self.assertTrue(self.handshake("one.test", send).endswith(b"this is one"))
        with self.assertRaises(ssl.SSLError) as refused:
            self.handshake("two.test", _in_single_bytes)
        self.assertIn("UNRECOGNIZED_NAME", str(refused.exception))

    def test_hello_over_64_kib_is_refused_in_bounded_memory(self):
        """A length field above the limit is refused at once, so that nothing is buffered for it."""
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
    """Sends the first message, a ClientHello, in records of one byte, and later bytes unchanged."""

    def __init__(self):
        self._first = True

    def __call__(self, sock, data):
        if data and self._first:
            self._first = False
            head, message = data[:3], data[5:]
            data = b"".join(head + b"\x00\x01" + bytes([byte]) for byte in message)
        sock.sendall(data)
