"""Whole connections to targets with TLS."""

from __future__ import annotations

from OpenSSL import SSL

from smartproxy.wire import client_hello, tls_alert, tls_record
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
        self.assert_target_sessions_resume("b.example", 443)


class ResumptionTests(TlsTestCase):
    """A target that fails a handshake that offers it a session."""

    def begin(self, **more):
        target = {"tls": {"ca": self.ca, "serverName": "b.example"} | more, "sendProxyProtocol": 1}
        self.start(self.route(tls={"mode": "passthrough"}, target=target))
        leaf = self.authority.leaf("b.example")
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate(leaf.certificate)
        self.context.use_privatekey(leaf.key)

    def accept(self):
        """TLS with the latest connection to the target, behind the PROXY header."""
        far = self.backend.connections[-1]
        far.received = self.hello(far)
        connection = SSL.Connection(self.context, None)
        connection.set_accept_state()
        return self.within(far, connection)

    def hello(self, far):
        header, _, hello = far.received.partition(b"\r\n")
        self.assertTrue(header.startswith(b"PROXY TCP4 "), far.received)
        return hello

    def offers(self, far):
        return client_hello.parse(self.hello(far)).value.offers_ticket

    def exchanged(self):
        below = self.network.connect(443)
        self.settle()
        end = self.accept()
        end.write(b"hello")
        self.settle()
        self.assertEqual(below.received, b"hello")
        below.fin()
        end.fin()
        self.settle()
        return end

    def test_it_is_dialed_once_more_without_and_no_client_notices(self):
        alert = tls_alert.build(tls_alert.Alert.HANDSHAKE_FAILURE)
        self.begin()
        for refuse in (
            lambda far: far.write(alert),
            lambda far: far.fin(),
            lambda far: far.rst(),
            lambda far: far.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            lambda far: far.write(tls_record.wrap(tls_record.HANDSHAKE, b"\x14\x00\x00\x00")),
        ):
            self.exchanged()
            below = self.network.connect(443)
            below.write(b"ask")
            self.settle()
            before = len(self.backend.connections)
            far = self.backend.connections[-1]
            self.assertTrue(self.offers(far))
            refuse(far)
            self.settle()
            self.assertEqual(len(self.backend.connections), before + 1)
            self.assertFalse(self.offers(self.backend.connections[-1]))
            end = self.accept()
            end.write(b"answer")
            self.settle()
            self.assertEqual((end.received, below.received), (b"ask", b"answer"))
            below.rst()
            self.settle()
        self.assertEqual(self.rejected(), {})

    def test_failure_without_a_session_is_not_repeated(self):
        self.begin()
        self.network.connect(443)
        self.settle()
        self.backend.connections[-1].rst()
        self.settle()
        self.assertEqual((len(self.backend.connections), self.rejected()), (1, {"tls_error": 1}))

    def test_silence_is_not_repeated(self):
        self.begin()
        self.exchanged()
        self.network.connect(443)
        self.settle()
        self.network.run(11)
        self.assertEqual((len(self.backend.connections), self.rejected()), (2, {"tls_error": 1}))

    def test_a_certificate_for_another_name_is_not_repeated(self):
        """It has nothing to do with a session."""
        self.begin()
        self.exchanged()
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        leaf = self.authority.leaf("c.example")
        self.context.use_certificate(leaf.certificate)
        self.context.use_privatekey(leaf.key)
        self.network.connect(443)
        self.settle()
        self.accept()
        self.settle()
        self.assertEqual((len(self.backend.connections), self.rejected()), (2, {"tls_error": 1}))

    def test_a_client_that_leaves_cancels_the_second_attempt(self):
        self.begin()
        self.exchanged()
        below = self.network.connect(443)
        self.settle()
        self.backend.connections[-1].rst()
        self.settle()
        below.rst()
        self.settle()
        self.assertTrue(self.backend.connections[-1].gone)
        self.assertEqual(self.proxy.connections, [])

    def test_no_session_is_offered_where_that_is_configured(self):
        self.begin(sessionReuse=False)
        self.exchanged()
        self.network.connect(443)
        self.settle()
        self.assertFalse(self.offers(self.backend.connections[-1]))


class NameTests(TlsTestCase):
    """``serverName: "{domain}"``."""

    def begin(self, mode="terminate-and-reencrypt"):
        tls = {
            "mode": mode,
            "certificate": self.pem("a.example", "b.example"),
            "upstream": {"ca": self.ca, "serverName": "{domain}"},
        }
        self.start(self.route(tls=tls), tls={"default": "a.example"})

    def asked(self):
        return client_hello.parse(self.backend.connections[-1].received).value.server_name

    def test_name_of_the_client_is_asked_for_and_verified(self):
        self.begin()
        for name in ("a.example", "b.example"):
            end = self.connect(name)
            self.assertEqual(self.asked(), name)
            target = self.target(name)
            end.write(b"ask")
            self.settle()
            self.assertEqual(target.received, b"ask")
        self.connect("a.example")
        self.target("b.example")
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_name_that_a_target_does_not_serve_does_not_eject_it(self):
        """A client chooses the name, and must not take the target away from the others."""
        self.begin()
        self.connect("a.example")
        self.target("b.example")
        [shown] = self.proxy.groups.targets("web")
        self.assertEqual((self.rejected(), shown.state), ({"tls_error": 1}, "up"))

    def test_silent_target_is_ejected_whatever_the_name_is(self):
        self.begin()
        self.connect("a.example")
        self.network.run(12)
        [shown] = self.proxy.groups.targets("web")
        self.assertEqual((self.rejected(), shown.state), ({"tls_error": 1}, "ejected"))

    def test_without_a_name_it_is_the_host_of_the_target(self):
        """Which is an address here, and so is verified and not sent."""
        self.begin()
        end = self.connect(None)
        self.assertIsNone(self.asked())
        target = self.target("10.0.0.1")
        end.write(b"ask")
        self.settle()
        self.assertEqual(target.received, b"ask")
