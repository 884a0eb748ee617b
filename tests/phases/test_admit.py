"""Admission of a client: global limits, limits of its address, lists and limits of its route."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.registry import Registry
from smartproxy.errors import Refused
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import ApplicationProtocol as Spoken
from smartproxy.model.facts import Routed
from smartproxy.model.outcome import CloseReason, ConnectionState, RejectReason
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

    def connect(self, admit, client=CLIENT):
        """Open a connection up to the point where its client is known; the reason where it is refused."""
        at_once = admit.accept()
        if at_once is not None:
            return at_once.reason
        record = self.registry.open(ACCEPTED)
        try:
            admit.client(record, announced(client))
        except Refused as refused:
            self.registry.close(record, refused.reason, 0.0)
            return refused.reason
        return record

    def connect_unlimited(self, admit):
        record = self.registry.open(ACCEPTED)
        admit.client(record, announced())
        return record

    def test_burst_does_not_exceed_the_limit(self):
        for limits, reason in (
            ({"max_connections": 3}, RejectReason.GLOBAL_LIMIT),
            ({"max_connections_per_ip": 3}, RejectReason.IP_LIMIT),
            ({"connection_rate_per_minute": 3}, RejectReason.RATE_LIMIT),
        ):
            admit = self.admit(**limits)
            connected = [self.connect(admit) for _ in range(10)]
            self.assertEqual(connected[3:], [reason] * 7)
            self.assertEqual(self.registry.active, 3)

    def test_closed_connection_frees_its_place(self):
        admit = self.admit(max_connections_per_ip=1)
        record = self.connect(admit)
        self.assertIs(self.connect(admit), RejectReason.IP_LIMIT)
        self.registry.close(record, CloseReason.NORMAL, 0.0)
        self.assertEqual(self.connect(admit).client, CLIENT)

    def test_announced_client_counts_instead_of_the_peer(self):
        """All clients behind a proxy share the proxy's address; a limit on that address would refuse most of them."""
        admit = self.admit(max_connections_per_ip=1)
        for number in range(3):
            self.assertEqual(
                self.connect(admit, Endpoint(f"192.0.2.{number}", 1)).state, ConnectionState.DETECTING
            )
        self.assertIs(self.connect(admit, Endpoint("192.0.2.2", 2)), RejectReason.IP_LIMIT)
        self.assertNotIn(PEER.host, self.registry.by_ip)

    def test_refused_client_is_recorded_but_not_counted(self):
        admit = self.admit(connection_rate_per_minute=1)
        self.connect(admit)
        record = self.registry.open(ACCEPTED)
        self.assertRaises(Refused, admit.client, record, announced())
        self.assertEqual((record.client, record.identified), (CLIENT, False))
        self.assertEqual(self.registry.by_ip, {CLIENT.host: 1})

    def test_record_of_a_refused_client_holds_the_header_version(self):
        """Else the access log has an announced client, and says that no PROXY header announced it."""
        admit = self.admit(connection_rate_per_minute=1)
        self.connect(admit)
        record = self.registry.open(ACCEPTED)
        self.assertRaises(Refused, admit.client, record, announced(header=ProxyHeader(2)))
        self.assertEqual((record.client, record.proxy_version), (CLIENT, 2))

    def test_new_client_is_refused_while_draining(self):
        self.assertIs(self.connect(self.admit(draining=True)), RejectReason.DRAINING)

    def test_record_holds_the_client_and_header_version(self):
        admit = self.admit()
        record = self.registry.open(ACCEPTED)
        admit.client(record, announced(header=ProxyHeader(2)))
        self.assertEqual(
            (record.proxy_version, record.client, record.state), (2, CLIENT, ConnectionState.DETECTING)
        )

    def test_allow_and_block_lists_of_a_route(self):
        here, elsewhere = frozenset({CLIENT.host}), frozenset({"10.0.0.1"})
        for lists, reason in (
            ({"block": here}, RejectReason.IP_BLOCKED),
            ({"block": here, "allow": here}, RejectReason.IP_BLOCKED),
            ({"allow": elsewhere}, RejectReason.IP_NOT_ALLOWED),
            ({"kind": ActionKind.BLOCK}, RejectReason.IP_BLOCKED),
            ({"kind": ActionKind.BLOCK, "allow": elsewhere}, RejectReason.IP_BLOCKED),
        ):
            admit = self.admit()
            record = self.connect(admit)
            with self.assertRaises(Refused) as caught:
                admit.route(record, routed(**lists))
            self.assertIs(caught.exception.reason, reason, lists)
            self.assertEqual((record.route, self.registry.by_route), (None, {}))

    def test_limit_of_a_route(self):
        admit = self.admit()
        for _ in range(2):
            admit.route(self.connect(admit), routed(max_connections=2))
        with self.assertRaises(Refused) as caught:
            admit.route(self.connect(admit), routed(max_connections=2))
        self.assertIs(caught.exception.reason, RejectReason.ROUTE_LIMIT)
        admit.route(self.connect(admit), routed(name="other", max_connections=2))
        self.assertEqual(self.registry.by_route, {"web": 2, "other": 1})

    def test_numbers_are_asked_for_only_where_the_connection_is_then_counted(self):
        """Whoever shares limits with other processes has counted the connection by answering."""
        admit = self.admit()
        asked = []
        admit._limits._counts = SimpleNamespace(may_assign=lambda *of: asked.append(of) or True)
        blocked = routed(max_connections=2, block=frozenset({CLIENT.host}))
        for facts in (blocked, routed(max_connections=2, kind=ActionKind.BLOCK)):
            self.assertRaises(Refused, admit.route, self.connect_unlimited(admit), facts)
        self.assertFalse(admit.admits(blocked))
        self.assertTrue(admit.admits(routed(max_connections=2)))
        self.assertEqual(asked, [])
        admit.route(self.connect_unlimited(admit), routed(max_connections=2))
        self.assertEqual((asked, self.registry.by_route), ([("web", 2)], {"web": 1}))

    def test_record_holds_route_and_keep_alive(self):
        for wanted in (True, False):
            admit = self.admit()
            record = self.connect(admit)
            admit.route(record, routed(keep_alive=KeepAlive(enabled=wanted)))
            self.assertEqual(
                (record.route, record.keep_alive, record.state), ("web", wanted, ConnectionState.CONNECTING)
            )
            self.assertEqual(self.registry.counters.route("web").active, 1)

    def test_record_holds_whether_stuck_detection_applies(self):
        """Not for an immortal connection, nor where the route declares that its protocol never answers."""
        immortal = KeepAlive(treatment=Treatment.IMMORTAL)
        mortal = KeepAlive(enabled=False, treatment=Treatment.IMMORTAL)
        for options, wanted in (
            ({}, True),
            ({"stuck_detection": False}, False),
            ({"keep_alive": immortal}, False),
            ({"keep_alive": mortal}, True),
        ):
            admit = self.admit()
            record = self.connect(admit)
            admit.route(record, routed(**options))
            self.assertEqual(record.stuck_detection, wanted, options)

    def test_record_holds_whether_the_connection_is_tls(self):
        """It is detected from the first bytes, or declared by the route where the first bytes are not inspected."""
        facts = routed()
        for protocol, said, wanted in (
            (Spoken.UNSEEN, False, False),
            (Spoken.UNSEEN, True, True),
            (Spoken.TLS, False, True),
            (Spoken.HTTP, False, False),
        ):
            admit = self.admit()
            record = self.connect(admit)
            detected = facts.detected._replace(protocol=protocol)
            admit.route(record, Routed(detected, a_route(carries_tls=said)))
            self.assertEqual(record.tls, wanted)


class RouteTests(SynchronousTestCase):
    def test_route_of_the_table_or_no_route(self):
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
