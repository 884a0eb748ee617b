"""PostgreSQL's SSLRequest: answering a client's, and sending one to a target."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed, HandshakeFailed
from smartproxy.flow.side import PeerClosed
from smartproxy.model.outcome import RejectReason
from smartproxy.phases.start_tls import AnswerStartTls
from smartproxy.upstream.request_tls import RequestTls
from smartproxy.wire import postgres
from smartproxy.wire.postgres import EncryptionAnswer, EncryptionRequest
from tests.phases.made import Client
from tests.pipes import Nature

SSL = postgres.build(EncryptionRequest.SSL)
GSSENC = postgres.build(EncryptionRequest.GSSENC)


class AnswerTests(SynchronousTestCase):
    def setUp(self):
        self.client = Client()

    def answering(self, first):
        self.client.say(first)
        return self.client.run(AnswerStartTls()(self.client.side))

    def test_ssl_request_is_granted(self):
        """The call returns only when the client has sent more, so that the next detection has bytes to inspect."""
        answering = self.answering(SSL)
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.received, b"S")
        self.assertNoResult(answering)
        self.client.say(b"\x16")
        self.assertIs(self.successResultOf(answering), EncryptionAnswer.WILLING)
        self.assertEqual(self.client.side.buffered, b"\x16")

    def test_gssapi_request_is_declined(self):
        answering = self.answering(GSSENC)
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.received, b"N")
        self.client.say(SSL)
        self.assertIs(self.successResultOf(answering), EncryptionAnswer.UNWILLING)
        self.assertEqual(self.client.side.buffered, SSL)

    def test_request_in_single_bytes_is_answered(self):
        answering = self.answering(SSL[:1])
        for at in range(1, len(SSL)):
            self.client.say(SSL[at : at + 1])
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.received, b"S")
        self.client.say(b"\x16")
        self.successResultOf(answering)

    def test_other_bytes_stay_buffered_and_unanswered(self):
        for said in (b"\x00\x00\x00\x10\x04\xd2\x16\x2e", b"\x00\x01", b"SSH-2.0-x\r\n"):
            self.setUp()
            self.assertIsNone(self.successResultOf(self.answering(said)))
            self.assertEqual((self.client.side.buffered, self.client.far.received), (said, b""))

    def test_fin_within_a_request_is_no_request(self):
        answering = self.answering(SSL[:5])
        self.client.fin()
        self.assertIsNone(self.successResultOf(answering))
        self.assertEqual(self.client.side.buffered, SSL[:5])

    def test_fin_after_the_answer_raises_peer_closed(self):
        for request in (SSL, GSSENC):
            self.setUp()
            answering = self.answering(request)
            self.client.fin()
            self.failureResultOf(answering, PeerClosed)

    def test_plaintext_pipelined_after_a_request_is_refused_silently(self):
        for request in (SSL, GSSENC):
            for behind in (b"\x16", b"\x00", GSSENC):
                self.setUp()
                refused = self.failureResultOf(self.answering(request + behind), HandshakeFailed).value
                self.client.clock.advance(0)
                self.assertEqual((refused.reason, refused.told), (RejectReason.TLS_ERROR, False))
                self.assertEqual(self.client.far.received, b"")


class RequestTlsTests(SynchronousTestCase):
    def setUp(self, nature=None):
        self.target = Client(nature=nature)
        self.target.transport.pauseProducing()

    def requesting(self, seconds=10.0):
        requesting = self.target.run(
            RequestTls(self.target.deadlines)(self.target.side, "db.example", seconds)
        )
        self.target.clock.advance(0)
        return requesting

    def assert_failed(self, requesting, why):
        failed = self.failureResultOf(requesting, DialFailed).value
        self.assertIs(failed.reason, RejectReason.TLS_ERROR)
        self.assertIn("db.example", failed.detail)
        self.assertIn(why, failed.detail)
        self.target.clock.advance(0)
        self.assertFalse(self.target.transport.connected)
        self.assertEqual(len(self.target.deadlines), 0)

    def test_target_that_accepts_is_ready_for_tls(self):
        requesting = self.requesting()
        self.assertEqual(self.target.far.received, SSL)
        self.target.say(b"S")
        self.assertEqual(self.successResultOf(requesting), (8, 1))
        self.assertEqual((self.target.side.buffered, self.target.transport.reading), (b"", False))
        self.assertEqual(len(self.target.deadlines), 0)

    def test_target_that_declines_or_sends_other_bytes_fails(self):
        for answer, why in (
            (b"N", "has none"),
            (b"E\x00\x00\x00\x0a", "an error"),
            (b"H", "no PostgreSQL server"),
            (b"220 ready\r\n", "no PostgreSQL server"),
            (b"S\x15", "behind its answer"),
            (b"S" + bytes(100), "behind its answer"),
        ):
            self.setUp()
            requesting = self.requesting()
            self.target.say(answer)
            self.assert_failed(requesting, why)

    def test_fin_of_the_target_fails(self):
        requesting = self.requesting()
        self.target.fin()
        self.assert_failed(requesting, "closed")

    def test_reset_by_the_target_fails(self):
        requesting = self.requesting()
        self.target.far.rst()
        self.target.clock.advance(0)
        self.assert_failed(requesting, "closed")

    def test_target_already_closed_fails(self):
        self.target.far.rst()
        self.target.clock.advance(0)
        self.assert_failed(self.requesting(), "closed")

    def test_target_without_answer_fails_at_the_timeout(self):
        requesting = self.requesting(2.0)
        self.target.pass_time(1.9)
        self.assertNoResult(requesting)
        self.target.pass_time(0.3)
        self.assert_failed(requesting, "does not answer")

    def test_timeout_of_0_waits_without_limit(self):
        requesting = self.requesting(0)
        self.target.pass_time(100)
        self.assertNoResult(requesting)
        self.target.say(b"S")
        self.successResultOf(requesting)

    def test_cancelling_resets_the_target(self):
        requesting = self.requesting()
        requesting.cancel()
        self.failureResultOf(requesting, CancelledError)
        self.target.clock.advance(0)
        self.assertTrue(self.target.far.was_reset)
        self.assertEqual(len(self.target.deadlines), 0)

    def test_bytes_sent_before_the_request_are_no_answer(self):
        """They are delivered after reading was paused, and were sent before the request."""
        self.setUp(Nature(late=True))
        self.target.transport.resumeProducing()
        self.target.say(b"220 ")
        self.assert_failed(self.requesting(), "no PostgreSQL server")
