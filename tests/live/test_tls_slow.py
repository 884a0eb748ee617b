"""F3: an answer that is read, or sent, a byte at a time within TLS: nothing grows, and the backend is let go."""

from __future__ import annotations

import time

from tests.live.backends import page
from tests.live.programs import needed
from tests.live.terminating import ACCELERATIONS, NAME, TlsCase
from tests.live.waiting import PATIENCE, until

_CHUNK = bytes(256 * 1024)
#: Bytes that the proxy may grow by for such a connection.
_MEMORY = 4 * 1024 * 1024
#: Seconds between two bytes. A real one takes a second, and what is measured is the same.
_PACE = 0.02
_INACTIVITY, _LIFETIME = 0.5, 0.8
#: Bytes that may be on the way together: fewer than these.
_AT_ONCE = 5


def _flood(backend, sock):
    """Send until nobody takes it; when that was is left in ``seen``."""
    try:
        while True:
            sock.sendall(_CHUNK)
    except OSError:
        backend.seen.append(time.monotonic())


def _trickle(backend, sock):
    """A byte at a time, likewise."""
    try:
        while True:
            sock.sendall(b".")
            time.sleep(_PACE)  # that is what it is
    except OSError:
        backend.seen.append(time.monotonic())


class SlowTests(TlsCase):
    def each(self, name, serve, **keys):
        """A proxy with either relay, before a backend that does ``serve``; and a client of it."""
        for acceleration in ACCELERATIONS:
            with self.subTest(acceleration=acceleration):
                backend, port = self.backend(serve), self.port()
                made = self.ending(name, port, backend) | {"keepAlive": False, **keys}
                proxy = self.proxy(made, acceleration=acceleration)
                began, before = time.monotonic(), proxy.rss
                yield proxy, self.secure(port, NAME)
                self.assertLess(proxy.rss - before, _MEMORY)
                proxy.emptied()
                (released,) = until(lambda: backend.seen, "the backend let go")  # noqa: B023 - this round's
                self.assertLess(released - began, PATIENCE)

    def test_an_answer_that_is_hardly_read(self):
        """What is read does not even reach the proxy: nothing moves, and that ends it (``inactivityTimeout``)."""
        for proxy, client in self.each("slow", _flood, inactivityTimeout=f"{round(_INACTIVITY * 1000)}ms"):
            deadline = time.monotonic() + PATIENCE
            while not proxy.closed("inactivity"):
                self.assertLess(time.monotonic(), deadline)
                client.recv(1)
                time.sleep(_PACE)  # the pace of this client

    def test_an_answer_that_is_hardly_sent(self):
        """Each byte arrives when it was sent, and is activity; a lifetime ends it (``maxConnectionLifetime``)."""
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
            # A lifetime ends with a RST, which overtakes what has been handed to the socket, and counted, just before.
            self.assertIn(proxy.moved[1] - got, range(_AT_ONCE))


class SlowHeadTests(TlsCase):
    def test_a_hundred_request_heads_without_end(self):
        """Where the route looks at what is inside, they end at ``initialDataTimeout``, and others are served meanwhile."""
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
            "10",
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
        self.assertEqual(proxy.rejected("initial_data_timeout"), 100)
