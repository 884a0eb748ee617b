"""A client that sends PostgreSQL's SSLRequest before its ClientHello, and the answers to it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import HandshakeFailed
from smartproxy.flow.side import PeerClosed
from smartproxy.model.outcome import RejectReason
from smartproxy.phases.start_tls import AnswerStartTls
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
        """Anybody on the network may have injected it (CVE-2021-23214)."""
        for request in (SSL, GSSENC):
            for behind in (b"\x16", b"\x00", GSSENC):
                self.setUp()
                refused = self.failureResultOf(self.answering(request + behind), HandshakeFailed).value
                self.client.clock.advance(0)
                self.assertEqual((refused.reason, refused.alert_sent), (RejectReason.TLS_ERROR, False))
                self.assertEqual(self.client.far.received, b"")
