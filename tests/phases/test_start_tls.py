"""TLS that is asked for first: answering a client, and asking a target."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed, HandshakeFailed, PeerClosed
from smartproxy.model.outcome import RejectReason
from smartproxy.phases.start_tls import AnswerStartTls
from smartproxy.testing import Nature
from smartproxy.upstream.request_tls import RequestTls
from smartproxy.wire import postgres
from smartproxy.wire.postgres import EncryptionAnswer, EncryptionRequest
from tests.phases.made import Client

SSL = postgres.build(EncryptionRequest.SSL)
GSSENC = postgres.build(EncryptionRequest.GSSENC)


class AnswerTests(SynchronousTestCase):
    def setUp(self):
        self.client = Client()

    def answering(self, first):
        self.client.say(first)
        return self.client.run(AnswerStartTls()(self.client.side))

    def test_tls_there_is(self):
        """The answer is known once the client has gone on, so that whoever looks next has something to look at."""
        answering = self.answering(SSL)
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.received, b"S")
        self.assertNoResult(answering)
        self.client.say(b"\x16")
        self.assertIs(self.successResultOf(answering), EncryptionAnswer.WILLING)
        self.assertEqual(self.client.side.buffered, b"\x16")

    def test_gssapi_there_is_not(self):
        answering = self.answering(GSSENC)
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.received, b"N")
        self.client.say(SSL)
        self.assertIs(self.successResultOf(answering), EncryptionAnswer.UNWILLING)
        self.assertEqual(self.client.side.buffered, SSL)

    def test_a_request_in_pieces(self):
        answering = self.answering(SSL[:1])
        for at in range(1, len(SSL)):
            self.client.say(SSL[at : at + 1])
        self.client.clock.advance(0)
        self.assertEqual(self.client.far.received, b"S")
        self.client.say(b"\x16")
        self.successResultOf(answering)

    def test_whoever_asks_for_nothing_keeps_what_he_said(self):
        for said in (b"\x00\x00\x00\x10\x04\xd2\x16\x2e", b"\x00\x01", b"SSH-2.0-x\r\n"):
            self.setUp()
            self.assertIsNone(self.successResultOf(self.answering(said)))
            self.assertEqual((self.client.side.buffered, self.client.far.received), (said, b""))

    def test_an_end_within_a_request_asks_for_nothing(self):
        answering = self.answering(SSL[:5])
        self.client.fin()
        self.assertIsNone(self.successResultOf(answering))
        self.assertEqual(self.client.side.buffered, SSL[:5])

    def test_whoever_leaves_after_the_answer_has_left(self):
        for request in (SSL, GSSENC):
            self.setUp()
            answering = self.answering(request)
            self.client.fin()
            self.failureResultOf(answering, PeerClosed)

    def test_bytes_in_plain_text_behind_the_request_are_refused_and_nothing_is_said(self):
        for request in (SSL, GSSENC):
            for behind in (b"\x16", b"\x00", GSSENC):
                self.setUp()
                refused = self.failureResultOf(self.answering(request + behind), HandshakeFailed).value
                self.client.clock.advance(0)
                self.assertEqual((refused.reason, refused.told), (RejectReason.TLS_ERROR, False))
                self.assertEqual(self.client.far.received, b"")


class AskTests(SynchronousTestCase):
    def setUp(self, nature=None):
        self.target = Client(nature=nature)
        self.target.transport.pauseProducing()

    def asking(self, seconds=10.0):
        asking = self.target.run(RequestTls(self.target.deadlines)(self.target.side, "db.example", seconds))
        self.target.clock.advance(0)
        return asking

    def assert_failed(self, asking, why):
        failed = self.failureResultOf(asking, DialFailed).value
        self.assertIs(failed.reason, RejectReason.TLS_ERROR)
        self.assertIn("db.example", failed.detail)
        self.assertIn(why, failed.detail)
        self.target.clock.advance(0)
        self.assertFalse(self.target.transport.connected)
        self.assertEqual(len(self.target.deadlines), 0)

    def test_a_target_that_is_willing(self):
        asking = self.asking()
        self.assertEqual(self.target.far.received, SSL)
        self.target.say(b"S")
        self.assertEqual(self.successResultOf(asking), (8, 1))
        self.assertEqual((self.target.side.buffered, self.target.transport.reading), (b"", False))
        self.assertEqual(len(self.target.deadlines), 0)

    def test_a_target_that_is_not(self):
        for answer, why in (
            (b"N", "has none"),
            (b"E\x00\x00\x00\x0a", "an error"),
            (b"H", "no PostgreSQL server"),
            (b"220 ready\r\n", "no PostgreSQL server"),
            (b"S\x15", "behind its answer"),
            (b"S" + bytes(100), "behind its answer"),
        ):
            self.setUp()
            asking = self.asking()
            self.target.say(answer)
            self.assert_failed(asking, why)

    def test_a_target_that_leaves(self):
        asking = self.asking()
        self.target.fin()
        self.assert_failed(asking, "closed")

    def test_a_target_that_is_reset(self):
        asking = self.asking()
        self.target.far.rst()
        self.target.clock.advance(0)
        self.assert_failed(asking, "closed")

    def test_a_target_that_has_gone_before_it_is_asked(self):
        self.target.far.rst()
        self.target.clock.advance(0)
        self.assert_failed(self.asking(), "closed")

    def test_a_target_that_does_not_answer_in_time(self):
        asking = self.asking(2.0)
        self.target.pass_time(1.9)
        self.assertNoResult(asking)
        self.target.pass_time(0.3)
        self.assert_failed(asking, "does not answer")

    def test_without_a_timeout_it_waits(self):
        asking = self.asking(0)
        self.target.pass_time(100)
        self.assertNoResult(asking)
        self.target.say(b"S")
        self.successResultOf(asking)

    def test_a_client_that_leaves_meanwhile_takes_the_target_with_it(self):
        asking = self.asking()
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.target.clock.advance(0)
        self.assertTrue(self.target.far.was_reset)
        self.assertEqual(len(self.target.deadlines), 0)

    def test_what_a_target_says_unasked_is_no_answer(self):
        """Delivered late, after the pause: it was said before anybody had asked."""
        self.setUp(Nature(late=True))
        self.target.transport.resumeProducing()
        self.target.say(b"220 ")
        self.assert_failed(self.asking(), "no PostgreSQL server")
