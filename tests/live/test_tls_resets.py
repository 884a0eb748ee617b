"""RST in every phase of TLS, from either side.

Each leaves no connection, no descriptor and no log line that hides a fault, and the gauges return to 0.
"""

from __future__ import annotations

import contextlib

from tests.live.backends import echo, over_tls, read_to_end, reset, silent
from tests.live.dead_ends import blackhole
from tests.live.terminating import INNER, TLS_CUT, TLS_WAYS, ReEncryptingCase
from tests.live.waiting import until

#: The beginning of a ServerHello in a record that says it is longer.
_HALF_AN_ANSWER = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"
#: Connections in each phase.
_EACH = 5


def _flood(_backend, sock):
    while True:
        sock.sendall(bytes(1 << 18))


def _reset_at_once(_backend, sock):
    reset(sock)


def _reset_behind_the_hello(_backend, sock):
    sock.recv(1 << 16)
    reset(sock)


def _reset_within_the_answer(_backend, sock):
    sock.recv(1 << 16)
    sock.sendall(_HALF_AN_ANSWER)
    reset(sock)


def _reset_after_a_byte(_backend, sock):
    sock.recv(1)
    sock.sendall(b"x" * 100)
    reset(sock)


class ResetCase(ReEncryptingCase):
    def again(self, name, port, backend, **keys):
        """A route that ends TLS and begins it again."""
        made = self.ending(name, port, backend, mode="terminate-and-reencrypt", upstream=self.verified())
        made["match"] |= keys
        return made

    def assert_nothing_left(self, proxy, descriptors):
        proxy.emptied()
        connections = proxy.metrics["connections"]
        self.assertEqual((connections["byRoute"], connections["byIP"]), ({}, {}))
        until(lambda: proxy.descriptors <= descriptors + 1, "descriptors closed")  # one is the admin client's


class ClientResetTests(ResetCase):
    """The client resets, and the target hears of it wherever there is one."""

    def setUp(self):
        super().setUp()
        whole = self.hello()
        self.phases = {
            "within the hello": lambda port: self.said(port, whole[:50]),
            "within the handshake": lambda port: self.said(port, whole),
            "idle": self.echoed,
            "half closed": self.half_closed,
            "before what is looked at within": self.secure,
            "dialling": self.secure,
            "within the handshake of the target": self.waiting,
            "bulk": self.flooded,
        }

    def test_in_every_phase(self):
        for way in TLS_WAYS:
            with self.subTest(way=way):
                self.in_every_phase(way)

    def in_every_phase(self, way):
        looking, dialling, waiting, bulk, plain = (self.port() for _ in range(5))
        ports = dict.fromkeys(self.phases, plain) | {
            "before what is looked at within": looking,
            "dialling": dialling,
            "within the handshake of the target": waiting,
            "bulk": bulk,
        }
        self.mute = self.backend(silent)
        proxy = self.proxy(
            self.ending("plain", plain, self.backend(echo)),
            self.again("looking", looking, self.backend(echo), path="/*", protocol="http"),
            self.again("dialling", dialling, blackhole(self)),
            self.again("waiting", waiting, self.mute),
            self.again("bulk", bulk, self.backend(over_tls(self.authority.server(INNER), _flood))),
            **way,
        )
        self.reset_all(proxy, plain, self.echoed)  # what is loaded late is loaded now
        descriptors = proxy.descriptors
        for phase, begun in self.phases.items():
            with self.subTest(phase=phase):
                self.reset_all(proxy, ports[phase], begun)
        self.assert_nothing_left(proxy, descriptors)

    def said(self, port, words):
        sock = self.connect(port)
        sock.sendall(words)
        return sock

    def echoed(self, port):
        client = self.secure(port)
        self.assert_echoes(client)
        return client

    def half_closed(self, port):
        client = self.tls_end(port)
        client.end()
        return client.sock

    def waiting(self, port):
        """The target has accepted, and says nothing."""
        accepted = self.mute.accepted
        client = self.secure(port)
        until(lambda: self.mute.accepted > accepted, "the target being dialled")
        return client

    def flooded(self, port):
        client = self.secure(port)
        client.recv(100_000)
        return client

    def reset_all(self, proxy, port, begun):
        opened = proxy.metrics["totals"]["connections"]
        clients = [begun(port) for _ in range(_EACH)]
        until(lambda: proxy.metrics["totals"]["connections"] == opened + _EACH, "all accepted")
        for each in clients:
            reset(each)
        proxy.emptied()


class TargetResetTests(ResetCase):
    """The target resets, before, in and after its handshake: the client never sees a clean end."""

    def test_in_every_phase(self):
        for way in TLS_WAYS:
            with self.subTest(way=way):
                self.in_every_phase(way)

    def in_every_phase(self, way):
        context = self.authority.server(INNER)
        phases = [
            _reset_at_once,
            _reset_behind_the_hello,
            _reset_within_the_answer,
            over_tls(context, _reset_at_once),
            over_tls(context, _reset_after_a_byte),
        ]
        ports = [self.port() for _ in phases]
        routes = [
            self.again(f"r{port}", port, self.backend(serve))
            for port, serve in zip(ports, phases, strict=True)
        ]
        proxy = self.proxy(*routes, **way)
        for port in ports:
            self.assert_cut(port)
        descriptors = proxy.descriptors
        for port in ports:
            for _ in range(_EACH):
                self.assert_cut(port)
        self.assert_nothing_left(proxy, descriptors)
        metrics = proxy.metrics
        refused = sum(metrics["rejected"][reason] for reason in ("tls_error", "upstream_refused"))
        self.assertEqual(refused, 3 * (_EACH + 1))
        self.assertEqual(metrics["closed"]["upstream_reset"], 2 * (_EACH + 1))

    def assert_cut(self, port):
        client = self.secure(port)
        with self.assertRaises(TLS_CUT):
            client.sendall(b"words")
            read_to_end(client)
        with contextlib.suppress(OSError):
            client.close()


class ResetInTurnTests(ResetCase):
    def test_both_at_once(self):
        """Client and target reset in the same moment: the connection ends once, and is counted once."""
        met = []

        def serve(_, sock):
            echo_once(sock)
            met.append(sock)
            until(lambda: not met, "being reset")

        for way in TLS_WAYS:
            port = self.port()
            backend = self.backend(over_tls(self.authority.server(INNER), serve))
            proxy = self.proxy(self.again("again", port, backend), **way)
            for count in range(1, _EACH + 1):
                client = self.secure(port)
                self.assert_echoes(client)
                until(lambda: met, "the target")
                far = met[0]
                reset(client)
                with contextlib.suppress(OSError):
                    reset(far)
                met.clear()
                proxy.emptied()
                closed = proxy.metrics["closed"]
                self.assertEqual(closed["client_reset"] + closed["upstream_reset"], count)


def echo_once(sock):
    sock.sendall(sock.recv(100))
