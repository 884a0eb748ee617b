"""Whole connections of PostgreSQL's clients, which ask for TLS before they send a hello."""

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


class Beginning:
    """What a far end sees once the TLS has been asked for: what came before is passed over."""

    def __init__(self, below, count):
        self._below = below
        self._count = count

    @property
    def received(self):
        return self._below.received[self._count :]

    def __getattr__(self, name):
        return getattr(self._below, name)


class PostgresCase(TlsTestCase):
    def asking(self, *questions, **where):
        """A client that has asked, and what it was answered."""
        below = self.network.connect(443, **where)
        for question in questions or (SSL_REQUEST,):
            below.write(question)
            self.settle()
        return below, below.received

    def target_asked(self, number=0):
        """The target's end, which has been asked and says yes."""
        far = (self.backend, self.other)[number].connections[-1]
        self.assertEqual(far.received, SSL_REQUEST)
        far.write(b"S")
        self.settle()
        return far

    def named(self, *names, **more):
        """A route by SNI whose TLS passes through."""
        return self.route(match={"domains": list(names)}, tls={"mode": "passthrough"}, **more)

    def totals(self):
        return tuple(self.proxy.metrics.totals())[:2]


class PassthroughTests(PostgresCase):
    def test_the_target_is_asked_what_the_client_asked_and_all_of_it_is_counted(self):
        self.start(self.named("b.example", name="other"), self.named("a.example"))
        below, answered = self.asking()
        self.assertEqual(answered, b"S")
        below.write(HELLO)
        self.settle()
        record = self.proxy.connections[0]
        self.assertEqual((str(record.protocol), record.sni, record.route), ("tls", "a.example", "web"))
        self.assertEqual((record.bytes_received, record.bytes_sent), (0, 0))
        far = self.target_asked()
        self.assertEqual(far.received, SSL_REQUEST + HELLO)
        far.write(b"server hello")
        far.fin()
        below.fin()
        self.settle()
        self.assertEqual(below.received, b"Sserver hello")
        self.assertEqual(self.totals(), (len(far.received), len(b"Sserver hello")))
        self.assertEqual((self.proxy.connections, self.rejected()), ([], {}))

    def test_the_whole_handshake(self):
        self.start(self.named("a.example"))
        below, _ = self.asking()
        end = self.within(Beginning(below, 1), client(self.authority))
        self.settle()
        far = self.target_asked()
        leaf = self.authority.leaf("a.example")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        accepting = SSL.Connection(context, None)
        accepting.set_accept_state()
        target = self.within(Beginning(far, 8), accepting)
        end.write(STARTUP)
        self.settle()
        self.assertEqual((end.shaken, target.received), (True, STARTUP))

    def test_gssapi_is_declined_and_no_business_of_the_target(self):
        self.start(self.named("a.example"))
        below, answered = self.asking(GSSENC_REQUEST, SSL_REQUEST)
        self.assertEqual(answered, b"NS")
        below.write(HELLO)
        self.settle()
        far = self.target_asked()
        self.assertEqual(far.received, SSL_REQUEST + HELLO)
        self.assertEqual(self.totals(), (8 + len(HELLO), 1))

    def test_the_proxy_header_goes_first_and_is_not_counted(self):
        self.start(self.named("a.example", target={"sendProxyProtocol": 1}))
        below, _ = self.asking()
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

    def test_behind_a_proxy_header_it_is_asked_too(self):
        self.start(self.named("a.example"), proxyIPs=["192.0.2.1"])
        header = proxy_v1.build(("192.0.2.77", 1), ("203.0.113.5", 443))
        below, answered = self.asking(header + SSL_REQUEST)
        below.write(HELLO)
        self.settle()
        self.assertEqual((answered, self.proxy.connections[0].client.host), (b"S", "192.0.2.77"))

    def test_whoever_begins_with_a_hello_asks_nobody(self):
        """``sslnegotiation=direct`` of PostgreSQL 17."""
        self.start(self.named("a.example"))
        hello = client_hello.build("a.example", ["postgresql"])
        self.asking(hello)
        self.assertEqual(self.backend.connections[0].received, hello)
        self.assertEqual(self.totals(), (len(hello), 0))

    def test_within_another_tls_the_question_goes_through_with_the_rest(self):
        self.start(self.named("a.example", target={"tls": {"ca": self.ca, "serverName": "b.example"}}))
        below, _ = self.asking()
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

    def test_within_another_tls_a_target_that_breaks_off_is_noticed(self):
        route = self.named("a.example", target={"tls": {"ca": self.ca, "serverName": "b.example"}})
        self.start(route, tlsHandshakeTimeout=0)
        below, _ = self.asking()
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
        below, _ = self.asking()
        below.write(HELLO)
        self.settle()
        return below

    def test_the_next_has_its_turn_and_only_what_it_got_is_counted(self):
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
            second = self.target_asked(1)
            self.assertEqual(second.received, SSL_REQUEST + HELLO)
            self.assertEqual(
                (below.received, self.totals(), self.rejected()), (b"S", (8 + len(HELLO), 1), {})
            )

    def test_one_that_is_silent_has_the_time_of_a_handshake(self):
        self.begin(tlsHandshakeTimeout="2s")
        self.network.run(1.9)
        self.assertEqual(self.other.connections, [])
        self.network.run(0.4)
        self.target_asked(1)

    def test_where_there_is_no_other_the_client_gets_an_alert(self):
        self.start(self.named("a.example"))
        below, _ = self.asking()
        below.write(HELLO)
        self.settle()
        self.backend.connections[0].write(b"N")
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.INTERNAL_ERROR))
        self.assertEqual((self.rejected(), self.totals()), ({"tls_error": 1}, (0, 0)))

    def test_a_client_that_leaves_takes_the_target_with_it(self):
        below = self.begin()
        below.rst()
        self.settle()
        self.assertTrue(self.backend.connections[0].gone)
        self.assertEqual((self.other.connections, self.proxy.connections), ([], []))


class TerminationTests(PostgresCase):
    def test_the_target_gets_what_is_inside_and_is_asked_nothing(self):
        self.start()
        below, answered = self.asking()
        self.assertEqual(answered, b"S")
        end = self.within(Beginning(below, 1), client(self.authority))
        end.write(STARTUP)
        self.settle()
        (far,) = self.backend.connections
        self.assertEqual(far.received, STARTUP)
        far.write(b"R\x00\x00\x00\x08\x00\x00\x00\x00")
        self.settle()
        self.assertEqual(end.received, b"R\x00\x00\x00\x08\x00\x00\x00\x00")
        self.assertEqual(self.totals(), (len(STARTUP), 9))

    def test_the_same_question_within_the_tls_is_payload(self):
        self.start(self.route(match={"protocol": "tcp"}))
        below, _ = self.asking()
        end = self.within(Beginning(below, 1), client(self.authority))
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

    def test_a_target_with_tls_is_asked_as_the_client_asked(self):
        self.start(self.re_encrypting())
        below, _ = self.asking()
        end = self.within(Beginning(below, 1), client(self.authority))
        end.write(STARTUP)
        self.settle()
        (far,) = self.backend.connections
        far.received = far.received.partition(b"\r\n")[2]
        self.target_asked()
        far.received = far.received[len(SSL_REQUEST) :]
        target = self.target("b.example")
        target.write(b"R")
        self.settle()
        self.assertEqual((target.received, end.received), (STARTUP, b"R"))
        self.assertEqual(self.totals(), (len(STARTUP), 1))

    def test_a_client_that_did_not_ask_asks_nobody(self):
        self.start(self.re_encrypting())
        self.connect()
        (far,) = self.backend.connections
        self.assertTrue(far.received.partition(b"\r\n")[2].startswith(b"\x16\x03"))


class RefusedTests(PostgresCase):
    def test_a_name_without_a_route_gets_an_alert(self):
        self.start(self.named("a.example"))
        below, _ = self.asking()
        below.write(client_hello.build("b.example"))
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual(self.rejected(), {"no_route": 1})

    def test_a_name_without_a_certificate_gets_an_alert(self):
        self.start()
        below, _ = self.asking()
        below.write(client_hello.build("b.example"))
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_what_is_no_hello_behind_the_answer_gets_an_alert(self):
        self.start(self.named("a.example"))
        below, _ = self.asking()
        below.write(REQUEST)
        self.settle()
        self.assertEqual(below.received, b"S" + tls_alert.build(Alert.UNEXPECTED_MESSAGE))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_whatever_came_before_the_answer_is_refused_without_a_word(self):
        """CVE-2021-23214: who reads it as if it had come within the TLS believes anybody."""
        for route in (self.named("a.example"), self.route()):
            self.setUp()
            self.start(route)
            below, answered = self.asking(SSL_REQUEST + HELLO)
            self.assertEqual((answered, below.ended), (b"", True))
            self.assertEqual((self.rejected(), self.backend.connections), ({"tls_error": 1}, []))

    def test_one_time_is_for_the_question_and_the_hello(self):
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
    """What stays as it is."""

    def test_where_no_route_has_to_do_with_tls_the_question_is_the_targets(self):
        for match in (None, {"path": "/x"}, {"protocol": "http", "domains": ["a.example"]}):
            self.setUp()
            routes = [self.route("rest")] + ([self.route("http", match=match)] if match else [])
            for route in routes:
                del route["action"]["tls"]
            self.start(*routes)
            below, answered = self.asking()
            self.assertEqual(answered, b"")
            (far,) = self.backend.connections
            self.assertEqual(far.received, SSL_REQUEST)
            far.write(b"N")
            self.settle()
            below.write(STARTUP)
            self.settle()
            self.assertEqual((below.received, far.received), (b"N", SSL_REQUEST + STARTUP))
            self.assertEqual(self.totals(), (8 + len(STARTUP), 1))

    def test_a_plain_client_goes_where_plain_clients_go(self):
        """So does one that was told that there is no GSSAPI, and a CancelRequest, which names nobody."""
        plain = self.route(
            "plain", match={"protocol": "tcp"}, target={"host": "10.0.0.2"}, tls={"mode": "passthrough"}
        )
        for said in ((STARTUP,), (CANCEL_REQUEST,), (GSSENC_REQUEST, STARTUP)):
            self.setUp()
            self.start(self.named("a.example"), plain)
            _, answered = self.asking(*said)
            self.assertEqual(answered, b"N" if said[0] is GSSENC_REQUEST else b"")
            self.assertEqual(self.other.connections[0].received, said[-1])
            self.assertEqual(self.totals(), (len(said[-1]), 0))

    def test_where_no_route_takes_plain_clients_there_is_none_for_them(self):
        self.start(self.named("a.example"))
        for said in (STARTUP, CANCEL_REQUEST):
            below, answered = self.asking(said)
            self.assertEqual((answered, below.ended), (b"", True))
        self.assertEqual(self.rejected(), {"no_route": 2})
