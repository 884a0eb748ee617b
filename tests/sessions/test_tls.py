"""Whole connections whose TLS ends here."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from smartproxy.admin import views
from smartproxy.model.timestamps import Moment
from smartproxy.security.handshake_limit import BURST, STALLED
from smartproxy.settings import Settings
from smartproxy.wire import proxy_tlv, proxy_v2, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.tls_case import REQUEST, TlsTestCase
from tests.tls.talk import client, client_context


@implementer(IHalfCloseableProtocol)
class Half(Protocol):
    """Ends its own direction at once, and hears the client to the end."""

    def connectionMade(self):
        self.factory.told = []
        self.transport.write(b"that is all")
        self.transport.loseWriteConnection()

    def dataReceived(self, data):
        self.factory.told.append(data)

    def readConnectionLost(self):
        self.factory.told.append("read")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        self.factory.told.append("written")


halves = Factory.forProtocol(Half)
halves.noisy = False


class TerminationTests(TlsTestCase):
    def test_the_target_gets_the_plaintext_and_both_ends_are_orderly(self):
        self.start()
        end = self.connect()
        far = self.backend.connections[0]
        end.write(b"ask")
        end.fin()
        self.settle()
        self.assertEqual((far.received, far.ended), (b"ask", True))
        far.write(b"answer")
        far.fin()
        self.settle()
        self.assertEqual((end.received, end.ended, end.below.was_reset), (b"answer", True, False))
        self.assertEqual(self.proxy.connections, [])

    def test_what_was_agreed_on_is_shown_and_counted(self):
        self.start(
            self.route(tls={"mode": "terminate", "certificate": self.certificate, "alpn": ["http/1.1"]})
        )
        self.connect(alpn=(b"http/1.1",))
        shown = views.connection(self.proxy.connections[0], Moment(0.0, 0.0))
        self.assertEqual(
            (shown["tlsVersion"], shown["alpn"], shown["clientCertificate"]), ("TLSv1.3", "http/1.1", None)
        )
        self.assertTrue(shown["cipher"].startswith("TLS_"))
        self.assertEqual(self.handshakes(), {("ok", "TLSv1.3"): 1})
        self.assertEqual(sum(self.proxy.counters.handshake_seconds.counts), 1)

    def test_the_hello_is_seen_where_the_route_asks_for_a_port_only(self):
        self.start()
        self.assertTrue(self.connect().shaken)
        self.assertEqual(self.proxy.connections[0].sni, "a.example")

    def test_a_session_that_is_taken_up_is_counted(self):
        self.start()
        context = client_context(self.authority)
        first = self.connect(context=context)
        self.backend.connections[0].write(b"x")
        self.settle()
        second = client(context=context)
        second.set_session(first.connection.get_session())
        self.within(self.network.connect(443), second)
        self.settle()
        self.assertEqual(self.proxy.counters.resumed, 1)
        self.assertTrue(self.ends[-1].resumed)

    def test_a_name_without_a_certificate_is_refused_by_its_alert_alone(self):
        self.start()
        end = self.connect("b.example")
        self.assertEqual(end.below.received, tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual((self.rejected(), self.handshakes()), ({"tls_error": 1}, {("refused", "none"): 1}))

    def test_plain_http_gets_a_readable_answer(self):
        """F22."""
        self.start()
        end = self.network.connect(443)
        end.write(REQUEST)
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 400 "), end.received)
        self.assertIn(b"speaks TLS", end.received)
        self.assertEqual((self.rejected(), self.handshakes()), ({"tls_error": 1}, {("not_tls", "none"): 1}))

    def test_other_rubbish_gets_an_alert(self):
        self.start()
        end = self.network.connect(443)
        end.write(b"\x00\x01\x02\x03 what is this\r\n")
        self.settle()
        self.assertEqual(end.received, tls_alert.build(Alert.DECODE_ERROR))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_a_handshake_that_fails_is_told_of_once(self):
        self.start(
            self.route(tls={"mode": "terminate", "certificate": self.certificate, "minVersion": "1.3"})
        )
        end = self.connect(most=SSL.TLS1_2_VERSION)
        self.assertEqual(end.below.received, tls_alert.build(Alert.PROTOCOL_VERSION))
        self.assertEqual((self.rejected(), self.handshakes()), ({"tls_error": 1}, {("failed", "none"): 1}))

    def test_a_handshake_without_end_is_ended(self):
        """F23."""
        self.start(self.route(), tlsHandshakeTimeout="2s")
        idle = self.hello_only()
        self.network.run(2.5)
        self.assertEqual(self.rejected(), {"tls_error": 1})
        self.assertTrue(idle.ended)
        self.assertEqual(self.handshakes(), {("failed", "none"): 1})

    def test_stalled_handshakes_make_room_for_others(self):
        """Those of the address that has most of them, the oldest first; nobody is refused."""
        self.start(self.route(), tls={"maxHandshakes": 3})
        (honest,) = self.stalled(1, "198.51.100.1")
        stalled = self.stalled(4, "192.0.2.66")
        self.network.run(STALLED)
        for gone in range(1, 4):
            self.assertTrue(self.connect().shaken)
            self.assertEqual([below.ended for below in stalled], [True] * gone + [False] * (4 - gone))
        self.assertFalse(honest.ended)
        self.assertEqual(self.rejected(), {"tls_error": 3})

    def test_burst_of_handshakes_is_served(self):
        """More at once than the limit, of which none has stalled: each is computed in less than a millisecond."""
        limit = 4
        self.start(self.route(), tls={"maxHandshakes": limit})
        burst = [self.begun(f"198.51.100.{number % 250}") for number in range(limit * BURST)]
        for below, connection in burst:
            self.assertTrue(self.within(below, connection).shaken)
        self.settle()
        self.assertEqual(self.rejected(), {})

    def test_burst_is_bounded_at_the_cost_of_the_address_with_most(self):
        limit = 2
        self.start(self.route(), tls={"maxHandshakes": limit})
        honest = [self.begun(f"198.51.100.{number}") for number in range(limit)]
        flood = self.stalled(limit * BURST, "192.0.2.66")
        self.assertEqual([below.ended for below in flood], [True] * limit + [False] * (len(flood) - limit))
        for below, connection in honest:
            self.assertTrue(self.within(below, connection).shaken)

    def test_certificate_that_is_not_chosen_makes_room(self):
        """An embedder's callable holds a client as a handshake does."""
        cancelled = []
        never = self.route()
        never["action"]["tls"]["certificate"] = lambda name: Deferred(cancelled.append)
        self.proxy = self.network.start(
            Settings.model_validate({"routes": [never], "acceleration": "off", "tls": {"maxHandshakes": 1}})
        )
        self.addCleanup(self.network.stop, self.proxy)
        (stalled,) = self.stalled(1, "192.0.2.66")
        self.network.run(STALLED)
        self.hello_only()
        self.assertEqual(stalled.received, tls_alert.build(Alert.INTERNAL_ERROR))
        self.assertEqual((len(cancelled), self.rejected()), (1, {"tls_error": 1}))

    def begun(self, ip):
        """A client that has sent its hello, and its TLS."""
        below = self.network.connect(443, client=(ip, 50000))
        connection = client(self.authority)
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        below.write(connection.bio_read(1 << 16))
        self.network.settle()
        return below, connection

    def stalled(self, count, ip):
        return [self.begun(ip)[0] for _ in range(count)]

    def test_connections_that_stand_are_not_under_the_limit(self):
        self.start(self.route(), tls={"maxHandshakes": 1})
        self.assertEqual([self.connect().shaken for _ in range(3)], [True] * 3)

    def hello_only(self):
        """A client that sends its hello and nothing more."""
        return self.begun("192.0.2.1")[0]

    def test_a_target_that_is_not_there_is_told_within_the_tls(self):
        self.start()
        self.backend.close()
        end = self.within(self.network.connect(443), client(self.authority))
        end.write(REQUEST)
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 502 "), (end.received, end.problem))
        self.assertTrue(end.ended)
        self.assertEqual(self.rejected(), {"upstream_refused": 1})
        end.fin()
        self.settle()
        self.assertTrue(end.below.ended)
        self.assertEqual(self.proxy.connections, [])

    def test_a_target_that_is_not_there_is_told_to_nobody_who_says_nothing(self):
        self.start()
        self.backend.close()
        end = self.connect()
        self.assertEqual((end.received, end.problem), (b"", None))

    def test_an_action_of_our_own_is_served_within_the_tls(self):
        self.start(self.route(action={"type": "respond", "response": {"status": 200, "body": "served here"}}))
        end = self.connect()
        end.write(REQUEST)
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 200 "), end.received)
        self.assertTrue(end.received.endswith(b"served here"))
        self.assertTrue(end.ended)

    def test_a_protocol_ends_its_own_direction_with_a_close_notify(self):
        self.start(self.route(action={"type": "handler", "handler": f"{__name__}:halves"}))
        end = self.connect()
        self.assertEqual((end.received, end.ended, end.below.ended), (b"that is all", True, False))
        end.write(b"but not of mine")
        self.settle()
        end.fin()
        self.settle()
        self.assertEqual(halves.told, ["written", b"but not of mine", "read"])
        self.assertEqual(self.proxy.connections, [])

    def test_certificates_are_shown_and_survive_a_change_of_routes(self):
        self.start()
        context = client_context(self.authority)
        first = self.connect(context=context)
        (before,) = self.proxy.certificates()
        self.assertEqual(before.names, ("a.example",))
        self.network.result(
            self.proxy.replace_routes([self.route(), self.route("two", match={"ports": 444})])
        )
        self.assertEqual(self.proxy.certificates(), [before])
        self.backend.connections[0].write(b"tickets come before it")
        self.settle()
        again = client(context=context)
        again.set_session(first.connection.get_session())
        self.within(self.network.connect(443), again)
        self.settle()
        self.assertTrue(self.ends[-1].resumed, "the context is the same")


class SecondLookTests(TlsTestCase):
    def routes(self):
        return (
            self.route(),
            self.route("api", match={"path": "/api*", "domains": ["a.example"]}, target={"host": "10.0.0.2"}),
        )

    def test_the_path_is_looked_at_within_the_tls(self):
        self.start(*self.routes())
        for path, backend in ((b"/api/x", self.other), (b"/", self.backend)):
            end = self.connect()
            end.write(REQUEST.replace(b"/api", path))
            self.settle()
            self.assertTrue(backend.connections[-1].received.startswith(b"GET " + path + b" "))
        totals = [self.proxy.counters.route(name).opened for name in ("api", "web")]
        self.assertEqual(totals, [1, 1])

    def test_what_no_route_wants_is_told_within_the_tls(self):
        self.start(self.routes()[1])
        end = self.connect()
        end.write(REQUEST.replace(b"/api", b"/other"))
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 404 "), end.received)
        self.assertEqual(self.rejected(), {"no_route": 1})

    def test_nobody_waits_for_the_first_bytes_where_no_route_asks_for_them(self):
        self.start(
            self.routes()[1],
            self.route(
                "mail",
                match={"domains": ["m.example"]},
                tls={"mode": "terminate", "certificate": self.pem("m.example")},
            ),
        )
        end = self.connect("m.example")
        self.backend.connections[-1].write(b"220 ready")
        self.settle()
        self.assertEqual(end.received, b"220 ready")

    def test_it_stays_among_the_routes_that_end_tls_alike(self):
        """A client that was not asked for its certificate does not come to a route that wants one."""
        asking = {
            "mode": "terminate",
            "certificate": self.certificate,
            "clientAuth": {"mode": "require", "ca": self.ca},
        }
        plain, api = self.routes()
        guarded = self.route("guarded", match={"path": "/secret"}, tls=asking, target={"host": "10.0.0.2"})
        self.start(plain, api, guarded)
        end = self.connect()
        end.write(REQUEST.replace(b"/api", b"/secret"))
        self.settle()
        self.assertEqual(self.other.connections, [])
        self.assertEqual(self.backend.connections[-1].received[:11], b"GET /secret")


class ClientCertificateTests(TlsTestCase):
    def start_asking(self, mode="require"):
        asking = {"mode": mode, "ca": self.ca}
        header = {"version": 2, "tlvs": ["alpn", "authority", "ssl"]}
        self.start(
            self.route(
                tls={
                    "mode": "terminate",
                    "certificate": self.certificate,
                    "alpn": ["http/1.1"],
                    "clientAuth": asking,
                },
                target={"sendProxyProtocol": header},
            )
        )

    def tlvs(self):
        header = proxy_v2.parse(self.backend.connections[-1].received).value
        return {tlv.type: tlv.value for tlv in header.tlvs}

    def test_who_the_client_is_goes_into_the_facts_and_the_header(self):
        self.start_asking()
        leaf = self.authority.leaf("robot.example", common_name="robot", client=True)
        self.connect(certificate=leaf, alpn=(b"http/1.1",))
        self.assertEqual(self.proxy.connections[0].secured.client, "robot")
        tlvs = self.tlvs()
        self.assertEqual(tlvs[proxy_tlv.PP2_TYPE_ALPN], b"http/1.1")
        self.assertEqual(tlvs[proxy_tlv.PP2_TYPE_AUTHORITY], b"a.example")
        ssl = proxy_tlv.parse_ssl(tlvs[proxy_tlv.PP2_TYPE_SSL])
        shown = proxy_tlv.SslClient.SSL | proxy_tlv.SslClient.CERT_CONN | proxy_tlv.SslClient.CERT_SESS
        self.assertEqual((ssl.client, ssl.verify, ssl.version, ssl.cn), (shown, 0, b"TLSv1.3", b"robot"))
        self.assertTrue(ssl.cipher.startswith(b"TLS_"))

    def test_a_client_without_a_certificate_is_told_of_as_such(self):
        self.start_asking("request")
        self.connect()
        ssl = proxy_tlv.parse_ssl(self.tlvs()[proxy_tlv.PP2_TYPE_SSL])
        self.assertEqual((ssl.client, ssl.cn), (proxy_tlv.SslClient.SSL, None))

    def test_a_session_of_another_host_does_not_stand_in_for_a_certificate(self):
        """F21."""
        asking = {"mode": "require", "ca": self.ca}
        both = self.pem("a.example", "b.example")
        self.start(
            self.route(
                "open", match={"domains": ["a.example"]}, tls={"mode": "terminate", "certificate": both}
            ),
            self.route(
                "guarded",
                match={"domains": ["b.example"]},
                target={"host": "10.0.0.2"},
                tls={"mode": "terminate", "certificate": both, "clientAuth": asking},
            ),
        )
        context = client_context(self.authority)
        first = self.connect("a.example", context=context)
        self.backend.connections[0].write(b"x")
        self.settle()
        again = client(name="b.example", context=context)
        again.set_session(first.connection.get_session())
        end = self.within(self.network.connect(443), again)
        self.settle()
        self.assertEqual(self.other.connections, [])
        self.assertFalse(end.resumed)
        self.assertEqual(self.rejected(), {"tls_error": 1})
