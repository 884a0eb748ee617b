"""A client that requests KeyUpdates without end and reads no answer: the answers must not fill the memory."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.live.backends import echo
from tests.live.key_updates import KeyChanger
from tests.live.terminating import NAME, TLS_WAYS, TlsCase
from tests.live.waiting import until

#: Bytes that the memory may grow by, and the updates tried: an honest client has one per gigabyte or hour.
_MEMORY, _MOST = 3 << 20, 1_000_000


class KeyUpdateTests(TlsCase):
    def test_unread_key_updates_are_cut_in_bounded_memory(self):
        for way in TLS_WAYS:
            with self.subTest(way=way):
                proxy, _, port = self.terminator(echo, **way)
                before = proxy.rss
                with self.deaf_socket(port) as sock, self.assertRaises(ConnectionError):
                    self.change(KeyChanger(sock, NAME))
                self.assertLess(proxy.rss - before, _MEMORY)
                until(lambda: proxy.closed("client_reset") == 1, "the cut, counted")  # noqa: B023 - this round's

    def test_thousand_key_updates_are_answered(self):
        """The bytes sent before and after them arrive."""
        for way in TLS_WAYS:
            with self.subTest(way=way):
                proxy, _, port = self.terminator(echo, **way)
                with contextlib.closing(self.connect(port)) as sock:
                    client = KeyChanger(sock, NAME)
                    client.say(b"before")
                    for _ in range(1000):
                        self.assertTrue(client.change())
                    client.say(b" behind")
                    self.assertEqual(client.hear(13), b"before behind")
                    client.free()
                proxy.emptied()

    def change(self, client):
        """Update the keys until the proxy closes the connection."""
        self.addCleanup(client.free)
        deadline = time.monotonic() + 60
        for _ in range(_MOST):
            while not client.change():
                self.assertLess(time.monotonic(), deadline)

    def deaf_socket(self, port):
        """A connection with a very small receive buffer."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", port))
        return contextlib.closing(sock)
