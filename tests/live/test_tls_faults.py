"""What is thrown at a port that ends TLS: nothing is read without bound, nobody else waits, all of it is counted."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time

from tests.live.backends import echo, reset
from tests.live.case import route
from tests.live.terminating import ACCELERATIONS, NAME, ByHand, TlsCase
from tests.live.waiting import settled, until

_CHUNK = bytes(256 * 1024)
#: Bytes of a connection that may be on the way: kernel buffers of four sockets (tcp_rmem, tcp_wmem).
_ON_THE_WAY = 64 * 1024 * 1024
#: Bytes that the proxy itself may grow by for it.
_MEMORY = 4 * 1024 * 1024


def _endless(backend, sock):
    """A gigabyte, as fast as it is taken; how much was is left in ``seen``."""
    backend.seen.append(0)
    while backend.seen[-1] < 1 << 30:
        backend.seen[-1] += sock.send(_CHUNK)


def _deaf(backend, _sock):
    """Reads nothing until the client has given up."""
    until(lambda: backend.seen, "the end of the test", 20)


class BackPressureTests(TlsCase):
    def test_a_client_that_hardly_reads(self):
        """The backend is stopped after what the buffers hold, and a client of a byte at a time changes nothing."""
        for acceleration in ACCELERATIONS:
            with self.subTest(acceleration=acceleration):
                proxy, backend, port = self.terminator(_endless, acceleration=acceleration)
                client = self.secure(port)
                before = proxy.rss
                until(lambda: backend.seen and backend.seen[-1], "the backend sending")  # noqa: B023 - this round's
                taken = settled(lambda: backend.seen[-1])  # noqa: B023 - this round's
                for _ in range(20):
                    client.recv(1)
                self.assertLess(taken, _ON_THE_WAY)
                self.assertLess(proxy.rss - before, _MEMORY)
                used = proxy.cpu
                time.sleep(0.3)  # what is measured is the time itself
                self.assertLess(proxy.cpu - used, 0.1, "it spins")
                client.close()
                proxy.emptied()

    def test_a_backend_that_never_reads(self):
        """The client is stopped likewise."""
        for acceleration in ACCELERATIONS:
            with self.subTest(acceleration=acceleration):
                proxy, backend, port = self.terminator(_deaf, acceleration=acceleration)
                client = self.secure(port)
                before = proxy.rss
                client.settimeout(0.5)
                taken = 0
                with contextlib.suppress(TimeoutError):
                    while taken < 1 << 30:
                        taken += client.send(_CHUNK)
                self.assertLess(taken, _ON_THE_WAY)
                self.assertLess(proxy.rss - before, _MEMORY)
                client.close()
                backend.seen.append("done")
                proxy.emptied()


class ResetTests(TlsCase):
    """A RST of the client in every phase of its TLS: nothing is left, and gauges are at 0."""

    def setUp(self):
        super().setUp()
        whole = ByHand(self.connect(self.backend(echo).port), self.authority.client()).hello()
        self.hellos = {"within the hello": whole[:50], "within the handshake": whole}

    def test_in_every_phase(self):
        for acceleration in ACCELERATIONS:
            with self.subTest(acceleration=acceleration):
                self.in_every_phase(acceleration)

    def in_every_phase(self, acceleration):
        idle, bulk = self.port(), self.port()
        proxy = self.proxy(
            self.ending("idle", idle, self.backend(echo)),
            self.ending("bulk", bulk, self.backend(_flood)),
            acceleration=acceleration,
        )
        self.reset_all(proxy, idle, self.secured)  # what is loaded late is loaded now
        descriptors = proxy.descriptors
        for words in self.hellos.values():
            self.reset_all(proxy, idle, lambda port, words=words: self.said(port, words))
        self.reset_all(proxy, idle, self.secured)
        self.reset_all(proxy, bulk, self.flooded)
        self.assertEqual(proxy.metrics["connections"]["byRoute"], {})
        self.assertEqual(proxy.metrics["connections"]["byIP"], {})
        until(lambda: proxy.descriptors <= descriptors + 1, "descriptors closed")  # one is the admin client's

    def said(self, port, words):
        sock = self.connect(port)
        sock.sendall(words)
        return sock

    def secured(self, port):
        client = self.secure(port)
        self.assert_echoes(client)
        return client

    def flooded(self, port):
        client = self.secure(port)
        client.recv(100_000)
        return client

    def reset_all(self, proxy, port, begun):
        opened = proxy.metrics["totals"]["connections"]
        clients = [begun(port) for _ in range(5)]
        until(lambda: proxy.metrics["totals"]["connections"] == opened + 5, "all accepted")
        for each in clients:
            reset(each)
        proxy.emptied()


def _flood(_backend, sock):
    while True:
        sock.sendall(_CHUNK)


class HelloTests(TlsCase):
    def shaken(self, port, send):
        """A handshake and an exchange with everything that the client says going through ``send``."""
        client = ByHand(self.connect(port), self.authority.client(), send=send)
        client.handshake()
        client.write(b"words")
        self.assertEqual(client.read(), b"words")

    def test_in_single_bytes_and_in_records_of_one_byte(self):
        _, _, port = self.terminator(echo)
        self.shaken(port, _in_single_bytes)
        self.shaken(port, _FirstInRecords())

    def test_rubbish_in_the_middle_of_a_handshake(self):
        """It is answered with an alert, counted, and reaches no backend."""
        proxy, backend, port = self.terminator(echo)
        context = self.authority.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose alerts can be read until a handshake is done
        client = self.connect(port)
        client.sendall(ByHand(client, context).hello())
        client.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(4096):
                said += data
        self.assertIn(b"\x15\x03\x03\x00\x02\x02", said)  # a fatal alert (RFC 8446, 6)
        self.assertEqual(proxy.rejected("tls_error"), 1)
        self.assertEqual(backend.accepted, 0)

    def test_rubbish_after_the_handshake(self):
        """A record that cannot be decrypted cuts the connection, on both sides."""
        proxy, _, port = self.terminator(echo)
        client = self.secure(port)
        self.assert_echoes(client)
        socket.socket.sendall(client, b"\x17\x03\x03\x00\x40" + os.urandom(64))
        with self.assertRaises(OSError):
            client.recv(1)
        proxy.emptied()


def _in_single_bytes(sock, data):
    for byte in data:
        sock.sendall(bytes([byte]))


class _FirstInRecords:
    """Sends the first message, a ClientHello, in records of one byte, and the rest as it is."""

    def __init__(self):
        self._first = True

    def __call__(self, sock, data):
        if self._first:
            self._first = False
            head, message = data[:3], data[5:]
            data = b"".join(head + b"\x00\x01" + bytes([byte]) for byte in message)
        sock.sendall(data)


class UnfinishedTests(TlsCase):
    """A hundred handshakes that never end, and what that means to others."""

    def unfinished(self, port, count):
        hello = ByHand(self.connect(port), self.authority.client()).hello()
        for _ in range(count):
            self.connect(port).sendall(hello)

    def test_others_are_served(self):
        proxy, _, port = self.terminator(echo)
        before = proxy.rss
        self.unfinished(port, 100)
        until(lambda: proxy.active >= 100, "all of them there")
        began = time.monotonic()
        client = self.secure(port)
        self.assert_echoes(client)
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertLess(proxy.rss - before, 100 * 128 * 1024)

    def test_they_end_at_the_deadline(self):
        """However much they hold, it is given back, and counted."""
        proxy, _, port = self.terminator(echo, tlsHandshakeTimeout="200ms", initialDataTimeout="200ms")
        self.unfinished(port, 30)
        until(lambda: proxy.rejected("tls_error") == 30, "all of them refused")
        proxy.emptied()

    def test_no_more_than_allowed(self):
        """Over the limit they are refused at once, and those that stand go on."""
        port, backend = self.port(), self.backend(echo)
        proxy = self.proxy(self.ending("one", port, backend), tls={"maxHandshakes": 5})
        standing = self.secure(port)
        self.assert_echoes(standing)
        self.unfinished(port, 20)
        until(lambda: proxy.rejected("tls_error") == 15, "those over the limit refused")
        self.assert_echoes(standing)


class PlainTests(TlsCase):
    def test_plain_http_is_told_what_to_do(self):
        """400, readable, on a port that speaks nothing but TLS; and no backend hears of it."""
        port, backend = self.port(), self.backend(echo)
        only = self.ending("only", port, backend)
        del only["match"]["protocol"]
        proxy = self.proxy(only)
        client = self.connect(port)
        client.sendall(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"https", answer)
        self.assertEqual(proxy.rejected("tls_error"), 1)
        self.assertEqual(backend.accepted, 0)

    def test_other_rubbish_gets_an_alert(self):
        port, backend = self.port(), self.backend(echo)
        only = self.ending("only", port, backend)
        del only["match"]["protocol"]
        proxy = self.proxy(only)
        client = self.connect(port)
        client.sendall(b"EHLO somebody.example\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        self.assertEqual(answer[:1], b"\x15")
        self.assertEqual(proxy.rejected("tls_error"), 1)
        self.assertEqual(backend.accepted, 0)

    def test_tls_to_a_port_without(self):
        """It is a stranger's protocol there, and goes on as it is."""
        port = self.port()
        self.proxy(route("plain", port, self.backend(echo)))
        hello = ByHand(self.connect(port), self.authority.client(), NAME).hello()
        self.assert_echoes(self.connect(port), hello)
