"""Whole connections on routes that terminate TLS."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from smartproxy.admin import views
from smartproxy.model.timestamps import Moment
from smartproxy.security import handshake_limit
from smartproxy.security.handshake_limit import BURST, STALLED, HandshakeLimit
from smartproxy.settings import Settings
from smartproxy.wire import proxy_tlv, proxy_v2, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.tls_case import REQUEST, TlsTestCase
from tests.tls.talk import client, client_context


@implementer(IHalfCloseableProtocol)
class HalfCloses(Protocol):
    """Ends its own direction at once, and receives until the client's end."""

    def connectionMade(self):
        self.factory.events = []
        self.transport.write(b"that is all")
        self.transport.loseWriteConnection()

    def dataReceived(self, data):
        self.factory.events.append(data)

    def readConnectionLost(self):
        self.factory.events.append("read")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        self.factory.events.append("written")


halves = Factory.forProtocol(HalfCloses)
halves.noisy = False


class TerminationTests(TlsTestCase):
    def test_target_gets_the_plaintext_and_both_ends_are_clean(self):
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

    def test_negotiated_parameters_are_shown_and_counted(self):
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

    def test_sni_is_known_on_a_route_that_matches_a_port_only(self):
        self.start()
        self.assertTrue(self.connect().shaken)
        self.assertEqual(self.proxy.connections[0].sni, "a.example")

    def test_resumed_session_is_counted(self):
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

    def test_name_without_a_certificate_gets_only_an_alert(self):
        self.start()
        end = self.connect("b.example")
        self.assertEqual(end.below.received, tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual((self.rejected(), self.handshakes()), ({"tls_error": 1}, {("refused", "none"): 1}))

    def test_plain_http_gets_a_readable_400(self):
        """A user who forgot the s of https sees what to change instead of a broken connection."""
        self.start()
        end = self.network.connect(443)
        end.write(REQUEST)
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 400 "), end.received)
        self.assertIn(b"speaks TLS", end.received)
        self.assertEqual((self.rejected(), self.handshakes()), ({"tls_error": 1}, {("not_tls", "none"): 1}))

    def test_other_bytes_get_an_alert(self):
        self.start()
        end = self.network.connect(443)
        end.write(b"\x00\x01\x02\x03 what is this\r\n")
        self.settle()
        self.assertEqual(end.received, tls_alert.build(Alert.UNEXPECTED_MESSAGE))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_failed_handshake_sends_one_alert_and_counts_once(self):
        self.start(
            self.route(tls={"mode": "terminate", "certificate": self.certificate, "minVersion": "1.3"})
        )
        end = self.connect(most=SSL.TLS1_2_VERSION)
        self.assertEqual(end.below.received, tls_alert.build(Alert.PROTOCOL_VERSION))
        self.assertEqual((self.rejected(), self.handshakes()), ({"tls_error": 1}, {("failed", "none"): 1}))

    def test_unfinished_handshake_ends_at_the_timeout(self):
        """Otherwise clients that send a ClientHello and nothing more would use up the allowed handshakes."""
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

    def test_burst_is_computed_over_several_iterations(self):
        """So that established connections do not wait for all of it."""
        self.patch(handshake_limit, "WORK", 0.0)
        turns = []
        turn = HandshakeLimit.turn
        self.patch(HandshakeLimit, "turn", lambda limit: turns.append(turn(limit)) or turns[-1])
        self.start()
        burst = []
        for _ in range(5):
            burst.append((self.network.connect(443), client(self.authority)))
            self.assertRaises(SSL.WantReadError, burst[-1][1].do_handshake)
            burst[-1][0].write(burst[-1][1].bio_read(1 << 16))
        self.network.settle()
        for below, connection in burst:
            self.assertTrue(self.within(below, connection).shaken)
        self.assertEqual([one is None for one in turns], [True] + [False] * 4)

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

    def test_established_connections_do_not_count_as_handshakes(self):
        self.start(self.route(), tls={"maxHandshakes": 1})
        self.assertEqual([self.connect().shaken for _ in range(3)], [True] * 3)

    def hello_only(self):
        """A client that sends its hello and nothing more."""
        return self.begun("192.0.2.1")[0]

    def test_refused_target_is_answered_with_502_within_tls(self):
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

    def test_refused_target_sends_nothing_to_a_silent_client(self):
        self.start()
        self.backend.close()
        end = self.connect()
        self.assertEqual((end.received, end.problem), (b"", None))

    def test_respond_action_is_served_within_tls(self):
        self.start(self.route(action={"type": "respond", "response": {"status": 200, "body": "served here"}}))
        end = self.connect()
        end.write(REQUEST)
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 200 "), end.received)
        self.assertTrue(end.received.endswith(b"served here"))
        self.assertFalse(end.ended)
        end.write(REQUEST)
        self.settle()
        self.assertEqual(end.received.count(b"served here"), 2)

    def test_half_close_of_a_protocol_sends_close_notify(self):
        self.start(self.route(action={"type": "handler", "handler": f"{__name__}:halves"}))
        end = self.connect()
        self.assertEqual((end.received, end.ended, end.below.ended), (b"that is all", True, False))
        end.write(b"but not of mine")
        self.settle()
        end.fin()
        self.settle()
        self.assertEqual(halves.events, ["written", b"but not of mine", "read"])
        self.assertEqual(self.proxy.connections, [])

    def test_certificates_and_sessions_survive_a_change_of_routes(self):
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

    def test_path_within_tls_chooses_the_route(self):
        self.start(*self.routes())
        for path, backend in ((b"/api/x", self.other), (b"/", self.backend)):
            end = self.connect()
            end.write(REQUEST.replace(b"/api", path))
            self.settle()
            self.assertTrue(backend.connections[-1].received.startswith(b"GET " + path + b" "))
        totals = [self.proxy.counters.route(name).opened for name in ("api", "web")]
        self.assertEqual(totals, [1, 1])

    def test_request_without_a_route_gets_404_within_tls(self):
        self.start(self.routes()[1])
        end = self.connect()
        end.write(REQUEST.replace(b"/api", b"/other"))
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 404 "), end.received)
        self.assertEqual(self.rejected(), {"no_route": 1})

    def test_server_may_send_first_where_no_route_inspects_bytes(self):
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

    def test_second_routing_needs_the_same_client_certificates(self):
        """A client that was not asked for its certificate must not reach a route that requires one."""
        client_auth = {
            "mode": "terminate",
            "certificate": self.certificate,
            "clientAuth": {"mode": "require", "ca": self.ca},
        }
        plain, api = self.routes()
        guarded = self.route(
            "guarded", match={"path": "/secret"}, tls=client_auth, target={"host": "10.0.0.2"}
        )
        self.start(plain, api, guarded)
        end = self.connect()
        end.write(REQUEST.replace(b"/api", b"/secret"))
        self.settle()
        self.assertEqual(self.other.connections, [])
        self.assertEqual(self.backend.connections[-1].received[:11], b"GET /secret")


class ClientCertificateTests(TlsTestCase):
    def start_with_client_auth(self, mode="require"):
        client_auth = {"mode": mode, "ca": self.ca}
        header = {"version": 2, "tlvs": ["alpn", "authority", "ssl"]}
        self.start(
            self.route(
                tls={
                    "mode": "terminate",
                    "certificate": self.certificate,
                    "alpn": ["http/1.1"],
                    "clientAuth": client_auth,
                },
                target={"sendProxyProtocol": header},
            )
        )

    def tlvs(self):
        header = proxy_v2.parse(self.backend.connections[-1].received).value
        return {tlv.type: tlv.value for tlv in header.tlvs}

    def test_client_identity_is_in_the_facts_and_the_header(self):
        self.start_with_client_auth()
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

    def test_header_shows_a_client_without_a_certificate(self):
        self.start_with_client_auth("request")
        self.connect()
        ssl = proxy_tlv.parse_ssl(self.tlvs()[proxy_tlv.PP2_TYPE_SSL])
        self.assertEqual((ssl.client, ssl.verify, ssl.cn), (proxy_tlv.SslClient.SSL, 1, None))

    def test_session_of_another_host_replaces_no_certificate(self):
        """Resuming a session skips the certificate request, so a session of an open host must not open a guarded one."""
        client_auth = {"mode": "require", "ca": self.ca}
        both = self.pem("a.example", "b.example")
        self.start(
            self.route(
                "open", match={"domains": ["a.example"]}, tls={"mode": "terminate", "certificate": both}
            ),
            self.route(
                "guarded",
                match={"domains": ["b.example"]},
                target={"host": "10.0.0.2"},
                tls={"mode": "terminate", "certificate": both, "clientAuth": client_auth},
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
