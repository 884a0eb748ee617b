"""Targets that refuse, do not answer or fail at once: the next target is tried, else the client is refused."""

from __future__ import annotations

import time

from tests.live.backends import echo, page, read_to_end, reset
from tests.live.case import LiveCase, route
from tests.live.client import connected
from tests.live.dead_ends import blackhole, refusing
from tests.live.waiting import until


def _cut(proxy):
    """Number of resets by the target; an early one fails the connection attempt itself."""
    return proxy.closed("upstream_reset") + proxy.rejected("upstream_refused")


def _reset_at_once(_backend, sock):
    reset(sock)


def _close_at_once(_backend, _sock):
    """Accept and close."""


def _rubbish(_backend, sock):
    sock.sendall(b"\x00\xff rubbish \r\n" * 100)


class DialingTests(LiveCase):
    def listening(self, *targets, **keys):
        """A proxy in front of ``targets``, and its port."""
        front = self.port()
        return self.proxy(route("all", front, *targets, connectionTimeout="500ms", **keys)), front

    def test_silent_target_is_followed_by_the_next(self):
        """After ``connectionTimeout`` the next one is tried, and the client's buffered bytes are sent to it."""
        proxy, front = self.listening(blackhole(self), self.backend(echo))
        began = time.monotonic()
        self.assert_echoes(self.connect(front))
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        self.assertEqual(proxy.rejected("upstream_timeout"), 0)

    def test_connection_begins_at_the_bind_address(self):
        """A bind address that this machine does not have fails that target only, and the log says why."""
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                seen = []

                def note(backend, sock, seen=seen):
                    seen.append(sock.getpeername()[0])
                    echo(backend, sock)

                backend, front = self.backend(note), self.port()
                targets = [{**backend.target, "bind": bind} for bind in ("192.0.2.1", "127.0.0.9")]
                proxy = self.proxy(route("web", front, *targets), acceleration=acceleration)
                self.assert_echoes(self.connect(front))
                self.assertEqual(seen, ["127.0.0.9"])
                words = f"127.0.0.1:{backend.port} from 192.0.2.1: Cannot assign requested address"
                until(lambda: words in proxy.printed, words)  # noqa: B023 - this round's

    def test_client_is_refused_where_no_target_answers(self):
        """Each target is tried once, then the client is closed, and counted once."""
        proxy, front = self.listening(blackhole(self), blackhole(self))
        began = time.monotonic()
        self.assert_refused(front)
        self.assertGreaterEqual(time.monotonic() - began, 1.0)
        self.assertEqual(proxy.rejected("upstream_timeout"), 1)
        proxy.emptied()

    def test_refusing_target_is_followed_by_the_next(self):
        proxy, front = self.listening(refusing(), refusing(), self.backend(echo))
        for _ in range(6):
            self.assert_echoes(self.connect(front))
        self.assertEqual(proxy.rejected("upstream_refused"), 0)

    def test_http_client_gets_502_or_504(self):
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

    def test_target_that_resets_after_accepting_resets_the_client(self):
        """The client sees a reset, never a clean end, which it could take for a complete answer."""
        proxy, front = self.listening(self.backend(_reset_at_once))
        client = self.connect(front)
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        until(lambda: _cut(proxy) == 1, "the reset, counted")

    def test_target_that_closes_at_once_or_sends_any_bytes(self):
        """A FIN before the first byte is a clean end; bytes are relayed whatever they are."""
        said = {_close_at_once: b"", _rubbish: b"\x00\xff rubbish \r\n" * 100}
        for serve, expected in said.items():
            proxy, front = self.listening(self.backend(serve))
            client = self.connect(front)
            self.assertEqual(read_to_end(client), expected)
            client.close()
            proxy.emptied()
            self.assertEqual(proxy.closed("normal"), 1)

    def test_client_disconnect_cancels_the_dial(self):
        """The connection ends at once instead of at ``connectionTimeout``."""
        front = self.port()
        proxy = self.proxy(route("all", front, blackhole(self), connectionTimeout="60s"))
        client = self.connect(front)
        until(lambda: proxy.active == 1, "dialing")
        client.close()
        proxy.emptied()

    def test_name_with_addresses_of_both_families_is_reached(self):
        """``localhost`` may be ::1 first; the backend listens on 127.0.0.1 only."""
        backend = self.backend(page("found"))
        _, front = self.listening({"host": "localhost", "port": backend.port})
        client = self.connect(front)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(read_to_end(client).endswith(b"found"))


class ManyRefusalsTests(LiveCase):
    def test_thousands_of_refused_dials_leave_nothing(self):
        """The proxy keeps running, all are counted, no record or descriptor is left, and other routes are served."""
        front, good = self.port(), self.port()
        target = refusing()
        proxy = self.proxy(route("bad", front, target), route("good", good, self.backend(echo)))
        proxy.emptied()
        descriptors = proxy.descriptors
        many = 2000
        for _ in range(many // 100):
            for each in [connected(front) for _ in range(100)]:
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
