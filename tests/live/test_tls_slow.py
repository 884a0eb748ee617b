"""An answer read or sent one byte at a time within TLS: memory is bounded, and the backend is released."""

from __future__ import annotations

import time

from tests.live.backends import page
from tests.live.programs import needed
from tests.live.terminating import NAME, TLS_WAYS, TlsCase
from tests.live.waiting import PATIENCE, until

_CHUNK = bytes(256 * 1024)
#: Bytes that the proxy may grow by for such a connection.
_MEMORY = 4 * 1024 * 1024
#: Seconds between two bytes. An attacker waits longer; the effect is the same.
_PACE = 0.02
_INACTIVITY, _LIFETIME = 0.5, 0.8
#: More bytes than may be in flight at once.
_AT_ONCE = 5


def _flood(backend, sock):
    """Send until the connection is closed, and append the time of that to ``seen``."""
    try:
        while True:
            sock.sendall(_CHUNK)
    except OSError:
        backend.seen.append(time.monotonic())


def _trickle(backend, sock):
    """The same, one byte at a time."""
    try:
        while True:
            sock.sendall(b".")
            time.sleep(_PACE)  # the pace of this backend
    except OSError:
        backend.seen.append(time.monotonic())


class SlowTests(TlsCase):
    def each(self, name, serve, **keys):
        """For each kind of relay, a proxy in front of a backend that runs ``serve``, and a client."""
        for way in TLS_WAYS:
            with self.subTest(way=way):
                backend, port = self.backend(serve), self.port()
                made = self.ending(name, port, backend) | {"keepAlive": False, **keys}
                proxy = self.proxy(made, **way)
                began, before = time.monotonic(), proxy.rss
                yield proxy, self.secure(port, NAME)
                self.assertLess(proxy.rss - before, _MEMORY)
                proxy.emptied()
                (released,) = until(lambda: backend.seen, "the backend released")  # noqa: B023 - this round's
                self.assertLess(released - began, PATIENCE)

    def test_answer_read_in_single_bytes_ends_by_inactivity(self):
        """The kernel delivers those bytes from its socket buffer: the proxy sees no activity (``inactivityTimeout``)."""
        for proxy, client in self.each("slow", _flood, inactivityTimeout=f"{round(_INACTIVITY * 1000)}ms"):
            deadline = time.monotonic() + PATIENCE
            while not proxy.closed("inactivity"):
                self.assertLess(time.monotonic(), deadline)
                client.recv(1)
                time.sleep(_PACE)  # the pace of this client

    def test_answer_sent_in_single_bytes_ends_by_lifetime(self):
        """Each byte arrives when it was sent, and is activity; only ``maxConnectionLifetime`` ends the connection."""
        for proxy, client in self.each(
            "slow", _trickle, maxConnectionLifetime=f"{round(_LIFETIME * 1000)}ms"
        ):
            got = pieces = 0
            try:
                while data := client.recv(16):
                    got += len(data)
                    pieces += 1
            except OSError:
                pass
            self.assertGreater(got, 10)
            self.assertLess(
                got / pieces, _AT_ONCE, "held back"
            )  # the mean: a busy machine may hold up some of them
            until(lambda: proxy.closed("lifetime") == 1, "its end, counted")  # noqa: B023 - this round's
            # The lifetime ends with a RST, which discards bytes handed to the socket, and counted, just before.
            self.assertIn(proxy.moved[1] - got, range(_AT_ONCE))


class SlowHeadTests(TlsCase):
    def test_hundred_incomplete_request_heads_end_at_the_timeout(self):
        """On a route that inspects the plaintext, they end at ``initialDataTimeout``; others are served meanwhile."""
        attacker = needed("slowhttptest")
        backend, port = self.backend(page("inside")), self.port()
        looking = self.ending("looking", port, backend)
        looking["match"] |= {"path": "/*", "protocol": "http"}
        proxy = self.proxy(looking, initialDataTimeout="3s")
        attack = self.program(
            attacker,
            "-H",
            "-c",
            "100",
            "-r",
            "200",
            "-i",
            "1",
            "-l",
            "60",  # far more than it needs: it ends by itself, and late connections on a busy machine are not cut short
            "-u",
            f"https://127.0.0.1:{port}/",
        )
        until(lambda: proxy.active > 50, "the attack")
        began = time.monotonic()
        done = self.curl(port)
        self.assertEqual(done.stdout, "inside", done.stderr)
        self.assertLess(time.monotonic() - began, 3)  # and is not the next one to be served after the attack
        self.assertEqual(attack.wait(), 0)
        self.assertIn("No open connections left", attack.printed)
        proxy.emptied()
        # A client that is kept from writing its request line begins with the next one, which is no request.
        other = proxy.rejected("no_route")
        self.assertLess(other, 10)
        self.assertEqual(proxy.rejected("initial_data_timeout") + other, 100)
