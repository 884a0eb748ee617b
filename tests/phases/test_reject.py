"""Refused connections: what each client is answered, and how the connection is closed."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.lingering import Lingering
from smartproxy.errors import DialFailed, HandshakeFailed, HandshakeRefused, NotTls, Refused
from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import HttpPlan, MatchPlan, RoutePlan, TerminationPlan
from smartproxy.net.half_close import LINGER
from smartproxy.phases.reject import RejectConnection, refusal_response, response_for
from smartproxy.testing import Nature
from smartproxy.wire import tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.phases.made import Client

HOST = "192.0.2.1"


class ResponseTests(SynchronousTestCase):
    def test_a_tls_client_gets_an_alert(self):
        for reason, alert in (
            (RejectReason.NO_ROUTE, Alert.UNRECOGNIZED_NAME),
            (RejectReason.IP_BLOCKED, Alert.ACCESS_DENIED),
            (RejectReason.TLS_ERROR, Alert.UNEXPECTED_MESSAGE),
            (RejectReason.UPSTREAM_TIMEOUT, Alert.INTERNAL_ERROR),
        ):
            self.assertEqual(response_for(ApplicationProtocol.TLS, reason), tls_alert.build(alert))

    def test_bytes_that_are_no_hello_get_an_alert(self):
        self.assertEqual(
            response_for(ApplicationProtocol.UNSEEN, RejectReason.TLS_ERROR),
            tls_alert.build(Alert.UNEXPECTED_MESSAGE),
        )

    def test_an_http_client_gets_a_response(self):
        for reason, status in (
            (RejectReason.NO_ROUTE, b"404"),
            (RejectReason.IP_NOT_ALLOWED, b"403"),
            (RejectReason.UPSTREAM_REFUSED, b"502"),
            (RejectReason.UPSTREAM_TIMEOUT, b"504"),
            (RejectReason.ROUTE_LIMIT, b"503"),
        ):
            response = response_for(ApplicationProtocol.HTTP, reason)
            self.assertTrue(response.startswith(b"HTTP/1.1 " + status + b" "), response)
            self.assertIn(b"\r\n\r\n", response)

    def test_a_malformed_request_gets_the_reason_in_a_400(self):
        for held, status in (
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
            (b"GET / HTTP/3.7\r\n\r\n", b"505"),
            (b"GET /" + b"a" * 66000, b"414"),
        ):
            response = response_for(ApplicationProtocol.RAW, RejectReason.NO_ROUTE, held)
            self.assertTrue(response.startswith(b"HTTP/1.1 " + status + b" "), response)

    def test_an_incomplete_request_gets_a_408_on_timeout(self):
        response = response_for(
            ApplicationProtocol.UNSEEN, RejectReason.INITIAL_DATA_TIMEOUT, b"GET / HTTP/1.1\r\nHo"
        )
        self.assertTrue(response.startswith(b"HTTP/1.1 408 "), response)

    def test_other_refusals_ignore_the_first_bytes(self):
        """A memcached client, say, whose first bytes resemble HTTP, must not be answered in HTTP."""
        self.assertEqual(
            response_for(ApplicationProtocol.UNSEEN, RejectReason.UPSTREAM_REFUSED, b"GET key\r\n"), b""
        )

    def test_other_protocols_get_no_answer(self):
        for protocol in (ApplicationProtocol.RAW, ApplicationProtocol.UNSEEN):
            for reason in set(RejectReason) - {RejectReason.TLS_ERROR}:
                self.assertEqual(response_for(protocol, reason), b"")

    def test_a_refused_handshake_gets_its_own_alert(self):
        refused = HandshakeRefused("no certificate", Alert.UNRECOGNIZED_NAME)
        self.assertEqual(
            refusal_response(ApplicationProtocol.TLS, refused), tls_alert.build(Alert.UNRECOGNIZED_NAME)
        )

    def test_a_failed_handshake_gets_no_second_alert(self):
        """A second alert, in plain text behind the first, would be garbage."""
        self.assertEqual(refusal_response(ApplicationProtocol.TLS, HandshakeFailed("no shared cipher")), b"")

    def test_plain_http_on_a_tls_route_gets_an_explanation(self):
        response = refusal_response(ApplicationProtocol.HTTP, NotTls())
        self.assertTrue(response.startswith(b"HTTP/1.1 400 "), response)
        self.assertIn(b"speaks TLS", response)

    def test_other_plain_bytes_on_a_tls_route_get_an_alert(self):
        self.assertEqual(
            refusal_response(ApplicationProtocol.RAW, NotTls()), tls_alert.build(Alert.UNEXPECTED_MESSAGE)
        )

    def test_a_tls_failure_of_the_target_is_answered_as_unreachable(self):
        failed = DialFailed(RejectReason.TLS_ERROR, "certificate of the target: it has expired")
        self.assertEqual(refusal_response(ApplicationProtocol.RAW, failed), b"")
        self.assertEqual(
            refusal_response(ApplicationProtocol.TLS, failed), tls_alert.build(Alert.INTERNAL_ERROR)
        )
        self.assertTrue(refusal_response(ApplicationProtocol.HTTP, failed).startswith(b"HTTP/1.1 502 "))


def reject(client, most=10) -> RejectConnection:
    return RejectConnection(Lingering(client.deadlines, most))


class LetGoTests(SynchronousTestCase):
    def refuse(self, protocol=ApplicationProtocol.HTTP, **nature):
        self.client = Client(nature=Nature(**nature))
        reject(self.client).refuse(self.client.side, protocol, Refused(RejectReason.NO_ROUTE), HOST)
        self.client.clock.advance(0)

    def assert_gone(self):
        self.assertFalse(self.client.transport.connected)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_without_an_answer_the_connection_is_closed_at_once(self):
        self.refuse(ApplicationProtocol.RAW)
        self.assertEqual((self.client.far.received, self.client.far.ended), (b"", True))
        self.assertFalse(self.client.far.was_reset)
        self.assert_gone()

    def test_a_route_that_speaks_http_answers_unseen_clients_unless_it_ends_tls(self):
        """A client that is about to begin TLS must not be answered in plain text."""
        plain = RoutePlan("web", 0, MatchPlan((range(80, 81),)), http=HttpPlan())
        secured = replace(plain, tls=TerminationPlan())
        raw = replace(plain, http=None)
        for route, reason, answer in (
            (plain, RejectReason.IP_BLOCKED, b"HTTP/1.1 403 "),
            (plain, RejectReason.ROUTE_LIMIT, b"HTTP/1.1 503 "),
            (plain, RejectReason.PENDING_DATA_LIMIT, b""),
            (secured, RejectReason.IP_BLOCKED, b""),
            (raw, RejectReason.IP_BLOCKED, b""),
        ):
            client = Client(nature=Nature())
            rejecting = RejectConnection(Lingering(client.deadlines, 10), {"web": route})
            rejecting.refuse(client.side, ApplicationProtocol.UNSEEN, Refused(reason), HOST, "web")
            client.clock.advance(0)
            self.assertEqual(client.far.received[:13], answer)

    def test_without_an_answer_a_failed_target_is_a_reset(self):
        """A FIN would look like an empty reply of the target."""
        self.client = Client(nature=Nature())
        refused = DialFailed(RejectReason.UPSTREAM_REFUSED)
        reject(self.client).refuse(self.client.side, ApplicationProtocol.UNSEEN, refused, HOST)
        self.client.clock.advance(0)
        self.assertTrue(self.client.far.was_reset)

    def test_the_answer_is_followed_by_a_fin(self):
        """The client then knows that the answer is complete, and can close."""
        for protocol, word in (
            (ApplicationProtocol.HTTP, b"HTTP/1.1 404 "),
            (ApplicationProtocol.TLS, tls_alert.build(Alert.UNRECOGNIZED_NAME)),
        ):
            self.refuse(protocol)
            self.assertTrue(self.client.far.received.startswith(word))
            self.assertTrue(self.client.far.ended)
            self.assertTrue(self.client.transport.connected, "it lingers")
            self.client.fin()
            self.assertFalse(self.client.far.was_reset)
            self.assert_gone()

    def test_bytes_behind_the_refused_ones_are_discarded(self):
        """Left unread, they would make the kernel send RST, which can overtake the answer."""
        self.refuse()
        self.client.say(bytes(500_000))
        self.assertEqual((self.client.far.waiting, self.client.side.buffered), (0, b""))

    def test_after_an_alert_of_openssl_the_connection_lingers(self):
        self.client = Client()
        failed = HandshakeFailed("no shared cipher")
        reject(self.client).refuse(self.client.side, ApplicationProtocol.TLS, failed, HOST)
        self.client.clock.advance(0)
        self.assertTrue(self.client.far.ended)
        self.assertTrue(self.client.transport.connected, "it lingers")
        self.client.fin()
        self.assert_gone()

    def test_a_handshake_that_timed_out_is_closed_at_once(self):
        self.client = Client()
        failed = HandshakeFailed("the handshake took too long", alert_sent=False)
        reject(self.client).refuse(self.client.side, ApplicationProtocol.TLS, failed, HOST)
        self.client.clock.advance(0)
        self.assert_gone()

    def test_a_paused_client_is_resumed(self):
        self.client = Client()
        self.client.say(bytes(200_000))
        self.assertFalse(self.client.transport.reading)
        reject(self.client).refuse(
            self.client.side, ApplicationProtocol.HTTP, Refused(RejectReason.NO_ROUTE), HOST
        )
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.waiting, 0)

    def test_a_client_that_does_not_close_is_reset_after_linger(self):
        self.refuse()
        for _ in range(10):
            self.client.say(b"and another thing")
            self.client.pass_time(LINGER / 20)
        self.assertTrue(self.client.transport.connected)
        self.client.pass_time(LINGER)
        self.assertTrue(self.client.far.was_reset)
        self.assert_gone()

    def test_a_client_that_does_not_read_is_reset_after_linger(self):
        """It must not hold a socket for ever."""
        self.client = Client(nature=Nature(window=1))
        self.client.far.reading = False
        reject(self.client).refuse(
            self.client.side, ApplicationProtocol.HTTP, Refused(RejectReason.NO_ROUTE), HOST
        )
        self.client.pass_time(LINGER + 0.2)
        self.assert_gone()

    def test_a_half_closed_client_gets_the_answer_and_a_close(self):
        """Its FIN was received already, so there is nothing to linger for."""
        self.client = Client()
        self.client.fin()
        reject(self.client).refuse(
            self.client.side, ApplicationProtocol.HTTP, Refused(RejectReason.NO_ROUTE), HOST
        )
        self.client.clock.advance(0)
        self.assertTrue(self.client.far.received.startswith(b"HTTP/1.1 404"))
        self.assertTrue(self.client.far.ended)
        self.assert_gone()

    def test_without_half_close_the_answer_is_sent_and_closed(self):
        self.refuse(half_closes=False)
        self.assertTrue(self.client.far.received.startswith(b"HTTP/1.1 404"))
        self.assert_gone()

    def test_cut_resets_the_connection(self):
        client = Client()
        reject(client).cut(client.side)
        client.clock.advance(0)
        self.assertTrue(client.far.was_reset)

    def test_a_side_without_a_transport_is_not_cut(self):
        client = Client()
        client.side.detach()
        reject(client).cut(client.side)
        client.clock.advance(0)
        self.assertFalse(client.far.was_reset)
