"""Misbehaving clients of a port that terminates TLS: memory is bounded, others are served, each is counted."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time

from tests.live.backends import ON_THE_WAY, echo, endless
from tests.live.case import route
from tests.live.client import TIMEOUT
from tests.live.terminating import NAME, TLS_WAYS, TlsCase
from tests.live.waiting import settled, until

_CHUNK = bytes(256 * 1024)
#: Bytes that the proxy's memory may grow by.
_MEMORY = 4 * 1024 * 1024
#: Seconds. A client that has to wait for others is served when they are: those here never finish by themselves. This is
#: below tlsHandshakeTimeout and initialDataTimeout, which end them.
_SERVED_WITHIN = 5.0


def _deaf(backend, _sock):
    """Read nothing until the test has ended the client."""
    until(lambda: backend.seen, "the end of the test", 20)


class BackPressureTests(TlsCase):
    def test_client_reading_single_bytes_pauses_the_backend(self):
        """The backend can send what the buffers hold and no more; the proxy neither grows nor spins."""
        for way in TLS_WAYS:
            with self.subTest(way=way):
                proxy, backend, port = self.terminator(endless, **way)
                client = self.secure(port)
                before = proxy.rss
                until(lambda: backend.seen and backend.seen[-1], "the backend sending")  # noqa: B023 - this round's
                taken = settled(lambda: backend.seen[-1])  # noqa: B023 - this round's
                for _ in range(20):
                    client.recv(1)
                self.assertLess(taken, ON_THE_WAY)
                self.assertLess(proxy.rss - before, _MEMORY)
                used = proxy.cpu
                time.sleep(0.3)  # what is measured is the time itself
                self.assertLess(proxy.cpu - used, 0.1, "it spins")
                client.close()
                proxy.emptied()

    def test_backend_that_never_reads_pauses_the_client(self):
        """The client can send what the buffers hold and no more, and the proxy does not grow."""
        for way in TLS_WAYS:
            with self.subTest(way=way):
                proxy, backend, port = self.terminator(_deaf, **way)
                client = self.secure(port)
                before = proxy.rss
                client.settimeout(0.5)
                taken = 0
                with contextlib.suppress(TimeoutError):
                    while taken < 1 << 30:
                        taken += client.send(_CHUNK)
                self.assertLess(taken, ON_THE_WAY)
                self.assertLess(proxy.rss - before, _MEMORY)
                client.close()
                backend.seen.append("done")
                proxy.emptied()


class UnfinishedTests(TlsCase):
    """A hundred unfinished handshakes must not keep others from being served."""

    def unfinished(self, port, count):
        hello = self.hello()
        for _ in range(count):
            self.connect(port).sendall(hello)

    def test_others_are_served_during_unfinished_handshakes(self):
        proxy, _, port = self.terminator(echo)
        before = proxy.rss
        self.unfinished(port, 100)
        until(lambda: proxy.active >= 100, "all of them there")
        began = time.monotonic()
        client = self.secure(port)
        self.assert_echoes(client)
        self.assertLess(time.monotonic() - began, _SERVED_WITHIN)
        self.assertLess(proxy.rss - before, 100 * 128 * 1024)

    def test_others_are_served_during_a_storm_of_handshakes(self):
        """100 at a time; each is closed once it has cost the proxy a signature, and replaced by another."""
        proxy, _, port = self.terminator(echo)
        hello = self.hello()
        with _Storm(port, hello, 100) as storm:
            until(lambda: storm.begun > 300, "the storm")
            took = []
            while len(took) < 10 or storm.begun < 600:
                began = time.monotonic()
                client = self.secure(port)
                self.assert_echoes(client)
                took.append(time.monotonic() - began)
                client.close()
            begun = storm.begun
        self.assertLess(max(took), _SERVED_WITHIN)
        proxy.emptied()
        self.assertGreaterEqual(self.failed(proxy), begun)

    def failed(self, proxy):
        """Number of failed handshakes."""
        _, text = proxy.ask("/metrics")
        name = 'smartproxy_tls_handshakes_total{result="failed",version="none"} '
        return sum(
            float(line.removeprefix(name)) for line in text.decode().splitlines() if line.startswith(name)
        )

    def test_unfinished_handshakes_end_at_the_timeout(self):
        """Each is closed and counted as refused."""
        proxy, _, port = self.terminator(echo, tlsHandshakeTimeout="200ms", initialDataTimeout="200ms")
        self.unfinished(port, 30)
        until(lambda: proxy.rejected("tls_error") == 30, "all of them refused")
        proxy.emptied()

    def test_stalled_ones_make_room(self):
        """Above the limit each new client is served, at the cost of a stalled one; and those that stand go on."""
        port, backend = self.port(), self.backend(echo)
        proxy = self.proxy(self.ending("one", port, backend), tls={"maxHandshakes": 5})
        standing = self.secure(port)
        self.assert_echoes(standing)
        self.unfinished(port, 20)

        def served():
            client = self.secure(port)
            self.assert_echoes(client)
            client.close()
            return proxy.rejected("tls_error")

        until(served, "a stalled one closed for another")
        self.assert_echoes(standing)

    def test_burst_is_served_beside_stalled_ones(self):
        """Three times the limit at once, beside twice the limit that go no further: all of them are served."""
        limit = 20
        for way in TLS_WAYS:
            with self.subTest(way=way):
                port, limits = self.port(), {"maxHandshakes": limit}
                ending = self.ending("one", port, self.backend(echo))
                proxy = self.proxy(ending, **way, tls=limits)
                self.unfinished(port, 2 * limit)
                until(lambda: proxy.active == 2 * limit, "the stalled ones")  # noqa: B023 - this round's
                burst = [self.begin(port) for _ in range(3 * limit)]
                for client in burst:
                    client.settimeout(TIMEOUT)
                    client.do_handshake()
                    self.assert_echoes(client)

    def begin(self, port):
        """A client that has sent its hello and does not wait."""
        client = self.authority.client().wrap_socket(
            self.connect(port), server_hostname=NAME, do_handshake_on_connect=False
        )
        self.addCleanup(client.close)
        client.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        return client


class _Storm:
    """``width`` concurrent handshakes in a thread: each is closed at the server's first bytes, and replaced.

    :ivar begun: number of handshakes that were answered.
    """

    def __init__(self, port, hello, width):
        self.begun = 0
        self._port, self._hello, self._width = port, hello, width
        self._over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over = True
        self._thread.join()

    def _run(self):
        with selectors.DefaultSelector() as waiting:
            for _ in range(self._width):
                self._begin(waiting)
            while not self._over:
                for key, _ in waiting.select(1):
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()
                    self.begun += 1
                    self._begin(waiting)
            for key in list(waiting.get_map().values()):
                key.fileobj.close()

    def _begin(self, waiting):
        sock = socket.create_connection(("127.0.0.1", self._port))
        sock.sendall(self._hello)
        waiting.register(sock, selectors.EVENT_READ)


class PlainTests(TlsCase):
    def test_plain_http_gets_a_readable_400(self):
        """On a port for TLS only; the backend sees no connection."""
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

    def test_other_bytes_get_an_alert(self):
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

    def test_tls_to_a_plain_port_is_relayed(self):
        """A route without TLS settings relays a ClientHello like any other bytes."""
        port = self.port()
        self.proxy(route("plain", port, self.backend(echo)))
        hello = self.hello()
        self.assert_echoes(self.connect(port), hello)

    def test_tls_to_a_port_for_http_gets_an_alert(self):
        """No route matches, and the client is refused in its own protocol."""
        port, backend = self.port(), self.backend(echo)
        proxy = self.proxy(route("plain", port, backend, path="/*"))
        done = self.curl(port)
        self.assertEqual(done.returncode, 35, done.stdout)  # CURLE_SSL_CONNECT_ERROR
        self.assertIn("unrecognized name", done.stderr)
        self.assertEqual(proxy.rejected("no_route"), 1)
        self.assertEqual(backend.accepted, 0)
