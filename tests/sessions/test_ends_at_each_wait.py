"""Every wait of the control path, ended in every way: at once, without a trace, with nothing sent to a target."""

from __future__ import annotations

from OpenSSL import SSL

from smartproxy.model.outcome import CloseReason
from smartproxy.wire import client_hello, postgres
from smartproxy.wire.postgres import EncryptionRequest
from tests.sessions.tls_case import TlsTestCase
from tests.tls.talk import client

PLAIN = {"tls": {"mode": "passthrough"}}


class EachWaitTests(TlsTestCase):
    """Each method beginning with ``at_`` starts a proxy and returns a client that it waits for."""

    def plain(self, said=b"", **more):
        """A client of a proxy that does not terminate TLS."""
        self.start(self.route(**{**PLAIN, **more.pop("route", {})}), **more)
        return self.says(said)

    def says(self, said=b""):
        below = self.network.connect(443)
        below.write(said)
        self.settle()
        return below

    def at_proxy_header(self):
        return self.plain(b"PROXY TCP4 ", proxyIPs=["192.0.2.1"])

    def at_first_bytes(self):
        return self.plain(b"GET /", route={"match": {"path": "/api"}})

    def at_request_for_tls(self):
        below = self.plain(postgres.build(EncryptionRequest.SSL), route={"match": {"domains": ["a.example"]}})
        self.assertEqual(below.received, b"S")
        return below

    def at_handshake(self):
        self.start()
        connection = client(self.authority)
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        return self.says(connection.bio_read(1 << 16))

    def at_request_inside_tls(self):
        self.start(self.route(match={"path": "/api"}))
        end = self.connect()
        self.assertTrue(end.shaken)
        return end.below

    def at_name(self):
        self.patch(self.network, "resolveHostName", lambda *_, **__: None)
        return self.plain(route={"target": {"host": "db.internal"}})

    def at_dial(self):
        self.network.silent.add(("10.0.0.1", 9000))
        return self.plain()

    def at_race(self):
        hosts = ["10.0.0.8", "10.0.0.9"]
        self.network.names["db.internal"] = hosts
        self.network.silent |= {(host, 9000) for host in hosts}
        below = self.plain(route={"target": {"host": "db.internal"}})
        self.network.run(0.5)
        return below

    def at_handshake_with_the_target(self):
        return self.plain(route={"target": {"tls": {"verify": False}}})

    def at_request_for_tls_to_the_target(self):
        below = self.at_request_for_tls()
        below.write(client_hello.build("a.example"))
        self.settle()
        self.assertEqual(self.backend.connections[-1].received, postgres.build(EncryptionRequest.SSL))
        return below

    def each(self):
        names = [name for name in dir(self) if name.startswith("at_")]
        self.assertGreater(len(names), 8)
        for name in names:
            with self.subTest(name):
                authority = self.authority
                self.setUp()
                self.authority = authority
                below = getattr(self, name)()
                self.assertEqual(len(self.proxy.connections), 1, name)
                yield name, below
                self.assert_no_trace(name)
                self.network.stop(self.proxy)

    def assert_no_trace(self, name):
        registry = self.proxy.registry
        self.assertEqual((registry.live, registry.by_ip, registry.by_route), ({}, {}, {}), name)
        self.assertEqual([end for end in self.backend.connections if not end.gone], [], name)
        self.assertEqual(self.proxy._runtime.tls.handshakes.active, 0, name)
        self.assertEqual(self.flushLoggedErrors(), [], name)

    def assert_closed(self, reason, name):
        self.network.run(0.3)
        closed = {
            str(why): count
            for tally in self.proxy.counters.routes.values()
            for why, count in tally.closed.items()
        }
        self.assertEqual(closed, {str(reason): 1}, name)

    def test_reset_by_the_client(self):
        for name, below in self.each():
            below.rst()
            self.network.settle()
            self.assert_no_trace(name)
            self.assert_closed(CloseReason.CLIENT_RESET, name)

    def test_ended_through_the_admin_api(self):
        for name, below in self.each():
            self.assertTrue(self.proxy.end_connection(self.proxy.connections[0].id), name)
            self.network.settle()
            self.assertTrue(below.was_reset, name)
            self.assert_no_trace(name)
            self.assert_closed(CloseReason.ADMIN, name)

    def test_stop_of_the_proxy(self):
        for name, below in self.each():
            self.network.result(self.proxy.stopService(), within=40)
            self.network.settle()
            self.assertTrue(below.ended or below.was_reset, name)
