"""Sending PostgreSQL's SSLRequest to a target before the TLS handshake."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.testing import Nature
from smartproxy.upstream.request_tls import RequestTls
from smartproxy.wire import postgres
from smartproxy.wire.postgres import EncryptionRequest
from tests.phases.made import Client

SSL = postgres.build(EncryptionRequest.SSL)


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
            (b"N", "does not support TLS"),
            (b"E\x00\x00\x00\x0a", "with an error"),
            (b"H", "not that of a PostgreSQL server"),
            (b"220 ready\r\n", "not that of a PostgreSQL server"),
            (b"S\x15", "after its answer"),
            (b"S" + bytes(100), "after its answer"),
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
        self.assert_failed(requesting, "did not answer")

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
        self.assert_failed(self.requesting(), "not that of a PostgreSQL server")
