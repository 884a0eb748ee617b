"""ClientHellos on routes that terminate TLS: in pieces, large, post-quantum, incomplete or malformed."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl

from OpenSSL import SSL

from smartproxy.wire import client_hello
from tests.live.backends import echo
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until

#: Bytes of a hello: more than a record holds; and how many of each that is never complete.
_LARGE, _NEARLY_WHOLE = 20 * 1024, 63 * 1024
#: The longest name of a protocol in ALPN (RFC 7301, 3.1).
_PROTOCOL = b"x" * 255
#: Bytes that each of many waiting connections may use.
_A_CONNECTION = 128 * 1024


def _in_single_bytes(sock, data):
    for byte in data:
        sock.sendall(bytes([byte]))


class _FirstInRecords:
    """Sends the first message, a ClientHello, in records of ``size`` bytes, and later bytes unchanged."""

    def __init__(self, size):
        self._size = size
        self._first = True

    def __call__(self, sock, data):
        if self._first:
            self._first = False
            head, message = data[:3], data[5:]
            parts = [message[at : at + self._size] for at in range(0, len(message), self._size)]
            data = b"".join(head + len(part).to_bytes(2, "big") + part for part in parts)
        sock.sendall(data)


class HelloTests(TlsCase):
    """However a ClientHello is split into segments and records, it is read whole, within its limit of 64 KiB."""

    def setUp(self):
        super().setUp()
        self.front, self.target = self.port(), self.backend(echo)
        self.running = self.proxy(
            self.ending("one", self.front, self.target, domains=[NAME]),
            self.ending("two", self.front, self.target, certificates=["two.test"], domains=["two.test"]),
        )

    def shaken(self, send):
        """Perform a handshake and an exchange; the client sends everything through ``send``."""
        client = self.tls_end(self.front, send=send)
        client.write(b"words")
        self.assertEqual(client.read(), b"words")

    def test_hello_in_single_bytes(self):
        self.shaken(_in_single_bytes)

    def test_hello_in_records_that_cut_the_name(self):
        """The client verifies that it gets the certificate of the name, wherever that is cut."""
        hello = self.hello()
        name = hello[5:].index(NAME.encode())
        for size in (1, 7, name + 1, name + len(NAME) - 1):
            with self.subTest(size=size):
                self.shaken(_FirstInRecords(size))

    def modern(self, *protocols):
        """A client that offers a post-quantum key share, and these protocols."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(self.authority.file))
        context.set_verify(SSL.VERIFY_PEER)
        if protocols:
            context.set_alpn_protos(list(protocols))
        return self.greeted(context)

    def test_hello_with_a_post_quantum_key_share(self):
        """Such a ClientHello has 1.7 KB, usually in two segments; that key exchange is negotiated."""
        self.assertEqual(self.modern().get_group_name(), "X25519MLKEM768")

    def test_hello_over_16_kib_in_several_records(self):
        """It is larger than the 16 KiB of one record (RFC 8446, 5.1)."""
        self.modern(*[_PROTOCOL] * (_LARGE // len(_PROTOCOL)))

    def test_hello_over_128_kib_is_refused(self):
        """A length field above the limit is refused at once, so that nothing is buffered for it."""
        before = self.running.rss
        for _ in range(20):
            client = self.connect(self.front)
            client.sendall(b"\x16\x03\x01\x40\x00\x01" + (client_hello.LIMIT + 1).to_bytes(3, "big"))
            self.assertEqual(client.recv(100)[:1], b"\x15")
        self.assertEqual(self.running.rejected("tls_error"), 20)
        self.assertLess(self.running.rss - before, 20 * _A_CONNECTION)
        self.assertEqual(self.target.accepted, 0)

    def test_many_incomplete_large_hellos_are_bounded(self):
        """100 ClientHellos lack their last byte: memory is bounded, and others are served."""
        before = self.running.rss
        whole = client_hello.build(NAME, size=_NEARLY_WHOLE)
        for _ in range(100):
            self.connect(self.front).sendall(whole[:-1])
        until(lambda: self.running.active == 100, "all of them there")
        self.shaken(socket.socket.sendall)
        self.assertLess(self.running.rss - before, 100 * _A_CONNECTION)

    def test_invalid_record_in_the_handshake_gets_an_alert(self):
        """It is counted as refused, and reaches no backend."""
        context = self.authority.client()
        context.maximum_version = (
            ssl.TLSVersion.TLSv1_2
        )  # its alerts are not encrypted before the handshake is complete
        client = self.connect(self.front)
        client.sendall(self.hello(context=context))
        client.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(4096):
                said += data
        self.assertIn(b"\x15\x03\x03\x00\x02\x02", said)  # a fatal alert (RFC 8446, 6)
        self.assertEqual(self.running.rejected("tls_error"), 1)
        self.assertEqual(self.target.accepted, 0)

    def test_invalid_record_after_the_handshake_cuts_both_sides(self):
        """A record that cannot be decrypted may be an attack, so that the connection is cut."""
        client = self.secure(self.front)
        self.assert_echoes(client)
        socket.socket.sendall(client, b"\x17\x03\x03\x00\x40" + os.urandom(64))
        with self.assertRaises(OSError):
            client.recv(1)
        self.running.emptied()
