"""Whole connections to targets with TLS."""

from __future__ import annotations

from OpenSSL import SSL

from tests.sessions.tls_case import REQUEST, TlsTestCase
from tests.tls.made import Authority


class OriginationTests(TlsTestCase):
    def upstream(self, **more):
        return {"ca": self.ca, "serverName": "b.example"} | more

    def test_plain_client_reaches_a_target_with_tls(self):
        self.start(self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream()}))
        below = self.network.connect(443)
        below.write(b"ask")
        self.settle()
        end = self.target("b.example")
        self.assertEqual(end.received, b"ask")
        end.write(b"answer")
        end.fin()
        self.settle()
        self.assertEqual((below.received, below.ended), (b"answer", True))

    def test_bytes_sent_with_the_handshake_are_not_lost(self):
        self.start(self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream()}))
        below = self.network.connect(443)
        self.settle()
        leaf = self.authority.leaf("b.example")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        end = self.within(self.backend.connections[-1], connection)
        end.write(b"220 ready")
        self.settle()
        self.assertEqual(below.received, b"220 ready")

    def test_reencrypted_bytes_and_end_reach_the_target(self):
        self.start(
            self.route(
                tls={
                    "mode": "terminate-and-reencrypt",
                    "certificate": self.certificate,
                    "upstream": self.upstream(),
                }
            )
        )
        end = self.connect()
        target = self.target("b.example")
        end.write(b"ask")
        self.settle()
        target.write(b"answer")
        self.settle()
        self.assertEqual((target.received, end.received), (b"ask", b"answer"))
        end.fin()
        self.settle()
        self.assertTrue(target.ended)

    def test_proxy_header_is_sent_before_tls(self):
        self.start(
            self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream(), "sendProxyProtocol": 1})
        )
        self.network.connect(443).write(b"ask")
        self.settle()
        far = self.backend.connections[0]
        self.assertTrue(far.received.startswith(b"PROXY TCP4 192.0.2.1 "), far.received)
        far.received = far.received.partition(b"\r\n")[2]
        self.assertEqual(self.target("b.example").received, b"ask")

    def test_target_with_the_wrong_name_is_followed_by_the_next(self):
        route = self.route(tls={"mode": "passthrough"})
        route["action"]["targets"] = [
            {"host": "10.0.0.1", "port": 9000, "tls": self.upstream()},
            {"host": "10.0.0.2", "port": 9000},
        ]
        self.start(route)
        below = self.network.connect(443)
        below.write(b"ask")
        self.settle()
        self.target("c.example")
        self.settle()
        self.assertEqual(self.other.connections[0].received, b"ask")
        self.assertTrue(self.backend.connections[0].gone)
        self.assertEqual(self.rejected(), {})

    def test_target_of_an_unknown_authority_is_a_tls_error(self):
        self.start(self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream()}))
        below = self.network.connect(443)
        below.write(REQUEST)
        self.settle()
        self.target("b.example", leaf=Authority("another").leaf("b.example"))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_target_reset_in_the_handshake_is_a_tls_error(self):
        self.start(self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream()}))
        self.network.connect(443)
        self.settle()
        self.backend.connections[0].rst()
        self.settle()
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_silent_target_fails_at_the_handshake_timeout(self):
        self.start(
            self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream()}), tlsHandshakeTimeout="2s"
        )
        self.network.connect(443)
        self.settle()
        self.network.run(2.5)
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_client_reset_in_the_handshake_closes_the_target(self):
        self.start(self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream()}))
        below = self.network.connect(443)
        self.settle()
        below.rst()
        self.settle()
        self.assertTrue(self.backend.connections[0].gone)
        self.assertEqual(self.proxy.connections, [])

    def test_session_with_a_target_is_resumed(self):
        self.start(self.route(tls={"mode": "passthrough"}, target={"tls": self.upstream()}))
        leaf = self.authority.leaf("b.example")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        for resumed in (False, True):
            below = self.network.connect(443)
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
