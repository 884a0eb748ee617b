"""Asking a target for TLS before the handshake, as PostgreSQL's clients do."""

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


class RequestTests(SynchronousTestCase):
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

    def test_consent_is_consumed_and_the_side_is_paused(self):
        asking = self.asking()
        self.assertEqual(self.target.far.received, SSL)
        self.target.say(b"S")
        self.assertEqual(self.successResultOf(asking), (8, 1))
        self.assertEqual((self.target.side.buffered, self.target.transport.reading), (b"", False))
        self.assertEqual(len(self.target.deadlines), 0)

    def test_any_other_answer_aborts_the_target(self):
        for answer, why in (
            (b"N", "does not support TLS"),
            (b"E\x00\x00\x00\x0a", "with an error"),
            (b"H", "not that of a PostgreSQL server"),
            (b"220 ready\r\n", "not that of a PostgreSQL server"),
            (b"S\x15", "after its answer"),
            (b"S" + bytes(100), "after its answer"),
        ):
            self.setUp()
            asking = self.asking()
            self.target.say(answer)
            self.assert_failed(asking, why)

    def test_target_that_closes_instead_of_answering_fails(self):
        asking = self.asking()
        self.target.fin()
        self.assert_failed(asking, "closed")

    def test_target_that_resets_the_connection_fails(self):
        asking = self.asking()
        self.target.far.rst()
        self.target.clock.advance(0)
        self.assert_failed(asking, "closed")

    def test_target_that_was_reset_before_the_request_fails(self):
        self.target.far.rst()
        self.target.clock.advance(0)
        self.assert_failed(self.asking(), "closed")

    def test_answer_after_the_deadline_fails(self):
        asking = self.asking(2.0)
        self.target.pass_time(1.9)
        self.assertNoResult(asking)
        self.target.pass_time(0.3)
        self.assert_failed(asking, "did not answer")

    def test_zero_seconds_waits_without_deadline(self):
        asking = self.asking(0)
        self.target.pass_time(100)
        self.assertNoResult(asking)
        self.target.say(b"S")
        self.successResultOf(asking)

    def test_cancel_aborts_the_target(self):
        asking = self.asking()
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.target.clock.advance(0)
        self.assertTrue(self.target.far.was_reset)
        self.assertEqual(len(self.target.deadlines), 0)

    def test_bytes_before_the_request_are_not_an_answer(self):
        """A transport may deliver bytes after the pause that were sent before the request."""
        self.setUp(Nature(late=True))
        self.target.transport.resumeProducing()
        self.target.say(b"220 ")
        self.assert_failed(self.asking(), "not that of a PostgreSQL server")
