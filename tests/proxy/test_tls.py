"""What a proxy keeps of TLS over reloads, and what it frees."""

from __future__ import annotations

import datetime as dt
import gc
import weakref
from dataclasses import replace
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.counters import Counters
from smartproxy.model.plan import (
    AcmePlan,
    GroupPlan,
    MatchPlan,
    OnDemandPlan,
    OriginationPlan,
    ProxyPlan,
    RoutePlan,
    TargetPlan,
)
from smartproxy.proxy.tls import TlsState
from smartproxy.security.handshake_limit import STALLED
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.material import TlsMaterial
from tests.security.handshakes import Handshake
from tests.tls import talk
from tests.tls.made import Authority

CA = Authority()
EXACT = CA.leaf("a.example").plan("a.pem")
OTHER = CA.leaf("b.example").plan("b.pem")
LIMIT = 200


def to_target(name: str, **options: Any) -> RoutePlan:
    """A route that forwards to a target with TLS."""
    target = TargetPlan(("10.0.0.1",), 9000, tls=OriginationPlan(ca=CA.pem, **options))
    return RoutePlan(name, 0, MatchPlan((range(80, 81),)), group=GroupPlan(name, (target,)))


class StateTests(SynchronousTestCase):
    def start(self, plan: ProxyPlan) -> None:
        self.clock = reactor = MemoryReactorClock()
        self.counters = Counters()
        self.tls = TlsState(plan, reactor, reactor, self.counters, TlsMaterial())
        self.reload(plan)

    def reload(self, plan: ProxyPlan) -> None:
        self.contexts = self.tls.prepare(plan)
        self.tls.apply(self.contexts, plan)

    def test_handshakes_begun_before_a_reload_still_count(self) -> None:
        first = talk.route(EXACT)
        self.start(talk.proxy(first, max_handshakes=LIMIT))
        begun = [self.handshake() for _ in range(LIMIT)]
        self.reload(talk.proxy(first, talk.route(OTHER, name="more"), max_handshakes=LIMIT))
        self.clock.advance(STALLED)
        self.handshake()
        self.assertEqual([one.why != "" for one in begun], [True] + [False] * (LIMIT - 1))
        self.assertEqual(self.tls.handshakes.active, LIMIT)

    def test_limit_of_handshakes_is_changed_by_a_reload(self) -> None:
        """A lower one lets those in progress finish; each new one still closes a stalled one."""
        first = talk.route(EXACT)
        self.start(talk.proxy(first, max_handshakes=1))
        for limit, active in ((1, 1), (2, 2), (1, 2), (0, 3), (0, 4)):
            self.reload(talk.proxy(first, max_handshakes=limit))
            self.handshake()
            self.clock.advance(STALLED)
            self.assertEqual(self.tls.handshakes.active, active)

    def test_one_of_several_processes_has_its_share_of_the_limit(self) -> None:
        plan = replace(talk.proxy(talk.route(EXACT), max_handshakes=10), workers=4)
        reactor = MemoryReactorClock()
        shared = TlsState(plan, reactor, reactor, Counters(), TlsMaterial(), is_one_of_several=True)
        self.assertEqual(shared.handshakes.limit, 3)
        unlimited = replace(plan, tls=replace(plan.tls, max_handshakes=0))
        shared.apply(shared.prepare(unlimited), unlimited)
        self.assertEqual(shared.handshakes.limit, 0)

    def handshake(self) -> Handshake:
        begun = Handshake(self.clock.seconds(), self.tls.handshakes)
        self.tls.handshakes.begin(begun, "192.0.2.1")
        return begun

    def test_prepared_configuration_changes_nothing(self) -> None:
        """A reload that cannot bind its ports is given up after it has been prepared."""
        self.start(talk.proxy(talk.route(EXACT), max_handshakes=1))
        self.tls.prepare(talk.proxy(talk.route(OTHER), max_handshakes=5))
        self.assertEqual(self.tls.handshakes.limit, 1)
        self.assertEqual([one.source for one in self.tls.certificates()], ["a.pem"])

    def test_contexts_of_removed_routes_are_freed(self) -> None:
        kept, removed = talk.route(EXACT), talk.route(OTHER, name="removed")
        self.start(talk.proxy(kept, removed))
        contexts = [
            weakref.ref(self.contexts.for_hello(to, talk.hello(name)))
            for to, name in ((kept, "a.example"), (removed, "b.example"))
        ]
        self.reload(talk.proxy(kept))
        gc.collect()
        self.assertEqual([context() is None for context in contexts], [False, True])

    def test_contexts_of_removed_targets_are_freed(self) -> None:
        kept, removed = to_target("kept"), to_target("removed", min_version="1.3")
        self.start(talk.proxy(kept, removed))
        contexts = [
            weakref.ref(self.tls.targets.connection(to.targets[0].tls, "a.example").get_context())
            for to in (kept, removed)
        ]
        self.reload(talk.proxy(kept, to_target("new", alpn=("h2",))))
        gc.collect()
        self.assertEqual([context() is None for context in contexts], [False, True])

    def test_certificates_are_listed_with_their_staples(self) -> None:
        stapled = CA.leaf("c.example", ocsp="http://ocsp.example/").plan("c.pem")
        self.start(talk.proxy(talk.route(stapled)))
        self.assertEqual(
            [one.ocsp.detail for one in self.tls.certificates()], ["the responder has not answered yet"]
        )
        self.reload(talk.proxy(talk.route(stapled), ocsp_stapling=False))
        self.assertEqual([one.ocsp.detail for one in self.tls.certificates()], ["tls.ocspStapling is false"])

    def test_expiry_of_a_name_is_that_of_its_first_certificate_to_expire(self) -> None:
        """One that is ordered on demand must not hide a configured one of the same first name."""
        for configured, on_demand in ((5, 9), (9, 5)):
            leaf = CA.leaf("a.example", "b.example", end=dt.timedelta(days=configured))
            self.start(
                ProxyPlan((talk.route(leaf.plan("a.pem")), talk.route(on_demand=("*",))), acme=self.acme())
            )
            managed = self.tls.acme.add_on_demand("a.example")
            leaf = CA.leaf("a.example", end=dt.timedelta(days=on_demand))
            self.tls.acme.adopt(managed, Certificate(leaf.plan("acme")))
            expected = min(one.expires_at or 0.0 for one in self.tls.certificates())
            self.assertEqual(self.counters.certificate_expiry(), {"a.example": expected})

    def acme(self) -> AcmePlan:
        on_demand = OnDemandPlan("http://127.0.0.1/")
        return AcmePlan("https://acme.example/dir", self.mktemp(), on_demand=on_demand)

    def test_expiry_of_a_certificate_on_demand_is_shown_until_it_is_forgotten(self) -> None:
        """It expires some day, and nobody wants an alert for a name that nobody asks for."""
        self.start(talk.proxy(talk.route(EXACT)))
        self.reload(ProxyPlan((talk.route(on_demand=("*",)),), acme=self.acme()))
        managed = self.tls.acme.add_on_demand("c.example")
        self.tls.acme.adopt(managed, Certificate(CA.leaf("c.example").plan("acme")))
        for callback in self.tls.acme.on_settled:
            callback(managed)
        self.assertIn("c.example", self.counters.certificate_expiry())
        self.tls.acme.forget([managed])
        self.assertNotIn("c.example", self.counters.certificate_expiry())
