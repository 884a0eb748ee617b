"""A thousand TLS connections, most with a fault: nothing is left of them, and each is counted once."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading

from tests.live.backends import echo, over_tls, reset
from tests.live.terminating import INNER, NAME, TLS_WAYS, ReEncryptingCase
from tests.live.tls_end import TlsEnd
from tests.live.waiting import settled, until

_FIRST, _THEN, _CLIENTS = 200, 900, 4
#: Bytes that the memory may grow by after the first 200 connections. Twisted's own transports leave failed connections to the
#: collector of reference cycles, about 5 KiB each: 5 MiB by then, and 13 MiB at the most however many follow.
_MEMORY = dict(zip(map(str, TLS_WAYS), (4 << 20, 8 << 20), strict=True))


def _moody(_backend, sock):
    """Echo, reset, or send 1 MiB before the echo, as the client requests."""
    said = sock.recv(1 << 16)
    if said.startswith(b"reset"):
        reset(sock)
        return
    if said.startswith(b"flood"):
        sock.sendall(bytes(1 << 20))
    sock.sendall(said)
    echo(_backend, sock)


def _in_order(backend, sock):
    """The same within TLS, with a close_notify unless it has reset."""
    _moody(backend, sock)
    if sock.fileno() >= 0:
        sock.unwrap()


class MixedTests(ReEncryptingCase):
    def setUp(self):
        super().setUp()
        self.fine, self.hasty = self.authority.client(), self.authority.client()
        self.hasty.maximum_version = ssl.TLSVersion.TLSv1_2
        self.whole = self.hello()
        self.wild = self.hello("elsewhere.example")

    def test_thousand_faulty_connections_leave_nothing(self):
        for way in TLS_WAYS:
            with self.subTest(way=way):
                self.assert_nothing_left(way)

    def assert_nothing_left(self, way):
        self.plain, self.again, self.looking, self.guarded, self.strange = (self.port() for _ in range(5))
        plain = self.backend(_moody)
        secure = self.backend(over_tls(self.authority.server(INNER), _in_order))
        onward = {"mode": "terminate-and-reencrypt", "upstream": self.verified()}
        looking = self.ending("looking", self.looking, plain)
        looking["match"] |= {"path": "/*", "protocol": "http"}
        proxy = self.proxy(
            self.ending("plain", self.plain, plain),
            self.ending("again", self.again, secure, **onward),
            looking,
            self.ending(
                "guarded", self.guarded, plain, clientAuth={"mode": "require", "ca": str(self.authority.file)}
            ),
            self.ending("strange", self.strange, plain, **onward),
            **way,
        )
        self.round(_FIRST)
        proxy.emptied()
        at_first = proxy.descriptors, settled(lambda: proxy.rss)
        self.round(_THEN)
        proxy.emptied()
        connections = proxy.metrics["connections"]
        self.assertEqual((connections["byRoute"], connections["byIP"]), ({}, {}))
        until(lambda: proxy.descriptors <= at_first[0] + 1, "descriptors closed")  # one is the admin client's
        self.assertLess(settled(lambda: proxy.rss) - at_first[1], _MEMORY[str(way)])
        metrics = proxy.metrics
        ended = sum(metrics["closed"].values()) + sum(metrics["rejected"].values())
        self.assertEqual((metrics["totals"]["connections"], ended), (_FIRST + _THEN,) * 2)
        self.assertEqual(metrics["closed"]["error"], 0)

    def round(self, count):
        """Open ``count`` connections, a few at a time."""
        clients = [
            threading.Thread(target=self.client, args=(count + number, count // _CLIENTS))
            for number in range(_CLIENTS)
        ]
        for each in clients:
            each.start()
        for each in clients:
            each.join()

    def client(self, seed, count):
        chance = random.Random(seed)
        ways = (self.good, self.good, self.cut, self.begun, self.rubbish, self.refused, self.half, self.told)
        for _ in range(count):
            with contextlib.suppress(OSError):
                chance.choice(ways)(chance)

    # -- one connection each -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(self, port):
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            yield sock

    def exchange(self, sock, words, context=None):
        end = TlsEnd(sock, context or self.fine, NAME)
        end.handshake()
        end.write(words)
        return end

    def good(self, chance):
        """A complete exchange, in either version of TLS."""
        with self.open(chance.choice((self.plain, self.again))) as sock:
            end = self.exchange(sock, b"words", chance.choice((self.fine, self.hasty)))
            assert end.read() == b"words"
            end.end()
            end.read_to_end()

    def half(self, chance):
        """End the client's direction at once, and read the rest or not."""
        with self.open(chance.choice((self.plain, self.again))) as sock:
            end = self.exchange(sock, b"flood")
            end.end()
            if chance.random() < 0.5:
                end.read_to_end()

    def cut(self, chance):
        """A reset by the client during the exchange, or by the backend."""
        with self.open(chance.choice((self.plain, self.again))) as sock:
            end = self.exchange(sock, chance.choice((b"words", b"flood", b"reset")))
            end.read()
            if chance.random() < 0.5:
                reset(sock)

    def begun(self, chance):
        """A ClientHello or a part of it, and nothing more."""
        with self.open(self.plain) as sock:
            sock.sendall(self.whole[: chance.randint(1, len(self.whole))])
            if chance.random() < 0.5:
                reset(sock)

    def rubbish(self, chance):
        """Invalid bytes before or after a handshake."""
        with self.open(self.plain) as sock:
            if chance.random() < 0.5:
                self.exchange(sock, b"words")
            sock.sendall(
                chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\x00\x40", b"\x16\x03\x03\x00\x05"))
            )
            sock.sendall(chance.randbytes(64))
            sock.recv(1 << 16)

    def refused(self, chance):
        """An unknown name, no client certificate, or a target whose verification fails."""
        with self.open(chance.choice((self.plain, self.guarded, self.strange))) as sock:
            if chance.random() < 0.3:
                sock.sendall(self.wild)
            else:
                self.exchange(sock, b"words").read()

    def told(self, chance):
        """A request that is routed by its path, or other bytes."""
        with self.open(self.looking) as sock:
            words = chance.choice((b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n", b"EHLO one.test\r\n"))
            self.exchange(sock, words).read()
