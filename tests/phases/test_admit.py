"""May this client come in, and on this route?"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.registry import Registry
from smartproxy.errors import Refused
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import ApplicationProtocol as Spoken
from smartproxy.model.facts import Routed
from smartproxy.model.outcome import ConnectionState, RejectReason
from smartproxy.model.plan import ActionKind, CleanupPlan, KeepAlive, ProxyPlan, Treatment
from smartproxy.phases.admit import Admit
from smartproxy.phases.route import ChooseRoute
from smartproxy.security.limits import Admission, RateWindows
from smartproxy.wire.proxy_header import ProxyHeader
from tests.phases.made import ACCEPTED, CLIENT, PEER, a_route, announced, routed


class AdmitTests(SynchronousTestCase):
    def admit(self, *, draining=False, **plan):
        self.registry = Registry(Counters(), CleanupPlan(), Clock())
        admission = Admission(ProxyPlan((), **plan), self.registry, RateWindows(lambda: 0.0), ())
        return Admit(admission, self.registry, lambda: draining)

    def come(self, admit, client=CLIENT):
        """One connection, as far as its client is known."""
        reason = admit.accept()
        if reason is not None:
            return reason
        record = self.registry.open(ACCEPTED)
        try:
            admit.client(record, announced(client))
        except Refused as refused:
            self.registry.close(record, None, 0.0)
            return refused.reason
        return record

    def test_a_burst_cannot_overshoot(self):
        for limits, reason in (
            ({"max_connections": 3}, RejectReason.GLOBAL_LIMIT),
            ({"max_connections_per_ip": 3}, RejectReason.IP_LIMIT),
            ({"connection_rate_per_minute": 3}, RejectReason.RATE_LIMIT),
        ):
            admit = self.admit(**limits)
            came = [self.come(admit) for _ in range(10)]
            self.assertEqual(came[3:], [reason] * 7)
            self.assertEqual(self.registry.active, 3)

    def test_who_has_gone_makes_room(self):
        admit = self.admit(max_connections_per_ip=1)
        record = self.come(admit)
        self.assertIs(self.come(admit), RejectReason.IP_LIMIT)
        self.registry.close(record, None, 0.0)
        self.assertEqual(self.come(admit).client, CLIENT)

    def test_it_is_the_announced_client_that_counts(self):
        """F47: behind one proxy there are many clients."""
        admit = self.admit(max_connections_per_ip=1)
        for number in range(3):
            self.assertEqual(
                self.come(admit, Endpoint(f"192.0.2.{number}", 1)).state, ConnectionState.DETECTING
            )
        self.assertIs(self.come(admit, Endpoint("192.0.2.2", 2)), RejectReason.IP_LIMIT)
        self.assertNotIn(PEER.host, self.registry.by_ip)

    def test_a_refused_client_is_named_though_it_is_not_counted(self):
        admit = self.admit(connection_rate_per_minute=1)
        self.come(admit)
        record = self.registry.open(ACCEPTED)
        self.assertRaises(Refused, admit.client, record, announced())
        self.assertEqual((record.client, record.counted), (CLIENT, False))
        self.assertEqual(self.registry.by_ip, {CLIENT.host: 1})

    def test_while_draining_nobody_is_wanted(self):
        self.assertIs(self.come(self.admit(draining=True)), RejectReason.DRAINING)

    def test_the_record_says_who_it_is(self):
        admit = self.admit()
        record = self.registry.open(ACCEPTED)
        admit.client(record, announced(header=ProxyHeader(2)))
        self.assertEqual(
            (record.proxy_version, record.client, record.state), (2, CLIENT, ConnectionState.DETECTING)
        )

    def test_the_lists_of_a_route(self):
        here, elsewhere = frozenset({CLIENT.host}), frozenset({"10.0.0.1"})
        for lists, reason in (
            ({"block": here}, RejectReason.IP_BLOCKED),
            ({"block": here, "allow": here}, RejectReason.IP_BLOCKED),
            ({"allow": elsewhere}, RejectReason.IP_NOT_ALLOWED),
            ({"kind": ActionKind.BLOCK}, RejectReason.IP_BLOCKED),
            ({"kind": ActionKind.BLOCK, "allow": elsewhere}, RejectReason.IP_BLOCKED),
        ):
            admit = self.admit()
            record = self.come(admit)
            with self.assertRaises(Refused) as caught:
                admit.route(record, routed(**lists))
            self.assertIs(caught.exception.reason, reason, lists)
            self.assertEqual((record.route, self.registry.by_route), (None, {}))

    def test_the_limit_of_a_route(self):
        admit = self.admit()
        for _ in range(2):
            admit.route(self.come(admit), routed(max_connections=2))
        with self.assertRaises(Refused) as caught:
            admit.route(self.come(admit), routed(max_connections=2))
        self.assertIs(caught.exception.reason, RejectReason.ROUTE_LIMIT)
        admit.route(self.come(admit), routed(name="other", max_connections=2))
        self.assertEqual(self.registry.by_route, {"web": 2, "other": 1})

    def test_the_record_says_where_it_goes(self):
        for wanted in (True, False):
            admit = self.admit()
            record = self.come(admit)
            admit.route(record, routed(keep_alive=KeepAlive(enabled=wanted)))
            self.assertEqual(
                (record.route, record.keep_alive, record.state), ("web", wanted, ConnectionState.CONNECTING)
            )
            self.assertEqual(self.registry.counters.route("web").active, 1)

    def test_the_record_says_whether_it_may_be_found_to_be_stuck(self):
        """An immortal one may not, and neither may one whose route says that its protocol never answers."""
        immortal = KeepAlive(treatment=Treatment.IMMORTAL)
        mortal = KeepAlive(enabled=False, treatment=Treatment.IMMORTAL)
        for options, wanted in (
            ({}, True),
            ({"stuck_detection": False}, False),
            ({"keep_alive": immortal}, False),
            ({"keep_alive": mortal}, True),
        ):
            admit = self.admit()
            record = self.come(admit)
            admit.route(record, routed(**options))
            self.assertEqual(record.stuck_detection, wanted, options)

    def test_the_record_says_whether_it_carries_tls(self):
        """Because its first bytes were, or because its route says so where nobody looks at them."""
        facts = routed()
        for protocol, said, wanted in (
            (Spoken.UNSEEN, False, False),
            (Spoken.UNSEEN, True, True),
            (Spoken.TLS, False, True),
            (Spoken.HTTP, False, False),
        ):
            admit = self.admit()
            record = self.come(admit)
            detected = facts.detected._replace(protocol=protocol)
            admit.route(record, Routed(detected, a_route(carries_tls=said)))
            self.assertEqual(record.tls, wanted)


class RouteTests(SynchronousTestCase):
    def test_the_tables_answer_or_none(self):
        class Table:
            answer = a_route()

            def find(self, facts):
                return self.answer

        table = Table()
        detected = routed().detected
        self.assertEqual(ChooseRoute(table)(detected), Routed(detected, table.answer))
        table.answer = None
        with self.assertRaises(Refused) as caught:
            ChooseRoute(table)(detected)
        self.assertIs(caught.exception.reason, RejectReason.NO_ROUTE)
