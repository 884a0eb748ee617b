"""Certificates that are ordered when a client first asks for a name."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred

from smartproxy.acme import on_demand
from smartproxy.acme.on_demand import OnDemandOrders
from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import AcmeError, HandshakeRefused
from smartproxy.flow.threads import call_here
from smartproxy.model.plan import AcmePlan, CertificatePlan, OnDemandPlan, ProxyPlan, TerminationPlan
from tests.acme.service_case import URL, ServiceTestCase, entry
from tests.tls import talk


class OnDemandTestCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.asked: list[str] = []
        self.approves: bool | Deferred[bool] | Exception = True
        self.on_demand = OnDemandOrders(self.acme, self._approve, self.clock.seconds, call_here)

    async def _approve(self, _plan: AcmePlan, name: str) -> bool:
        self.asked.append(name)
        if isinstance(self.approves, Exception):
            raise self.approves
        return await self.approves if isinstance(self.approves, Deferred) else self.approves

    def begin(self, most: int = 20, **terms: Any) -> None:
        acme = AcmePlan(URL, str(self.path), on_demand=OnDemandPlan("http://127.0.0.1/ask", most), **terms)
        route = talk.route(on_demand=("*",))
        plan = ProxyPlan((route,), acme=acme)
        self.store.apply(self.store.prepare(plan))
        self.acme.apply(plan)
        self.acme.start()

    def client(self, name: str = "a.example", *, approved: bool = False) -> Any:
        try:
            return self.on_demand(name, approved)
        except HandshakeRefused as refused:
            return refused

    def refused(self, client: Any) -> str:
        if isinstance(client, HandshakeRefused):
            return client.detail
        return str(self.failureResultOf(client, HandshakeRefused).value.detail)


class FirstClientTests(OnDemandTestCase):
    def test_waits_for_the_order_and_later_ones_do_not(self) -> None:
        self.begin()
        client = self.client()
        self.assertNoResult(client)
        self.assertEqual(self.issuer.waiting, [("a.example",)])
        certificate = self.issued("a.example")
        self.issuer.answer(certificate)
        self.assertEqual(self.successResultOf(client), certificate.plan)
        self.assertEqual(self.client(), certificate.plan)
        self.assertEqual(self.asked, ["a.example"])

    def test_all_that_ask_for_a_name_wait_for_one_order(self) -> None:
        self.begin()
        clients = [self.client() for _ in range(5)]
        self.assertEqual(len(self.issuer.orders), 1)
        self.issuer.answer(self.issued("a.example"))
        self.assertEqual(len({self.successResultOf(one) for one in clients}), 1)

    def test_one_that_leaves_does_not_cancel_the_order(self) -> None:
        self.begin()
        first, second = self.client(), self.client()
        first.cancel()
        self.failureResultOf(first)
        self.issuer.answer(self.issued("a.example"))
        self.assertIsInstance(self.successResultOf(second), CertificatePlan)

    def test_is_refused_where_the_name_is_not_approved(self) -> None:
        self.approves = False
        self.begin()
        self.assertIn("not approved (acme.onDemand.ask)", self.refused(self.client()))
        self.assertEqual(self.issuer.orders, [])
        self.approves = True
        self.assertNoResult(self.client())

    def test_is_refused_where_nobody_can_be_asked(self) -> None:
        self.approves = AcmeError("acme.onDemand.ask cannot be asked: no answer")
        self.begin()
        self.assertIn("cannot be asked: no answer", self.refused(self.client()))

    def test_store_that_cannot_be_read_does_not_fill_the_log(self) -> None:
        self.approves = ZeroDivisionError("a bug")
        self.begin()
        lines: list[Any] = []
        self.patch(on_demand.log, "error", lambda line, **_: lines.append(line))
        for number in range(50):
            self.assertIn("could not be looked up", self.refused(self.client(f"{number}.example")))
        self.assertEqual(len(lines), 1)

    def test_name_that_a_callable_has_approved_is_not_asked_about(self) -> None:
        self.begin()
        self.client(approved=True)
        self.assertEqual((self.asked, self.issuer.waiting), ([], [("a.example",)]))

    def test_failed_order_refuses_those_who_wait_and_others_until_the_next(self) -> None:
        self.begin()
        client = self.client()
        self.issuer.answer(AcmeError("port 80 cannot be reached"))
        for one in (client, self.client()):
            self.assertIn("port 80 cannot be reached", self.refused(one))
        self.advance(6)
        self.assertEqual(len(self.issuer.waiting), 1, "a client has asked meanwhile")

    def test_client_that_asks_when_the_next_try_is_due_waits_for_it(self) -> None:
        self.begin()
        self.client().addErrback(lambda _: None)
        self.issuer.answer(AcmeError("port 80 cannot be reached"))
        self.advance(30)
        client = self.client()
        self.assertNoResult(client)
        certificate = self.issued("a.example")
        self.issuer.answer(certificate)
        self.assertEqual(self.successResultOf(client), certificate.plan)

    def test_temporary_certificate_is_shown_meanwhile(self) -> None:
        self.begin(until="selfSigned")
        temporary = self.successResultOf(self.client())
        self.assertEqual(temporary.source, "selfSigned")
        certificate = self.issued("a.example")
        self.issuer.answer(certificate)
        self.assertEqual(self.client(), certificate.plan)

    def test_temporary_certificate_is_the_same_for_all_clients(self) -> None:
        """Each would have a key and a context of its own, and these would evict those of others."""
        self.begin(until="selfSigned")
        first, second = self.client(), self.client()
        self.assertIs(self.successResultOf(first), self.successResultOf(second))

    def test_temporary_certificate_is_shown_after_a_failure_too(self) -> None:
        """It is shown until there is a first certificate, as for the names that are configured."""
        self.begin(until="selfSigned")
        temporary = self.successResultOf(self.client())
        self.issuer.answer(AcmeError("port 80 cannot be reached"))
        self.assertIs(self.client(), temporary)
        self.advance(6)
        self.assertEqual(len(self.issuer.waiting), 1, "a client has asked meanwhile")


class BoundTests(OnDemandTestCase):
    def test_orders_in_an_hour(self) -> None:
        self.begin(most=2)
        for number in range(2):
            self.client(f"{number}.example").addErrback(lambda _: None)
        self.assertIn("acme.onDemand.maxPerHour", self.refused(self.client("3.example")))
        self.clock.advance(3601)
        self.assertNoResult(self.client("3.example"))

    def test_retries_count_as_orders_in_an_hour(self) -> None:
        """A name that is approved and points elsewhere would otherwise be ordered ten times."""
        self.begin(most=3)
        start = self.clock.seconds()
        while self.clock.seconds() < start + 3500:
            client = self.client()
            if isinstance(client, Deferred):
                client.addErrback(lambda _: None)
            if self.issuer.waiting:
                self.issuer.answer(AcmeError("port 80 cannot be reached"))
            self.clock.advance(1.0)
        self.assertEqual(len(self.issuer.orders), 3)
        (managed,) = self.acme.on_demand()
        self.assertIn("maxPerHour", managed.error)
        while not self.issuer.waiting:
            self.client()
            self.clock.advance(1.0)
        self.assertLess(self.clock.seconds() - start, 3700)

    def test_names_that_are_looked_up_at_once(self) -> None:
        self.begin(most=1000)
        self.approves = Deferred()
        for number in range(on_demand.MOST_PENDING):
            self.client(f"{number}.example")
        self.assertIn("other names are being ordered", self.refused(self.client("more.example")))

    def test_name_that_has_none_costs_no_reading_of_the_whole_store(self) -> None:
        """Anybody can ask for any name, and there may be 10,000 certificates."""
        self.begin()
        self.approves = False
        AcmeStorage(str(self.path), URL).prepare()
        self.patch(os, "listdir", lambda _: self.fail("the folder was read"))
        self.assertIn("not approved", self.refused(self.client()))

    def test_certificates_in_memory(self) -> None:
        self.patch(on_demand, "MOST_KNOWN", 1)
        self.begin()
        self.client("a.example")
        self.issuer.answer(self.issued("a.example"))
        self.assertIn("certificates on demand", self.refused(self.client("b.example")))


class ReloadTests(OnDemandTestCase):
    def without_acme(self) -> None:
        plan = ProxyPlan((talk.route(),))
        self.store.apply(self.store.prepare(plan))
        self.acme.apply(plan)

    def test_clients_that_wait_are_refused_when_acme_is_removed(self) -> None:
        """And its name is not waited for by later ones, when there is acme again."""
        self.begin()
        client = self.client()
        self.without_acme()
        self.assertIn("not ordered any more", self.refused(client))
        self.begin()
        self.client()
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def test_acme_that_is_removed_while_a_name_is_approved(self) -> None:
        self.begin()
        self.approves = answer = Deferred()
        client = self.client()
        self.without_acme()
        answer.callback(True)
        self.assertIn("has changed", self.refused(client))
        self.assertEqual(list(self.acme.on_demand()), [])

    def test_name_that_is_configured_while_it_is_approved_is_not_forgotten(self) -> None:
        """It would never be renewed: nobody else takes care of the entry."""
        self.begin()
        self.approves = answer = Deferred()
        client = self.client()
        acme = self.acme.directory.plan
        plan = ProxyPlan((talk.route(entry("a.example")),), acme=acme)
        self.store.apply(self.store.prepare(plan))
        self.acme.apply(plan)
        answer.callback(True)
        self.assertEqual(self.acme.find(("a.example",)).entries, (entry("a.example"),))
        self.advance(1)
        certificate = self.issued("a.example")
        self.issuer.answer(certificate)
        self.assertEqual(self.successResultOf(client), certificate.plan)
        self.assertEqual(len(self.issuer.orders), 1)

    def test_client_of_another_route_gets_a_configured_certificate(self) -> None:
        self.begin()
        acme = self.acme.directory.plan
        plan = ProxyPlan((talk.route(entry("a.example")),), acme=acme)
        self.store.apply(self.store.prepare(plan))
        self.acme.apply(plan)
        clients = [self.client(), self.client()]
        self.advance(1)
        self.issuer.answer(AcmeError("port 80 cannot be reached"))
        for client in clients:
            self.assertIn("port 80 cannot be reached", self.refused(client))


class LaterTests(OnDemandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()
        self.client()
        self.first = self.issued("a.example")
        self.issuer.answer(self.first)

    def test_one_that_is_used_is_renewed_and_asked_about_again(self) -> None:
        self.client()
        self.advance(41)
        self.assertEqual((self.asked, self.issuer.waiting), (["a.example"] * 2, [("a.example",)]))
        self.assertEqual(self.client(), self.first.plan)

    def test_one_that_is_not_used_any_more_is_forgotten(self) -> None:
        self.advance(41)
        self.assertEqual((self.issuer.waiting, list(self.acme.on_demand())), ([], []))

    def test_many_that_are_not_used_are_forgotten_at_once(self) -> None:
        """Each change is counted over all of them: 10,000 changes would take minutes."""
        counted: list[int] = []
        self.acme.on_forgotten.append(lambda several: counted.append(len(several)))
        for number in range(50):
            managed = self.acme.add_on_demand(f"{number}.example")
            self.acme.adopt(managed, self.first)
            managed.asked = False
        self.advance(62)
        self.assertEqual((max(counted), list(self.acme.on_demand())), (50, []))

    def test_one_that_is_not_approved_any_more_is_not_renewed(self) -> None:
        self.client()
        self.approves = False
        self.advance(41)
        self.assertEqual(self.issuer.waiting, [])

    def test_one_that_is_not_approved_any_more_is_used_until_it_expires(self) -> None:
        """Clients that still come must not have the program asked all the time."""
        self.approves = False
        for _ in range(58):
            self.assertEqual(self.client(), self.first.plan)
            self.advance(1)
        self.assertEqual(self.asked, ["a.example"] * 2)
        self.advance(3600)
        self.assertEqual(list(self.acme.on_demand()), [])

    def test_one_that_nobody_can_be_asked_about_is_kept_and_asked_about_later(self) -> None:
        """With a back-off, and not each second while its clients have it read from the store again."""
        self.client()
        self.approves = AcmeError("acme.onDemand.ask cannot be asked: no answer")
        self.advance(44)
        self.assertEqual((self.asked, self.client()), (["a.example"] * 2, self.first.plan))
        self.approves = True
        self.advance(3)
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def test_reload_keeps_it(self) -> None:
        self.begin(most=7)
        self.assertEqual(self.client(), self.first.plan)

    def test_it_is_found_in_the_store_after_a_restart(self) -> None:
        storage = AcmeStorage(str(self.path), URL)
        storage.prepare()
        storage.save(("b.example",), *self.pair("b.example"))
        self.assertIsInstance(self.successResultOf(self.client("b.example")), CertificatePlan)
        self.assertIsInstance(self.client("b.example"), CertificatePlan)
        self.assertEqual(self.asked, ["a.example"])

    def pair(self, name: str) -> tuple[bytes, bytes]:
        plan = self.issued(name, life=86400.0).plan  # what is loaded must be valid now, on a busy machine too
        return plan.chain, plan.key

    def test_its_state_is_shown(self) -> None:
        (managed,) = self.acme.on_demand()
        self.assertTrue(managed.status().on_demand)


class RouteTests(OnDemandTestCase):
    """How a route's terms lead here."""

    def test_route_without_names_orders_each(self) -> None:
        self.begin()
        in_force = talk.InForce()
        in_force.store = self.store
        in_force.cache.on_demand = self.on_demand
        route = talk.route(on_demand=("*",))
        contexts = in_force.reload(ProxyPlan((route,), acme=AcmePlan(URL, str(self.path))))
        context = contexts.for_hello(route, talk.hello("a.example"))
        self.issuer.answer(self.issued("a.example"))
        self.assertIs(self.successResultOf(context), contexts.for_hello(route, talk.hello("a.example")))

    def test_name_that_is_ordered_at_once_is_not_ordered_on_demand_too(self) -> None:
        """Names of a route have one certificate. Without it, their clients are refused at once."""
        self.begin()
        in_force = talk.InForce()
        in_force.cache.on_demand = self.on_demand
        route = talk.route(entry("a.example", "c.example"), on_demand=("*.b.example",))
        contexts = in_force.reload(ProxyPlan((route,), acme=AcmePlan(URL, str(self.path))))
        refused = self.assertRaises(HandshakeRefused, contexts.for_hello, route, talk.hello("a.example"))
        self.assertIn("it is being ordered", refused.detail)
        self.assertEqual(self.asked, [])
        self.assertNoResult(contexts.for_hello(route, talk.hello("a.b.example")))

    def test_terms_of_tickets_do_not_depend_on_it(self) -> None:
        self.assertEqual(TerminationPlan(on_demand=("*",)).terms, TerminationPlan().terms)
