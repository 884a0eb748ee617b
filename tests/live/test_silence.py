"""Clients that say nothing, or say it one byte at a time: each is let go when its time is up, and no sooner."""

from __future__ import annotations

import contextlib
import resource
import select
import time

from tests.live.backends import echo, page, read_to_end
from tests.live.case import LiveCase, route
from tests.live.waiting import until

_SILENT = 500
#: Bytes a pending connection may cost, sockets not counted: those are the kernel's.
_EACH = 32 * 1024
_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(500)


class SilenceTests(LiveCase):
    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 3 * _SILENT:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(3 * _SILENT, hard), hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def test_many_silent_clients(self):
        """They go at ``initialDataTimeout``; meanwhile others are served, and memory is bounded."""
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
        self.assertLess(time.monotonic() - began, 4.0, "too slow a machine: they have been let go meanwhile")
        self.assertEqual(proxy.rejected("initial_data_timeout"), 0)
        until(lambda: proxy.rejected("initial_data_timeout") == _SILENT, "all of them let go")
        self.assertGreaterEqual(time.monotonic() - began, 3.9)
        for each in silent:
            self.assert_gone(each)
        until(lambda: proxy.metrics["connections"]["byIP"].get("127.0.0.1", 0) <= 1, "their places free")

    def assert_served(self, front):
        client = self.connect(front)
        client.sendall(b"GET / HTTP/1.1\r\nHost: live.test\r\n\r\n")
        self.assertTrue(read_to_end(client).endswith(b"served"))
        client.close()

    def test_a_byte_extends_no_deadline(self):
        """A PROXY header, a ClientHello and a request head, a byte now and then: the total counts."""
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
        """A byte every 100 ms to each, until it is closed; when each was."""
        left = {sock: iter(words) for sock, words in slow}
        ended = {}
        while left:
            for sock in select.select(list(left), [], [], 0.1)[0]:
                ended[sock] = time.monotonic()
                del left[sock]
            for sock, words in left.items():
                # One that is closed between the two loops says so here, and is readable in the next.
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    sock.send(bytes([next(words)]))
        return list(ended.values())
