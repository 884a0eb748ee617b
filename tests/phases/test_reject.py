"""Letting a connection go that was not taken."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed, HandshakeFailed, HandshakeRefused, NotTls, Refused
from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.outcome import RejectReason
from smartproxy.phases.reject import LINGER, RejectConnection, refusal_response, response_for
from smartproxy.wire import tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.phases.made import Client
from tests.pipes import Nature


class LastWordTests(SynchronousTestCase):
    def test_tls_is_told_in_tls(self):
        for reason, alert in (
            (RejectReason.NO_ROUTE, Alert.UNRECOGNIZED_NAME),
            (RejectReason.IP_BLOCKED, Alert.ACCESS_DENIED),
            (RejectReason.TLS_ERROR, Alert.DECODE_ERROR),
            (RejectReason.UPSTREAM_TIMEOUT, Alert.INTERNAL_ERROR),
        ):
            self.assertEqual(response_for(ApplicationProtocol.TLS, reason), tls_alert.build(alert))

    def test_a_hello_that_was_none_is_told_in_tls(self):
        self.assertEqual(
            response_for(ApplicationProtocol.UNSEEN, RejectReason.TLS_ERROR),
            tls_alert.build(Alert.DECODE_ERROR),
        )

    def test_http_is_told_in_http(self):
        for reason, status in (
            (RejectReason.NO_ROUTE, b"404"),
            (RejectReason.IP_NOT_ALLOWED, b"403"),
            (RejectReason.UPSTREAM_REFUSED, b"502"),
            (RejectReason.UPSTREAM_TIMEOUT, b"504"),
            (RejectReason.ROUTE_LIMIT, b"503"),
        ):
            word = response_for(ApplicationProtocol.HTTP, reason)
            self.assertTrue(word.startswith(b"HTTP/1.1 " + status + b" "), word)
            self.assertIn(b"\r\n\r\n", word)

    def test_a_request_that_nobody_can_make_out_is_told_what_is_wrong_with_it(self):
        for held, status in (
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
            (b"GET / HTTP/3.7\r\n\r\n", b"505"),
            (b"GET /" + b"a" * 9000, b"414"),
        ):
            word = response_for(ApplicationProtocol.RAW, RejectReason.NO_ROUTE, held)
            self.assertTrue(word.startswith(b"HTTP/1.1 " + status + b" "), word)

    def test_half_a_request_that_takes_too_long_is_told_so(self):
        word = response_for(
            ApplicationProtocol.UNSEEN, RejectReason.INITIAL_DATA_TIMEOUT, b"GET / HTTP/1.1\r\nHo"
        )
        self.assertTrue(word.startswith(b"HTTP/1.1 408 "), word)

    def test_bytes_that_only_resemble_a_request_are_no_reason_to_answer_another_refusal(self):
        self.assertEqual(
            response_for(ApplicationProtocol.UNSEEN, RejectReason.UPSTREAM_REFUSED, b"GET key\r\n"), b""
        )

    def test_others_are_told_nothing(self):
        for protocol in (ApplicationProtocol.RAW, ApplicationProtocol.UNSEEN):
            for reason in set(RejectReason) - {RejectReason.TLS_ERROR}:
                self.assertEqual(response_for(protocol, reason), b"")

    def test_a_certificate_that_is_not_there_is_told_by_its_own_alert(self):
        refused = HandshakeRefused("no certificate", Alert.UNRECOGNIZED_NAME)
        self.assertEqual(
            refusal_response(ApplicationProtocol.TLS, refused), tls_alert.build(Alert.UNRECOGNIZED_NAME)
        )

    def test_a_handshake_that_failed_has_been_told_of(self):
        """A second alert, in plain text behind the first, would be garbage."""
        self.assertEqual(refusal_response(ApplicationProtocol.TLS, HandshakeFailed("no shared cipher")), b"")

    def test_plain_http_where_tls_was_due_is_told_so_in_words(self):
        word = refusal_response(ApplicationProtocol.HTTP, NotTls())
        self.assertTrue(word.startswith(b"HTTP/1.1 400 "), word)
        self.assertIn(b"speaks TLS", word)

    def test_other_plain_bytes_where_tls_was_due_get_an_alert(self):
        self.assertEqual(
            refusal_response(ApplicationProtocol.RAW, NotTls()), tls_alert.build(Alert.DECODE_ERROR)
        )

    def test_the_tls_of_a_target_is_not_the_clients(self):
        failed = DialFailed(RejectReason.TLS_ERROR, "certificate of the target: it has expired")
        self.assertEqual(refusal_response(ApplicationProtocol.RAW, failed), b"")
        self.assertEqual(
            refusal_response(ApplicationProtocol.TLS, failed), tls_alert.build(Alert.INTERNAL_ERROR)
        )
        self.assertTrue(refusal_response(ApplicationProtocol.HTTP, failed).startswith(b"HTTP/1.1 502 "))


class LetGoTests(SynchronousTestCase):
    def refuse(self, protocol=ApplicationProtocol.HTTP, **nature):
        self.client = Client(nature=Nature(**nature))
        RejectConnection(self.client.deadlines).refuse(
            self.client.side, protocol, Refused(RejectReason.NO_ROUTE)
        )
        self.client.clock.advance(0)

    def assert_gone(self):
        self.assertFalse(self.client.transport.connected)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_who_has_no_words_is_closed_at_once(self):
        self.refuse(ApplicationProtocol.RAW)
        self.assertEqual((self.client.far.received, self.client.far.ended), (b"", True))
        self.assertFalse(self.client.far.was_reset)
        self.assert_gone()

    def test_a_target_that_failed_is_a_cut_where_there_is_no_word_for_it(self):
        """A FIN would be taken for an empty answer."""
        self.client = Client(nature=Nature())
        refused = DialFailed(RejectReason.UPSTREAM_REFUSED)
        RejectConnection(self.client.deadlines).refuse(self.client.side, ApplicationProtocol.UNSEEN, refused)
        self.client.clock.advance(0)
        self.assertTrue(self.client.far.was_reset)

    def test_the_word_is_said_and_the_end_of_it_is_heard(self):
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

    def test_what_the_client_still_says_is_read_and_thrown_away(self):
        """Unread, it would send a RST, which takes the word back."""
        self.refuse()
        self.client.say(bytes(500_000))
        self.assertEqual((self.client.far.waiting, self.client.side.buffered), (0, b""))

    def test_an_alert_that_was_sent_before_is_given_the_time_to_be_read(self):
        self.client = Client()
        failed = HandshakeFailed("no shared cipher")
        RejectConnection(self.client.deadlines).refuse(self.client.side, ApplicationProtocol.TLS, failed)
        self.client.clock.advance(0)
        self.assertTrue(self.client.far.ended)
        self.assertTrue(self.client.transport.connected, "it lingers")
        self.client.fin()
        self.assert_gone()

    def test_a_handshake_that_took_too_long_is_closed_at_once(self):
        self.client = Client()
        failed = HandshakeFailed("the handshake took too long", told=False)
        RejectConnection(self.client.deadlines).refuse(self.client.side, ApplicationProtocol.TLS, failed)
        self.client.clock.advance(0)
        self.assert_gone()

    def test_a_client_that_was_paused_is_read_again(self):
        self.client = Client()
        self.client.say(bytes(200_000))
        self.assertFalse(self.client.transport.reading)
        RejectConnection(self.client.deadlines).refuse(
            self.client.side, ApplicationProtocol.HTTP, Refused(RejectReason.NO_ROUTE)
        )
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.waiting, 0)

    def test_who_does_not_close_is_cut_when_the_time_is_over(self):
        self.refuse()
        for _ in range(10):
            self.client.say(b"and another thing")
            self.client.pass_time(LINGER / 20)
        self.assertTrue(self.client.transport.connected)
        self.client.pass_time(LINGER)
        self.assertTrue(self.client.far.was_reset)
        self.assert_gone()

    def test_who_does_not_even_read_the_word_is_cut(self):
        self.client = Client(nature=Nature(window=1))
        self.client.far.reading = False
        RejectConnection(self.client.deadlines).refuse(
            self.client.side, ApplicationProtocol.HTTP, Refused(RejectReason.NO_ROUTE)
        )
        self.client.pass_time(LINGER + 0.2)
        self.assert_gone()

    def test_who_has_ended_gets_the_word_and_the_end(self):
        self.client = Client()
        self.client.fin()
        RejectConnection(self.client.deadlines).refuse(
            self.client.side, ApplicationProtocol.HTTP, Refused(RejectReason.NO_ROUTE)
        )
        self.client.clock.advance(0)
        self.assertTrue(self.client.far.received.startswith(b"HTTP/1.1 404"))
        self.assertTrue(self.client.far.ended)
        self.assert_gone()

    def test_where_there_is_no_half_close_the_word_is_said_and_that_is_all(self):
        self.refuse(half_closes=False)
        self.assertTrue(self.client.far.received.startswith(b"HTTP/1.1 404"))
        self.assert_gone()

    def test_cut_is_a_reset(self):
        client = Client()
        RejectConnection(client.deadlines).cut(client.side)
        client.clock.advance(0)
        self.assertTrue(client.far.was_reset)

    def test_a_side_whose_socket_is_a_relays_has_nothing_to_cut(self):
        client = Client()
        client.side.detach()
        RejectConnection(client.deadlines).cut(client.side)
        client.clock.advance(0)
        self.assertFalse(client.far.was_reset)
