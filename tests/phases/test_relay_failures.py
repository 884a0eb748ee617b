"""The TLS of a target fails while its connection is relayed: the client gets its connection back, to be refused."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.lingering import Lingering
from smartproxy.errors import DialFailed
from smartproxy.flow.deadline import Deadlines
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.phases.reject import RejectConnection
from smartproxy.phases.relay import StartRelay
from tests.relays.tls_worlds import TlsSocketWorld

TARGET = Endpoint("192.0.2.9", 443)
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


class FailingTargetTests(SynchronousTestCase):
    def setUp(self):
        self.deadlines = Deadlines(Clock())  # it may install a reactor, which has descriptors

    def begin(self, *, tls, detached=True, may_log=True):
        """A relay with a target that has TLS, over sockets or, if not ``detached``, over transports."""
        self.world = TlsSocketWorld(self, tls=tls)
        poller = self.world.pump.poller if detached else None
        start = StartRelay(poller, None, self.world.pump.reactor.seconds, lambda route, now: may_log)
        self.side = self.world.near[0]
        self.world.record.route = "web"
        self.done = start(self.world.record, *self.world.near, TARGET, b"").deferred()
        self.world.settle()

    def fail_tls(self):
        self.world.upstream.below.write(b"this is no TLS" + bytes(100))
        self.world.settle()

    def refuse(self, protocol=ApplicationProtocol.HTTP):
        refused = self.failureResultOf(self.done, DialFailed).value
        self.assertIs(refused.reason, RejectReason.TLS_ERROR)
        self.assertIn("TLS with 192.0.2.9:443: ", refused.detail)
        RejectConnection(Lingering(self.deadlines, most=10)).refuse(self.side, protocol, refused, "192.0.2.1")
        self.world.settle()

    def test_client_gets_its_502(self):
        for tls in ((False, True), (True, True)):
            for detached in (True, False):
                self.begin(tls=tls, detached=detached)
                client = self.world.client
                client.write(REQUEST)
                self.world.settle()
                self.fail_tls()
                self.refuse()
                self.assertTrue(
                    client.received.startswith(b"HTTP/1.1 502 "), (tls, detached, client.received)
                )
                self.assertTrue(client.ended)
                client.fin()
                client.close()
                self.world.settle()
                self.world.assert_nothing_is_left(self)

    def test_client_that_has_ended_its_direction_gets_its_502(self):
        for tls in ((False, True), (True, True)):
            for detached in (True, False):
                self.begin(tls=tls, detached=detached)
                client = self.world.client
                client.write(REQUEST)
                client.fin()
                self.world.settle()
                self.fail_tls()
                self.refuse()
                self.assertTrue(
                    client.received.startswith(b"HTTP/1.1 502 "), (tls, detached, client.received)
                )
                self.assertTrue(client.ended)
                client.close()
                self.world.settle()
                self.world.assert_nothing_is_left(self)

    def test_client_with_bytes_that_were_not_read_gets_its_502(self):
        """They are read and discarded; else the kernel would reset the connection."""
        self.begin(tls=(False, True))
        client = self.world.client
        self.world.upstream.reading = False
        client.write(REQUEST + bytes(8_000_000))
        self.world.settle()
        self.fail_tls()
        self.refuse()
        self.assertEqual((client.received[:12], client.waiting), (b"HTTP/1.1 502", 0))
        client.close()
        self.world.settle()

    def test_failure_after_a_byte_of_the_answer_is_a_reset(self):
        for detached in (True, False):
            self.begin(tls=(False, True), detached=detached)
            self.world.upstream.write(b"H")
            self.world.settle()
            with capturedLogs() as logged:
                self.fail_tls()
            self.assertIs(self.successResultOf(self.done), CloseReason.UPSTREAM_RESET)
            self.assertTrue(self.world.client.was_reset)
            [line] = [formatEvent(event) for event in logged]
            self.assertTrue(line.startswith("route web: TLS with 192.0.2.9:443 failed after the handshake: "))
            self.world.assert_nothing_is_left(self)

    def test_many_failures_are_logged_once(self):
        self.begin(tls=(False, True), may_log=False)
        with capturedLogs() as logged:
            self.fail_tls()
        self.failureResultOf(self.done, DialFailed)
        self.assertEqual(logged, [])
        self.side.transport.abortConnection()
        self.world.settle()
