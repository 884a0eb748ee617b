"""Clients that send nothing, or one byte at a time: each is closed at its timeout, and not before."""

from __future__ import annotations

import contextlib
import resource
import select
import time

from tests.live.backends import echo, page, read_to_end
from tests.live.case import LiveCase, route
from tests.live.waiting import until

_SILENT = 500
#: Bytes that a pending connection may use in the process, without the kernel's socket buffers.
_EACH = 32 * 1024
_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(500)


class SilenceTests(LiveCase):
    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 3 * _SILENT:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(3 * _SILENT, hard), hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def test_many_silent_clients_end_at_the_initial_timeout(self):
        """500 clients are closed at ``initialDataTimeout``; meanwhile others are served, and memory is bounded."""
        front, other = self.port(), self.port()
        proxy = self.proxy(
            route("named", front, self.backend(page("served")), domains=["live.test"]),
            route("plain", other, self.backend(echo)),
            initialDataTimeout="4s",
        )
        before = proxy.rss
        began = time.monotonic()
        silent = [self.connect(front) for _ in range(_SILENT)]
        until(lambda: proxy.active == _SILENT, "all of them accepted")
        self.assertLess(proxy.rss - before, _SILENT * _EACH)
        self.assert_served(front)
        self.assert_echoes(self.connect(other))
        self.assertLess(time.monotonic() - began, 4.0, "the machine is too slow: they were closed meanwhile")
        self.assertEqual(proxy.rejected("initial_data_timeout"), 0)
        until(lambda: proxy.rejected("initial_data_timeout") == _SILENT, "all of them closed")
        self.assertGreaterEqual(time.monotonic() - began, 3.9)
        for each in silent:
            self.assert_gone(each)
        until(lambda: proxy.metrics["connections"]["byIP"].get("127.0.0.1", 0) <= 1, "their places free")

    def assert_served(self, front):
        client = self.connect(front)
        client.sendall(b"GET / HTTP/1.1\r\nHost: live.test\r\n\r\n")
        self.assertTrue(read_to_end(client).endswith(b"served"))
        client.close()

    def test_slow_bytes_do_not_extend_a_timeout(self):
        """A PROXY header, a ClientHello and a request head, sent in slow single bytes: the total time is limited."""
        front = self.port()
        proxy = self.proxy(
            route("named", front, self.backend(echo), domains=["live.test"]),
            proxyIPs=["127.0.0.2"], proxyHeaderTimeout="800ms", initialDataTimeout="800ms",
        )  # fmt: skip
        slow = {
            "proxy_header_timeout": (
                self.connect(front, source="127.0.0.2"),
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            ),
            "initial_data_timeout": (self.connect(front), _HELLO),
        }
        request = self.connect(front), b"GET /a/long/path HTTP/1.1\r\nHost: live.test\r\n\r\n"
        began = time.monotonic()
        ended = self.trickle([*slow.values(), request])
        for at in ended:
            self.assertGreaterEqual(at - began, 0.75)
            self.assertLess(at - began, 3.5)  # with all of its bytes, the shortest would take 3.8 s
        self.assertEqual(proxy.rejected("proxy_header_timeout"), 1)
        self.assertEqual(proxy.rejected("initial_data_timeout"), 2)

    def trickle(self, slow):
        """Send a byte every 100 ms on each socket until it is closed; return the times of closing."""
        left = {sock: iter(words) for sock, words in slow}
        ended = {}
        while left:
            for sock in select.select(list(left), [], [], 0.1)[0]:
                ended[sock] = time.monotonic()
                del left[sock]
            for sock, words in left.items():
                # A socket closed between the two loops raises here, and is readable in the next round.
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    sock.send(bytes([next(words)]))
        return list(ended.values())
