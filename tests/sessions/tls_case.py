"""Base of tests with an in-memory proxy whose connections carry TLS: clients, backends and an authority."""

from __future__ import annotations

import json
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.settings import Settings
from smartproxy.testing import MemoryNetwork
from tests.tls.ends import TlsEnd
from tests.tls.made import Authority
from tests.tls.talk import client

REQUEST = b"GET /api HTTP/1.1\r\nHost: a.example\r\n\r\n"


class TlsTestCase(SynchronousTestCase):
    """An authority, an in-memory network, two backends, and the TLS ends opened on it."""

    def setUp(self) -> None:
        self.authority = Authority()
        self.network = MemoryNetwork()
        self.backend = self.network.backend("10.0.0.1", 9000)
        self.other = self.network.backend("10.0.0.2", 9000)
        self.ends: list[TlsEnd] = []

    @property
    def ca(self) -> str:
        """Path of the authority's certificate."""
        path = Path(self.mktemp())
        path.write_bytes(self.authority.pem)
        return str(path.absolute())

    def pem(self, *names, **more):
        leaf = self.authority.leaf(*names, **more)
        return {"cert": leaf.pem.decode(), "key": leaf.key_pem.decode()}

    def route(self, name="web", *, match=None, target=None, tls=None, **more):
        """Settings of a route; it terminates TLS for ``a.example`` by default."""
        if tls is None:
            tls = {"mode": "terminate", "certificate": self.certificate}
        targets = [{"host": "10.0.0.1", "port": 9000, **(target or {})}]
        action = more.pop("action", {"type": "forward", "targets": targets}) | {"tls": tls}
        return {"name": name, "match": {"ports": 443} | (match or {}), "action": action} | more

    @property
    def certificate(self):
        if not hasattr(self, "_certificate"):
            self._certificate = self.pem("a.example")
        return self._certificate

    def start(self, *routes, **more):
        said = {"routes": list(routes) or [self.route()], "acceleration": "off"} | more
        self.proxy = self.network.start(Settings.parse(json.dumps(said), "json"))
        self.addCleanup(self.network.stop, self.proxy)

    def connect(self, name="a.example", **more) -> TlsEnd:
        more.setdefault("context", None)
        end = self.within(self.network.connect(443), client(self.authority, name, **more))
        self.settle()
        return end

    def within(self, below, connection) -> TlsEnd:
        end = TlsEnd(below, connection)
        self.ends.append(end)
        end.step()
        return end

    def settle(self) -> None:
        self.network.settle()
        while sum(end.step() for end in self.ends):
            self.network.settle()

    def target(self, *names, number=0, leaf=None) -> TlsEnd:
        """A TLS server on the latest connection of a backend."""
        leaf = leaf or self.authority.leaf(*names)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        end = self.within((self.backend, self.other)[number].connections[-1], connection)
        self.settle()
        return end

    def assert_target_sessions_resume(self, name, port, between=lambda: None) -> None:
        """Two connections to a target with a certificate for ``name``: the second resumes the first one's session."""
        leaf = self.authority.leaf(name)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        for resumed in (False, True):
            below = self.network.connect(port)
            self.settle()
            connection = SSL.Connection(context, None)
            connection.set_accept_state()
            end = self.within(self.backend.connections[-1], connection)
            end.write(b"hello")
            self.settle()
            self.assertEqual((below.received, end.resumed), (b"hello", resumed))
            below.fin()
            end.fin()
            self.settle()
            between()

    def rejected(self):
        return {str(reason): count for reason, count in self.proxy.counters.rejected.items() if count}

    def handshakes(self):
        return {key: count for key, count in self.proxy.counters.handshakes.items() if count}
