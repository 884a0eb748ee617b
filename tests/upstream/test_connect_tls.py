"""TLS with a target as part of connecting to it: a session that it refuses, and the name that it is asked for."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from smartproxy.errors import DialFailed, ResumptionFailed
from smartproxy.model.address import UnixEndpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import OriginationPlan, TargetPlan
from smartproxy.wire.client_hello import ClientHello
from tests.upstream.connecting import ConnectCase


class ConnectTlsTests(ConnectCase):
    def test_target_that_fails_to_resume_is_dialed_once_more(self):
        target = TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan())
        refused = ResumptionFailed(RejectReason.TLS_ERROR, "TLS with it: it disconnected")
        self.handshakes = [refused]
        with capturedLogs() as logged:
            connecting = Deferred.fromCoroutine(
                self.connect(self.routed(targets=(target,)), lambda target: b"PROXY")
            )
            self.dialer.accept("192.0.2.1")
            far = self.dialer.accept("192.0.2.1")
            self.clock.advance(0)
            self.successResultOf(connecting)
        self.assertEqual((self.resumes, far.received), ([True, False], b"PROXY"))
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["route web: TLS with it: it disconnected: connecting again without the former session"],
        )

    def test_second_failure_to_resume_is_final(self):
        for second in (
            DialFailed(RejectReason.TLS_ERROR, "it has expired"),
            ResumptionFailed(RejectReason.TLS_ERROR, "it disconnected"),
        ):
            self.create(target=["192.0.2.1"])
            self.handshakes = [ResumptionFailed(RejectReason.TLS_ERROR, "it disconnected"), second]
            facts = self.routed(targets=(TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan()),))
            connecting = Deferred.fromCoroutine(self.connect(facts))
            self.dialer.accept("192.0.2.1")
            self.dialer.accept("192.0.2.1")
            self.failureResultOf(connecting, DialFailed)
            self.assertEqual(self.resumes, [True, False])

    def test_name_of_the_client_is_asked_for_where_it_is_wanted(self):
        """Without one, the target's host."""
        for tls, hello, name in (
            (OriginationPlan(client_name=True), ClientHello("a.example"), "a.example"),
            (OriginationPlan(client_name=True), ClientHello(), "target.example"),
            (OriginationPlan(client_name=True), None, "target.example"),
            (OriginationPlan(server_name="b.example"), ClientHello("a.example"), "b.example"),
            (OriginationPlan(), ClientHello("a.example"), "target.example"),
        ):
            self.create(target=["192.0.2.1"])
            facts = self.routed(targets=(TargetPlan(("target.example",), 443, tls=tls),))
            facts = facts._replace(detected=facts.detected._replace(hello=hello))
            Deferred.fromCoroutine(self.connect(facts))
            self.dialer.accept("192.0.2.1")
            self.assertEqual(self.originated[0][1], name)

    def test_unix_socket_is_asked_for_the_name_of_its_tls(self):
        """Without one, which is accepted only where nothing is verified, for localhost."""
        for tls, name in (
            (OriginationPlan(server_name="app.internal"), "app.internal"),
            (OriginationPlan(verify=False), "localhost"),
        ):
            self.create()
            facts = self.routed(targets=(TargetPlan((UnixEndpoint("/run/app.sock"),), None, tls=tls),))
            connecting = Deferred.fromCoroutine(self.connect(facts))
            self.dialer.accept("/run/app.sock")
            self.successResultOf(connecting)
            self.assertEqual([asked[:2] for asked in self.originated], [("/run/app.sock", name)])
