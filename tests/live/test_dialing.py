"""Targets that refuse, do not answer or fail at once: the next one, and where there is none, a counted refusal."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.live.backends import echo, page, read_to_end, reset
from tests.live.case import LiveCase, route
from tests.live.dead_ends import blackhole, refusing
from tests.live.waiting import until


def _cut(proxy):
    """Resets by the target; one may come so early that connecting itself has failed."""
    return proxy.closed("upstream_reset") + proxy.rejected("upstream_refused")


def _begun(port):
    """A connection that does not mind being refused before it has stood."""
    client = socket.socket()
    with contextlib.suppress(ConnectionResetError):
        client.connect(("127.0.0.1", port))
    return client


def _reset_at_once(_backend, sock):
    reset(sock)


def _close_at_once(_backend, _sock):
    """Accept, and leave."""


def _rubbish(_backend, sock):
    sock.sendall(b"\x00\xff rubbish \r\n" * 100)


class DialingTests(LiveCase):
    def listening(self, *targets, **keys):
        """A proxy in front of ``targets``, and its port."""
        front = self.port()
        return self.proxy(route("all", front, *targets, connectionTimeout="500ms", **keys)), front

    def test_a_target_that_never_answers_is_passed_over(self):
        """After ``connectionTimeout`` the next one is tried, and the client's words are still there."""
        proxy, front = self.listening(blackhole(self), self.backend(echo))
        began = time.monotonic()
        self.assert_echoes(self.connect(front))
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        self.assertEqual(proxy.rejected("upstream_timeout"), 0)

    def test_no_target_answers(self):
        """Each is tried once, then the client is let go, and counted."""
        proxy, front = self.listening(blackhole(self), blackhole(self))
        began = time.monotonic()
        self.assert_gone(self.connect(front))
        self.assertGreaterEqual(time.monotonic() - began, 1.0)
        self.assertEqual(proxy.rejected("upstream_timeout"), 1)
        proxy.emptied()

    def test_a_refusing_target_is_passed_over(self):
        proxy, front = self.listening(refusing(), refusing(), self.backend(echo))
        for _ in range(6):
            self.assert_echoes(self.connect(front))
        self.assertEqual(proxy.rejected("upstream_refused"), 0)

    def test_an_http_client_is_told(self):
        """502 where the target refuses, 504 where it does not answer."""
        front = self.port()
        proxy = self.proxy(
            route("refusing", front, refusing(), domains=["refusing.test"]),
            route("silent", front, blackhole(self), domains=["silent.test"], connectionTimeout="300ms"),
        )
        for name, status in (("refusing", b"502"), ("silent", b"504")):
            client = self.connect(front)
            client.sendall(b"GET / HTTP/1.1\r\nHost: %b.test\r\n\r\n" % name.encode())
            self.assertEqual(read_to_end(client).split()[1], status)
            client.close()
        self.assertEqual((proxy.rejected("upstream_refused"), proxy.rejected("upstream_timeout")), (1, 1))

    def test_a_target_that_resets_after_accepting(self):
        """The client hears a cut, never a clean end."""
        proxy, front = self.listening(self.backend(_reset_at_once))
        client = self.connect(front)
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        until(lambda: _cut(proxy) == 1, "the reset, counted")

    def test_a_target_that_says_nothing_or_rubbish(self):
        """To close before a byte is an answer, and a clean end; and bytes are bytes."""
        said = {_close_at_once: b"", _rubbish: b"\x00\xff rubbish \r\n" * 100}
        for serve, expected in said.items():
            proxy, front = self.listening(self.backend(serve))
            client = self.connect(front)
            self.assertEqual(read_to_end(client), expected)
            client.close()
            proxy.emptied()
            self.assertEqual(proxy.closed("normal"), 1)

    def test_a_client_that_leaves_cancels_the_dial(self):
        """Long before ``connectionTimeout``."""
        front = self.port()
        proxy = self.proxy(route("all", front, blackhole(self), connectionTimeout="60s"))
        client = self.connect(front)
        until(lambda: proxy.active == 1, "dialing")
        client.close()
        proxy.emptied()

    def test_a_name_with_both_families(self):
        """``localhost`` may be ::1 first; whoever listens is found."""
        backend = self.backend(page("found"))
        _, front = self.listening({"host": "localhost", "port": backend.port})
        client = self.connect(front)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(read_to_end(client).endswith(b"found"))


class ManyRefusalsTests(LiveCase):
    def test_a_backend_that_refuses_thousands_of_times(self):
        """No exit, no record and no descriptor left, the count right, and the next backend is served."""
        front, good = self.port(), self.port()
        target = refusing()
        proxy = self.proxy(route("bad", front, target), route("good", good, self.backend(echo)))
        proxy.emptied()
        descriptors = proxy.descriptors
        many = 2000
        for _ in range(many // 100):
            for each in [_begun(front) for _ in range(100)]:
                each.settimeout(10)
                self.assert_gone(each)
                each.close()
        until(lambda: proxy.rejected("upstream_refused") == many, "all of them refused")
        self.assertEqual(proxy.rejected("upstream_refused"), many)
        proxy.emptied()
        until(lambda: proxy.descriptors <= descriptors, "descriptors closed")
        self.assertEqual(proxy.metrics["connections"]["byIP"], {})
        self.assert_echoes(self.connect(good))
        lines = [line for line in proxy.printed.splitlines() if "upstream_refused" in line]
        self.assertLessEqual(len(lines), 3)
        self.assertIn("127.0.0.1:{}: Connection refused".format(target["port"]), lines[0])
        self.assertLessEqual(proxy.printed.count("Connection refused"), 6)
