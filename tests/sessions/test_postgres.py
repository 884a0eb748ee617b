"""Whole connections of PostgreSQL clients, which send an SSLRequest before their ClientHello."""

from __future__ import annotations

from OpenSSL import SSL

from smartproxy.wire import client_hello, postgres, proxy_v1, tls_alert
from smartproxy.wire.postgres import EncryptionRequest
from smartproxy.wire.tls_alert import Alert
from tests.sessions.tls_case import REQUEST, TlsTestCase
from tests.tls.talk import client

SSL_REQUEST, GSSENC_REQUEST = map(postgres.build, EncryptionRequest)
CANCEL_REQUEST = bytes.fromhex("00000010 04d2162e 0000002a 01020304")
STARTUP = bytes.fromhex("00000017 00030000") + b"user\x00postgres\x00\x00"
HELLO = client_hello.build("a.example")


class AfterStartTls:
    """A peer's view of the bytes after the SSLRequest or its answer."""

    def __init__(self, below, skipped):
        self._below = below
        self._skipped = skipped

    @property
    def received(self):
        return self._below.received[self._skipped :]

    def __getattr__(self, name):
        return getattr(self._below, name)


class PostgresCase(TlsTestCase):
    def start_tls(self, *requests, **where):
        """A client that has sent its requests, and the answers to them."""
        below = self.network.connect(443, **where)
        for request in requests or (SSL_REQUEST,):
            below.write(request)
            self.settle()
        return below, below.received

    def target_accepting_tls(self, number=0):
        """The target's end, which has received the SSLRequest and accepted."""
        far = (self.backend, self.other)[number].connections[-1]
        self.assertEqual(far.received, SSL_REQUEST)
        far.write(b"S")
        self.settle()
        return far

    def named(self, *names, **more):
        """A route by SNI that passes TLS through."""
        return self.route(match={"domains": list(names)}, tls={"mode": "passthrough"}, **more)

    def totals(self):
        return tuple(self.proxy.metrics.totals())[:2]


class PassthroughTests(PostgresCase):
    def test_ssl_request_is_repeated_to_the_target_and_counted(self):
        self.start(self.named("b.example", name="other"), self.named("a.example"))
        below, answer = self.start_tls()
        self.assertEqual(answer, b"S")
        below.write(HELLO)
        self.settle()
        record = self.proxy.connections[0]
        self.assertEqual((str(record.protocol), record.sni, record.route), ("tls", "a.example", "web"))
        self.assertEqual((record.bytes_received, record.bytes_sent), (0, 0))
        far = self.target_accepting_tls()
        self.assertEqual(far.received, SSL_REQUEST + HELLO)
        far.write(b"server hello")
        far.fin()
        below.fin()
        self.settle()
        self.assertEqual(below.received, b"Sserver hello")
        self.assertEqual(self.totals(), (len(far.received), len(b"Sserver hello")))
        self.assertEqual((self.proxy.connections, self.rejected()), ([], {}))

    def test_handshake_and_data_pass_through(self):
        self.start(self.named("a.example"))
        below, _ = self.start_tls()
        end = self.within(AfterStartTls(below, 1), client(self.authority))
        self.settle()
        far = self.target_accepting_tls()
        leaf = self.authority.leaf("a.example")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        accepting = SSL.Connection(context, None)
        accepting.set_accept_state()
        target = self.within(AfterStartTls(far, 8), accepting)
        end.write(STARTUP)
        self.settle()
        self.assertEqual((end.shaken, target.received), (True, STARTUP))

    def test_gssapi_request_is_declined_and_not_forwarded(self):
        self.start(self.named("a.example"))
        below, answer = self.start_tls(GSSENC_REQUEST, SSL_REQUEST)
        self.assertEqual(answer, b"NS")
        below.write(HELLO)
        self.settle()
        far = self.target_accepting_tls()
        self.assertEqual(far.received, SSL_REQUEST + HELLO)
        self.assertEqual(self.totals(), (8 + len(HELLO), 1))

    def test_proxy_header_precedes_the_request_and_is_not_counted(self):
        self.start(self.named("a.example", target={"sendProxyProtocol": 1}))
        below, _ = self.start_tls()
        below.write(HELLO)
        self.settle()
        (far,) = self.backend.connections
        header = far.received.partition(b"\r\n")[0] + b"\r\n"
        self.assertTrue(header.startswith(b"PROXY TCP4 192.0.2.1 "), header)
        self.assertEqual(far.received, header + SSL_REQUEST)
        far.write(b"S")
        self.settle()
        self.assertEqual(far.received, header + SSL_REQUEST + HELLO)
        self.assertEqual(self.totals(), (8 + len(HELLO), 1))

    def test_ssl_request_after_a_proxy_header_is_answered(self):
        self.start(self.named("a.example"), proxyIPs=["192.0.2.1"])
        header = proxy_v1.build(("192.0.2.77", 1), ("203.0.113.5", 443))
        below, answer = self.start_tls(header + SSL_REQUEST)
        below.write(HELLO)
        self.settle()
        self.assertEqual((answer, self.proxy.connections[0].client.host), (b"S", "192.0.2.77"))

    def test_direct_hello_sends_no_ssl_request(self):
        """``sslnegotiation=direct`` of PostgreSQL 17."""
        self.start(self.named("a.example"))
        hello = client_hello.build("a.example", ["postgresql"])
        self.start_tls(hello)
        self.assertEqual(self.backend.connections[0].received, hello)
        self.assertEqual(self.totals(), (len(hello), 0))

    def test_ssl_request_is_sent_within_tls_to_the_target(self):
        self.start(self.named("a.example", target={"tls": {"ca": self.ca, "serverName": "b.example"}}))
        below, _ = self.start_tls()
        below.write(HELLO)
        self.settle()
        target = self.target("b.example")
        self.assertEqual(target.received, SSL_REQUEST)
        target.write(b"S")
        self.settle()
        target.write(b"server hello")
        self.settle()
        self.assertEqual((target.received, below.received), (SSL_REQUEST + HELLO, b"Sserver hello"))
        self.assertEqual(self.totals(), (8 + len(HELLO), 13))

    def test_target_reset_within_outer_tls_is_a_tls_error(self):
        route = self.named("a.example", target={"tls": {"ca": self.ca, "serverName": "b.example"}})
        self.start(route, tlsHandshakeTimeout=0)
        below, _ = self.start_tls()
        below.write(HELLO)
        self.settle()
        self.target("b.example").rst()
        self.settle()
        self.assertEqual((self.rejected(), self.proxy.connections), ({"tls_error": 1}, []))


class UnwillingTargetTests(PostgresCase):
    def begin(self, **more):
        route = self.named("a.example")
        route["action"]["targets"].append({"host": "10.0.0.2", "port": 9000})
        self.start(route, **more)
        below, _ = self.start_tls()
        below.write(HELLO)
        self.settle()
        return below

    def test_declining_target_is_followed_and_not_counted(self):
        for answer in (b"N", b"E\x00\x00\x00\x0aSx\x00", b"S\x15\x03", b"220 ready\r\n", None):
            self.setUp()
            below = self.begin()
            first = self.backend.connections[0]
            if answer is None:
                first.fin()
            else:
                first.write(answer)
            self.settle()
            self.assertTrue(first.gone)
            self.assertEqual(first.received, SSL_REQUEST)
            second = self.target_accepting_tls(1)
            self.assertEqual(second.received, SSL_REQUEST + HELLO)
            self.assertEqual(
                (below.received, self.totals(), self.rejected()), (b"S", (8 + len(HELLO), 1), {})
            )

    def test_silent_target_fails_at_the_handshake_timeout(self):
        self.begin(tlsHandshakeTimeout="2s")
        self.network.run(1.9)
        self.assertEqual(self.other.connections, [])
        self.network.run(0.4)
        self.target_accepting_tls(1)

    def test_client_gets_an_alert_where_no_target_has_tls(self):
        self.start(self.named("a.example"))
        below, _ = self.start_tls()
        below.write(HELLO)
        self.settle()
        self.backend.connections[0].write(b"N")
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.INTERNAL_ERROR))
        self.assertEqual((self.rejected(), self.totals()), ({"tls_error": 1}, (0, 0)))

    def test_client_reset_closes_the_target(self):
        below = self.begin()
        below.rst()
        self.settle()
        self.assertTrue(self.backend.connections[0].gone)
        self.assertEqual((self.other.connections, self.proxy.connections), ([], []))


class TerminationTests(PostgresCase):
    def test_plain_target_gets_plaintext_and_no_ssl_request(self):
        self.start()
        below, answer = self.start_tls()
        self.assertEqual(answer, b"S")
        end = self.within(AfterStartTls(below, 1), client(self.authority))
        end.write(STARTUP)
        self.settle()
        (far,) = self.backend.connections
        self.assertEqual(far.received, STARTUP)
        far.write(b"R\x00\x00\x00\x08\x00\x00\x00\x00")
        self.settle()
        self.assertEqual(end.received, b"R\x00\x00\x00\x08\x00\x00\x00\x00")
        self.assertEqual(self.totals(), (len(STARTUP), 9))

    def test_ssl_request_within_tls_is_payload(self):
        self.start(self.route(match={"protocol": "tcp"}))
        below, _ = self.start_tls()
        end = self.within(AfterStartTls(below, 1), client(self.authority))
        end.write(SSL_REQUEST)
        self.settle()
        self.assertEqual((self.backend.connections[0].received, end.received), (SSL_REQUEST, b""))

    def re_encrypting(self):
        return self.route(
            tls={
                "mode": "terminate-and-reencrypt",
                "certificate": self.certificate,
                "upstream": {"ca": self.ca, "serverName": "b.example"},
            },
            target={"sendProxyProtocol": 1},
        )

    def test_reencrypted_target_gets_the_ssl_request(self):
        self.start(self.re_encrypting())
        below, _ = self.start_tls()
        end = self.within(AfterStartTls(below, 1), client(self.authority))
        end.write(STARTUP)
        self.settle()
        (far,) = self.backend.connections
        far.received = far.received.partition(b"\r\n")[2]
        self.target_accepting_tls()
        far.received = far.received[len(SSL_REQUEST) :]
        target = self.target("b.example")
        target.write(b"R")
        self.settle()
        self.assertEqual((target.received, end.received), (STARTUP, b"R"))
        self.assertEqual(self.totals(), (len(STARTUP), 1))

    def test_reencrypted_target_gets_no_request_without_the_clients(self):
        self.start(self.re_encrypting())
        self.connect()
        (far,) = self.backend.connections
        self.assertTrue(far.received.partition(b"\r\n")[2].startswith(b"\x16\x03"))


class RefusedTests(PostgresCase):
    def test_name_without_a_route_gets_an_alert(self):
        self.start(self.named("a.example"))
        below, _ = self.start_tls()
        below.write(client_hello.build("b.example"))
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual(self.rejected(), {"no_route": 1})

    def test_name_without_a_certificate_gets_an_alert(self):
        self.start()
        below, _ = self.start_tls()
        below.write(client_hello.build("b.example"))
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_other_bytes_after_the_answer_get_an_alert(self):
        self.start(self.named("a.example"))
        below, _ = self.start_tls()
        below.write(REQUEST)
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.UNEXPECTED_MESSAGE))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_bytes_pipelined_before_the_answer_are_refused(self):
        """CVE-2021-23214: plaintext treated as if it came within TLS lets an attacker inject it. Closed without an answer."""
        for route in (self.named("a.example"), self.route()):
            self.setUp()
            self.start(route)
            below, answer = self.start_tls(SSL_REQUEST + HELLO)
            self.assertEqual((answer, below.ended), (b"", True))
            self.assertEqual((self.rejected(), self.backend.connections), ({"tls_error": 1}, []))

    def test_one_timeout_covers_the_request_and_the_hello(self):
        self.start(self.named("a.example"), initialDataTimeout="5s")
        below = self.network.connect(443)
        self.network.run(2)
        below.write(SSL_REQUEST)
        self.network.run(2)
        below.write(HELLO[:50])
        self.network.run(0.9)
        self.assertEqual(self.rejected(), {})
        self.network.run(0.3)
        self.assertEqual(self.rejected(), {"initial_data_timeout": 1})


class PlainTests(PostgresCase):
    """Clients without TLS, and listeners on which no route uses TLS, are not affected."""

    def test_ssl_request_is_payload_where_no_route_uses_tls(self):
        for match in (None, {"path": "/x"}, {"protocol": "http", "domains": ["a.example"]}):
            self.setUp()
            routes = [self.route("rest")] + ([self.route("http", match=match)] if match else [])
            for route in routes:
                del route["action"]["tls"]
            self.start(*routes)
            below, answer = self.start_tls()
            self.assertEqual(answer, b"")
            (far,) = self.backend.connections
            self.assertEqual(far.received, SSL_REQUEST)
            far.write(b"N")
            self.settle()
            below.write(STARTUP)
            self.settle()
            self.assertEqual((below.received, far.received), (b"N", SSL_REQUEST + STARTUP))
            self.assertEqual(self.totals(), (8 + len(STARTUP), 1))

    def test_plain_client_is_routed_to_the_plain_route(self):
        """Also one whose GSSAPI request was declined, and a CancelRequest, which has no name."""
        plain = self.route(
            "plain", match={"protocol": "tcp"}, target={"host": "10.0.0.2"}, tls={"mode": "passthrough"}
        )
        for said in ((STARTUP,), (CANCEL_REQUEST,), (GSSENC_REQUEST, STARTUP)):
            self.setUp()
            self.start(self.named("a.example"), plain)
            _, answer = self.start_tls(*said)
            self.assertEqual(answer, b"N" if said[0] is GSSENC_REQUEST else b"")
            self.assertEqual(self.other.connections[0].received, said[-1])
            self.assertEqual(self.totals(), (len(said[-1]), 0))

    def test_plain_client_without_a_plain_route_is_refused(self):
        self.start(self.named("a.example"))
        for said in (STARTUP, CANCEL_REQUEST):
            below, answer = self.start_tls(said)
            self.assertEqual((answer, below.ended), (b"", True))
        self.assertEqual(self.rejected(), {"no_route": 2})
